package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/sse"
)

// The browser's own EventSource, on one room and on several, and the client of
// sdk/js beside them: while connections break they get every message of rooms
// with history, in order and once. The first time they break nothing has come.
func TestHistoryInBrowser(t *testing.T) {
	testenv.Need(t, "chromium")
	t.Parallel()
	const each = 300
	srv, err := polywire.New(polywire.WithWires(native.New(), sse.New(sse.WithRetry(20*time.Millisecond))),
		polywire.WithHistory("log*", polywire.History{Size: each}))
	if err != nil {
		t.Fatal(err)
	}
	address := serveFiles(t, srv)
	ctx := browser(t)
	visit(ctx, t, "http://"+address+"/browser/history.html")

	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for n := range each {
		if n%60 == 0 {
			if err := srv.All().Disconnect(ctx, polywire.CloseForceReconnect, "elsewhere"); err != nil {
				t.Error(err)
			}
		}
		for _, room := range []string{"log1", "log2"} {
			if err := srv.Room(room).Send(ctx, "n", map[string]any{"room": room, "n": n}); err != nil {
				t.Error(err)
			}
		}
		<-pace.C
	}

	type lists struct {
		Got  map[string]map[string][]int `json:"got"`
		Told map[string][]bool           `json:"told"`
	}
	page := evaluate[lists](ctx, t, "finished(%d)", each)
	all := make([]int, each)
	for n := range all {
		all[n] = n
	}
	for name, rooms := range map[string][]string{"one": {"log1"}, "several": {"log1", "log2"}, "client": {"log1", "log2"}} {
		for _, room := range rooms {
			if got := page.Got[name][room]; !slices.Equal(got, all) {
				t.Errorf("%s got %d messages of %s, want %d in order: %v", name, len(got), room, each, got)
			}
		}
		if told := page.Told[name]; len(told) == 0 || slices.Contains(told, false) {
			t.Errorf("%s was told %v", name, told)
		}
	}
}
