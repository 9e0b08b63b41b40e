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
	"github.com/polywire/polywire/wire/native"
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
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil, polywire.WithHistory("*", polywire.History{}))
		e, tell := newEvents(), make(told, 10)
		var mu sync.Mutex
		var got []string
		c := n.client("tcp", e.option(), tell.option())
		c.Handle("news", handle(func(_ context.Context, m *polywire.Message) (any, error) {
			var text string
			err := m.Bind(&text)
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, text)
			return nil, err
		}))
		connect(t, c)
		receive(t, e.connects)
		subscribe(t, c, "a")
		publish(t, srv, "a", "1", "2", "3", "4", "5")
		synctest.Wait() // they have come
		n.last().Close()
		receive(t, e.disconnects)
		publish(t, srv, "a", "6", "7")
		receive(t, e.connects)
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

// Publishing goes on while connections break in every way, at any moment: each
// message comes, in order, once.
func TestNothingIsLostAndNothingTwice(t *testing.T) {
	for name, o := range map[string][]native.Option{"proto": nil, "JSON": {native.WithForm(native.JSON)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const clients, rooms, each = 8, 3, 2000
				n := newNetwork(t)
				srv := n.serve("tcp", nil, polywire.WithHistory("h*", polywire.History{Size: each}))
				var ledger [clients][rooms]atomic.Int64 // how many have come
				var wrong, lost, recovered atomic.Int32
				for i := range clients {
					c := n.client("tcp", client.WithWires(native.New(o...)), client.WithBackoff(time.Millisecond, 20*time.Millisecond),
						client.WithPositionCheck(50*time.Millisecond), client.WithHooks(client.Hooks{Recovered: func(_ string, ok bool) {
							if ok {
								recovered.Add(1)
							} else {
								lost.Add(1)
							}
						}}))
					c.Handle("n", handle(func(_ context.Context, m *polywire.Message) (any, error) {
						var room, number int
						err := m.Bind(&number)
						if _, scanned := fmt.Sscanf(m.Room(), "h%d", &room); scanned != nil || err != nil {
							t.Errorf("room %q: %v, %v", m.Room(), scanned, err)
							return nil, err
						}
						if count := ledger[i][room].Add(1); count != int64(number+1) && wrong.Add(1) < 10 {
							t.Errorf("client %d, room %d: number %d comes after %d", i, room, number, count-1)
						}
						if number%100 == i {
							<-time.After(3 * time.Millisecond) // some are behind when it breaks
						}
						return nil, nil
					}))
					connect(t, c)
					subscribe(t, c, "h0", "h1", "h2")
				}
				over := make(chan struct{})
				var breaking sync.WaitGroup
				breaking.Go(func() {
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
						one := n.cables[len(n.cables)-1-rand.IntN(min(len(n.cables), clients))]
						n.mu.Unlock()
						_ = one.Close()
					}
				})
				for number := range each {
					for room := range rooms {
						if err := srv.Room(fmt.Sprint("h", room)).Send(t.Context(), "n", number); err != nil {
							t.Error(err)
						}
					}
					<-time.After(time.Millisecond)
				}
				close(over)
				breaking.Wait()
				<-time.After(time.Minute)
				for i := range clients {
					for room := range rooms {
						if got := ledger[i][room].Load(); got != each {
							t.Errorf("client %d got %d of room %d, want %d", i, got, room, each)
						}
					}
				}
				if lost.Load() > 0 || recovered.Load() < 100 {
					t.Errorf("%d times lost, %d times recovered", lost.Load(), recovered.Load())
				}
			})
		})
	}
}
