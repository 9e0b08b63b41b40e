package polywire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/middleware"
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
		counted := regexp.MustCompile(` count=(\d+)`)
		const none, left = "no handler for", "errors came too fast to be logged"

		flood(5000)
		if n := lines(none); n != 1000 || lines(left) != 0 {
			t.Fatalf("%d lines at once, %d about others", n, lines(left))
		}
		time.Sleep(time.Second)
		flood(500)
		if n := lines(none); n <= 1000 || n > 1100 {
			t.Errorf("%d lines after a second", n)
		}
		// The server's clock is that of its last look: some of the 500 may be early.
		if n, _ := strconv.Atoi(counted.FindStringSubmatch(log.String() + ` count=0`)[1]); n < 4000 || n > 4500 {
			t.Errorf("told of %d", n)
		}
		if told.Load() != 5500 {
			t.Errorf("the hook was told of %d", told.Load())
		}
		time.Sleep(time.Minute)
		flood(900)
		if n := lines(none); n <= 1100 || n > 2100 {
			t.Errorf("%d lines after a minute", n)
		}
	})
}

// Nor does one message: what a peer calls it is shown in part, and so is an
// error of any length.
func TestErrorsAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs, messages bytes.Buffer
		srv := polywiretest.New(t, polywire.WithWires(native.New()), polywire.WithLogger(slog.New(slog.NewTextHandler(&errs, nil))),
			polywire.WithHooks(middleware.LogHooks(slog.New(slog.NewTextHandler(&messages, nil)))))
		long := strings.Repeat("\x01", 500_000)
		srv.Handle("verbose", func(context.Context, *polywire.Message) (any, error) { return nil, errors.New(long) })
		c := srv.Client()
		if err := c.Send(t.Context(), long, nil); err != nil {
			t.Fatal(err)
		}
		err := c.Call(t.Context(), long, nil, nil)
		if polywire.CodeOf(err) != polywire.CodeNotFound || len(err.Error()) > 2000 {
			t.Errorf("%d bytes of %.200v", len(err.Error()), err)
		}
		synctest.Wait()
		for name, log := range map[string]*bytes.Buffer{"errors": &errs, "messages": &messages} {
			if n := log.Len(); n < 1000 || n > 200_000 || !strings.Contains(log.String(), "no handler for kind") {
				t.Errorf("%d bytes in the log of %s", n, name)
			}
		}
		if err := c.Call(t.Context(), "verbose", nil, nil); polywire.CodeOf(err) != polywire.CodeInternal {
			t.Error(err)
		}
		synctest.Wait()
		if n := errs.Len(); n < 20_000 || n > 200_000 { // written, a byte is up to six
			t.Errorf("%d bytes about a long error", n)
		}
	})
}
