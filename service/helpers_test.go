package service_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// network has addresses at which servers come and go.
type network struct {
	t         *testing.T
	mu        sync.Mutex
	listeners map[string]*transporttest.Listener
	tries     map[string]int
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, listeners: make(map[string]*transporttest.Listener), tries: make(map[string]int)}
}

// node is a server at an address.
type node struct {
	*polywire.Server
	name    string
	handled chan string // the ids of the connections over which kinds came
}

// serve puts a server at an address, in place of the one before. It answers
// who, and counts.
func (n *network) serve(address string, opts ...polywire.Option) *node {
	n.t.Helper()
	srv, err := polywire.New(append([]polywire.Option{polywire.WithWires(native.New())}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	nd := &node{srv, address, make(chan string, 10_000)}
	srv.Handle("who", func(_ context.Context, m *polywire.Message) (any, error) {
		nd.handled <- m.Conn().ID()
		return address, nil
	})
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	srv.Handle("never", func(_ context.Context, m *polywire.Message) (any, error) {
		nd.handled <- m.Conn().ID()
		return polywire.NoReply(), nil
	})
	srv.Handle("fail", func(_ context.Context, m *polywire.Message) (any, error) {
		nd.handled <- m.Conn().ID()
		var code polywire.Code
		if err := m.Bind(&code); err != nil {
			return nil, err
		}
		return nil, polywire.Errorf(code, "as asked")
	})
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, "tcp") }()
	n.t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			n.t.Errorf("serve: %v", err)
		}
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address] = l
	return nd
}

// conns counts the connections over which calls have come since the last time.
func (nd *node) conns() map[string]int {
	all := make(map[string]int)
	for len(nd.handled) > 0 {
		all[<-nd.handled]++
	}
	return all
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.tries[address]++
	n.mu.Unlock()
	if l == nil {
		return nil, transporttest.ErrRefused
	}
	return l.Dial(ctx)
}

func (n *network) tried(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tries[address]
}

// registry returns one whose services dial in this network.
func (n *network) registry(opts ...service.Option) *service.Registry {
	r := service.New(append([]service.Option{service.WithNetDial(n.dial)}, opts...)...)
	n.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return r
}

// register returns a service of a registry of its own.
func (n *network) register(urls []string, opts ...service.Option) *service.Service {
	n.t.Helper()
	s, err := n.registry().Register("test", urls, opts...)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// connected is register and Connect, and waits until nothing is under way.
func (n *network) connected(urls []string, opts ...service.Option) *service.Service {
	n.t.Helper()
	s := n.register(urls, opts...)
	if err := s.Connect(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	return s
}

// who calls kind who and returns the answer.
func who(t *testing.T, s *service.Service, opts ...polywire.SendOption) string {
	t.Helper()
	var name string
	if err := s.Call(t.Context(), "who", nil, &name, opts...); err != nil {
		t.Fatal(err)
	}
	return name
}
