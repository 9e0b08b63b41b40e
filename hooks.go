package polywire

import (
	"net"
	"reflect"
	"time"

	"github.com/polywire/polywire/cluster"
)

// Hooks observe a server or a client; they never change what it does. Every
// field may be nil. Several Hooks may be registered: each function runs in
// order of registration, on the goroutine where the thing happens, so it
// should be quick and must not panic. Messages are valid until the hook returns.
type Hooks struct {
	// Status is called on each change of the server's state.
	Status func(from, to State)
	// Configuration is called once, when the server starts.
	Configuration func(Configuration)

	// Refused is called for each connection that was not let in.
	Refused func(r Refusal)
	// Connect is called when a connection is open and known, before its first message.
	Connect func(c *Conn)
	// Disconnecting is called when a connection has ended and is in its rooms still.
	Disconnecting func(c *Conn, why *CloseError)
	// Disconnect is called when a connection has ended and left its rooms.
	Disconnect func(c *Conn, why *CloseError)

	// BeforeHandle is called before the middleware sees a message, one-way or call.
	BeforeHandle func(m *Message)
	// AfterHandle is called when the handler and all middleware returned, with how
	// long they took; after a panic, too: err says so then. Of small messages that
	// come together each begins where the one before was done: took has the
	// microsecond in between, and what hooks like this one did there.
	AfterHandle func(m *Message, took time.Duration, result any, err error)
	// Sent is called when a message, a call or its answer is in the outboxes of its
	// receivers: how many of one form, and the bytes for each, with the framing.
	// An answer has the call's kind, and none where it is an error.
	Sent func(kind string, receivers, bytes int)
	// BeforeReply and AfterReply surround the sending of an answer to a call.
	BeforeReply func(m *Message, result any, err error)
	AfterReply  func(m *Message, result any, err error)

	// BeforeBroadcast and AfterBroadcast surround each message to a [Target].
	BeforeBroadcast func(b *Broadcast)
	AfterBroadcast  func(b *Broadcast)
	// BeforePeerBroadcast and AfterPeerBroadcast surround those that a peer
	// asked for by Publish or Broadcast; they run besides the two above.
	BeforePeerBroadcast func(sender *Conn, b *Broadcast)
	AfterPeerBroadcast  func(sender *Conn, b *Broadcast)

	// Subscribe, Unsubscribe and Publish are called after a peer's own room
	// operation was done; err is why it was refused.
	Subscribe   func(c *Conn, room string, err error)
	Unsubscribe func(c *Conn, room string, err error)
	Publish     func(c *Conn, room, kind string, err error)

	// Error is called for what has no caller to return it to. c may be nil.
	Error func(c *Conn, err error)
	// Dropped is called for each message that could not be delivered.
	Dropped func(c *Conn, kind string, reason DropReason)

	// Presence is called for each event of rooms with [WithPresence] that have
	// members on this node; kind is one of PresenceJoined, PresenceLeft, PresenceChanged.
	Presence func(kind, room string, p Presence)

	// NodeJoined and NodeLeft tell of the other nodes of a cluster.
	NodeJoined func(n cluster.Node)
	NodeLeft   func(n cluster.Node)
	// NodeChanged tells that another node offers something else now.
	NodeChanged func(n cluster.Node)
	// Hop is called for each message to connections that came from another node. Nodes with this hook put the time of sending
	// into what they send: give it to all nodes, or to none.
	Hop func(h Hop)
	// ClusterAvailable tells that the cluster's engine has gone, or is back.
	ClusterAvailable func(up bool)

	// WorkerStart and WorkerEnd surround the life of a goroutine that handles
	// messages of a connection beside its reader.
	WorkerStart func(c *Conn)
	WorkerEnd   func(c *Conn)
}

// Broadcast is one message to a [Target], as hooks see it.
type Broadcast struct {
	Kind    string
	Rooms   []string // nil: everybody
	Payload any      // the Go value or Payload as given
	Header  map[string]string
	// Receivers is how many connections of this node got it; set in After hooks.
	Receivers int
	// Took is how long it took to give it to them, and to the cluster; set in
	// After hooks.
	Took time.Duration
}

// Refusal is a connection that was not let in, as hooks see it.
type Refusal struct {
	Wire   string   // empty where it was refused before that was known
	Remote net.Addr // nil where there is none
	// Reason is one of few words: "limit" (too many connections), "host" (a name
	// that the server does not have), "handshake" (TLS, or the wire's opening),
	// or the [Code] of the authenticator's error.
	Reason string
	Err    error // more about it; may be nil
}

