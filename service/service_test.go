package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("a:1")
		r := n.registry()
		users, err := r.Register("users", []string{"tcp://a:1"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Register("users", []string{"tcp://a:1"}); !errors.Is(err, service.ErrExists) {
			t.Errorf("registered twice: %v", err)
		}
		nowhere, err := r.Register("nowhere", []string{"tcp://nowhere:1"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Lookup("users") != users || r.Lookup("other") != nil {
			t.Error("lookup finds the wrong ones")
		}
		if all := r.Services(); len(all) != 2 || all[0] != nowhere || all[1] != users || users.Name() != "users" {
			t.Errorf("services: %v", all)
		}
		if got := who(t, users); got != "a:1" {
			t.Errorf("it is at %q", got)
		}
		if err := r.Deregister("users"); err != nil {
			t.Error(err)
		}
		if err := r.Deregister("users"); !errors.Is(err, service.ErrNotFound) {
			t.Errorf("deregistered twice: %v", err)
		}
		if r.Lookup("users") != nil || users.Connected() {
			t.Error("it is still there")
		}
		if err := users.Call(t.Context(), "who", nil, nil); !errors.Is(err, service.ErrNotConnected) {
			t.Errorf("called afterwards: %v", err)
		}
		if err := users.Connect(t.Context()); !errors.Is(err, polywire.ErrClosed) {
			t.Errorf("connected afterwards: %v", err)
		}
		if stats := r.Stats(); len(stats) != 1 || stats[0].Name != "nowhere" || stats[0].Health != service.HealthDown {
			t.Errorf("stats: %+v", stats)
		}
		r.Close()
		if _, err := r.Register("late", []string{"tcp://a:1"}); !errors.Is(err, polywire.ErrClosed) {
			t.Errorf("registered after Close: %v", err)
		}
	})
}

func TestRegisterRefuses(t *testing.T) {
	list := []string{"tcp://a:1"}
	dns := service.WithResolver(service.DNS{URL: "tcp://a:1"})
	for name, tt := range map[string]struct {
		service string
		urls    []string
		opt     service.Option
		want    string
	}{
		"no name":       {"", list, nil, "name"},
		"no URLs":       {"x", nil, nil, "neither"},
		"both":          {"x", list, dns, "both"},
		"scheme":        {"x", []string{"tcp://a:1", "gopher://a"}, nil, "no wire for the scheme"},
		"connections":   {"x", list, service.WithConnections(0), "1 to 100"},
		"too many":      {"x", list, service.WithConnections(101), "1 to 100"},
		"timeout":       {"x", list, service.WithTimeout(0), "timeout"},
		"backoff":       {"x", list, service.WithBackoff(2, 1), "backoff"},
		"refresh":       {"x", nil, service.WithRefresh(time.Millisecond), "once a second"},
		"breaker":       {"x", list, service.WithBreaker(service.Breaker{Failures: 3, Of: 2}), "breaker"},
		"retry":         {"x", list, service.WithRetry(service.Retry{Wait: 2, MaxWait: 1}), "retries"},
		"client option": {"x", list, service.WithClient(client.WithDialTimeout(0)), "dial timeout"},
	} {
		r := service.New()
		opts := []service.Option{tt.opt}
		if tt.opt == nil {
			opts = nil
		}
		if s, err := r.Register(tt.service, tt.urls, opts...); err == nil || s != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if len(r.Services()) != 0 {
			t.Errorf("%s: it was registered", name)
		}
		r.Close()
	}
}

// Calls go to all connections of all addresses in turn, two each by default.
func TestCallsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a, b := n.serve("a:1"), n.serve("b:1")
		urls := []string{"tcp://a:1", "tcp://b:1"}
		s := n.connected(urls)
		synctest.Wait()
		for range 40 {
			who(t, s)
		}
		for _, nd := range []*node{a, b} {
			over := nd.conns()
			if len(over) != 2 {
				t.Errorf("calls came to %s over %d connections", nd.name, len(over))
			}
			for id, count := range over {
				if count != 10 {
					t.Errorf("%d of 40 calls came over %s", count, id)
				}
			}
		}
		stats := s.Stats()
		if stats.Health != service.HealthUp || stats.Open != 4 || stats.Wanted != 4 || stats.Calls != 40 || stats.Failed != 0 ||
			len(stats.Addresses) != 2 || stats.Addresses[0].Calls != 20 || stats.Addresses[0].Why != nil || stats.Addresses[0].Breaker != 0 {
			t.Errorf("stats: %+v", stats)
		}

		one := n.connected(urls, service.WithConnections(1), service.WithPattern(polywire.Random()))
		synctest.Wait()
		for range 100 {
			who(t, one)
		}
		if a, b := a.conns(), b.conns(); len(a) != 1 || len(b) != 1 {
			t.Errorf("by chance: %v, %v", a, b)
		}
		// A key's calls stay on one connection, different keys are spread.
		hosts := make(map[string]int)
		for k := range 20 {
			key := service.Pick(polywire.ByKey(fmt.Sprint("user-", k)))
			first := who(t, s, key)
			hosts[first]++
			for range 4 {
				if got := who(t, s, key); got != first {
					t.Errorf("key %d went to %s and %s", k, first, got)
				}
			}
			if a, b := a.conns(), b.conns(); len(a)+len(b) != 1 {
				t.Errorf("key %d used the connections %v %v", k, a, b)
			}
		}
		if len(hosts) != 2 {
			t.Errorf("all keys went to %v", hosts)
		}
		none := func([]polywire.Member) []polywire.Member { return nil }
		if err := s.Call(t.Context(), "who", nil, nil, service.Pick(none)); !errors.Is(err, polywire.ErrNoConnections) {
			t.Errorf("a pattern that picks nobody: %v", err)
		}
	})
}

