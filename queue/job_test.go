package queue

import (
	"strconv"
	"testing"
	"time"
)

func TestRememberedIsBounded(t *testing.T) {
	r := newRemembered(time.Minute)
	now := time.Now()
	const n = 3 * MaxRemembered
	for i := range n {
		r.add(r.digest(strconv.Itoa(i)), now)
	}
	if kept := len(r.young) + len(r.old); kept > MaxRemembered {
		t.Errorf("%d ids are kept", kept)
	}
	for i := n - MaxRemembered/2; i < n; i++ {
		if !r.has(r.digest(strconv.Itoa(i)), now) {
			t.Fatalf("the id before %d others is forgotten", n-i)
		}
	}
	if r.has(r.digest("x"), now) || r.has(r.digest("0"), now) || r.has(r.digest(strconv.Itoa(n-1)), now.Add(time.Minute)) {
		t.Error("an id is known that should not be")
	}
}
