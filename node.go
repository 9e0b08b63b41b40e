package polywire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/envelope"
)

// openTimeout is how long a server that starts waits for its cluster.
const openTimeout = 30 * time.Second

// WithCluster makes the server one node of a cluster: its targets reach the
// connections of all nodes. Handlers, policies and doorkeepers are each node's
// own; give all nodes the same. Default: the server is alone.
//
// While the engine is away connections stay, members on this node get what is
// sent to their rooms, and sending returns an error that wraps
// [cluster.ErrUnavailable].
func WithCluster(a cluster.Adapter) Option {
	return optionFunc(func(c *config) error {
		if a == nil {
			return errors.New("no adapter for the cluster")
		}
		c.cluster = a
		return nil
	})
}

// WithNodeName names the server for the people who look at a cluster. Default: none.
func WithNodeName(name string) Option {
	return optionFunc(func(c *config) error {
		c.nodeName = name
		return nil
	})
}

// node is the server as a part of a cluster.
type node struct {
	srv *Server
	bus cluster.Bus     // set before anything can be sent or asked
	ctx context.Context //nolint:containedctx // ends with the node
	end context.CancelFunc

	up    atomic.Bool
	ready atomic.Bool // bus and logs are there
	fresh atomic.Bool // interests have been stated that nobody has waited for

	goes     sync.WaitGroup
	handling atomic.Int64 // messages of other nodes, now
	alive    atomic.Pointer[[]cluster.Node]

	mu        sync.Mutex
	self      cluster.Node
	questions map[uint64]*question
	asked     uint64
	calls     map[probeKey]struct{} // calls of other nodes that have come, for their probes
	lately    []probeKey            // oldest first

	counters nodeCounters
}

func (n *node) stats() ClusterStats {
	c := &n.counters
	return ClusterStats{
		Nodes: len(n.list()), Available: n.up.Load(), Published: c.published.Load(),
		Received: c.received.Load(), Failed: c.failed.Load(), Malformed: c.malformed.Load(),
		Questions: c.questions.Load(), Missing: c.missing.Load(),
	}
}

// nodeCounters are a node's figures.
type nodeCounters struct {
	published, received, failed, malformed atomic.Uint64
	questions, missing                     atomic.Uint64
}

// probeKey is a question of another node.
type probeKey struct {
	node string
	id   uint64
}

func newNode(s *Server) *node {
	n := &node{
		srv: s, questions: make(map[uint64]*question), calls: make(map[probeKey]struct{}),
		self: cluster.Node{ID: s.id, Name: s.cfg.nodeName, Started: time.Now()},
	}
	n.alive.Store(&[]cluster.Node{n.self})
	return n
}

// open joins the cluster. The lock of the server's start is held.
func (n *node) open() error {
	ctx, cancel := context.WithTimeout(n.srv.cfg.base, openTimeout)
	defer cancel()
	n.ctx, n.end = context.WithCancel(n.srv.cfg.base)
	n.up.Store(true)
	n.mu.Lock()
	self := n.self
	n.mu.Unlock()
	r := &receiver{n: n, ready: make(chan struct{})}
	bus, err := n.srv.cfg.cluster.Open(ctx, self, r)
	if err != nil {
		n.end()
		return fmt.Errorf("polywire: starting in the cluster: %w", err)
	}
	n.bus = bus
	close(r.ready)
	if h := n.srv.history; h != nil {
		if err := h.open(ctx); err != nil {
			return errors.Join(err, n.close(ctx))
		}
	}
	if r := n.srv.recovery; r != nil {
		if err := r.share(ctx); err != nil {
			return errors.Join(err, n.close(ctx))
		}
	}
	n.ready.Store(true)
	bus.Interest(topicAll, true)
	bus.Interest(topicNode(self.ID), true)
	if err := bus.Sync(ctx); err != nil {
		return errors.Join(fmt.Errorf("polywire: starting in the cluster: %w", err), n.close(ctx))
	}
	return nil
}

// close leaves the cluster.
func (n *node) close(ctx context.Context) error {
	if n.bus == nil {
		return nil
	}
	n.end()
	err := n.bus.Shutdown(ctx)
	n.mu.Lock()
	questions := slices.Collect(maps.Values(n.questions))
	n.mu.Unlock()
	for _, q := range questions {
		q.abandon()
	}
	n.goes.Wait()
	if err != nil {
		return fmt.Errorf("polywire: leaving the cluster: %w", err)
	}
	return nil
}

