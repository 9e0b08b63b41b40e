package natscluster

import (
	"sync/atomic"
	"time"
)

type counters struct {
	published, publishErrors, received atomic.Uint64
	dropped, overruns, malformed       atomic.Uint64
	reconnects, errors                 atomic.Uint64

	appends, appendErrors, appendRetries atomic.Uint64
	reads, incompleteReads, readErrors   atomic.Uint64
	epochs                               atomic.Uint64
}

// Stats are a node's figures since it was opened, or as they are now.
type Stats struct {
	Node      string
	Available bool // NATS can be reached
	Nodes     int  // that are alive, this one among them
	Interests int  // topics of the bus and of logs that the node wants

	Published     uint64 // messages, however many topics they had
	PublishErrors uint64
	Received      uint64 // messages given to the receiver, those of logs too
	Dropped       uint64 // messages that came and found the queue full
	Overruns      uint64 // times that messages were dropped before they came to the queue
	Malformed     uint64 // messages that were not understood
	QueuedBytes   int64  // of messages that wait for the receiver

	Reconnects uint64 // of the connection
	Errors     uint64 // that the connection reported beside calls
	// SinceHeard is how long ago another node was heard; 0: never, or no other.
	SinceHeard time.Duration
	// AwayFor is how long NATS has been away; 0: it is there.
	AwayFor time.Duration

	Appends         uint64 // to logs
	AppendErrors    uint64
	AppendRetries   uint64 // tries after the first
	Reads           uint64 // calls of After
	IncompleteReads uint64 // that could not tell all
	ReadErrors      uint64
	Epochs          uint64 // times that a log was found to have begun anew
}

// Stats returns the figures.
func (b *Bus) Stats() Stats {
	c := &b.counters
	s := Stats{
		Node: b.id, Available: b.up.Load() && b.ctx.Err() == nil,
		Nodes: int(b.members.count.Load()), Interests: b.interests.count(),
		Published: c.published.Load(), PublishErrors: c.publishErrors.Load(), Received: c.received.Load(),
		Dropped: c.dropped.Load(), Overruns: c.overruns.Load(), Malformed: c.malformed.Load(),
		QueuedBytes: b.inbox.waiting.Load(),
		Appends:     c.appends.Load(), AppendErrors: c.appendErrors.Load(), AppendRetries: c.appendRetries.Load(),
		Reads: c.reads.Load(), IncompleteReads: c.incompleteReads.Load(), ReadErrors: c.readErrors.Load(),
		Epochs:     c.epochs.Load(),
		Reconnects: c.reconnects.Load(), Errors: c.errors.Load(),
	}
	if heard := b.members.heard.Load(); heard != 0 && s.Nodes > 1 {
		s.SinceHeard = time.Since(time.Unix(0, heard))
	}
	if !b.up.Load() {
		s.AwayFor = time.Since(time.Unix(0, b.downSince.Load()))
	}
	return s
}
