package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/sse"
)

// told are a client's hooks about its rooms.
type told chan string

func (r told) option() client.Option {
	return client.WithHooks(client.Hooks{Recovered: func(room string, ok bool) { r <- fmt.Sprint(room, " ", ok) }})
}

func (r told) want(t *testing.T, all ...string) {
	t.Helper()
	synctest.Wait()
	got := make([]string, 0, len(all))
	for range len(r) {
		got = append(got, <-r)
	}
	if !slices.Equal(got, all) {
		t.Errorf("told %q, want %q", got, all)
	}
}

// heard returns what came on a channel until everybody rests.
func heard(from <-chan string) string {
	synctest.Wait()
	var all []string
	for range len(from) {
		all = append(all, <-from)
	}
	return strings.Join(all, " ")
}

func publish(t *testing.T, srv *polywire.Server, room string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := srv.Room(room).Send(context.Background(), "news", text); err != nil {
			t.Error(err)
		}
	}
}

func subscribe(t *testing.T, c *client.Client, rooms ...string) {
	t.Helper()
	for _, room := range rooms {
		if err := c.Subscribe(t.Context(), room); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissedMessagesComeAfterReconnect(t *testing.T) {
	for name, o := range map[string][]native.Option{"proto": nil, "JSON": {native.WithForm(native.JSON)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				history := polywire.WithHistory("h.*", polywire.History{Size: 5})
				srv := n.serve("ws", nil, history)
				e, tell, news := newEvents(), make(told, 100), make(chan string, 100)
				c := n.client("ws", e.option(), tell.option(), client.WithWires(native.New(o...)))
				c.Handle("news", into(news))
				connect(t, c)
				receive(t, e.connects)
				subscribe(t, c, "h.quiet", "h.busy", "plain")
				publish(t, srv, "h.busy", "1", "2")
				if got := heard(news); got != "1 2" {
					t.Errorf("heard %q", got)
				}
				tell.want(t)

				n.last().Close()
				receive(t, e.disconnects)
				publish(t, srv, "h.busy", "3", "4", "5", "6", "7")
				publish(t, srv, "h.quiet", "first")
				publish(t, srv, "plain", "lost")
				receive(t, e.connects)
				if got := heard(news); got != "first 3 4 5 6 7" {
					t.Errorf("heard %q", got)
				}
				tell.want(t, "h.quiet true", "h.busy true")

				n.last().Close()
				receive(t, e.disconnects)
				publish(t, srv, "h.busy", "8", "9", "10", "11", "12", "13")
				receive(t, e.connects)
				tell.want(t, "h.quiet true", "h.busy false")
				publish(t, srv, "h.busy", "14")
				publish(t, srv, "h.quiet", "second")
				if got := heard(news); got != "14 second" {
					t.Errorf("heard %q", got)
				}

				// Another server knows nothing of these places.
				srv.Close()
				srv = n.serve("ws", nil, history)
				receive(t, e.connects)
				tell.want(t, "h.quiet false", "h.busy false")
				srv.Close()
				n.serve("ws", nil)
				receive(t, e.connects)
				tell.want(t, "h.quiet false", "h.busy false")
				n.last().Close()
				receive(t, e.connects)
				tell.want(t) // they have no history any more
			})
		})
	}
}

// Unsubscribe, and a life that is over, forget the place.
func TestPlacesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil, polywire.WithHistory("*", polywire.History{}))
		tell, news := make(told, 100), make(chan string, 100)
		c := n.client("tcp", tell.option())
		c.Handle("news", into(news))
		connect(t, c)
		subscribe(t, c, "a")
		publish(t, srv, "a", "1")
		if err := c.Unsubscribe(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		publish(t, srv, "a", "2")
		subscribe(t, c, "a")
		publish(t, srv, "a", "3")
		if got := heard(news); got != "1 3" {
			t.Errorf("heard %q", got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		publish(t, srv, "a", "4")
		connect(t, c)
		subscribe(t, c, "a")
		publish(t, srv, "a", "5")
		if got := heard(news); got != "5" {
			t.Errorf("heard %q", got)
		}
		tell.want(t)
	})
}