// The topics of the bus. What has no place in one stands as its hash: who is
// interested in more than it wants loses nothing but time.
const topicAll = "all"

func topicNode(id string) string { return "node/" + id }

func topicRoom(namespace, room string) string {
	topic := string(appendTopic(nil, namespace, room))
	if len(topic) > cluster.MaxTopicBytes {
		sum := sha256.Sum256([]byte(topic))
		topic = "room#" + hex.EncodeToString(sum[:])
	}
	return topic
}

// appendTopic appends a room's topic as it is, however long.
func appendTopic(b []byte, namespace, room string) []byte {
	b = append(append(b, "room"...), namespace...)
	return append(append(b, ':'), room...)
}

// nodeOf returns the node that has made a connection's id.
func nodeOf(id string) string {
	node, _, ok := strings.Cut(id, "-")
	if !ok {
		return ""
	}
	return node
}

// list returns the nodes that are alive, this one among them, sorted by ID.
func (n *node) list() []cluster.Node { return *n.alive.Load() }

func (n *node) isAlive(id string) bool {
	return slices.ContainsFunc(n.list(), func(other cluster.Node) bool { return other.ID == id })
}

// others returns the IDs of the other nodes.
func (n *node) others() []string {
	var ids []string
	for _, other := range n.list() {
		if other.ID != n.srv.id {
			ids = append(ids, other.ID)
		}
	}
	return ids
}

