package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/wire"
)

// subscribe asks for a room from a place on, and returns the answer and what
// came before it.
func (p *peer) subscribe(room, from string) (answer wire.Packet, missed []wire.Packet) {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.Subscribe, ID: 1, Room: room, Position: from})
	for {
		got := p.receive()
		if got.Type != wire.Message {
			return got, missed
		}
		missed = append(missed, got)
	}
}

// numbers are the payloads of messages.
func numbers(packets []wire.Packet) string {
	var all []string
	for _, p := range packets {
		all = append(all, string(p.Payload.Data))
	}
	return strings.Join(all, " ")
}

func keeping(size int, age time.Duration) polywire.Option {
	return polywire.WithHistory("kept*", polywire.History{Size: size, Age: age})
}

func TestHistory(t *testing.T) {
	allow := allowSubscribe()
	for _, c := range []struct {
		name string
		// sent before the peer leaves, while it is away
		seen, missed int
		away         time.Duration
		recovered    bool
	}{
		{"nothing missed", 3, 0, 0, true},
		{"some missed", 3, 4, time.Second, true},
		{"nothing ever", 0, 0, time.Second, true},
		{"all missed", 0, 5, time.Second, true},
		{"as many as are kept", 2, 10, 0, true},
		{"one more than are kept", 2, 11, 0, false},
		{"too late", 2, 1, 61 * time.Second, false},
		{"late, and nothing missed", 2, 0, 90 * time.Second, true},
		{"very late, and nothing missed", 2, 0, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, nil, allow, keeping(10, time.Minute))
				n := 0
				send := func(count int) {
					for range count {
						n++
						if err := srv.Room("kept").Send(t.Context(), "n", n); err != nil {
							t.Fatal(err)
						}
					}
				}
				p := connect(t, srv)
				answer, _ := p.subscribe("kept", "")
				if answer.Type != wire.Reply || answer.Position == "" || answer.Recovered {
					t.Fatalf("the first subscription was answered with %+v", answer)
				}
				at := answer.Position
				send(c.seen)
				for range c.seen {
					m := p.receive()
					if m.Position == "" || m.Room != "kept" {
						t.Fatalf("a message came as %+v", m)
					}
					at = m.Position
				}
				p.end()
				send(c.missed)
				time.Sleep(c.away)
				p = connect(t, srv)
				defer p.end()
				answer, missed := p.subscribe("kept", at)
				var want []string
				for i := range c.missed {
					want = append(want, fmt.Sprint(c.seen+i+1))
				}
				if !c.recovered {
					want = nil
				}
				if answer.Recovered != c.recovered || numbers(missed) != strings.Join(want, " ") {
					t.Errorf("recovered %v with %q, want %v with %q", answer.Recovered, numbers(missed), c.recovered, want)
				}
				send(1)
				if m := p.receive(); string(m.Payload.Data) != fmt.Sprint(n) {
					t.Errorf("then came %+v", m)
				}
			})
		})
	}
}

func TestHistoryPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, allowSubscribe(), keeping(10, time.Minute))
		for i := range 3 {
			_ = srv.Room("kept.a").Send(t.Context(), "n", i)
		}
		for _, from := range []string{"x", ".", "x.", ".1", "x.!", "x.1", strings.Repeat("x", 70) + ".1", srv.Nodes().ID() + "1.9", srv.Nodes().ID() + "2.1", "\x00.1"} {
			p := connect(t, srv)
			answer, missed := p.subscribe("kept.a", from)
			if answer.Type != wire.Reply || answer.Recovered || len(missed) > 0 || answer.Position == "" {
				t.Errorf("from %q: %+v with %d messages", from, answer, len(missed))
			}
			// A second look from where the peer is finds nothing, and is fine.
			if answer, missed = p.subscribe("kept.a", answer.Position); !answer.Recovered || len(missed) > 0 {
				t.Errorf("a check was answered with %+v and %d messages", answer, len(missed))
			}
			p.end()
		}
		p := connect(t, srv)
		defer p.end()
		if answer, _ := p.subscribe("other", "x.1"); answer.Type != wire.Reply || answer.Position != "" || answer.Recovered {
			t.Errorf("a room without history: %+v", answer)
		}
	})
}