// What came before the connection broke is handled before what was missed, and once.
func TestSlowHandlersKeepTheOrder(t *testing.T) {
	for scheme, url := range map[string]string{"tcp": "tcp://server:80", "http": "sse+http://server:80/events?room=a"} {
		t.Run(scheme, func(t *testing.T) { testSlowHandlers(t, scheme, url) })
	}
}

func testSlowHandlers(t *testing.T, scheme, url string) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve(scheme, nil, polywire.WithHistory("*", polywire.History{}), polywire.WithWires(sse.New()))
		e, tell := newEvents(), make(told, 10)
		var mu sync.Mutex
		var got []string
		c, err := client.New(url, client.WithNetDial(n.dial), e.option(), tell.option())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Handle("news", func(_ context.Context, m *polywire.Message) (any, error) {
			var text string
			err := m.Bind(&text)
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, text)
			return nil, err
		})
		connect(t, c)
		receive(t, e.connects)
		if scheme == "tcp" {
			subscribe(t, c, "a")
		}
		publish(t, srv, "a", "1", "2", "3", "4", "5")
		<-time.After(500 * time.Millisecond) // all have come, one is being handled
		n.last().Close()
		receive(t, e.disconnects)
		publish(t, srv, "a", "6", "7")
		<-time.After(2 * time.Second)
		if len(srv.Room("a").Conns()) != 0 {
			t.Error("it is in the room while it is behind")
		}
		<-time.After(10 * time.Second)
		tell.want(t, "a true")
		mu.Lock()
		defer mu.Unlock()
		if want := "1 2 3 4 5 6 7"; strings.Join(got, " ") != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	})
}

func TestPositionCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		opts        []client.Option
		least, most time.Duration // between two; 0: never
	}{
		"default": {nil, 30 * time.Second, 50 * time.Second},
		"given":   {[]client.Option{client.WithPositionCheck(4 * time.Second)}, 3 * time.Second, 5 * time.Second},
		"off":     {[]client.Option{client.WithPositionCheck(-1)}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				asked := make(chan string, 1000)
				n.serve("tcp", nil, polywire.WithHistory("h", polywire.History{}), polywire.WithHooks(polywire.Hooks{
					Subscribe: func(_ *polywire.Conn, room string, err error) { asked <- fmt.Sprint(room, err) },
				}))
				tell := make(told, 10)
				c := n.connected("tcp", append(tt.opts, tell.option())...)
				subscribe(t, c, "h", "plain")
				receive(t, asked)
				receive(t, asked)
				if tt.least == 0 {
					<-time.After(time.Hour)
					if len(asked) != 0 {
						t.Errorf("it asked %d times", len(asked))
					}
					return
				}
				waits := make(map[time.Duration]bool)
				for range 10 {
					start := time.Now()
					if got := receive(t, asked); got != "h<nil>" {
						t.Errorf("asked for %s", got)
					}
					took := time.Since(start)
					if took < tt.least || took > tt.most {
						t.Errorf("asked after %v", took)
					}
					waits[took] = true
				}
				if len(waits) < 2 {
					t.Error("there is no chance in it")
				}
				tell.want(t)
			})
		})
	}
	if _, err := client.New("tcp://server", client.WithPositionCheck(0)); err == nil {
		t.Error("a check without a pause is no mistake")
	}
}

// Who talks to the others in a room has no place of what he says himself; a
// check does not take that for a loss.
func TestPositionCheckOfATalker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", func(s *polywire.Server) {
			s.Handle("say", func(ctx context.Context, m *polywire.Message) (any, error) {
				return nil, m.Conn().Others("h").Send(ctx, "news", m.Payload())
			})
		}, polywire.WithHistory("h", polywire.History{Size: 3}))
		tell := make(told, 10)
		c := n.connected("tcp", tell.option(), client.WithPositionCheck(10*time.Second))
		subscribe(t, c, "h")
		for i := range 10 {
			if err := c.Call(t.Context(), "say", i, nil); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Minute)
		tell.want(t)
		if n := len(srv.Room("h").Conns()); n != 1 {
			t.Errorf("%d are in the room", n)
		}
	})
}

