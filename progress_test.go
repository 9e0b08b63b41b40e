package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

// dialled returns a connection to a peer that is driven by hand.
func dialled(t *testing.T, srv *polywire.Server) (*polywire.Conn, *peer) {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{})
	conn, err := srv.Connect(t.Context(), wire.Link{Transport: a, Session: plainSession{}}, polywire.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return conn, &peer{t: t, link: b}
}

type joined struct {
	polywire.Subscription
	err error
}

// asks begins to subscribe, and returns what the peer is asked.
func asks(conn *polywire.Conn, p *peer, room, position string) (wire.Packet, <-chan joined) {
	done := make(chan joined, 1)
	go func() {
		s, err := conn.SubscribeFrom(context.Background(), room, position)
		done <- joined{s, err}
	}()
	return p.receive(), done
}

func from(room, offset string) wire.Packet {
	return wire.Packet{Type: wire.Message, Kind: "k", Room: room, Position: offset}
}

func at(t *testing.T, conn *polywire.Conn, room, want string) {
	t.Helper()
	synctest.Wait()
	position, asked := conn.Position(room)
	if got := fmt.Sprint(position, " ", asked); got != want {
		t.Errorf("in room %s at %q, want %q", room, got, want)
	}
}

func TestPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("k", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
		})
		conn, p := dialled(t, srv)
		defer p.end()
		at(t, conn, "a", " false")
		p.send(from("a", "e.9")) // nobody has asked for it
		at(t, conn, "a", " false")

		asked, done := asks(conn, p, "a", "")
		if asked.Type != wire.Subscribe || asked.Room != "a" || asked.Position != "" {
			t.Errorf("asked %+v", asked)
		}
		p.send(wire.Packet{Type: wire.Reply, ID: asked.ID, Position: "e.10"})
		if got := <-done; got.err != nil || got.Subscription != (polywire.Subscription{Position: "e.10"}) {
			t.Errorf("%+v", got)
		}
		at(t, conn, "a", "e.10 true")
		p.send(from("a", "e.11"), from("a", ""), from("b", "e.12"))
		at(t, conn, "a", "e.11 true")

		// What came since it was asked knows better than the answer.
		asked, done = asks(conn, p, "a", "e.11")
		p.send(from("a", "e.12"), wire.Packet{Type: wire.Reply, ID: asked.ID, Position: "e.11", Recovered: true})
		if got := <-done; asked.Position != "e.11" || got.err != nil || !got.Recovered {
			t.Errorf("asked %+v: %+v", asked, got)
		}
		at(t, conn, "a", "e.12 true")

		// An answer without a place: there is no history any more.
		asked, done = asks(conn, p, "a", "e.12")
		p.send(wire.Packet{Type: wire.Reply, ID: asked.ID})
		if got := <-done; got.err != nil || got.Subscription != (polywire.Subscription{}) {
			t.Errorf("%+v", got)
		}
		at(t, conn, "a", " true")

		go func() { _ = conn.Unsubscribe(context.Background(), "a") }()
		p.send(wire.Packet{Type: wire.Reply, ID: p.receive().ID}, from("a", "e.13"))
		at(t, conn, "a", " false")
	})
}

// A refusal, and an end before the answer.
func TestPositionWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		conn, p := dialled(t, srv)
		defer p.end()
		refuse := func(room, position string) {
			t.Helper()
			asked, done := asks(conn, p, room, position)
			p.send(wire.Packet{Type: wire.Error, ID: asked.ID, Err: &wire.ErrorBody{Code: "unavailable"}})
			if got := <-done; polywire.CodeOf(got.err) != polywire.CodeUnavailable {
				t.Errorf("%+v", got)
			}
		}
		refuse("a", "")
		at(t, conn, "a", " false")
		refuse("a", "e.1")
		at(t, conn, "a", "e.1 true")

		_, done := asks(conn, p, "b", "e.5")
		p.send(from("b", "e.6"), from("b", "e.7"))
		synctest.Wait()
		p.link.Close()
		if got := <-done; !errors.Is(got.err, polywire.ErrConnClosed) {
			t.Errorf("%+v", got)
		}
		at(t, conn, "b", "e.7 true")
		at(t, conn, "a", "e.1 true")
	})
}

// Every message whose place is noted is handled, also when the connection ends
// while handlers are behind; Handled waits for them.
func TestHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("k", func(context.Context, *polywire.Message) (any, error) {
				<-time.After(time.Second)
				handled++
				return nil, nil
			})
		}, polywire.WithInboxMessages(3))
		conn, p := dialled(t, srv)
		asked, done := asks(conn, p, "a", "")
		p.send(wire.Packet{Type: wire.Reply, ID: asked.ID, Position: "e.0"})
		<-done
		if err := conn.Handled(t.Context()); err != nil {
			t.Errorf("nothing to wait for: %v", err)
		}
		var all []wire.Packet
		for i := range 8 {
			all = append(all, from("a", fmt.Sprint("e.", i+1)))
		}
		p.send(all...)
		<-time.After(1500 * time.Millisecond)
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := conn.Handled(limited); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that is bounded: %v", err)
		}
		_ = conn.Close(polywire.CloseForceReconnect, "") // by this side: the reader waits behind the handlers
		p.end()
		<-conn.Done()
		if err := conn.Handled(t.Context()); err != nil {
			t.Error(err)
		}
		if position, _ := conn.Position("a"); position != fmt.Sprint("e.", handled) {
			t.Errorf("at %s after %d were handled", position, handled)
		}
		if accepted := connect(t, srv); accepted != nil {
			defer accepted.end()
			synctest.Wait()
			c := srv.All().Local().Conns()[0]
			if position, asked := c.Position("a"); position != "" || asked {
				t.Errorf("an accepted connection is at %q, %v", position, asked)
			}
		}
	})
}

// The place of a message among those of sessions is no place in a room.
func TestPlacesOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithSessions(polywire.Sessions{}))
		p := connect(t, srv)
		defer p.end()
		p.send(wire.Packet{Type: wire.Subscribe, ID: 1, Room: "a"})
		p.receive()
		c := srv.All().Conns()[0]
		for _, send := range []error{
			srv.Room("a").Send(t.Context(), "k", 1), srv.All().Send(t.Context(), "k", 2), c.Send(t.Context(), "k", 3),
		} {
			if got := p.receive(); send != nil || got.Type != wire.Message || got.Position != "" {
				t.Errorf("%+v, %v", got, send)
			}
		}
	})
}
