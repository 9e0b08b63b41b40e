package natscluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/cluster"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/natsembed"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// start runs a NATS server in the process until the test ends.
func start(tb testing.TB, o natsembed.Options) *natsembed.Server {
	tb.Helper()
	if o.Dir == "" && !o.NoJetStream {
		o.TemporaryDir = true
	}
	o.NoSync = true
	s, err := natsembed.Start(within(tb), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { stop(tb, s) })
	return s
}

func stop(tb testing.TB, s *natsembed.Server) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		tb.Error(err)
	}
}

// recorder is a receiver that keeps what it is told.
type recorder struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and made anew with each news
	messages []cluster.Message
	nodes    []cluster.Node
	changes  int // calls of Nodes
	states   []bool
	calls    int // now, must not exceed 1
	overlaps int
	hold     chan struct{} // Receive waits for it; nil: it does not
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) enter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls++; r.calls > 1 {
		r.overlaps++
	}
}

// leave takes note of a call by f.
func (r *recorder) leave(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls--
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) Receive(m cluster.Message) {
	r.enter()
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	r.leave(func() { r.messages = append(r.messages, m) })
}

func (r *recorder) Nodes(alive []cluster.Node) {
	r.enter()
	r.leave(func() { r.nodes, r.changes = alive, r.changes+1 })
}

func (r *recorder) Available(up bool) {
	r.enter()
	r.leave(func() { r.states = append(r.states, up) })
}

// until waits for a condition, which is looked at after each news.
func (r *recorder) until(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	r.within(tb, patience, what, f)
}

func (r *recorder) within(tb testing.TB, d time.Duration, what string, f func() bool) {
	tb.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		r.mu.Lock()
		ok, changed := f(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-end.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			tb.Fatalf("not within %v: %s; %d messages, nodes %v, available %v", d, what, len(r.messages), ids(r.nodes), r.states)
		}
	}
}

func ids(nodes []cluster.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.ID)
	}
	return all
}

// alive waits until exactly these nodes are known.
func (r *recorder) alive(tb testing.TB, want ...string) {
	tb.Helper()
	r.until(tb, fmt.Sprintf("nodes %v", want), func() bool { return slices.Equal(ids(r.nodes), want) })
}

// texts returns the data of all messages, with their topics in front.
func (r *recorder) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, m := range r.messages {
		all = append(all, m.Topic+"="+string(m.Data))
	}
	return all
}

// node is a bus and what its receiver was told.
type node struct {
	*natscluster.Bus
	*recorder
	id      string
	adapter *natscluster.Adapter
	connect func(...nats.Option) (*nats.Conn, error)
}

func open(tb testing.TB, id string, o natscluster.Options) *node {
	tb.Helper()
	r := newRecorder()
	a := natscluster.New(o)
	bus, err := a.Open(within(tb), cluster.Node{ID: id, Started: time.Now()}, r)
	if err != nil {
		tb.Fatal(err)
	}
	n := &node{Bus: bus.(*natscluster.Bus), recorder: r, id: id, adapter: a, connect: o.Connect}
	tb.Cleanup(func() { n.shut(tb) })
	return n
}

// shut closes the bus, and looks at what must hold for every receiver.
func (n *node) shut(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		tb.Errorf("%s: %v", n.id, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.overlaps > 0 {
		tb.Errorf("%s: %d calls of the receiver ran beside another", n.id, n.overlaps)
	}
}

// pair returns two nodes that know each other, on one server.
func pair(tb testing.TB, o natsembed.Options) (a, b *node) {
	tb.Helper()
	s := start(tb, o)
	a = open(tb, "a", natscluster.Options{Connect: s.Connect})
	b = open(tb, "b", natscluster.Options{Connect: s.Connect})
	a.alive(tb, "a", "b")
	return a, b
}

func (n *node) wants(tb testing.TB, topics ...string) {
	tb.Helper()
	for _, t := range topics {
		n.Interest(t, true)
	}
	if err := n.Sync(within(tb)); err != nil {
		tb.Fatal(err)
	}
}

func (n *node) publish(tb testing.TB, data string, topics ...string) {
	tb.Helper()
	if err := n.Publish(within(tb), topics, []byte(data)); err != nil {
		tb.Fatal(err)
	}
}

// waitFor waits for what no receiver tells.
func waitFor(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	end := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Now().After(end) {
			tb.Fatal("never: " + what)
		}
		<-tick.C
	}
}