// A check that is refused does not end the subscription.
func TestRefusedPositionCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var refuse atomic.Bool
		n.serve("tcp", nil, polywire.WithHistory("h", polywire.History{}),
			polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error {
				if refuse.Load() {
					return polywire.Errorf(polywire.CodeForbidden, "not now")
				}
				return nil
			}))
		e := newEvents()
		c := n.connected("tcp", e.option(), client.WithPositionCheck(4*time.Second))
		subscribe(t, c, "h")
		refuse.Store(true)
		if err := receive(t, e.errors); polywire.CodeOf(err) != polywire.CodeForbidden {
			t.Errorf("told %v", err)
		}
		if got := c.Rooms(); !slices.Equal(got, []string{"h"}) || !c.Connected() {
			t.Errorf("its rooms are %v", got)
		}
	})
}

// A room that the server cannot give for the moment is asked for until it can.
func TestTemporaryRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var asked atomic.Int32
		var away atomic.Bool
		srv := n.serve("tcp", nil, polywire.WithHistory("*", polywire.History{}),
			polywire.WithSubscribePolicy(func(_ context.Context, _ *polywire.Conn, room string) error {
				if room == "a" && away.Load() && asked.Add(1) < 4 {
					return polywire.Errorf(polywire.CodeUnavailable, "no engine")
				}
				return nil
			}))
		e, tell, news := newEvents(), make(told, 10), make(chan string, 10)
		c := n.client("tcp", e.option(), tell.option())
		c.Handle("news", into(news))
		connect(t, c)
		subscribe(t, c, "a", "b")
		away.Store(true)
		n.last().Close()
		receive(t, e.disconnects)
		publish(t, srv, "a", "1")
		for range 3 {
			if err := receive(t, e.errors); polywire.CodeOf(err) != polywire.CodeUnavailable {
				t.Errorf("told %v", err)
			}
		}
		if got := receive(t, news); got != "1" {
			t.Errorf("heard %q", got)
		}
		tell.want(t, "b true", "a true")
	})
}

// ledger is what clients have got of rooms h0, h1, ...
type ledger struct {
	t               *testing.T
	clients         [8][3]atomic.Int64
	wrong           atomic.Int32
	lost, recovered atomic.Int32
}

// client connects the i-th client.
func (l *ledger) client(i int, url string, opts ...client.Option) *client.Client {
	l.t.Helper()
	opts = append(opts, client.WithBackoff(time.Millisecond, 20*time.Millisecond), client.WithPositionCheck(50*time.Millisecond),
		client.WithHooks(client.Hooks{Recovered: func(_ string, ok bool) {
			if ok {
				l.recovered.Add(1)
			} else {
				l.lost.Add(1)
			}
		}}))
	c, err := client.New(url, opts...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	c.Handle("n", func(_ context.Context, m *polywire.Message) (any, error) {
		var room, number int
		err := m.Bind(&number)
		if _, scanned := fmt.Sscanf(m.Room(), "h%d", &room); scanned != nil || err != nil {
			l.t.Errorf("room %q: %v, %v", m.Room(), scanned, err)
			return nil, err
		}
		if count := l.clients[i][room].Add(1); count != int64(number+1) && l.wrong.Add(1) < 10 {
			l.t.Errorf("client %d, room %d: number %d comes after %d", i, room, number, count-2)
		}
		if number%100 == i {
			<-time.After(3 * time.Millisecond) // virtual: some are behind when it breaks
		}
		return nil, nil
	})
	connect(l.t, c)
	return c
}

// breaks ends connections from both sides until over is closed.
func (n *network) breaks(srv *polywire.Server, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(time.Duration(rand.IntN(10)) * time.Millisecond):
		}
		if conns := srv.All().Local().Conns(); len(conns) > 0 && rand.IntN(2) == 0 {
			_ = conns[rand.IntN(len(conns))].Close(polywire.CloseForceReconnect, "elsewhere")
			continue
		}
		n.mu.Lock()
		one := n.cables[len(n.cables)-1-rand.IntN(min(len(n.cables), 8))]
		n.mu.Unlock()
		_ = one.Close()
	}
}

