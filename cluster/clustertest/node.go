package clustertest

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/cluster"
)

// node is an open bus and what it tells.
type node struct {
	t    *trial
	id   string
	self cluster.Node
	bus  cluster.Bus

	inside atomic.Int32
	over   atomic.Bool // Shutdown has returned
	quiet  atomic.Bool // the check does not mind an error of the last Close
	hold   func(m cluster.Message)

	mu    sync.Mutex
	told  []telling
	alive []cluster.Node
	up    []bool
}

// telling is one call of the receiver.
type telling struct {
	message cluster.Message
	nodes   []cluster.Node // nil: it was a message
}

// fencePrefix begins topics that the suite uses for itself.
const fencePrefix = "fence of "

// selfNode returns a node with something in all fields.
func selfNode(name string) cluster.Node {
	return cluster.Node{
		ID: unique(name), Name: "node " + name, Started: time.Now().Add(-time.Hour).Truncate(time.Millisecond),
		Services: []string{"sums", "thumbnails"}, Meta: map[string]string{"address": "10.0.0.1:80", "zone": "ü"},
	}
}

// join opens a node whose ID begins with a name, and closes it at the end.
func (t *trial) join(name string) *node {
	t.Helper()
	return t.joinWith(selfNode(name), nil)
}

// joinWith opens a node; hold, where it is given, is called for each message.
func (t *trial) joinWith(self cluster.Node, hold func(m cluster.Message)) *node {
	t.Helper()
	n := &node{t: t, id: self.ID, self: self, hold: hold}
	bus, err := t.Adapter(n.id).Open(t.patient(), self, n)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	n.bus = bus
	t.Cleanup(func() { n.close() })
	if n.nodes() == nil {
		t.Fatalf("Open returned before the receiver was told of the nodes")
	}
	bus.Interest(n.fence(), true)
	n.sync()
	return n
}

// joinAll opens nodes that know each other.
func (t *trial) joinAll(names ...string) []*node {
	t.Helper()
	nodes := make([]*node, len(names))
	for i, name := range names {
		nodes[i] = t.join(name)
	}
	t.known(nodes...)
	return nodes
}

// known waits until all of some nodes are told of exactly these.
func (t *trial) known(nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		n.sees(nodes...)
	}
}

// close closes the bus for good; that it is not closed yet is not needed.
func (n *node) close() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), n.t.features.Patience)
	defer cancel()
	err := n.bus.Shutdown(ctx)
	n.over.Store(true)
	if err != nil && !n.quiet.Load() {
		n.t.Errorf("Close: %v", err)
	}
}

// enter notes a call of the receiver; there must be no other.
func (n *node) enter(what string) (leave func()) {
	if n.inside.Add(1) != 1 {
		n.t.Errorf("the receiver's %s is called while another call runs", what)
	}
	if n.over.Load() {
		n.t.Errorf("the receiver's %s is called after Close", what)
	}
	runtime.Gosched()
	return func() { n.inside.Add(-1) }
}

// Receive implements [cluster.Receiver].
func (n *node) Receive(m cluster.Message) {
	defer n.enter("Receive")()
	if n.hold != nil {
		n.hold(m)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, telling{message: m})
}

// Nodes implements [cluster.Receiver].
func (n *node) Nodes(alive []cluster.Node) {
	defer n.enter("Nodes")()
	ids := make([]string, len(alive))
	for i := range alive {
		ids[i] = alive[i].ID
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		n.t.Errorf("the nodes are not sorted by their IDs, each once: %q", ids)
	}
	if !slices.Contains(ids, n.id) {
		n.t.Errorf("a node is not told of itself, %q: %q", n.id, ids)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alive = slices.Clone(alive)
	n.told = append(n.told, telling{nodes: n.alive})
}

// Available implements [cluster.Receiver].
func (n *node) Available(up bool) {
	defer n.enter("Available")()
	n.mu.Lock()
	defer n.mu.Unlock()
	if want := len(n.up)%2 == 1; up != want {
		n.t.Errorf("Available(%v) after %v", up, n.up)
	}
	n.up = append(n.up, up)
}

// lastUp returns how often the engine has gone and come, and how it is now.
func (n *node) lastUp() (changes int, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.up), len(n.up)%2 == 0
}

