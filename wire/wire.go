// Package wire is the port between frames and the core: a [Protocol] is a
// message language, a [Session] speaks it on one link, a [Packet] is what the
// core understands. Implementations live in the folders below.
package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
)

// Type says what a packet asks of the other side. Zero is invalid.
type Type uint8

// The packet types.
const (
	Message     Type = iota + 1 // one way: Kind or Code, Header, Payload
	Call                        // asks for a Reply or an Error with the same ID (and Key)
	Reply                       // answers a Call: Payload
	Error                       // answers a Call: Err
	Subscribe                   // the sender wants to be in Room; answered like a Call if ID is set
	Unsubscribe                 // the sender wants to leave Room
	Publish                     // the message is for the members of Room
	Broadcast                   // the message is for everybody
	Hello                       // a client introduces itself: Header (credentials), Payload, Codes
	Welcome                     // the server's answer: Key is the connection's id, Codes
	Ping                        // asks for a Pong with the same ID and Key, on transports without pings of their own
	Pong
	Refused // answers a Hello on a link with namespaces: Err; the link stays
	Goodbye // the sender ends the connection in Namespace; the link stays
)

// String returns the type's name in lower case.
func (t Type) String() string {
	names := [...]string{"invalid", "message", "call", "reply", "error", "subscribe", "unsubscribe",
		"publish", "broadcast", "hello", "welcome", "ping", "pong", "refused", "goodbye"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("packet type %d", uint8(t))
}

// Packet is the unit between a wire and the core. What a decoded packet refers
// to (Payload, Args) is valid as long as the frame that it came from; strings
// and maps are the receiver's to keep.
type Packet struct {
	Type    Type
	ID      uint64            // number of a call, from 1; zero where no answer is wanted
	Key     string            // the call's number on wires that use text; copied into the answer
	Kind    string            // routing name
	Code    uint32            // numeric message code; when set, Kind may be empty
	Room    string            // Subscribe, Unsubscribe, Publish; on delivery the room it came from, where known
	Header  map[string]string // nil when there is none
	Payload codec.Payload     // the argument, or the first of several
	Args    []codec.Payload   // further arguments, on wires that have several
	Err     *ErrorBody        // Error; of a request: why the wire does not let it in, for the core to say and count
	Codes   map[string]uint32 // Hello, Welcome: the sender's numeric message codes by kind

	Namespace string // which of the link's connections, on links with namespaces; empty elsewhere
	Resume    string // Hello: the secret of the session to resume; Welcome: the session's secret
	// Position is a place among a room's (on Socket.IO a session's) messages, to
	// be handed back as it is: in a Hello or Subscribe that of the last message
	// that arrived there before, in a Message its own, in the Reply to a
	// Subscribe that at which the subscription began.
	Position string
	// Recovered says in the Reply to a Subscribe with a Position that everything
	// after it has been sent before this packet; else nothing of that was.
	Recovered bool
}

// Reset empties the packet for its next use.
func (p *Packet) Reset() { *p = Packet{} }

// ErrorBody is a failed request as wires carry it.
type ErrorBody struct {
	Code    string // one of the core's codes, or the application's
	Message string
	Details codec.Payload
	// Fault says that no handler chose this answer: there was none for the
	// kind, it panicked, or its error is not for the peer to see. For wires
	// that tell an exception from an error.
	Fault bool
}

// Session speaks a protocol on one link. Decode is called by one goroutine at
// a time, Encode by many at once, also beside Decode.
type Session interface {
	// Decode reads a text or binary frame into p, which is empty. It returns
	// false when no packet came of it (part of a larger one, a heartbeat). An
	// error that is a *[ProtocolError] closes the link with its code, any
	// other with CloseProtocolError. Decode allocates no more than a small
	// multiple of the frame.
	Decode(f transport.Frame, p *Packet) (bool, error)
	// Encode writes a packet as one or more frames, which stay together on the
	// link. An error means that the
	// packet cannot be said on this wire; nothing was written then.
	Encode(w *transport.Writer, p *Packet) error
	// Format names what Encode's bytes look like: what one session makes of a
	// packet may be sent on all links whose sessions have the same non-empty
	// format, and means the same there.
	Format() string
	// ContentTypes lists the payload types that can be said on this wire, the
	// preferred one first; payloads of others are translated to that. Nil:
	// any, and Go values are encoded as the application's first codec does.
	ContentTypes() []string
}

// Carrier is implemented by sessions that can say payloads of types besides
// their ContentTypes, for messages that the application wants encoded in a
// certain way whatever the peer prefers.
type Carrier interface {
	// Carries reports whether a payload of this type can be said.
	Carries(contentType string) bool
}

// Personal is implemented by sessions whose bytes for some packets are for
// their own link, although they have a Format.
type Personal interface {
	// Personal reports whether a packet with a Position is such a one. Many may
	// ask at once.
	Personal(p *Packet) bool
}

// ProtocolError is what the other side did wrong, and the close code for it.
type ProtocolError struct {
	Code   CloseCode
	Reason string // at most 123 bytes
	Err    error  // what exactly, for this side's log; may be nil
}

// Unwrap returns Err.
func (e *ProtocolError) Unwrap() error { return e.Err }

// Error returns the reason.
func (e *ProtocolError) Error() string { return fmt.Sprintf("wire: %s (%d)", e.Reason, e.Code) }

// Protocol is a message language and the doors by which it comes in. It holds
// configuration only, and may serve several servers at once.
type Protocol interface {
	// Name is the wire's name in logs, metrics and Conn.Wire, such as "native".
	Name() string
	// Doors lists the ways in.
	Doors() []Door
}

// Checker is implemented by protocols whose options can be wrong.
type Checker interface {
	// Check returns what is wrong with the options, nil if nothing is.
	Check() error
}

// Door is one way into a server: an HTTP path, or a kind of listener.
type Door struct {
	// Path is the HTTP path that HTTP serves, such as "/polywire"; a trailing
	// slash means everything below it.
	Path string
	// Continues reports that a request belongs to a link that exists already,
	// so that the limits on connections do not concern it; HTTP bounds the
	// reading of its body then. Nil: none does.
	Continues func(r *http.Request) bool
	// HTTP takes a request that has been admitted, makes a link of it, gives
	// that to host.Attach, and may return then.
	HTTP func(host Host, w http.ResponseWriter, r *http.Request)

	// Prefix is the wire's part of listener URLs whose connections Stream
	// takes: "drs" for drs+tcp, drs+tls and drs+unix; empty for tcp, tls, unix.
	Prefix string
	// Stream takes an accepted connection (after TLS, if any) through the
	// wire's opening and gives the link to host.Attach. It closes nc when it
	// fails, and keeps to the handshake timeout.
	Stream func(host Host, nc net.Conn) error
}

// Dialer is implemented by protocols that can be dialled.
type Dialer interface {
	// Schemes lists the URL schemes that Dial takes.
	Schemes() []string
	// Dial opens a link; ctx bounds the opening only. The link is not attached.
	Dial(ctx context.Context, host Host, u *url.URL, o DialOptions) (Link, error)
}

// DialOptions is what a client may want of the way to the server. The zero
// value is good.
type DialOptions struct {
	// Header is added to the opening HTTP request, where there is one.
	Header http.Header
	// TLS is cloned for each connection; nil verifies with the system's roots.
	TLS *tls.Config
	// Proxy chooses an HTTP proxy for a request, as in net/http; nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// NetDial opens the connection in place of net.Dialer.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
	// Credentials are what the header of the hello will be, for wires whose
	// client says everything with the opening request.
	Credentials map[string]string
	// Position is the last place that the client's link before has told of, see
	// [Positioner]; empty: there was none.
	Position string
}

// Positioner is implemented by sessions of dialled links that know how far they
// came, for the client's next link to begin there.
type Positioner interface {
	// Position returns the place of the last message that had one; empty: none.
	Position() string
}

// Recoverer is implemented by sessions of dialled links that are in their rooms
// from the beginning, and hear whether what was missed there has come.
type Recoverer interface {
	// OnRecovered sets what Decode calls for each such room; see
	// [Packet].Recovered. It is called before the first Decode.
	OnRecovered(f func(room string, recovered bool))
}

// Finality is implemented by errors of Dial that may be the server's last word.
type Finality interface {
	error
	// Final reports whether there is no use in trying again.
	Final() bool
}

// Link is an open link and the session that speaks on it.
type Link struct {
	Transport transport.Conn
	Session   Session
	// Request is the HTTP request that opened the link, nil on others. It is
	// read while the link is attached and not kept.
	Request *http.Request
	// Greets says of a dialled link that its client opens with a Hello packet
	// and is answered by Welcome (or by Refused or a close frame).
	Greets bool
	// Unanswered says of a dialled link that its peer does not answer Subscribe,
	// Unsubscribe, Publish and Broadcast: they are sent without an ID.
	Unanswered bool
	// Namespaces says that the link carries any number of connections: packets
	// name theirs, each is opened by a Hello and ended by a Goodbye of its own.
	Namespaces bool
	// Arguments says that Encode takes several arguments. On other links the
	// core makes one JSON array of them.
	Arguments bool
	// Hello is what the peer has said by opening an accepted link, on wires
	// where that implies a connection; it is handled like a decoded packet. Of
	// a dialled link it is what the client opens with, such as the namespace.
	Hello *Packet
}

// Host is what the core offers to protocols. Methods may be called from many
// goroutines at once.
type Host interface {
	// Attach makes a connection of the link, or closes the link and returns
	// why not. It returns as soon as the connection is being served.
	Attach(l Link) error
	// Kind returns b as a string, without allocating when it names a
	// registered kind.
	Kind(b []byte) string
	// Limits returns the bounds that links keep to.
	Limits() Limits
	// AllowOrigin reports whether the Origin header of a browser's request is
	// acceptable.
	AllowOrigin(r *http.Request) bool
	// ContentTypes lists those that the application has codecs for, in order
	// of preference. The caller does not change it.
	ContentTypes() []string
}

// Limits bound a link. Zero values never reach a protocol: the core has put
// its defaults in.
type Limits struct {
	MessageBytes     int           // an inbound message, put together and inflated
	Fragments        int           // fragments of one inbound message; 0: no limit but its bytes
	HandshakeTimeout time.Duration // from accept to the first packet
	HeaderBytes      int           // an opening HTTP request or answer
	// HeartbeatInterval and HeartbeatTimeout are for wires that tell the peer.
	HeartbeatInterval time.Duration
	HeartbeatTimeout  time.Duration
}