// The least loaded connection is the one that owes the fewest answers.
func TestLeastLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a := n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"}, service.WithPattern(polywire.LeastLoaded()))
		synctest.Wait()
		var hung []*service.Future
		for range 10 {
			hung = append(hung, s.Go(t.Context(), "never", nil, nil))
			synctest.Wait()
		}
		for id, count := range a.conns() {
			if count != 5 {
				t.Errorf("%d of 10 open calls on %s", count, id)
			}
		}
		for _, f := range hung {
			if err := f.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it ended with %v", err)
			}
		}
	})
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"})
		short := n.connected([]string{"tcp://a:1"}, service.WithTimeout(300*time.Millisecond))
		for _, tt := range []struct {
			name     string
			s        *service.Service
			deadline time.Duration
			opts     []polywire.SendOption
			want     time.Duration
		}{
			{"default", s, 0, nil, 2 * time.Second},
			{"the context's is later", s, time.Minute, nil, 2 * time.Second},
			{"the context's is earlier", s, time.Second, nil, time.Second},
			{"the service's own", short, time.Minute, nil, 300 * time.Millisecond},
			{"the call's own", short, time.Minute, []polywire.SendOption{polywire.Timeout(5 * time.Second)}, 5 * time.Second},
			{"only the context's", s, 10 * time.Second, []polywire.SendOption{polywire.Timeout(0)}, 10 * time.Second},
		} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if tt.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
			}
			start := time.Now()
			err := tt.s.Call(ctx, "never", nil, nil, tt.opts...)
			if took := time.Since(start); took != tt.want || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v after %v, want %v", tt.name, err, took, tt.want)
			}
			cancel()
		}
		if stats := s.Stats(); stats.Failed != 4 || stats.Calls != 4 {
			t.Errorf("stats: %+v", stats)
		}
	})
}

