package polywire_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
)

func TestReadHistory(t *testing.T) {
	for _, c := range []struct {
		name string
		opts []polywire.Option
	}{
		{"alone", nil},
		{"in a cluster", []polywire.Option{polywire.WithCluster(cluster.NewMemory())}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, nil, append(c.opts, keeping(10, time.Minute))...)
				room := srv.Room("kept.a")
				check := func(limit int, want ...int) {
					t.Helper()
					got, err := room.History(t.Context(), limit)
					if err != nil || len(got) != len(want) {
						t.Fatalf("%d of history: %d messages, %v; want %v", limit, len(got), err, want)
					}
					for i, k := range got {
						if k.Kind != "n" || len(k.Args) != 1 || string(k.Args[0].Data) != fmt.Sprint(want[i]) || k.Position == "" || k.Header["h"] != "v" {
							t.Errorf("message %d is %+v, want %d", i, k, want[i])
						}
					}
				}
				send := func(from, to int) {
					t.Helper()
					for i := from; i < to; i++ {
						if err := room.Send(t.Context(), "n", i, polywire.WithHeader("h", "v")); err != nil {
							t.Fatal(err)
						}
						if err := srv.Room("kept.b").Send(t.Context(), "other", i); err != nil { // offsets are not one after the other
							t.Fatal(err)
						}
					}
				}
				check(5)
				send(0, 3)
				check(1, 2)
				check(3, 0, 1, 2)
				check(100, 0, 1, 2)
				send(3, 40)
				check(1, 39)
				check(4, 36, 37, 38, 39)
				check(100, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39)
				time.Sleep(2 * time.Minute)
				check(100)
				if _, err := srv.Room("other").History(t.Context(), 1); !errors.Is(err, polywire.ErrNoHistory) {
					t.Errorf("of a room that keeps nothing: %v", err)
				}
				for _, target := range []polywire.Target{srv.All(), srv.To("kept.a", "kept.b")} {
					if _, err := target.History(t.Context(), 1); err == nil {
						t.Error("history of more than a room")
					}
				}
			})
		})
	}
}
