package api

import (
	"net/http"
	"testing"
)

// Keys that are replaced open and close the API with the next request, and
// what is wrong with them leaves those before.
func TestSetKeys(t *testing.T) {
	w := newWorld(t, worldOptions{})
	fresh, err := NewKey("fresh", secretOf("fresh"), ScopeRead)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(codeUnauthorized, http.MethodGet, "/stats", "", as("fresh"))
	for _, bad := range [][]Key{nil, {fresh, fresh}} {
		if w.api.SetKeys(bad) == nil {
			t.Errorf("%d keys were taken", len(bad))
		}
	}
	w.ok(http.MethodGet, "/stats", "", nil, as("read"))
	if err := w.api.SetKeys([]Key{fresh}); err != nil {
		t.Fatal(err)
	}
	w.ok(http.MethodGet, "/stats", "", nil, as("fresh"))
	w.refused(codeUnauthorized, http.MethodGet, "/stats", "", as("read"))
	w.refused(codeUnauthorized, http.MethodGet, "/stats", "", as("all"))
}
