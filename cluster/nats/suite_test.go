package natscluster_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/cluster/clustertest"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/natsembed"
)

// engine is a NATS server that nodes reach through a proxy each. Stopped and
// started again it has the same directory.
type engine struct {
	t    testing.TB
	opts natsembed.Options

	mu      sync.Mutex
	server  *natsembed.Server
	address string // of the server that is, or was
	holed   bool
	proxies map[string]*badnet.Proxy // by node
}

func newEngine(t testing.TB) *engine {
	e := &engine{
		t:       t,
		opts:    natsembed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", NoSync: true},
		proxies: make(map[string]*badnet.Proxy),
	}
	t.Cleanup(func() {
		e.stop()
		for _, p := range e.proxies {
			p.Close()
		}
	})
	e.start()
	return e
}

func (e *engine) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		stop(e.t, e.server)
		e.server = nil
	}
}

func (e *engine) start() {
	s, err := natsembed.Start(within(e.t), e.opts)
	if err != nil {
		e.t.Error(err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.address = s, strings.TrimPrefix(s.ClientURL(), "nats://")
	for _, p := range e.proxies {
		p.Target(e.address)
	}
}

// proxy returns a node's way to the server.
func (e *engine) proxy(node string) *badnet.Proxy {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.proxies[node]
	if p == nil {
		var err error
		if p, err = badnet.New(e.address); err != nil {
			e.t.Fatal(err)
		}
		if e.holed {
			p.BlackHole()
		}
		e.proxies[node] = p
	}
	return p
}

// hole keeps all nodes from the server, or ends that.
func (e *engine) hole(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.holed = on
	for _, p := range e.proxies {
		if on {
			p.BlackHole()
		} else {
			p.Resume()
		}
	}
}

// connect returns a Connect function through a node's proxy.
func (e *engine) connect(node string) func(...nats.Option) (*nats.Conn, error) {
	return natscluster.URL("nats://" + e.proxy(node).Addr())
}

// loseLogs deletes all streams, which nodes are not told.
func (e *engine) loseLogs() {
	nc, err := e.server.Connect()
	if err != nil {
		e.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		e.t.Fatal(err)
	}
	names := js.StreamNames(within(e.t))
	for name := range names.Name() {
		if err := js.DeleteStream(context.Background(), name); err != nil {
			e.t.Error(err)
		}
	}
	if names.Err() != nil {
		e.t.Error(names.Err())
	}
}

func (e *engine) setup() clustertest.Setup {
	return clustertest.Setup{
		Adapter: func(node string) cluster.Adapter {
			return natscluster.New(natscluster.Options{Connect: e.connect(node)})
		},
		Stop:     e.stop,
		Start:    e.start,
		Kill:     func(node string) { e.proxy(node).Cut() },
		Cut:      func(node string) { e.proxy(node).BlackHole() },
		Heal:     func(node string) { e.proxy(node).Resume() },
		LoseLogs: e.loseLogs,
	}
}

const (
	tooLarge      = natsembed.DefaultMaxPayloadBytes + 1
	suitePatience = time.Minute // three suites run at a time
	beside        = 10          // checks of each that wait
)

// The engine is stopped and started again.
func TestSuite(t *testing.T) {
	t.Parallel() // it waits most of the time
	clustertest.Run(t, clustertest.Features{
		Parallel: beside, Patience: suitePatience, OnDisk: true, TooLargeBytes: tooLarge, Outage: true, Kill: true, Cut: true, Loss: true,
	}, func(t *testing.T) clustertest.Setup { return newEngine(t).setup() })
}

// The engine goes on, and nobody can reach it.
func TestSuiteBlackHole(t *testing.T) {
	t.Parallel() // it waits most of the time
	clustertest.Run(t, clustertest.Features{
		Parallel: beside, Patience: suitePatience, OnDisk: true, Outage: !testing.Short(),
	}, func(t *testing.T) clustertest.Setup {
		e := newEngine(t)
		s := e.setup()
		s.Stop = func() { e.hole(true) }
		s.Start = func() { e.hole(false) }
		return s
	})
}

// The engine is in the process.
func TestSuiteInProcess(t *testing.T) {
	t.Parallel() // it waits most of the time
	clustertest.Run(t, clustertest.Features{
		Parallel: beside, Patience: suitePatience, TooLargeBytes: tooLarge,
	}, func(t *testing.T) clustertest.Setup {
		s := start(t, natsembed.Options{})
		return clustertest.Setup{Adapter: func(string) cluster.Adapter {
			return natscluster.New(natscluster.Options{Connect: s.Connect})
		}}
	})
}
