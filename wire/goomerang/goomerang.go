// Package goomerang is the wire of Goomerang: protobuf messages with headers in
// binary messages of a WebSocket. Its Send is a message, its SendSync a call,
// its topics are rooms. Clients of that library are served as they are, and
// servers of it may be dialled. docs/wire-goomerang.md has the mapping word by word.
//
// A kind is the full name of a message that is linked into the program
// ([protoregistry.GlobalTypes]). Others are refused, in both directions, and
// counted as dropped.
//
// # Among ourselves
//
// Goomerang answers no commands, calls no clients, and tells no errors. Where
// both sides are Polywire they agree on more, by the WebSocket subprotocol
// [Subprotocol]: subscriptions and publications are answered, servers call
// clients, and close codes are told as they are.
package goomerang

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// The HTTP paths of the doors, where Goomerang's clients go without and with TLS.
const (
	DefaultPath    = "/ws"
	DefaultTLSPath = "/wss"
)

// Subprotocol is how two sides find out that both are Polywire. Goomerang
// neither offers nor chooses it.
const Subprotocol = "polywire.goomerang"

// MaxHeaders is how many headers a message may have, both ways.
const MaxHeaders = 64

// Protocol is the wire. It implements [wire.Protocol] and [wire.Dialer];
// methods may be called from many goroutines at once.
type Protocol struct {
	paths       []string
	compression *websocket.Compression
	now         func() time.Time
	random      func() uint64 // for the uuids of a link that was dialled
	accepted    uint64        // and of all that were accepted: what many get has no uuid
	names       names
}

var (
	_ wire.Protocol = (*Protocol)(nil)
	_ wire.Dialer   = (*Protocol)(nil)
)

// Option changes what [New] makes.
type Option func(*Protocol)

// New returns the wire.
func New(o ...Option) *Protocol {
	p := &Protocol{paths: []string{DefaultPath, DefaultTLSPath}, now: time.Now, random: random, accepted: random()}
	for _, option := range o {
		option(p)
	}
	return p
}

// WithPath sets the HTTP path of the only door, and of URLs that are dialled
// without one. Otherwise there are doors at [DefaultPath] and [DefaultTLSPath],
// and the URL's scheme chooses. It begins with a slash.
func WithPath(path string) Option { return func(p *Protocol) { p.paths = []string{path} } }

// WithCompression compresses WebSocket messages with peers that can; nil, the
// default, never does.
func WithCompression(c *websocket.Compression) Option {
	return func(p *Protocol) { p.compression = c }
}

// Name returns "goomerang".
func (*Protocol) Name() string { return "goomerang" }

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// malformed is the end of a link whose other side sent something wrong. What
// it says never quotes the frame, so it is short.
func malformed(what error) error {
	return &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "malformed frame: " + what.Error()}
}

// unsayable is a packet that this wire has no words for.
func unsayable(t wire.Type, why error) error {
	return fmt.Errorf("goomerang: %s cannot be sent: %w", t, why)
}

// isLinked reports whether a message type of the name is linked in.
func isLinked(name string) bool {
	_, err := protoregistry.GlobalTypes.FindMessageByName(fullName(name))
	return err == nil
}