// Each member gets a message once, by the first of its rooms that keeps it, and
// nobody whom it is not for, also when it comes later.
func TestHistoryOfSeveralRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, allowSubscribe(), keeping(10, time.Minute))
		peers, conns := crowd(t, srv, 5)
		_ = conns[0].Join("kept.a", "kept.b", "plain")
		_ = conns[1].Join("kept.b")
		_ = conns[2].Join("plain")
		_ = conns[3].Join("kept.a", "muted")
		_ = conns[4].Join("plain", "kept.b")
		start, _ := peers[2].subscribe("kept.b", "")
		conns[2].Leave("kept.b")
		if err := srv.To("kept.a", "plain", "kept.b").Except("muted").ExceptConns(conns[4]).Send(t.Context(), "n", 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = srv.Room("kept.b").Send(t.Context(), "n", 2, polywire.Volatile())
		synctest.Wait()
		_ = srv.All().Send(t.Context(), "end", "end")
		for i, want := range []string{"1 2", "1 2", "1", "", "2"} {
			var got []wire.Packet
			for {
				p := peers[i].receive()
				if p.Kind == "end" {
					break
				}
				got = append(got, p)
			}
			if numbers(got) != want {
				t.Errorf("peer %d got %q, want %q", i, numbers(got), want)
			}
		}
		for _, c := range []struct {
			who  int
			want string
		}{{2, "1"}, {3, ""}} {
			if _, missed := peers[c.who].subscribe("kept.b", start.Position); numbers(missed) != c.want {
				t.Errorf("later peer %d got %q, want %q", c.who, numbers(missed), c.want)
			}
		}
	})
}

// Who comes back in the middle of a stream of messages misses none and gets none twice.
func TestHistoryWhileSending(t *testing.T) {
	const total = 2000
	srv := newServer(t, nil, allowSubscribe(), keeping(total, time.Minute))
	p := connect(t, srv)
	p.subscribe("kept", "")
	sent := make(chan error, 1)
	go func() {
		for i := range total {
			if err := srv.Room("kept").Send(t.Context(), "n", i); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var got []wire.Packet
	for len(got) < total {
		for range min(150, total-len(got)) {
			got = append(got, p.receive())
		}
		at := got[len(got)-1].Position
		p.end()
		p = connect(t, srv)
		answer, missed := p.subscribe("kept", at)
		if !answer.Recovered {
			t.Fatalf("after %d messages: not recovered", len(got))
		}
		got = append(got, missed...)
	}
	p.end()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range total {
		want = append(want, fmt.Sprint(i))
	}
	if !slices.Equal(strings.Fields(numbers(got)), want) {
		t.Errorf("got %d messages, or not in order", len(got))
	}
}

func TestHistoryBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, allowSubscribe(),
			polywire.WithHistory("kept", polywire.History{Bytes: 10_000}), polywire.WithOutboxBytes(1<<16),
			polywire.WithHistory("big", polywire.History{}))
		p := connect(t, srv)
		defer p.end()
		first, _ := p.subscribe("kept", "")
		big, _ := p.subscribe("big", "")
		p.send(wire.Packet{Type: wire.Unsubscribe, ID: 2, Room: "kept"}, wire.Packet{Type: wire.Unsubscribe, ID: 3, Room: "big"})
		p.receive()
		p.receive()
		for range 10 {
			_ = srv.Room("kept").Send(t.Context(), "n", strings.Repeat("x", 900))
			_ = srv.Room("big").Send(t.Context(), "n", strings.Repeat("x", 10_000))
		}
		if answer, missed := p.subscribe("kept", first.Position); answer.Recovered || len(missed) > 0 {
			t.Errorf("more than is kept: %+v with %d messages", answer, len(missed))
		}
		// What does not fit into the outbox would end the connection each time.
		if answer, missed := p.subscribe("big", big.Position); answer.Recovered || len(missed) > 0 {
			t.Errorf("more than the outbox takes: %+v with %d messages", answer, len(missed))
		}
	})
}

func TestHistoryMustReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, allowSubscribe(), keeping(10, time.Minute))
		if err := srv.Room("kept").Send(t.Context(), "n", 1, polywire.MustReach()); !errors.Is(err, polywire.ErrNoConnections) {
			t.Errorf("to nobody: %v", err)
		}
		p := connect(t, srv)
		defer p.end()
		p.subscribe("kept", "")
		if err := srv.To("kept", "empty").Send(t.Context(), "n", 2, polywire.MustReach()); err != nil {
			t.Error(err)
		}
		if m := p.receive(); string(m.Payload.Data) != "2" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestHistoryOptions(t *testing.T) {
	for name, o := range map[string]polywire.Option{
		"no pattern":      polywire.WithHistory("", polywire.History{}),
		"a star within":   polywire.WithHistory("a*b", polywire.History{}),
		"a negative size": polywire.WithHistory("a", polywire.History{Size: -1}),
	} {
		if _, err := polywire.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := polywire.New(keeping(1, 0), keeping(2, 0)); err == nil {
		t.Error("twice: accepted")
	}
}

// allowSubscribe lets everybody join all rooms.
func allowSubscribe() polywire.Option {
	return polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return nil })
}

// While a node cannot read a room's history, nobody hears from it that what was
// missed is lost: who comes from a place is to try again.
func TestHistoryThatCannotBeRead(t *testing.T) {
	for name, there := range map[string]bool{"a new room": false, "a room that goes on": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ns := newNodes(t, 2, nil, keeping(10, time.Hour))
				first, _ := ns.peers[0].subscribe("kept", "")
				for i := range 3 {
					if err := ns.srv[0].Room("kept").Send(t.Context(), "k", i); err != nil {
						t.Fatal(err)
					}
				}
				if there {
					ns.peers[1].subscribe("kept", "") // and nothing of what was before
				}
				peers, conns := crowd(t, ns.srv[1], 2)
				ns.hub.Cut(ns.srv[1].Nodes().ID())
				synctest.Wait()
				answer, missed := peers[0].subscribe("kept", first.Position)
				if answer.Err == nil || answer.Err.Code != string(polywire.CodeUnavailable) || len(missed) > 0 || conns[0].In("kept") {
					t.Errorf("cut off: %+v with %q", answer, numbers(missed))
				}
				if answer, _ = peers[1].subscribe("kept", ""); answer.Err != nil || !conns[1].In("kept") {
					t.Errorf("from nowhere: %+v", answer)
				}
				ns.hub.Heal(ns.srv[1].Nodes().ID())
				synctest.Wait()
				if answer, missed = peers[0].subscribe("kept", first.Position); !answer.Recovered || numbers(missed) != "0 1 2" {
					t.Errorf("back: %+v with %q", answer, numbers(missed))
				}
			})
		})
	}
}

// Who comes from a node that is ahead has missed nothing at one that lags.
func TestHistoryFromANodeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := newNodes(t, 2, nil, keeping(10, time.Hour))
		for _, p := range ns.peers {
			p.subscribe("kept", "")
		}
		behind := ns.srv[1].Nodes().ID()
		ns.hub.Drop(func(to string, m cluster.Message) bool { return to == behind && m.Log != "" })
		if err := ns.srv[0].Room("kept").Send(t.Context(), "k", 1); err != nil {
			t.Fatal(err)
		}
		at := ns.peers[0].receive().Position
		peers, _ := crowd(t, ns.srv[1], 3)
		if answer, missed := peers[0].subscribe("kept", at); !answer.Recovered || answer.Position != at || len(missed) > 0 {
			t.Errorf("%+v with %q", answer, numbers(missed))
		}
		if m := ns.peers[1].receive(); m.Position != at {
			t.Errorf("the lagging node's own member got %+v", m)
		}
		// A place that nobody has given is none.
		if answer, missed := peers[1].subscribe("kept", at+"0"); answer.Err != nil || answer.Recovered || len(missed) > 0 {
			t.Errorf("%+v with %q", answer, numbers(missed))
		}
		// One that is cut off as well cannot tell.
		if err := ns.srv[0].Room("kept").Send(t.Context(), "k", 2); err != nil {
			t.Fatal(err)
		}
		at = ns.peers[0].receive().Position
		ns.hub.Cut(behind)
		synctest.Wait()
		if answer, missed := peers[2].subscribe("kept", at); answer.Err == nil || answer.Err.Code != string(polywire.CodeUnavailable) || len(missed) > 0 {
			t.Errorf("cut off: %+v with %q", answer, numbers(missed))
		}
	})
}