// Publishing goes on while connections break in every way, at any moment: each
// message comes, in order, once.
func TestNothingIsLostAndNothingTwice(t *testing.T) {
	const each = 2000
	for name, w := range map[string]struct {
		scheme, url string
		wire        wire.Protocol
	}{
		"proto": {"tcp", "tcp://server:80", native.New()},
		"JSON":  {"ws", "ws://server:80", native.New(native.WithForm(native.JSON))},
		"SSE":   {"http", "sse+http://server:80/events?room=h0&room=plain&room=h1&room=h2", sse.New()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newNetwork(t), &ledger{t: t}
				srv := n.serve(w.scheme, nil, polywire.WithHistory("h*", polywire.History{Size: each}), polywire.WithWires(sse.New()))
				for i := range l.clients {
					if c := l.client(i, w.url, client.WithNetDial(n.dial), client.WithWires(w.wire)); name != "SSE" {
						subscribe(t, c, "h0", "h1", "h2")
					}
				}
				synctest.Wait()
				over := make(chan struct{})
				var breaking sync.WaitGroup
				breaking.Go(func() { n.breaks(srv, over) })
				for number := range each {
					for room := range l.clients[0] {
						if err := srv.Room(fmt.Sprint("h", room)).Send(t.Context(), "n", number); err != nil {
							t.Error(err)
						}
					}
					<-time.After(time.Millisecond)
				}
				close(over)
				breaking.Wait()
				<-time.After(time.Minute)
				for i := range l.clients {
					for room := range l.clients[i] {
						if got := l.clients[i][room].Load(); got != each {
							t.Errorf("client %d got %d of room %d, want %d", i, got, room, each)
						}
					}
				}
				if l.lost.Load() > 0 || l.recovered.Load() < 100 {
					t.Errorf("%d times lost, %d times recovered", l.lost.Load(), l.recovered.Load())
				}
			})
		})
	}
}

// A client of events comes back to its rooms by itself, and hears the same.
func TestStreamsRecover(t *testing.T) {
	for name, query := range map[string]string{"one room": "room=h1", "several": "room=h1&room=plain&room=h2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve("http", nil, polywire.WithHistory("h*", polywire.History{Size: 3}), polywire.WithWires(sse.New()))
				e, tell, news, places := newEvents(), make(told, 100), make(chan string, 100), make(chan string, 100)
				c, err := client.New("sse+http://server:80/events?"+query, client.WithNetDial(n.dial), e.option(), tell.option())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.Handle("news", func(ctx context.Context, m *polywire.Message) (any, error) {
					places <- m.Position()
					return into(news)(ctx, m)
				})
				connect(t, c)
				receive(t, e.connects)
				synctest.Wait()
				n.last().Close() // no message has come yet
				receive(t, e.disconnects)
				publish(t, srv, "h1", "1", "2")
				receive(t, e.connects)
				if got := heard(news); got != "1 2" {
					t.Errorf("heard %q", got)
				}
				several := name == "several"
				also := func(told string) []string {
					if several {
						return []string{told, "h2 true"}
					}
					return []string{told}
				}
				tell.want(t, also("h1 true")...)
				if at := receive(t, places); at == "" || strings.Contains(at, "~") {
					t.Errorf("a message is at %q", at)
				}
				n.last().Close()
				receive(t, e.disconnects)
				publish(t, srv, "h1", "3", "4", "5", "6")
				receive(t, e.connects)
				tell.want(t, also("h1 false")...)
				publish(t, srv, "h1", "7")
				if got := heard(news); got != "7" {
					t.Errorf("heard %q", got)
				}
			})
		})
	}
}
