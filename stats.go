package polywire

import "sync/atomic"

// Stats are a server's figures since it was made.
type Stats struct {
	Connections int    // open now
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
}

// counters are kept apart by cache line: readers write some, writers others.
type counters struct {
	messagesIn, bytesIn   atomic.Uint64
	_                     [48]byte
	messagesOut, bytesOut atomic.Uint64
	_                     [48]byte
	queued                atomic.Int64
	_                     [56]byte
	open                  atomic.Int64
	accepted, refused     atomic.Uint64
	dropped, slow         atomic.Uint64
}

func (c *counters) received(messages, bytes uint64) {
	if messages > 0 {
		c.messagesIn.Add(messages)
	}
	if bytes > 0 {
		c.bytesIn.Add(bytes)
	}
}

func (c *counters) sent(messages, bytes uint64) {
	c.messagesOut.Add(messages)
	c.bytesOut.Add(bytes)
}

// Stats returns the server's figures. They are read one by one, so a sum over
// several may be off by what happens meanwhile.
func (s *Server) Stats() Stats {
	c := &s.counters
	stats := Stats{
		Connections: int(c.open.Load()),
		Accepted:    c.accepted.Load(),
		Refused:     c.refused.Load(),
		MessagesIn:  c.messagesIn.Load(),
		MessagesOut: c.messagesOut.Load(),
		BytesIn:     c.bytesIn.Load(),
		BytesOut:    c.bytesOut.Load(),
		Dropped:     c.dropped.Load(),
		Slow:        c.slow.Load(),
		QueuedBytes: c.queued.Load(),
	}
	s.eachConn(func(conn *Conn) {
		if conn.link.asleep.Load() {
			stats.Asleep++
		}
	})
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
