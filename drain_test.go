package polywire_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

// leavings connects peers, drains, and returns when each was told.
func leavings(t *testing.T, peers int, over time.Duration) (told []time.Duration, took time.Duration) {
	t.Helper()
	srv := newServer(t, nil)
	start := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range peers {
		p := connect(t, srv)
		all.Go(func() {
			code := p.closed()
			mu.Lock()
			defer mu.Unlock()
			if code != polywire.CloseShutdown {
				t.Errorf("closed with %d", code)
			}
			told = append(told, time.Since(start))
		})
	}
	synctest.Wait()
	if err := srv.Drain(t.Context(), over); err != nil {
		t.Error(err)
	}
	took = time.Since(start)
	all.Wait()
	slices.Sort(told)
	return told, took
}

// Peers are told in groups that are spread over the time, and where they are
// few no slower than a hundred a second.
func TestDrainSpreads(t *testing.T) {
	for _, c := range []struct {
		peers          int
		over           time.Duration
		least, most    time.Duration
		largest, first int
	}{
		{0, time.Minute, 0, 0, 0, 0},
		{5, time.Minute, 0, 0, 5, 5},
		{100, time.Minute, 900 * time.Millisecond, 900 * time.Millisecond, 10, 10},
		{600, 2 * time.Second, 1900 * time.Millisecond, 2 * time.Second, 30, 30},
		{50, 0, 0, 0, 50, 50},
	} {
		synctest.Test(t, func(t *testing.T) {
			told, took := leavings(t, c.peers, c.over)
			if took < c.least || took > c.most || len(told) != c.peers {
				t.Errorf("%d peers over %v: %d told in %v", c.peers, c.over, len(told), took)
			}
			groups := make(map[time.Duration]int)
			for _, at := range told {
				groups[at]++
			}
			for at, n := range groups {
				if n > c.largest {
					t.Errorf("%d peers over %v: %d at %v", c.peers, c.over, n, at)
				}
			}
			if c.peers > 0 && groups[told[0]] != c.first {
				t.Errorf("%d peers over %v: %d first", c.peers, c.over, groups[told[0]])
			}
		})
	}
}

// Who is not told yet is served; who comes is refused; a handler ends before
// its peer is told.
func TestDrainMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", echo)
			s.Handle("slow", func(context.Context, *polywire.Message) (any, error) {
				<-release
				return "done", nil
			})
			s.HandleHTTP("/own", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		}, polywire.WithWires(native.New()))
		slow := connect(t, srv)
		slow.send(wire.Packet{Type: wire.Call, ID: 1, Kind: "slow", Payload: text("x")})
		var others []*peer
		for range 29 {
			others = append(others, connect(t, srv))
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- srv.Drain(ctx, time.Hour) }()
		synctest.Wait()
		last := others[len(others)-1]
		last.send(wire.Packet{Type: wire.Call, ID: 7, Kind: "echo", Payload: text("still here")})
		if got := last.receive(); got.ID != 7 {
			t.Errorf("%+v", got)
		}
		for path, want := range map[string]int{native.DefaultPath: http.StatusServiceUnavailable, "/own": http.StatusNoContent} {
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != want || want == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: %d %v", path, w.Code, w.Header())
			}
		}
		for _, p := range others {
			if code := p.closed(); code != polywire.CloseShutdown {
				t.Errorf("closed with %d", code)
			}
		}
		if err := <-done; err != nil { // it does not wait for handlers
			t.Error(err)
		}
		close(release)
		if got := slow.receive(); got.ID != 1 || got.Type != wire.Reply {
			t.Errorf("%+v", got)
		}
		if code := slow.closed(); code != polywire.CloseShutdown {
			t.Errorf("closed with %d", code)
		}
		cancel()
	})
}

func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		var peers []*peer
		for range 25 {
			peers = append(peers, connect(t, srv))
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		if err := srv.Drain(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Drain(t.Context(), time.Hour); err != nil {
			t.Errorf("when it is closed: %v", err)
		}
		for _, p := range peers {
			p.end()
		}
	})
}
