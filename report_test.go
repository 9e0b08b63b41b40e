package polywire_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/polywiretest"
	"github.com/polywire/polywire/wire/native"
)

// A peer whose messages fail, one like another, does not fill the disk: the log
// has the first thousand, a hundred a second of the others, and how many it has
// not. The hook is told of all.
func TestErrorsDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var told atomic.Int64
		srv := polywiretest.New(t, polywire.WithWires(native.New()),
			polywire.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))),
			polywire.WithHooks(polywire.Hooks{Error: func(*polywire.Conn, error) { told.Add(1) }}))
		c := srv.Client()
		flood := func(n int) {
			for i := range n {
				if err := c.Send(t.Context(), fmt.Sprint("nobody.", i), nil); err != nil {
					t.Fatal(err)
				}
				if i%100 == 99 { // before the inbox is full
					synctest.Wait()
				}
			}
			synctest.Wait()
		}
		lines := func(of string) int { return strings.Count(log.String(), of) }
		const none, left = "no handler for", "errors came too fast to be logged"

		flood(5000)
		if n := lines(none); n != 1000 || lines(left) != 0 {
			t.Fatalf("%d lines at once, %d about others", n, lines(left))
		}
		time.Sleep(time.Second)
		flood(500)
		if n := lines(none); n != 1100 {
			t.Errorf("%d lines after a second", n)
		}
		if want := left + "\" count=4000"; lines(want) != 1 || lines(left) != 1 {
			t.Errorf("not told once of %q", want)
		}
		if told.Load() != 5500 {
			t.Errorf("the hook was told of %d", told.Load())
		}
		time.Sleep(time.Minute)
		flood(900)
		if n := lines(none); n != 2000 {
			t.Errorf("%d lines after a minute", n)
		}
	})
}
