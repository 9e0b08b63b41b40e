package polywire

import "sync/atomic"

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

	Cluster ClusterStats // zero without a cluster
}

// ClusterStats are a node's figures.
type ClusterStats struct {
	Nodes     int    // alive, this one among them
	Available bool   // the engine can be reached
	Published uint64 // envelopes given to the engine
	Received  uint64 // envelopes that came from other nodes, and from logs
	Failed    uint64 // envelopes that the engine did not take, or not in time
	Malformed uint64 // envelopes that could not be read
	Feeds     int    // rooms whose history this node has in memory
}

// counters are those of rare things, and the stripes of what every message counts.
type counters struct {
	open              atomic.Int64
	accepted, refused atomic.Uint64
	dropped, slow     atomic.Uint64
	stripes           [stripes]stripe
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
func (l *link) counted() *stripe { return &l.srv.counters.stripes[l.conn.slot%stripes] }

func (s *stripe) received(messages, bytes uint64) {
	if messages > 0 || bytes > 0 {
		s.messagesIn.Add(messages)
		s.bytesIn.Add(bytes)
	}
}

func (s *stripe) sent(messages, bytes int) {
	s.queued.Add(-int64(bytes))
	s.messagesOut.Add(uint64(messages))
	s.bytesOut.Add(uint64(bytes))
}

// overflows reports whether more is queued to all connections than may be. It
// looks at all stripes only when one has more than its share.
func (s *Server) overflows(stripe int64) bool {
	return stripe > s.cfg.TotalOutboxBytes/stripes && s.queuedBytes() > s.cfg.TotalOutboxBytes
}

func (s *Server) queuedBytes() (n int64) {
	for i := range s.counters.stripes {
		n += s.counters.stripes[i].queued.Load()
	}
	return n
}

// Stats returns the server's figures. They are read one by one, so a sum over
// several may be off by what happens meanwhile.
func (s *Server) Stats() Stats {
	c := &s.counters
	stats := Stats{
		Connections: int(c.open.Load()),
		Accepted:    c.accepted.Load(),
		Refused:     c.refused.Load(),
		Dropped:     c.dropped.Load(),
		Slow:        c.slow.Load(),
		QueuedBytes: s.queuedBytes(),
	}
	for i := range c.stripes {
		from := &c.stripes[i]
		stats.MessagesIn += from.messagesIn.Load()
		stats.MessagesOut += from.messagesOut.Load()
		stats.BytesIn += from.bytesIn.Load()
		stats.BytesOut += from.bytesOut.Load()
	}
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

// dropped counts a message that could not be delivered, and tells the hooks.
func (s *Server) dropped(c *Conn, kind string, reason DropReason) {
	s.counters.dropped.Add(1)
	if h := s.hooks.Dropped; h != nil {
		h(c, kind, reason)
	}
}

// reportError hands an error that nobody waits for to the hooks and the log.
func (s *Server) reportError(c *Conn, err error) {
	if h := s.hooks.Error; h != nil {
		h(c, err)
	}
	if c == nil {
		s.cfg.logger.Error("polywire", "error", err)
		return
	}
	s.cfg.logger.Error("polywire", "conn", c.ID(), "wire", c.Wire(), "error", err)
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
