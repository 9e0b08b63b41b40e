package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/observe/health"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire/drs"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func says(err error) health.Check { return func(context.Context) error { return err } }

func ask(h http.Handler, method, target string, header ...string) (int, string, http.Header) {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

func TestAnswers(t *testing.T) {
	warning := fmt.Errorf("store: %w", health.Degraded(errors.New("slow")))
	tests := []struct {
		name   string
		checks map[string]error
		code   int
		body   string
	}{
		{"nothing to check", nil, 200, "ok\n"},
		{"all well", map[string]error{"b": nil, "a": nil}, 200, "a ok\nb ok\nok\n"},
		{"one warns", map[string]error{"a": warning, "b": nil}, 200, "a degraded: store: slow\nb ok\ndegraded\n"},
		{"one fails", map[string]error{"a": errors.New("two\nlines"), "b": warning}, 503, "a failed: two lines\nb degraded: store: slow\nfailed\n"},
		{"the last fails", map[string]error{"a": warning, "z": errors.New("no")}, 503, "a degraded: store: slow\nz failed: no\nfailed\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := health.New(health.Options{})
			for name, err := range tt.checks {
				if err := errors.Join(c.Add(name, says(err)), c.AddLive(name, says(err))); err != nil {
					t.Fatal(err)
				}
			}
			for path, h := range map[string]http.Handler{"/readyz": c.Readyz(), "/livez": c.Livez()} {
				code, body, header := ask(h, "GET", path)
				if code != tt.code || body != tt.body || header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %d %q", path, code, body)
				}
			}
		})
	}
}

func TestJSON(t *testing.T) {
	c := health.New(health.Options{})
	if err := c.Add("queue", says(errors.New(`"away" <b>`))); err != nil {
		t.Fatal(err)
	}
	for _, request := range [][]string{{"/readyz?format=json"}, {"/readyz", "Accept", "application/json"}} {
		code, body, header := ask(c.Readyz(), "GET", request[0], request[1:]...)
		var got health.Report
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 503 || header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %q %v", code, body, err)
		}
		if len(got.Checks) != 1 || got.Checks[0].Name != "queue" || got.Checks[0].Error != `"away" <b>` || got.Status != health.StatusFailed {
			t.Errorf("%+v", got)
		}
	}
	if code, body, _ := ask(c.Readyz(), "GET", "/readyz?format=text", "Accept", "application/json"); code != 503 || !strings.HasPrefix(body, "queue failed: ") {
		t.Errorf("%d %q", code, body)
	}
	if code, _, header := ask(c.Readyz(), "POST", "/readyz"); code != 405 || header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", code)
	}
	if code, _, _ := ask(c.Livez(), "HEAD", "/livez"); code != 200 {
		t.Errorf("HEAD: %d", code)
	}
}

// What drains is not ready, and alive.
func TestUnready(t *testing.T) {
	c := health.New(health.Options{})
	asked := 0
	if err := c.Add("a", func(context.Context) error { asked++; return nil }); err != nil {
		t.Fatal(err)
	}
	c.Unready("draining")
	code, body, _ := ask(c.Readyz(), "GET", "/readyz")
	live, _, _ := ask(c.Livez(), "GET", "/livez")
	if code != 503 || body != "drain failed: draining\nfailed\n" || live != 200 || asked != 0 {
		t.Errorf("%d %q, live %d, asked %d", code, body, live, asked)
	}
	c.Unready("")
	if code, _, _ := ask(c.Readyz(), "GET", "/readyz"); code != 200 || asked != 1 {
		t.Errorf("after it was taken back: %d, asked %d", code, asked)
	}
}

func TestNames(t *testing.T) {
	c := health.New(health.Options{})
	for name, good := range map[string]bool{
		"": false, "a b": false, "a\n": false, "é": false, strings.Repeat("x", 101): false,
		"queue:orders.v1/a-b_c": true, strings.Repeat("x", 100): true,
	} {
		if err := c.Add(name, says(nil)); good != (err == nil) || err != nil && !errors.Is(err, health.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if err := c.Add(name, says(nil)); !errors.Is(err, health.ErrName) {
			t.Errorf("%q twice: %v", name, err)
		}
	}
	if err := c.Add("nothing", nil); !errors.Is(err, health.ErrName) {
		t.Errorf("no function: %v", err)
	}
}

// A check that hangs is an answer like any other, and runs once however often
// it is asked for.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := health.New(health.Options{Timeout: time.Second})
		var polite, stubborn atomic.Int32
		release := make(chan struct{})
		err := errors.Join(
			c.Add("polite", func(ctx context.Context) error { polite.Add(1); <-ctx.Done(); return ctx.Err() }),
			c.Add("stubborn", func(context.Context) error { stubborn.Add(1); <-release; return nil }),
			c.Add("panics", func(context.Context) error { panic("ouch") }))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				r := c.Ready(t.Context())
				for i, want := range []string{"the check panicked: ouch", "context deadline exceeded", "no answer since 1.25s"} {
					if r.Checks[i].Status != health.StatusFailed || r.Checks[i].Error != want {
						t.Errorf("%+v", r.Checks[i])
					}
				}
			})
		}
		wg.Wait()
		if polite.Load() != 1 || stubborn.Load() != 1 {
			t.Errorf("ran %d and %d times", polite.Load(), stubborn.Load())
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if r := c.Ready(gone); r.Status != health.StatusFailed {
			t.Errorf("for one who has gone: %+v", r)
		}
		close(release)
		synctest.Wait()
		if r := c.Ready(t.Context()); r.Checks[2].Status != health.StatusOK {
			t.Errorf("afterwards: %+v", r.Checks[2])
		}
	})
}

func TestServer(t *testing.T) {
	srv, err := polywire.New(polywire.WithWires(drs.New()), polywire.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	check := health.Server(srv)
	if err := check(t.Context()); err == nil || err.Error() != "the server is new" {
		t.Errorf("before its start: %v", err)
	}
	if err := errors.Join(srv.Start(), check(t.Context())); err != nil {
		t.Error(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if err := check(t.Context()); err == nil || err.Error() != "the server is closed" {
		t.Errorf("closed: %v", err)
	}
}

// reporting is a driver that says what it is told about its connection.
type reporting struct {
	queue.Driver
	report func(queue.Status)
}

func (r *reporting) Report(f func(queue.Status)) {
	r.report = f
	f(queue.Status{Connection: queue.Connected})
}

func TestQueue(t *testing.T) {
	d := &reporting{Driver: queue.NewMemory(queue.MemoryOptions{})}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	warning := health.Degraded(errors.New("x"))
	for _, tt := range []struct {
		status      queue.Connection
		live, ready string
	}{
		{queue.Connected, "ok", "ok"},
		{queue.Blocked, "ok", "degraded"},
		{queue.Connecting, "ok", "failed"},
		{queue.Disconnected, "failed", "failed"},
	} {
		d.report(queue.Status{Connection: tt.status, Reason: "so it is"})
		got := make([]string, 2)
		for i, check := range []health.Check{health.QueueLive(b), health.Queue(b)} {
			got[i] = "ok"
			if err := check(t.Context()); err != nil {
				got[i] = "failed"
				if fmt.Sprintf("%T", err) == fmt.Sprintf("%T", warning) {
					got[i] = "degraded"
				}
			}
		}
		if got[0] != tt.live || got[1] != tt.ready {
			t.Errorf("%s: %v", tt.status, got)
		}
	}
}
