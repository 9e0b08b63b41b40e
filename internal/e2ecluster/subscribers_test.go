package e2ecluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

// anywhere dials a node that is there, beginning with one: what a balancer does
// in front of a cluster.
type anywhere struct {
	c    *cluster
	mu   sync.Mutex
	last string // name of the node
}

func startingAt(c *cluster, n *process) *anywhere { return &anywhere{c: c, last: n.Name} }

// dial stays with the node of the last time as long as it is there.
func (a *anywhere) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	nodes := a.c.all()
	first := 0
	for i, n := range nodes {
		if n.Name == a.last {
			first = i
		}
	}
	var errs []error
	for i := range nodes {
		n := nodes[(first+i)%len(nodes)]
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", n.HTTP)
		if err == nil {
			a.last = n.Name
			return nc, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (a *anywhere) at() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// quick is the backoff of clients here.
func quick() client.Option { return client.WithBackoff(20*time.Millisecond, 500*time.Millisecond) }

// subscribe makes a subscriber that recovers by itself, which begins at a node.
func subscribe(t *testing.T, c *cluster, l *ledger, n *process, name, kind, url string, w wire.Protocol) *anywhere {
	t.Helper()
	name = fmt.Sprintf("%s, first at %s", name, n.Name)
	l.subscriber(name, kind)
	route := startingAt(c, n)
	cl, err := client.New(url, client.WithWires(w), client.WithNetDial(route.dial), quick(), client.WithHooks(client.Hooks{
		Recovered: func(room string, ok bool) {
			if !ok {
				l.lost(name, "room "+room+" was not recovered")
			}
		},
		Error: func(err error) { t.Logf("%s: %v", name, err) },
	}))
	if err != nil {
		t.Fatal(err)
	}
	cl.Handle("note", func(_ context.Context, m *polywire.Message) (any, error) {
		l.hears(name, m.Payload().Data)
		return nil, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := cl.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	if !strings.HasPrefix(url, "sse+") {
		if err := cl.Subscribe(ctx, kept); err != nil {
			t.Fatal(err)
		}
	}
	return route
}

// everyKind subscribes one of each kind that recovers, at a node.
func everyKind(t *testing.T, c *cluster, l *ledger, n *process) []*anywhere {
	t.Helper()
	return []*anywhere{
		subscribe(t, c, l, n, "native JSON", "history", "ws://cluster", native.New(native.WithForm(native.JSON))),
		subscribe(t, c, l, n, "native protobuf", "history", "ws://cluster", native.New()),
		subscribe(t, c, l, n, "SSE", "history", "sse+http://cluster/events?room="+kept, wires()[4]),
		resume(t, c, l, n),
	}
}

// resumer is a client of Socket.IO by hand, protocol 5, that resumes its
// session as the official clients do: by the pid of the handshake, and the last
// argument of each event.
type resumer struct {
	t     *testing.T
	l     *ledger
	name  string
	route *anywhere

	mu               sync.Mutex
	sid, pid, offset string
}

// resume makes such a subscriber.
func resume(t *testing.T, c *cluster, l *ledger, n *process) *anywhere {
	t.Helper()
	r := &resumer{t: t, l: l, name: "Socket.IO, first at " + n.Name, route: startingAt(c, n)}
	l.subscriber(r.name, "session")
	life, end := context.WithCancel(context.Background())
	in := make(chan struct{})
	var goes sync.WaitGroup
	goes.Go(func() {
		for first := true; life.Err() == nil; first = false {
			err := r.connect(life, first, in)
			if life.Err() != nil {
				return
			}
			t.Logf("%s at %s: %v", r.name, r.route.at(), err)
			wait := time.NewTimer(50 * time.Millisecond)
			select {
			case <-wait.C:
			case <-life.Done():
			}
			wait.Stop()
		}
	})
	t.Cleanup(func() {
		end()
		goes.Wait()
	})
	select {
	case <-in:
	case <-time.After(patience):
		t.Fatalf("%s is not in the room", r.name)
	}
	return r.route
}

// connect is one connection's life. in is closed when it is in the room.
func (r *resumer) connect(life context.Context, first bool, in chan struct{}) error {
	ctx, cancel := context.WithTimeout(life, 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://cluster/socket.io/?EIO=4&transport=websocket", websocket.DialOptions{NetDial: r.route.dial})
	if err != nil {
		return err
	}
	defer context.AfterFunc(life, func() { _ = c.Close() })() // so that reading ends
	defer c.Close()
	for {
		f, ok, err := c.Next()
		switch {
		case err != nil:
			return err
		case !ok:
			if err := c.Wait(); err != nil {
				return err
			}
		case f.Type == transport.Text:
			answer, err := r.take(string(f.Data), first, in)
			if err != nil {
				return err
			}
			if answer != "" {
				if err := say(c, answer); err != nil {
					return err
				}
			}
		}
	}
}

func say(c transport.Conn, text string) error {
	framer := c.Framer()
	frame, err := framer.End(append(framer.Begin(nil), text...), 0, transport.Text)
	if err != nil {
		return err
	}
	return c.Write(frame)
}

// take handles a packet of Engine.IO, and returns what to say to it.
func (r *resumer) take(packet string, first bool, in chan struct{}) (answer string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.HasPrefix(packet, "0"):
		if first {
			return "40", nil
		}
		auth, err := json.Marshal(map[string]string{"pid": r.pid, "offset": r.offset})
		return "40" + string(auth), err
	case packet == "2":
		return "3", nil
	case strings.HasPrefix(packet, "40"):
		var session struct{ SID, PID string }
		if err := json.Unmarshal([]byte(packet[2:]), &session); err != nil || session.PID == "" {
			return "", fmt.Errorf("%s: %w", packet, err)
		}
		resumed := r.sid == session.SID
		r.sid, r.pid = session.SID, session.PID
		switch {
		case first:
			return `420["$subscribe","` + kept + `"]`, nil
		case !resumed:
			r.l.lost(r.name, "the session was not resumed")
		}
		return "", nil
	case strings.HasPrefix(packet, "430"):
		close(in)
		return "", nil
	case strings.HasPrefix(packet, "42"):
		var event []json.RawMessage
		if err := json.Unmarshal([]byte(packet[2:]), &event); err != nil || len(event) < 3 {
			return "", fmt.Errorf("event %s: %w", packet, err)
		}
		r.l.hears(r.name, event[1])
		return "", json.Unmarshal(event[len(event)-1], &r.offset)
	}
	return "", fmt.Errorf("unexpected: %s", packet)
}
