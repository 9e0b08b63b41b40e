package soak_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// kindText is a message of protobuf that every wire can say.
const kindText = "google.protobuf.StringValue"

// way is how a client comes to the server.
type way struct {
	name string
	url  string
	wire wire.Protocol
	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: without a bad network
}

// ways are all wires, over several networks.
type ways struct {
	proto, json, upgrade, tcp, tcpToo, unix, events, socketio, socketioToo, drs, drsToo, goomerang, goomerangToo way
}

func (l *lanes) ways(s *server) ways {
	json := native.New(native.WithForm(native.JSON))
	binary := native.New(native.WithForm(native.Proto))
	return ways{
		proto:        way{"native protobuf", "ws://soak", binary, by(l.http[0])},
		json:         way{"native JSON", "ws://soak", json, by(l.http[1])},
		upgrade:      way{"native by Upgrade", "polywire+http://soak", native.New(), by(l.http[2])},
		tcp:          way{"native TCP", "tcp://soak:1", native.New(), by(l.tcp[0])},
		tcpToo:       way{"native TCP in JSON", "tcp://soak:1", json, by(l.tcp[1])},
		unix:         way{"native unix", "unix://" + s.unix, native.New(), nil},
		events:       way{"SSE", "sse+http://soak/events?room=" + roomKept, sse.New(), by(l.http[2])},
		socketio:     way{"Socket.IO", "socketio+http://soak", socketio.New(), by(l.http[0])},
		socketioToo:  way{"another Socket.IO", "socketio+http://soak", socketio.New(), by(l.http[1])},
		drs:          way{"DRS", "drs+tcp://soak:1", drs.New(), by(l.drs[0])},
		drsToo:       way{"another DRS", "drs+tcp://soak:1", drs.New(), by(l.drs[1])},
		goomerang:    way{"Goomerang", "goomerang+ws://soak", goomerang.New(), by(l.http[1])},
		goomerangToo: way{"another Goomerang", "goomerang+ws://soak", goomerang.New(), by(l.http[2])},
	}
}

// client makes one, which is not connected.
func (w way) client(opts ...client.Option) (*client.Client, error) {
	opts = append(opts, client.WithWires(w.wire), client.WithPeer(polywire.WithCodecs(protobuf.Codec{})),
		client.WithBackoff(20*time.Millisecond, 500*time.Millisecond), client.WithDialTimeout(5*time.Second))
	if w.dial != nil {
		opts = append(opts, client.WithNetDial(w.dial))
	}
	return client.New(w.url, opts...)
}

// open is client for one that stays until the test ends.
func (w way) open(t *testing.T, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := w.client(opts...)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it should be closed already
	return c
}

// connect connects it.
func connect(t *testing.T, w way, c *client.Client) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	return c
}

// listen lets somebody into a room, who notes what is heard.
func listen(t *testing.T, l *ledger, p promise, w way, room, kind string) *client.Client {
	t.Helper()
	name := w.name + " in " + room
	l.member(name, p)
	c := w.open(t, client.WithHooks(client.Hooks{
		Recovered: func(room string, ok bool) {
			if !ok {
				l.wrong("%s: room %s was not recovered", name, room)
			}
		},
		Error: func(err error) { t.Logf("%s: %v", name, err) },
	}))
	c.Handle(kind, func(_ context.Context, m *polywire.Message) (any, error) {
		data := m.Payload().Data
		if kind == kindText {
			var v wrapperspb.StringValue
			if err := m.Bind(&v); err != nil {
				l.wrong("%s: %v", name, err)
				return nil, nil
			}
			data = []byte(v.GetValue())
		}
		l.hears(name, m.Conn().ID(), data)
		return nil, nil
	})
	connect(t, w, c)
	if w.wire.Name() == "sse" {
		return c
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Subscribe(ctx, room); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// speaker says one note, and reports whether the server said that it has it.
type speaker struct {
	l    *ledger
	from string
	say  func(ctx context.Context, n note) error
}

// answerTime is how long a client waits for an answer.
const answerTime = 5 * time.Second

func (s speaker) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	n := s.l.says(s.from)
	err := s.say(ctx, n)
	if err == nil {
		s.l.accepted(n)
	}
	return err
}

// run says one after the other until ctx ends.
func (s speaker) run(ctx context.Context, every time.Duration, count *tally) {
	for pass(ctx, every) {
		if s.once(ctx) != nil {
			count.add("not accepted")
		}
	}
}

// publisher speaks in a room.
func publisher(t *testing.T, l *ledger, w way, room, kind string) speaker {
	t.Helper()
	c := connect(t, w, w.open(t))
	return speaker{l, w.name + " to " + room, func(ctx context.Context, n note) error {
		if kind == kindText {
			return c.Publish(ctx, room, kind, wrapperspb.String(fmt.Sprintf(`{"from":%q,"n":%d}`, n.From, n.N)))
		}
		return c.Publish(ctx, room, kind, n)
	}}
}

// caller calls a kind, which is answered when the note is kept for good.
func caller(t *testing.T, l *ledger, w way, kind string) speaker {
	t.Helper()
	c := connect(t, w, w.open(t))
	return speaker{l, w.name + " calls " + kind, func(ctx context.Context, n note) error { return c.Call(ctx, kind, n, nil) }}
}

// echoes asks for echoes until ctx ends: each answer must be that to its own
// question. Errors are the network's, but after the last fault there are none.
func echoes(ctx context.Context, w way, c *client.Client, l *ledger, count *tally) {
	for i := 0; i == 0 || pass(ctx, 20*time.Millisecond); i++ {
		if err := echo(ctx, w, c, i); err != nil {
			count.add("calls failed")
			if errors.Is(err, errWrongAnswer) {
				l.wrong("%v", err)
			}
			continue
		}
		count.add("calls")
	}
}

// errWrongAnswer is an answer that was not asked for.
var errWrongAnswer = errors.New("a wrong answer")

func echo(ctx context.Context, w way, c *client.Client, i int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	want := fmt.Sprintf("%s %d", w.name, i)
	var got string
	if err := c.Call(ctx, "echo", want, &got); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: %s got %q to %q", errWrongAnswer, w.name, got, want)
	}
	return nil
}

// comeAndGo opens one connection after the other, of any wire, each for one call.
func comeAndGo(ctx context.Context, all []way, count *tally) {
	for i := 0; i == 0 || pass(ctx, 50*time.Millisecond); i++ {
		w := all[i%len(all)]
		c, err := w.client(client.WithoutReconnect())
		if err != nil {
			count.add(err.Error())
			continue
		}
		dial, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		err = c.Connect(dial)
		cancel()
		if err == nil {
			err = echo(ctx, w, c, i)
		}
		if err != nil {
			count.add("visits failed")
		} else {
			count.add("visits")
		}
		_ = c.Close() // it may be broken
	}
}