// Hop is a message that came from another node, as hooks see it.
type Hop struct {
	From   string // the ID of the node that sent it
	Kind   string
	Rooms  []string // nil: everybody, or given connections
	Header map[string]string
	Sent   time.Time // by that node's clock; zero: it does not tell
}

// DropReason says why a message was not delivered.
type DropReason string

// The drop reasons.
const (
	DropClosed       DropReason = "closed"        // the connection ended first
	DropSlow         DropReason = "slow_consumer" // its outbox was full
	DropUntranslated DropReason = "untranslated"  // its wire cannot say this payload
	DropLate         DropReason = "late_answer"   // the answer came after the deadline
	DropVolatile     DropReason = "volatile"      // it was worth nothing later, and could not leave at once
	DropUnexpected   DropReason = "unexpected"    // an answer that nobody waits for
	DropRefused      DropReason = "refused"       // a peer's, which its wire did not let in
)

// mergeHooks makes one Hooks of many: a field is nil where all are.
func mergeHooks(all []Hooks) Hooks {
	var merged Hooks
	out := reflect.ValueOf(&merged).Elem()
	for i := range out.NumField() {
		var funcs []reflect.Value
		for _, h := range all {
			if f := reflect.ValueOf(h).Field(i); !f.IsNil() {
				funcs = append(funcs, f)
			}
		}
		switch len(funcs) {
		case 0:
		case 1:
			out.Field(i).Set(funcs[0])
		default:
			out.Field(i).Set(reflect.MakeFunc(out.Field(i).Type(), func(args []reflect.Value) []reflect.Value {
				for _, f := range funcs {
					f.Call(args)
				}
				return nil
			}))
		}
	}
	if len(all) > 1 { // what each message passes goes without reflection
		merged.BeforeHandle = each1(all, func(h *Hooks) func(*Message) { return h.BeforeHandle })
		merged.AfterHandle = each4(all, func(h *Hooks) func(*Message, time.Duration, any, error) { return h.AfterHandle })
		merged.Sent = each3(all, func(h *Hooks) func(string, int, int) { return h.Sent })
		merged.BeforeReply = each3(all, func(h *Hooks) func(*Message, any, error) { return h.BeforeReply })
		merged.AfterReply = each3(all, func(h *Hooks) func(*Message, any, error) { return h.AfterReply })
		merged.BeforeBroadcast = each1(all, func(h *Hooks) func(*Broadcast) { return h.BeforeBroadcast })
		merged.AfterBroadcast = each1(all, func(h *Hooks) func(*Broadcast) { return h.AfterBroadcast })
		merged.Hop = each1(all, func(h *Hooks) func(Hop) { return h.Hop })
	}
	return merged
}

// each1 makes one function of a field of all; nil where all are.
func each1[A any](all []Hooks, field func(*Hooks) func(A)) func(A) {
	var funcs []func(A)
	for i := range all {
		if f := field(&all[i]); f != nil {
			funcs = append(funcs, f)
		}
	}
	switch len(funcs) {
	case 0:
		return nil
	case 1:
		return funcs[0]
	}
	return func(a A) {
		for _, f := range funcs {
			f(a)
		}
	}
}

func each3[A, B, C any](all []Hooks, field func(*Hooks) func(A, B, C)) func(A, B, C) {
	var funcs []func(A, B, C)
	for i := range all {
		if f := field(&all[i]); f != nil {
			funcs = append(funcs, f)
		}
	}
	switch len(funcs) {
	case 0:
		return nil
	case 1:
		return funcs[0]
	case 2: // metrics and a log
		first, second := funcs[0], funcs[1]
		return func(a A, b B, c C) {
			first(a, b, c)
			second(a, b, c)
		}
	}
	return func(a A, b B, c C) {
		for _, f := range funcs {
			f(a, b, c)
		}
	}
}

func each4[A, B, C, D any](all []Hooks, field func(*Hooks) func(A, B, C, D)) func(A, B, C, D) {
	var funcs []func(A, B, C, D)
	for i := range all {
		if f := field(&all[i]); f != nil {
			funcs = append(funcs, f)
		}
	}
	switch len(funcs) {
	case 0:
		return nil
	case 1:
		return funcs[0]
	case 2: // metrics and a log
		first, second := funcs[0], funcs[1]
		return func(a A, b B, c C, d D) {
			first(a, b, c, d)
			second(a, b, c, d)
		}
	}
	return func(a A, b B, c C, d D) {
		for _, f := range funcs {
			f(a, b, c, d)
		}
	}
}
