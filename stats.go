package polywire

import (
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// Stats are a server's figures since it was made.
type Stats struct {
	Connections int    // open now; one counts until its Disconnect hook has returned
	Accepted    uint64 // all connections that were opened, dialled ones too
	Refused     uint64 // connections that were not let in
	MessagesIn  uint64 // packets received, replies and room operations too
	MessagesOut uint64 // packets written
	BytesIn     uint64 // of frames' payloads
	BytesOut    uint64 // as written, with the framing
	Dropped     uint64 // messages that could not be delivered
	Slow        uint64 // connections closed as slow consumers
	QueuedBytes int64  // waiting to be written now
	Asleep      int    // connections without a goroutine now

	Rooms       int // that have members on this node
	Memberships int // of connections in rooms, on this node

	// Wires are the figures of each wire that a connection has used.
	Wires    map[string]WireStats
	Recovery RecoveryStats
	Cluster  ClusterStats // zero without a cluster
}

// WireStats are the figures of the connections of one wire.
type WireStats struct {
	Connections             int
	Accepted                uint64
	MessagesIn, MessagesOut uint64
	BytesIn, BytesOut       uint64
	QueuedBytes             int64
}

// RecoveryStats count peers that came back. For each that asked for what it has
// missed it was either there, and has been sent, or is lost.
type RecoveryStats struct {
	RoomHits, RoomMisses       uint64 // subscriptions with a position; see [WithHistory]
	SessionHits, SessionMisses uint64 // sessions; see [WithSessions]
}

// ConnStats are a connection's figures. Those of a link that several
// connections share are the link's.
type ConnStats struct {
	MessagesIn, MessagesOut uint64
	BytesIn, BytesOut       uint64
	QueuedBytes             int64
	// Quiet is for how long nothing has come from the peer, answers to pings
	// neither, to within a second.
	Quiet time.Duration
}

// Stats returns the connection's figures since it was opened.
func (c *Conn) Stats() ConnStats {
	l := c.link
	n, heard := &l.counts, l.lastRead.Load() // before the clock, which moves on
	return ConnStats{
		MessagesIn: n.messagesIn.Load(), MessagesOut: n.messagesOut.Load(),
		BytesIn: n.bytesIn.Load(), BytesOut: n.bytesOut.Load(), QueuedBytes: l.out.queued.Load(),
		Quiet: time.Duration(l.srv.wheel.Now()-heard) * l.srv.cfg.tick(),
	}
}

// ClusterStats are a node's figures.
type ClusterStats struct {
	Nodes     int    // alive, this one among them
	Available bool   // the engine can be reached
	Published uint64 // envelopes given to the engine
	Received  uint64 // envelopes that came from other nodes, and from logs
	Failed    uint64 // envelopes that the engine did not take, or not in time
	Malformed uint64 // envelopes that could not be read
	Questions uint64 // asked of other nodes
	Missing   uint64 // answers of nodes that did not come in time, or at all
	Feeds     int    // rooms whose history this node has in memory
}

// counters are those of rare things, and the stripes of what every message counts.
type counters struct {
	open                       atomic.Int64
	refused                    atomic.Uint64
	dropped, slow              atomic.Uint64
	roomHits, roomMisses       atomic.Uint64
	sessionHits, sessionMisses atomic.Uint64
	wires                      atomic.Pointer[[]*wireCounters] // each once
}

// wireCounters are those of the links of one wire.
type wireCounters struct {
	name     string
	open     atomic.Int64
	accepted atomic.Uint64
	stripes  [stripes]stripe
}

// linkCounters are those of one link.
type linkCounters struct {
	messagesIn, bytesIn   atomic.Uint64
	messagesOut, bytesOut atomic.Uint64
}

// recovery counts a hit or a miss.
func (c *counters) recovery(hits, misses *atomic.Uint64, hit bool) {
	if !hit {
		hits = misses
	}
	hits.Add(1)
}

// wire returns the counters of a wire, made for its first link.
func (c *counters) wire(name string) *wireCounters {
	for {
		at := c.wires.Load()
		var all []*wireCounters
		if at != nil {
			all = *at
		}
		if i := slices.IndexFunc(all, func(w *wireCounters) bool { return w.name == name }); i >= 0 {
			return all[i]
		}
		one := &wireCounters{name: name}
		more := append(slices.Clip(all), one)
		if c.wires.CompareAndSwap(at, &more) {
			return one
		}
	}
}

// everyWire returns those of all wires.
func (c *counters) everyWire() []*wireCounters {
	if at := c.wires.Load(); at != nil {
		return *at
	}
	return nil
}

// stripes is the number of places where messages are counted: goroutines on
// different processors would take a single one from each other all the time.
const stripes = 16

// stripe fills a cache line.
type stripe struct {
	messagesIn, bytesIn   atomic.Uint64
	messagesOut, bytesOut atomic.Uint64
	queued                atomic.Int64
	_                     [24]byte
}

// counted is where the link counts.
func (l *link) counted() *stripe { return &l.wire.stripes[l.conn.slot%stripes] }

func (l *link) received(messages, bytes uint64) {
	if messages > 0 || bytes > 0 {
		s := l.counted()
		s.messagesIn.Add(messages)
		s.bytesIn.Add(bytes)
		l.counts.messagesIn.Add(messages)
		l.counts.bytesIn.Add(bytes)
	}
}

func (l *link) sent(messages, bytes int) {
	s := l.counted()
	s.queued.Add(-int64(bytes))
	s.messagesOut.Add(uint64(messages))
	s.bytesOut.Add(uint64(bytes))
	l.counts.messagesOut.Add(uint64(messages))
	l.counts.bytesOut.Add(uint64(bytes))
}

// overflows reports whether more is queued to all connections than may be. It
// looks at all stripes only when one has more than its share.
func (s *Server) overflows(stripe int64) bool {
	wires := int64(len(s.counters.everyWire()))
	return stripe*wires > s.cfg.TotalOutboxBytes/stripes && s.queuedBytes() > s.cfg.TotalOutboxBytes
}

func (s *Server) queuedBytes() (n int64) {
	for _, w := range s.counters.everyWire() {
		for i := range w.stripes {
			n += w.stripes[i].queued.Load()
		}
	}
	return n
}

// Stats returns the server's figures. They are read one by one, so a sum over
// several may be off by what happens meanwhile.
func (s *Server) Stats() Stats {
	c := &s.counters
	stats := Stats{
		Connections: int(c.open.Load()),
		Refused:     c.refused.Load(),
		Dropped:     c.dropped.Load(),
		Slow:        c.slow.Load(),
		Wires:       make(map[string]WireStats),
		Recovery: RecoveryStats{
			RoomHits: c.roomHits.Load(), RoomMisses: c.roomMisses.Load(),
			SessionHits: c.sessionHits.Load(), SessionMisses: c.sessionMisses.Load(),
		},
	}
	for _, w := range c.everyWire() {
		one := w.stats()
		stats.Wires[w.name] = one
		stats.Accepted += one.Accepted
		stats.MessagesIn += one.MessagesIn
		stats.MessagesOut += one.MessagesOut
		stats.BytesIn += one.BytesIn
		stats.BytesOut += one.BytesOut
		stats.QueuedBytes += one.QueuedBytes
	}
	stats.Rooms, stats.Memberships = s.spaces.populated()
	s.eachConn(func(conn *Conn) {
		if conn.link.asleep.Load() {
			stats.Asleep++
		}
	})
	if n := s.node; n != nil {
		stats.Cluster = n.stats()
	}
	if h := s.history; h != nil {
		stats.Cluster.Feeds = h.size()
	}
	return stats
}

func (w *wireCounters) stats() WireStats {
	stats := WireStats{Connections: int(w.open.Load()), Accepted: w.accepted.Load()}
	for i := range w.stripes {
		from := &w.stripes[i]
		stats.MessagesIn += from.messagesIn.Load()
		stats.MessagesOut += from.messagesOut.Load()
		stats.BytesIn += from.bytesIn.Load()
		stats.BytesOut += from.bytesOut.Load()
		stats.QueuedBytes += from.queued.Load()
	}
	return stats
}

// clock is exact, unlike the watch's, and cheaper than a time.Time.
func (s *Server) clock() time.Duration { return time.Since(s.watch.base) }

// Reasons of refusals that are no codes.
const (
	refusedLimit     = "limit"
	refusedHost      = "host"
	refusedHandshake = "handshake"
)

// refusedBy is the reason of a refusal by an authenticator or a namespace.
func refusedBy(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && slices.Contains(refusalCodes(), e.Code) {
		return string(e.Code)
	}
	return string(CodeUnauthorized)
}

// refusalCodes are those that hooks get to see: an application's own ones would
// be without number.
func refusalCodes() []Code {
	return []Code{CodeBadRequest, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeTooManyRequests, CodeInternal, CodeUnavailable}
}

// refused counts a connection that was not let in, and tells the hooks.
func (s *Server) refused(wireName string, remote net.Addr, reason string, err error) {
	s.counters.refused.Add(1)
	if h := s.hooks.Refused; h != nil {
		h(Refusal{Wire: wireName, Remote: remote, Reason: reason, Err: err})
	}
}

// httpAddr is where an HTTP request comes from, as net/http has it.
type httpAddr string

func (httpAddr) Network() string  { return "tcp" }
func (a httpAddr) String() string { return string(a) }

// sent tells the hooks of a message in one outbox.
func (s *Server) sent(kind string, bytes int) {
	if h := s.hooks.Sent; h != nil {
		h(kind, 1, bytes)
	}
}

// dropped counts a message that could not be delivered, and tells the hooks.
func (s *Server) dropped(c *Conn, kind string, reason DropReason) {
	s.counters.dropped.Add(1)
	if h := s.hooks.Dropped; h != nil {
		h(c, kind, reason)
	}
}

func (s *Server) workerStarts(l *link) {
	if h := s.hooks.WorkerStart; h != nil {
		h(&l.conn)
	}
}

func (s *Server) workerEnds(l *link) {
	if h := s.hooks.WorkerEnd; h != nil {
		h(&l.conn)
	}
}
