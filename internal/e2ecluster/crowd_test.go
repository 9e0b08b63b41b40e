package e2ecluster_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/native"
)

// way is how a member is connected.
type way struct {
	name, url string
	wire      wire.Protocol // nil: as of client.DefaultWires
	silent    bool          // it can only listen
}

func ways() []way {
	return []way{
		{name: "native JSON", url: "ws://cluster", wire: native.New(native.WithForm(native.JSON))},
		{name: "native protobuf", url: "ws://cluster", wire: native.New(native.WithForm(native.Proto))},
		{name: "Socket.IO", url: "socketio+http://cluster"},
		{name: "DRS", url: "drs+tcp://cluster:1", wire: drs.New(drs.WithKeys("c"))},
		{name: "Goomerang", url: "goomerang+ws://cluster"},
		{name: "SSE", url: "sse+http://cluster/events?room=" + mixed, silent: true},
	}
}

// dialTo returns how to connect to one node.
func dialTo(n *process, w way) client.Option {
	address := n.HTTP
	if w.name == "DRS" {
		address = n.DRS
	}
	return client.WithNetDial(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	})
}

// member is somebody in the mixed room.
type member struct {
	name   string
	client *client.Client
	silent bool

	mu    sync.Mutex
	heard []string
}

// enter connects a member and puts it into the room.
func enter(t *testing.T, n *process, w way) *member {
	t.Helper()
	m := &member{name: w.name + " at " + n.Name, silent: w.silent}
	opts := []client.Option{dialTo(n, w), client.WithPeer(codecs())}
	if w.wire != nil {
		opts = append(opts, client.WithWires(w.wire))
	}
	c, err := client.New(w.url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	m.client = c
	c.Handle(kindText, func(_ context.Context, msg *polywire.Message) (any, error) {
		var text wrapperspb.StringValue
		if err := msg.Bind(&text); err != nil {
			return nil, err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.heard = append(m.heard, text.GetValue())
		return nil, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	})
	if w.name == "native JSON" || w.name == "native protobuf" {
		if err := c.Subscribe(ctx, mixed); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
	return m
}

func (m *member) has(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.heard, text)
}

func (m *member) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = nil
}

// crowd shows that what a member of any wire says at any node reaches all
// others at all nodes, once.
func crowd(t *testing.T, c *cluster) {
	var members []*member
	for _, n := range c.all() {
		for _, w := range ways() {
			members = append(members, enter(t, n, w))
		}
	}
	say := func(m *member, text string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := m.client.Send(ctx, kindText, wrapperspb.String(text)); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
	reached := func(by *member, text string) {
		t.Helper()
		waitFor(t, patience, text, func() error {
			for _, m := range members {
				if m != by && !m.has(text) {
					return fmt.Errorf("%s has not heard it", m.name)
				}
			}
			return nil
		})
	}
	// Whoever is connected may not be in the room yet, or be there unknown to
	// other nodes: somebody asks until all have heard the same question.
	asked := 0
	waitFor(t, patience, "everybody is in the room", func() error {
		asked++
		text := fmt.Sprintf("is everybody there? %d", asked)
		say(members[0], text)
		var err error
		for wait := time.Now().Add(100 * time.Millisecond); ; <-time.After(5 * time.Millisecond) { // real: it is other processes
			i := slices.IndexFunc(members, func(m *member) bool { return m != members[0] && !m.has(text) })
			if i < 0 {
				return nil
			}
			if err = fmt.Errorf("%s has not heard it", members[i].name); time.Now().After(wait) {
				return err
			}
		}
	})
	for _, m := range members {
		m.forget()
	}
	said := 0
	for _, m := range members {
		if m.silent {
			continue
		}
		text := "hello from " + m.name
		say(m, text)
		reached(m, text)
		said++
	}
	// Whoever heard something twice, or itself, has too much.
	for _, m := range members {
		want := said - 1
		if m.silent {
			want = said
		}
		m.mu.Lock()
		if len(m.heard) != want {
			t.Errorf("%s has heard %d of %d: %q", m.name, len(m.heard), want, m.heard)
		}
		m.mu.Unlock()
	}
}
