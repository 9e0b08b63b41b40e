// Package socketio is the wire of Socket.IO: protocol 5 on Engine.IO 4, which
// JavaScript clients 3 and 4 speak, and protocol 4 on Engine.IO 3, which
// clients 2 speak. Namespaces, acknowledgements, binary events, several
// arguments and the MessagePack parser are there; official clients connect as
// they are.
//
// # Why a connection ended
//
// The reason of a CloseError is the string that official servers give their
// handlers, so that code which looks at it can stay:
//
//	transport close, transport error, parse error   from transport/engineio
//	ping timeout, server shutting down,
//	client namespace disconnect,
//	server namespace disconnect                     from the core
//	forced close          a packet that cannot be decoded (on a dialled link: parse error)
//	forced server close   a packet that its sender may not send now
//
// A link whose attachments do not come in time is closed without a word.
package socketio

import (
	"fmt"
	"strings"
	"time"

	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire"
)

// DefaultPath is the HTTP path of the door, and of the servers that are dialled.
const DefaultPath = "/socket.io/"

// Defaults of a packet's attachments.
const (
	// DefaultMaxAttachments is what official decoders take, in clients too.
	DefaultMaxAttachments    = 10
	DefaultAttachmentTimeout = 30 * time.Second
)

// Parser is how packets are written. Both sides must use the same one.
type Parser uint8

// The parsers.
const (
	// JSON is what peers use unless told otherwise: JSON text, and beside it
	// the bytes that are in it.
	JSON Parser = iota + 1
	// Msgpack is that of socket.io-msgpack-parser. Its arguments and
	// credentials are MessagePack, so the application's codecs need it. Its
	// extensions for JavaScript's undefined and Date are nil and timestamps on
	// this side.
	Msgpack
)

// String returns the parser's name in lower case.
func (p Parser) String() string {
	switch p {
	case JSON:
		return "json"
	case Msgpack:
		return "msgpack"
	}
	return fmt.Sprintf("parser %d", uint8(p))
}

// Protocol is the wire. It implements [wire.Protocol] and [wire.Dialer];
// methods may be called from many goroutines at once.
type Protocol struct {
	path               string
	parser             Parser
	roomEvents         bool
	maxAttachments     int
	maxAttachmentBytes int
	attachmentTimeout  time.Duration
	engine             engineio.Options
	noV3               bool
	transports         Transports
	dialVersion        int
}

var (
	_ wire.Protocol = (*Protocol)(nil)
	_ wire.Dialer   = (*Protocol)(nil)
	_ wire.Checker  = (*Protocol)(nil)
)

// Option changes what [New] makes.
type Option func(*Protocol)

// New returns the wire.
func New(o ...Option) *Protocol {
	p := &Protocol{
		path: DefaultPath, parser: JSON, dialVersion: 5, transports: PollingFirst,
		maxAttachments: DefaultMaxAttachments, attachmentTimeout: DefaultAttachmentTimeout,
	}
	for _, option := range o {
		option(p)
	}
	return p
}

// WithPath sets the HTTP path, [DefaultPath] otherwise. It begins and ends
// with a slash; one that is missing is added.
func WithPath(path string) Option {
	return func(p *Protocol) {
		if path = "/" + strings.Trim(path, "/") + "/"; path == "//" {
			path = "/"
		}
		p.path = path
	}
}

// WithParser sets how packets are written, [JSON] otherwise.
func WithParser(parser Parser) Option { return func(p *Protocol) { p.parser = parser } }

// WithMaxAttachments bounds the attachments of a packet, both ways: 10
// otherwise, and what official clients take. Zero or less: none are taken.
func WithMaxAttachments(n int) Option {
	return func(p *Protocol) { p.maxAttachments = max(n, 0) }
}

// WithMaxAttachmentBytes bounds an inbound packet together with its
// attachments. Zero or less, the default: the server's bound of a message.
func WithMaxAttachmentBytes(n int) Option {
	return func(p *Protocol) { p.maxAttachmentBytes = max(n, 0) }
}

// WithAttachmentTimeout is how long the attachments of a packet may take to
// come, 30 seconds otherwise. After that they are dropped and the link closed.
// Zero or less: the default.
func WithAttachmentTimeout(d time.Duration) Option {
	return func(p *Protocol) {
		if p.attachmentTimeout = d; d <= 0 {
			p.attachmentTimeout = DefaultAttachmentTimeout
		}
	}
}

// WithRoomEvents lets clients that know how use rooms by themselves, where the
// server's policies allow it. They send events, with an acknowledgement if they
// want to know:
//
//	$subscribe(room)  $unsubscribe(room)  $publish(room, kind, ...)  $broadcast(kind, ...)
//
// Polywire's own clients do. Without the option these are events like others.
func WithRoomEvents() Option { return func(p *Protocol) { p.roomEvents = true } }

// WithEngine sets what the Engine.IO below is told: its transports, upgrades,
// compression, cookie, CORS, hooks and times. The heartbeat, the handshake
// timeout and the bounds of messages are the server's own limits, in place of
// what o has; so is AllowOrigin, where o has none. Accept is not used.
func WithEngine(o engineio.Options) Option { return func(p *Protocol) { p.engine = o } }

// WithoutV3 refuses clients of Engine.IO 3, as official servers do by default.
func WithoutV3() Option { return func(p *Protocol) { p.noV3 = true } }

// Name returns "socketio".
func (*Protocol) Name() string { return "socketio" }