func (n *node) isUp() bool   { _, up := n.lastUp(); return up }
func (n *node) isDown() bool { return !n.isUp() }

// nodes returns the nodes that it was told of.
func (n *node) nodes() []cluster.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive
}

// tellings returns all that was told but of the engine.
func (n *node) tellings() []telling {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.told)
}

// sees waits until it is told of exactly these nodes, as they are.
func (n *node) sees(nodes ...*node) {
	n.t.Helper()
	want := make([]cluster.Node, len(nodes))
	for i, other := range nodes {
		want[i] = other.self
	}
	slices.SortFunc(want, func(a, b cluster.Node) int { return strings.Compare(a.ID, b.ID) })
	n.t.within(max(n.t.features.Patience, deathWithin), fmt.Sprintf("%q is told of %+v", n.id, want), func() bool {
		return slices.EqualFunc(n.nodes(), want, sameNode)
	})
}

func sameNode(a, b cluster.Node) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Started.Sub(b.Started).Abs() < time.Millisecond &&
		slices.Equal(a.Services, b.Services) && maps.Equal(a.Meta, b.Meta)
}

// sync waits until the node's interests hold.
func (n *node) sync() {
	n.t.Helper()
	if err := n.bus.Sync(n.t.patient()); err != nil {
		n.t.Fatalf("Sync: %v", err)
	}
}

// wants states interests, and waits until they hold.
func (n *node) wants(topics ...string) {
	n.t.Helper()
	for _, topic := range topics {
		n.bus.Interest(topic, true)
	}
	n.sync()
}

// publish publishes a text.
func (n *node) publish(text string, topics ...string) {
	n.t.Helper()
	if err := n.bus.Publish(n.t.patient(), topics, []byte(text)); err != nil {
		n.t.Fatalf("Publish: %v", err)
	}
}

func (n *node) fence() string { return fencePrefix + n.id }

// flush waits until others have all that n has published to them before.
func (n *node) flush(others ...*node) {
	n.t.Helper()
	for _, other := range others {
		n.t.fences++
		text := strconv.Itoa(n.t.fences)
		n.publish(text, other.fence())
		n.t.until("what was published last arrives", func() bool {
			return slices.ContainsFunc(other.tellings(), func(x telling) bool {
				return x.message.Topic == other.fence() && string(x.message.Data) == text
			})
		})
	}
}

// messages returns what has come from the bus.
func (n *node) messages() []cluster.Message { return n.messagesOf("") }

// messagesOf returns what has come from a log.
func (n *node) messagesOf(log string) []cluster.Message {
	var all []cluster.Message
	for _, x := range n.tellings() {
		if x.nodes == nil && x.message.Log == log && !strings.HasPrefix(x.message.Topic, fencePrefix) {
			all = append(all, x.message)
		}
	}
	return all
}

func texts(messages []cluster.Message) []string {
	all := make([]string, len(messages))
	for i := range messages {
		all[i] = string(messages[i].Data)
	}
	return all
}

// has checks that exactly these texts have come from the bus, in this order.
// What is on the way must have been flushed.
func (n *node) has(want ...string) {
	n.t.Helper()
	if d := difference(texts(n.messages()), want); d != "" {
		n.t.Fatalf("%q received %s", n.id, d)
	}
}

// difference says where texts are not those that are wanted; empty where they are.
func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%d messages of %d; the next should be %.60q", len(got), len(want), want[i])
		case i >= len(want):
			return fmt.Sprintf("%d messages, want %d; too many from %.60q", len(got), len(want), got[i])
		case got[i] != want[i]:
			return fmt.Sprintf("%.60q (%d bytes) as number %d, want %.60q (%d bytes)", got[i], len(got[i]), i, want[i], len(want[i]))
		}
	}
	return ""
}