// topics returns where those who may have members of a target listen.
func (n *node) topics(t *envelope.Target) []string {
	if t.Everybody || t.Template != 0 {
		return []string{topicAll}
	}
	var topics []string
	add := func(topic string) {
		if !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	for _, room := range t.Rooms {
		add(topicRoom(t.Namespace, room))
		if id := nodeOf(room); id != n.srv.id && n.isAlive(id) {
			add(topicNode(id))
		}
	}
	return topics
}

// publish gives an envelope to the nodes that listen to a topic.
func (n *node) publish(ctx context.Context, topics []string, e *envelope.Envelope) error {
	if len(topics) == 0 {
		return nil
	}
	if !n.ready.Load() {
		return ErrNotRunning
	}
	n.stamp(e)
	if err := n.bus.Publish(ctx, topics, envelope.Append(nil, e)); err != nil {
		n.counters.failed.Add(1)
		return fmt.Errorf("polywire: to the cluster: %w", err)
	}
	n.counters.published.Add(1)
	return nil
}

// stamp notes when an envelope leaves, where somebody wants to know.
func (n *node) stamp(e *envelope.Envelope) {
	if n.srv.hooks.Hop != nil {
		e.Sent = uint64(time.Now().UnixMicro())
	}
}

// hop tells of a message that came from another node.
func (n *node) hop(from, kind string, rooms []string, header map[string]string, sent uint64) {
	h := n.srv.hooks.Hop
	if h == nil || from == n.srv.id {
		return
	}
	about := Hop{From: from, Kind: kind, Rooms: rooms, Header: header}
	if sent != 0 {
		about.Sent = time.UnixMicro(int64(sent))
	}
	h(about)
}

// interest says that a room has members here, or none any more.
func (n *node) interest(ns *Namespace, room string, on bool) {
	if !n.ready.Load() {
		return
	}
	n.bus.Interest(topicRoom(ns.name, room), on)
	if on {
		n.fresh.Store(true)
	}
}

// settleTime is how long a join waits until the other nodes know of it.
const settleTime = time.Second

// sync waits until other nodes know of the interests here.
func (n *node) sync() {
	if !n.up.Load() {
		return // later, by itself
	}
	ctx, cancel := context.WithTimeout(n.ctx, settleTime)
	defer cancel()
	_ = n.bus.Sync(ctx) // then it takes effect later
}

// receiver is the node as its bus sees it.
type receiver struct {
	n     *node
	ready chan struct{} // closed when the node knows its bus
}

// Nodes implements [cluster.Receiver].
func (r *receiver) Nodes(alive []cluster.Node) {
	n := r.n
	if !slices.ContainsFunc(alive, func(o cluster.Node) bool { return o.ID == n.srv.id }) {
		alive = append(slices.Clone(alive), cluster.Node{ID: n.srv.id, Name: n.srv.cfg.nodeName})
	}
	before := n.list()
	n.alive.Store(&alive)
	in := func(nodes []cluster.Node, id string) bool {
		return slices.ContainsFunc(nodes, func(o cluster.Node) bool { return o.ID == id })
	}
	for _, o := range alive {
		if h := n.srv.hooks.NodeJoined; h != nil && !in(before, o.ID) {
			h(o)
		}
	}
	for _, o := range before {
		i := slices.IndexFunc(alive, func(now cluster.Node) bool { return now.ID == o.ID })
		switch h := n.srv.hooks.NodeChanged; {
		case i < 0:
			n.gone(o)
		case h != nil && !(slices.Equal(o.Services, alive[i].Services) && maps.Equal(o.Meta, alive[i].Meta)):
			h(alive[i])
		}
	}
}

// gone takes note of a node's end.
func (n *node) gone(o cluster.Node) {
	n.mu.Lock()
	questions := slices.Collect(maps.Values(n.questions))
	n.mu.Unlock()
	for _, q := range questions {
		q.lose(o.ID)
	}
	if r := n.srv.recovery; r != nil {
		r.nodeGone(o.ID)
	}
	if p := n.srv.presence; p != nil {
		p.nodeGone(o.ID)
	}
	if h := n.srv.hooks.NodeLeft; h != nil {
		h(o)
	}
}

// Available implements [cluster.Receiver].
func (r *receiver) Available(up bool) {
	n := r.n
	if n.up.Swap(up) == up {
		return
	}
	if h := n.srv.hooks.ClusterAvailable; h != nil {
		h(up)
	}
	if !up {
		n.srv.cfg.logger.Warn("polywire: the cluster cannot be reached")
		return
	}
	n.srv.cfg.logger.Info("polywire: the cluster is back")
	if h := n.srv.history; h != nil {
		h.ring()
	}
	if r := n.srv.recovery; r != nil && r.cluster != nil {
		r.cluster.check()
	}
	if p := n.srv.presence; p != nil {
		p.askAll()
	}
}

// Receive implements [cluster.Receiver].
func (r *receiver) Receive(m cluster.Message) {
	<-r.ready
	n := r.n
	n.counters.received.Add(1)
	if m.Log != "" {
		n.receivedLog(m)
		return
	}
	var e envelope.Envelope
	if err := envelope.Parse(m.Data, &e); err != nil {
		n.malformed(m.From, err)
		return
	}
	n.handle(m.From, &e)
}

// receivedLog takes a message of one of the logs.
func (n *node) receivedLog(m cluster.Message) {
	if r := n.srv.recovery; m.Log == sessionsLog && r != nil && r.cluster != nil {
		r.cluster.receive(m)
	} else if h := n.srv.history; h != nil {
		h.received(m)
	}
}

func (n *node) malformed(from string, err error) {
	n.counters.malformed.Add(1)
	n.srv.reportError(nil, fmt.Errorf("polywire: from node %s: %w", from, err))
}

// handle does what another node asks for. It must not wait for other nodes.
func (n *node) handle(from string, e *envelope.Envelope) {
	switch e.Op {
	case envelope.Send:
		n.hop(from, e.Kind, e.Target.Rooms, e.Header, e.Sent)
		n.sendHere(e)
	case envelope.Call:
		n.hop(from, e.Kind, e.Target.Rooms, e.Header, e.Sent)
		n.noteCall(from, e.ID)
		n.callHere(from, e)
	case envelope.Probe:
		if !n.hadCall(from, e.ID) {
			n.answer(from, e.ID, 0, nil)
		}
	case envelope.Members, envelope.Count, envelope.Join, envelope.Leave, envelope.Disconnect:
		n.operateHere(from, e)
	case envelope.Answer:
		n.answered(from, e)
	case envelope.Presence:
		if e.ID != 0 {
			n.presenceHere(from, e)
		} else if p := n.srv.presence; p != nil {
			p.received(from, e)
		}
	case envelope.Session:
		n.displaced(from, e)
	case envelope.NodeSend, envelope.NodeCall:
		n.nodeMessage(from, e)
	default:
		n.malformed(from, fmt.Errorf("%w: operation %d is not for a bus", envelope.ErrMalformed, e.Op))
	}
}

// target is the part of a selection that is on this node; ok is false where it
// is for a namespace that nobody here is in.
func (n *node) target(t *envelope.Target) (here Target, ok bool) {
	s := n.srv
	var ns *Namespace
	s.spaces.mu.RLock()
	switch {
	case t.Template > 0 && t.Template <= len(s.spaces.templates):
		ns = s.spaces.templates[t.Template-1]
	case t.Template > 0:
	case t.Namespace == mainNamespace:
		ns = s.spaces.main
	default:
		ns = s.spaces.named[t.Namespace]
	}
	s.spaces.mu.RUnlock()
	if ns == nil {
		return here, false
	}
	here = Target{srv: s, ns: ns, local: true, rooms: t.Rooms, exceptRooms: t.ExceptRooms}
	if !t.Everybody && t.Rooms == nil {
		here.listed = true
		here.conns = s.connsOf(t.IDs)
	}
	here.exceptConns = s.connsOf(t.ExceptIDs)
	return here, true
}

// connsOf returns the open connections of IDs that are here.
func (s *Server) connsOf(ids []string) []*Conn {
	var conns []*Conn
	for _, id := range ids {
		if c := s.Conn(id); c != nil {
			conns = append(conns, c)
		}
	}
	return conns
}

// selection is a target as other nodes get to know it.
func (t Target) selection() envelope.Target {
	e := envelope.Target{Namespace: t.ns.name, Rooms: t.rooms, Everybody: t.rooms == nil && !t.listed,
		ExceptRooms: t.exceptRooms, ExceptIDs: connIDs(t.exceptConns)}
	if t.ns.match != nil {
		s := t.srv
		s.spaces.mu.RLock()
		e.Template = slices.Index(s.spaces.templates, t.ns) + 1
		s.spaces.mu.RUnlock()
	}
	if t.listed {
		e.IDs = connIDs(t.conns)
		for _, m := range t.others {
			e.IDs = append(e.IDs, m.id)
		}
	}
	return e
}

// The flags of an envelope.
const (
	flagVolatile = 1 << iota
	flagUncompressed
	flagBrief  // what patterns need to know, no more
	flagOthers // not for connections whose sessions keep what they miss
)

func flagBits(f sendFlags) (bits uint8) {
	if f.volatile {
		bits |= flagVolatile
	}
	if f.uncompressed {
		bits |= flagUncompressed
	}
	return bits
}

func flagsOf(bits uint8) sendFlags {
	return sendFlags{volatile: bits&flagVolatile != 0, uncompressed: bits&flagUncompressed != 0}
}

// sendHere gives another node's message to the members here.
func (n *node) sendHere(e *envelope.Envelope) {
	t, ok := n.target(&e.Target)
	if !ok {
		return
	}
	if e.Flags&flagOthers != 0 {
		t.resumable = resumableNot
	}
	t.fanOutFrom(e)
}

// fanOutFrom sends what came from another node to the members.
func (t Target) fanOutFrom(e *envelope.Envelope) {
	room := ""
	if len(t.rooms) == 1 {
		room = t.rooms[0]
	}
	f := t.srv.newFanout(&Outgoing{Kind: e.Kind, Header: e.Header, Value: argsOf(e.Args)}, room)
	defer f.done()
	f.flags = flagsOf(e.Flags)
	t.fanOut(f)
	for _, d := range f.failed {
		t.srv.dropped(d.conn, e.Kind, d.reason)
	}
	if f.err != nil {
		t.srv.reportError(nil, fmt.Errorf("polywire: from another node: %w", f.err))
	}
}

// argsOf are payloads as a value to send.
func argsOf(payloads []Payload) any {
	if len(payloads) == 1 {
		return payloads[0]
	}
	args := make(Args, len(payloads))
	for i, p := range payloads {
		args[i] = p
	}
	return args
}

func bytesOf(payloads []Payload) int {
	n := 0
	for i := range payloads {
		n += len(payloads[i].Data)
	}
	return n
}

// settled encodes a value once, as bytes that stay: for other nodes, and for later.
func (s *Server) settled(v any) ([]Payload, error) {
	args, several := v.(Args)
	if !several {
		args = Args{v}
	}
	payloads := make([]Payload, len(args))
	for i, v := range args {
		p, err := s.cfg.codecs.Marshal(v, "")
		if err != nil {
			return nil, err
		}
		payloads[i] = p
	}
	return payloads, nil
}
