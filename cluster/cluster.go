// Package cluster is the port between servers that act as one: an [Adapter]
// connects a server, here called a node, to a [Bus] that carries bytes by topic
// to the other nodes, and, where it can, to a [Log] that keeps the latest
// messages of topics. What the bytes mean is the core's. [Memory] connects the
// servers of one process; the implementations in the folders below connect
// processes.
package cluster

import (
	"context"
	"errors"
	"time"
)

// MaxTopicBytes is the longest topic. A topic is any string of 1 to
// MaxTopicBytes bytes; nothing in it has a meaning to the bus.
const MaxTopicBytes = 512

// Errors of buses and logs; test for them with errors.Is.
var (
	// ErrUnavailable says that the engine behind the bus cannot be reached, or
	// did not confirm in time: the message may or may not be out.
	ErrUnavailable = errors.New("cluster: the engine is not available")
	// ErrClosed says that the bus has been closed.
	ErrClosed = errors.New("cluster: closed")
	// ErrTooLarge says that the engine does not carry a message of this size.
	ErrTooLarge = errors.New("cluster: message too large")
)

// Node is one server as the others see it.
type Node struct {
	ID       string            // unique for each start of a process
	Name     string            // for people; may be empty
	Started  time.Time         // by the node's own clock
	Services []string          // names of the services that it offers, sorted
	Meta     map[string]string // such as the addresses at which it can be reached
}

// Adapter connects one node. It holds configuration only; each Open is a node
// of its own.
type Adapter interface {
	// Open makes the node known to the others, and begins to give r what is
	// for it. It fails when the engine cannot be reached before ctx ends.
	Open(ctx context.Context, self Node, r Receiver) (Bus, error)
}

// Bus carries bytes between nodes. Messages that one node publishes arrive at
// another in the order of the Publish calls, whatever their topics, each at
// most once; what is lost on the way (the engine was away, the receiver too
// slow) leaves no trace, except on a [Log]. Methods may be called by many
// goroutines at once; Interest, Publish and Announce by the receiver, too.
// Where a context ends a wait, the error wraps the context's.
type Bus interface {
	// Interest says whether this node wants what others publish to a topic. It
	// does not block: the order of calls for a topic is kept, the last one
	// counts, and interests that are on survive an outage of the engine. What
	// is no topic is ignored here, and an error elsewhere.
	Interest(topic string, on bool)
	// Sync waits until all interests stated before hold at the other nodes, as
	// far as the engine can tell. Without an engine it returns ErrUnavailable at once.
	Sync(ctx context.Context) error
	// Publish sends data to every other node that is interested in at least
	// one of the topics, once to each. It takes a copy. nil means that it was
	// handed to an engine that was there; ErrUnavailable, ErrTooLarge, ErrClosed else.
	Publish(ctx context.Context, topics []string, data []byte) error
	// Announce replaces what the others know of this node; the ID stays. While
	// the engine is away it is kept, and told later.
	Announce(self Node) error
	// Shutdown says goodbye to the other nodes and ends the bus. After it returns
	// the receiver is not called any more. ctx bounds the goodbye. A second
	// call waits for the first and returns nil; all else returns ErrClosed.
	Shutdown(ctx context.Context) error
}

// Historian is implemented by buses that have logs.
type Historian interface {
	// Log opens the log of a name, made on the first call of any node. All
	// nodes that use a name must agree on the options; that they differ is an
	// error which says how.
	Log(ctx context.Context, name string, o LogOptions) (Log, error)
}

// Receiver is what a bus tells its node. A bus calls its methods one after the
// other, in the order in which things came; they return soon.
type Receiver interface {
	// Receive takes a message. Data and Topic are the receiver's to keep, not
	// to change: others may have the same bytes.
	Receive(m Message)
	// Nodes tells of all nodes that are alive, this one among them, sorted by
	// ID: once before Open returns, and after each change. A node that has been
	// killed is gone from it within 15 s. While the engine is away nothing changes.
	Nodes(alive []Node)
	// Available tells that the engine has gone (false) or is back (true). An
	// engine that does not answer is noticed within 4 s. After it is back
	// messages may be missing.
	Available(up bool)
}

// Message is what arrives from a bus or a log.
type Message struct {
	From  string // the ID of the node that published it
	Topic string // of a bus: one of those that it was published to, where it had several
	Data  []byte

	// Of a log only:
	Log  string   // its name; empty: the message is of no log
	At   Position // the message's own
	Prev uint64   // the offset of the message before it in the topic, kept or not; 0: there was none
}

// Position is a place in a topic of a log. Offsets grow from message to
// message of a topic, not always by one. An epoch is another one after the log
// was lost: offsets of different epochs have nothing to do with each other.
type Position struct {
	Epoch  string // up to 32 letters and digits
	Offset uint64
}

// Storage is where a log keeps its messages.
type Storage int

// The storages. Zero is memory.
const (
	InMemory Storage = iota // of the engine's nodes
	OnDisk                  // of the engine's nodes, as durable as the engine is configured to be
)

// String returns "memory" or "disk".
func (s Storage) String() string {
	if s == OnDisk {
		return "disk"
	}
	return "memory"
}

// LogOptions bound a log. The bounds hold for each topic unless they say otherwise.
type LogOptions struct {
	Storage Storage
	Size    int           // messages kept of a topic; at least 1
	Age     time.Duration // how long a message is kept at most; 0: no bound
	Bytes   int64         // of all messages of all topics together; 0: no bound
}

// Log keeps the latest messages of topics, and gives each to all interested
// nodes, the one that appended it too, by [Receiver].Receive: in the topic's
// order, each at most once. A receiver that misses one sees it by Prev and
// finds it with After. Methods may be called by many goroutines at once.
type Log interface {
	// Append adds a message to a topic. nil means that the log has it, on as
	// many of the engine's nodes as it is configured to need; then it has been
	// or will be delivered. Within 5 s it returns ErrUnavailable when the
	// engine does not confirm: the message may be in the log all the same.
	Append(ctx context.Context, topic string, data []byte) (Position, error)
	// After returns the messages of a topic after a position, oldest first.
	// Complete is false when the log cannot tell that these are all: some were
	// given up, or the epoch is another one; there are no Messages then. From
	// offset 0 of the epoch it is all that the topic has ever had. It fails as
	// Append does.
	After(ctx context.Context, topic string, p Position) (Page, error)
	// Interest says whether this node wants the messages of a topic; see Bus.Interest.
	Interest(topic string, on bool)
}

// Page is a part of a topic of a log.
type Page struct {
	Messages []Message
	// Top is the position of the topic's last message, or one to begin at where
	// there is none: a later After from here is complete.
	Top      Position
	Complete bool
}
