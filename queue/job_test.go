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
		r.add(strconv.Itoa(i), now)
	}
	if kept := len(r.young) + len(r.old); kept > MaxRemembered {
		t.Errorf("%d ids are kept", kept)
	}
	for i := n - MaxRemembered/2; i < n; i++ {
		if !r.has(strconv.Itoa(i), now) {
			t.Fatalf("the id before %d others is forgotten", n-i)
		}
	}
	if r.has("x", now) || r.has("0", now) || r.has(strconv.Itoa(n-1), now.Add(time.Minute)) {
		t.Error("an id is known that should not be")
	}
	r.add("", now)
	if r.has("", now) {
		t.Error("no id is known")
	}
}
