package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// What a service sends and asks is handled over any connection, a broadcast
// once where that is wanted, and by handlers that came later, too.
func TestHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		heard := make(chan string, 100)
		into := func(name string) polywire.Handler {
			return func(_ context.Context, m *polywire.Message) (any, error) {
				heard <- name
				return name, nil
			}
		}
		setup := func(s *node) {
			s.Handle("back", func(ctx context.Context, m *polywire.Message) (any, error) {
				var name string
				err := m.Conn().Call(ctx, "once", nil, &name)
				return name, err
			})
		}
		srv := n.serve("a:1")
		setup(srv)
		s := n.connected([]string{"tcp://a:1"}, service.WithHandler("early", into("early")))
		s.Handle("news", into("news"))
		s.HandleOnce("once", into("once"))
		synctest.Wait()
		broadcast := func(srv *node) {
			t.Helper()
			for kind, want := range map[string]int{"early": 2, "news": 2, "once": 1} {
				if err := srv.All().Send(t.Context(), kind, nil); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if got := len(heard); got != want {
					t.Errorf("%s was heard %d times, want %d", kind, got, want)
				}
				for len(heard) > 0 {
					<-heard
				}
			}
		}
		broadcast(srv)
		// The other connection takes over when the first is lost.
		s.Conns()[0].Close(polywire.CloseForceReconnect, "")
		synctest.Wait()
		if err := srv.All().Send(t.Context(), "once", nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(heard) != 1 {
			t.Errorf("heard %d times over the connection that is left", len(heard))
		}
		<-heard
		<-time.After(time.Minute)
		// Calls are handled over every connection.
		for range 4 {
			var name string
			if err := s.Call(t.Context(), "back", nil, &name); err != nil || name != "once" {
				t.Errorf("it called back: %q, %v", name, err)
			}
			<-heard
		}
		// And all over again after a restart, and a reconnection by hand.
		srv.Close()
		srv = n.serve("a:1")
		setup(srv)
		<-time.After(time.Minute)
		broadcast(srv)
		s.Disconnect()
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		broadcast(srv)
	})
}

func TestFutures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"})
		answers := make([]string, 100)
		futures := make([]*service.Future, len(answers))
		for i := range answers {
			futures[i] = s.Go(t.Context(), "echo", fmt.Sprint(i), &answers[i])
		}
		for i, f := range futures {
			<-f.Done()
			if err := f.Wait(t.Context()); err != nil || answers[i] != fmt.Sprint(i) {
				t.Errorf("call %d: %q, %v", i, answers[i], err)
			}
		}
		slow := s.Go(t.Context(), "never", nil, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := slow.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a second: %v", err)
		}
		select {
		case <-slow.Done():
			t.Error("it has ended with the wait")
		default:
		}
		start := time.Now()
		if err := slow.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("it ended with %v", err)
		}
	})
}

// Everything at once, while servers come and go.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("a:1")
		n.serve("b:1")
		s := n.connected([]string{"tcp://a:1", "tcp://b:1"}, service.WithIdempotent("echo"),
			service.WithBreaker(service.Breaker{Failures: 50, Delay: 100 * time.Millisecond}),
			service.WithRetry(service.Retry{Tries: 50, Wait: 10 * time.Millisecond}),
			service.WithBackoff(time.Millisecond, 10*time.Millisecond))
		var group sync.WaitGroup
		for g := range 20 {
			group.Go(func() {
				for i := range 50 {
					in := fmt.Sprint(g, "/", i)
					var out string
					if err := s.Call(t.Context(), "echo", in, &out); err != nil || out != in {
						t.Errorf("echo of %s is %q, %v", in, out, err)
					}
					if i%10 == 0 {
						s.Stats()
						s.Handle(fmt.Sprint("kind/", g, "/", i), func(context.Context, *polywire.Message) (any, error) { return nil, nil })
						<-time.After(20 * time.Millisecond)
					}
				}
			})
		}
		for i := range 5 {
			<-time.After(15 * time.Millisecond)
			old := n.serve([]string{"a:1", "b:1"}[i%2])
			for _, c := range s.Conns()[:1] {
				c.Close(polywire.CloseForceReconnect, "")
			}
			_ = old
		}
		group.Wait()
		if stats := s.Stats(); stats.Calls < 1000 || stats.Wanted != 4 {
			t.Errorf("stats: %+v", stats)
		}
		var ends sync.WaitGroup
		for range 4 {
			ends.Go(s.Disconnect)
			ends.Go(func() { _ = s.Connect(t.Context()) }) // or it is disconnected meanwhile
		}
		ends.Wait()
	})
}

// One service behind every wire that a client speaks, over loopback.
func TestEveryWire(t *testing.T) {
	srv, err := polywire.New(polywire.WithWires(native.New(), socketio.New(), drs.New()))
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	t.Cleanup(func() { srv.Close() })
	r := service.New(service.WithBackoff(time.Millisecond, 10*time.Millisecond))
	t.Cleanup(func() { r.Close() })
	listen := func(address string) string {
		l, scheme, err := srv.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l, scheme) }()
		t.Cleanup(func() {
			srv.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		return l.Addr().String()
	}
	dir := t.TempDir()
	listen("unix://" + dir + "/native.sock")
	listen("drs+unix://" + dir + "/drs.sock")
	http, tcp := listen("ws://127.0.0.1:0"), listen("drs+tcp://127.0.0.1:0")
	for name, tt := range map[string]struct {
		url  string
		opts []client.Option
	}{
		"native, WebSocket":    {"ws://" + http, nil},
		"native, HTTP Upgrade": {"polywire+http://" + http, nil},
		"native, unix":         {"unix://" + dir + "/native.sock", nil},
		"Socket.IO":            {"socketio+http://" + http, nil},
		"Socket.IO, WebSocket": {"socketio+ws://" + http, nil},
		"Socket.IO 2":          {"socketio+http://" + http, []client.Option{client.WithWires(socketio.New(socketio.WithDialVersion(4)))}},
		"DRS, TCP":             {"drs+tcp://" + tcp, nil},
		"DRS, unix":            {"drs+unix://" + dir + "/drs.sock", nil},
		"DRS, WebSocket":       {"drs+ws://" + http, nil},
	} {
		s, err := r.Register(name, []string{tt.url}, service.WithClient(tt.opts...), service.WithTimeout(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Connect(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 4 {
			var out string
			if err := s.Call(t.Context(), "echo", name, &out); err != nil || out != name {
				t.Errorf("%s: %q, %v", name, out, err)
			}
		}
	}
}