// A service need not be there when it is registered, may die and come back.
func TestDiesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		s := n.register([]string{"tcp://a:1"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Connect(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, transporttest.ErrRefused) {
			t.Errorf("connecting to nobody: %v", err)
		}
		err = s.Call(t.Context(), "who", nil, nil)
		if !errors.Is(err, service.ErrNotConnected) || !errors.Is(err, transporttest.ErrRefused) || polywire.CodeOf(err) != polywire.CodeUnavailable {
			t.Errorf("calling nobody: %v", err)
		}
		var dial *service.DialError
		if !errors.As(err, &dial) || dial.URL != "tcp://a:1" {
			t.Errorf("the error does not say where: %v", err)
		}
		for range 3 {
			srv := n.serve("a:1")
			if err := s.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := who(t, s); got != "a:1" {
				t.Errorf("it is at %q", got)
			}
			hung := s.Go(t.Context(), "never", nil, nil)
			synctest.Wait()
			srv.Close()
			if err := hung.Wait(t.Context()); !errors.Is(err, polywire.ErrConnClosed) {
				t.Errorf("a call in flight ended with %v", err)
			}
			synctest.Wait()
			if s.Connected() || s.Stats().Health != service.HealthDown {
				t.Errorf("it is said to be connected: %+v", s.Stats())
			}
			start := time.Now()
			if err := s.Call(t.Context(), "who", nil, nil); !errors.Is(err, service.ErrNotConnected) || time.Since(start) != 0 {
				t.Errorf("a call fails after %v with %v", time.Since(start), err)
			}
			if err := s.Send(t.Context(), "who", nil); !errors.Is(err, service.ErrNotConnected) {
				t.Errorf("a message: %v", err)
			}
		}
	})
}

// A call made while the first connection is under way waits for it.
func TestCallsWaitForTheFirstConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		slow := func(ctx context.Context) (map[string]string, error) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		}
		n.serve("a:1")
		s := n.register([]string{"tcp://a:1"}, service.WithClient(client.WithCredentials(slow)))
		start := time.Now()
		if got := who(t, s); got != "a:1" || time.Since(start) != time.Second {
			t.Errorf("%q after %v", got, time.Since(start))
		}
		s.Disconnect()
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Disconnect()
		go s.Connect(t.Context())
		synctest.Wait()
		start = time.Now()
		err := s.Call(t.Context(), "who", nil, nil, polywire.Timeout(500*time.Millisecond))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 500*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		if err := s.Send(t.Context(), "who", nil); err != nil {
			t.Errorf("a message: %v", err)
		}
	})
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"})
		synctest.Wait()
		if count := len(srv.All().Conns()); count != 2 || !s.Connected() || len(s.Conns()) != 2 {
			t.Errorf("%d connections", count)
		}
		hung := s.Go(t.Context(), "never", nil, nil)
		synctest.Wait()
		s.Disconnect()
		select {
		case <-hung.Done():
		default:
			t.Error("a call is still in flight")
		}
		if err := hung.Wait(t.Context()); !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("it ended with %v", err)
		}
		s.Disconnect()
		synctest.Wait() // the server hears of it
		if len(srv.All().Conns()) != 0 || s.Connected() || s.Stats().Open != 0 {
			t.Error("it is still connected")
		}
		tries := n.tried("a:1")
		<-time.After(time.Minute)
		if n.tried("a:1") != tries {
			t.Error("it has connected by itself")
		}
		if err := s.Go(t.Context(), "who", nil, nil).Wait(t.Context()); !errors.Is(err, service.ErrNotConnected) {
			t.Errorf("a future: %v", err)
		}
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := who(t, s); got != "a:1" {
			t.Errorf("it is at %q", got)
		}
	})
}

// Who refuses for good is not asked again until somebody wants it.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var allowed bool
		var mu sync.Mutex
		n.serve("a:1", polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
			mu.Lock()
			defer mu.Unlock()
			if !allowed {
				return nil, polywire.Errorf(polywire.CodeUnauthorized, "not yet")
			}
			return &polywire.Identity{User: "ann"}, nil
		}))
		s := n.register([]string{"tcp://a:1"})
		var closed *polywire.CloseError
		if err := s.Connect(t.Context()); !errors.As(err, &closed) || closed.Code != polywire.CloseUnauthorized {
			t.Fatalf("connect: %v", err)
		}
		synctest.Wait()
		tries := n.tried("a:1")
		<-time.After(time.Minute)
		if n.tried("a:1") != tries {
			t.Errorf("it was asked %d times more", n.tried("a:1")-tries)
		}
		mu.Lock()
		allowed = true
		mu.Unlock()
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := who(t, s); got != "a:1" {
			t.Errorf("it is at %q", got)
		}
	})
}
