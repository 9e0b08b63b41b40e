package socketio

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// SessionOptions say what a session is for.
type SessionOptions struct {
	// Version is Socket.IO's: 5 (the default) on Engine.IO 4, 4 on Engine.IO 3.
	Version int
	// Dialled says that this side has dialled. Its session is about one
	// namespace: packets without a name are said in it, and what comes for
	// others is dropped.
	Dialled bool
	// Namespace is the dialled one; "/" by default.
	Namespace string
	// EngineID is the id of the Engine.IO session, of which version 4 makes
	// the ids of connections.
	EngineID string
	// Link is closed when attachments do not arrive in time; nil: it is not.
	Link io.Closer
}

// dialect is what the sessions of equal options have in common.
type dialect struct {
	version           int
	parser            Parser
	roomEvents        bool
	dialled           bool
	namespace         string // of packets that name none
	maxAttachments    int
	maxBytes          int // of a packet with its attachments; 0: the host's message size
	attachmentTimeout time.Duration
	format            string
}

// dialect returns what sessions with these options have in common.
func (p *Protocol) dialect(version int, dialled bool, namespace string) *dialect {
	if version != 4 {
		version = 5
	}
	if namespace == "" {
		namespace = mainNamespace
	}
	d := &dialect{
		version: version, parser: p.parser, roomEvents: p.roomEvents, dialled: dialled, namespace: namespace,
		maxAttachments: p.maxAttachments, maxBytes: p.maxAttachmentBytes, attachmentTimeout: p.attachmentTimeout,
	}
	// The bytes do not tell who has made them, but for the namespace.
	d.format = fmt.Sprintf("socketio/%d", version)
	if p.parser == Msgpack {
		d.format += "/msgpack"
	}
	if p.maxAttachments != DefaultMaxAttachments {
		d.format += fmt.Sprintf(" attachments=%d", p.maxAttachments)
	}
	if namespace != mainNamespace {
		d.format += " " + namespace
	}
	return d
}

// NewSession returns what speaks the wire on one link, for those who carry it
// over something else than Engine.IO. Of the host it uses Kind and Limits.
func (p *Protocol) NewSession(host wire.Host, o SessionOptions) wire.Session {
	return p.dialect(o.Version, o.Dialled, o.Namespace).session(host, o.EngineID, o.Link)
}

func (d *dialect) session(host wire.Host, engineID string, link io.Closer) wire.Session {
	s := session{dialect: d, host: host, engineID: engineID, link: link}
	if d.parser == Msgpack {
		return &msgpackSession{s}
	}
	return &jsonSession{s}
}

// session is what sessions of both parsers have. Decode alone changes it,
// except for the assembly.
type session struct {
	*dialect

	host       wire.Host
	engineID   string
	link       io.Closer
	names      []string  // of namespaces that packets have named
	nextName   int       // which of a full list goes next
	assembly   *assembly // nil: no attachments have come so far
	recovering bool      // the other side numbers messages
}

// Format names what the bytes look like.
func (s *session) Format() string { return s.format }

// maxNames is how many names a session remembers: more than sensible peers
// use, and little to hold for one that is not.
const maxNames = 8

// name returns the name of a namespace as a string; empty is the main one.
func (s *session) name(b []byte) (string, error) {
	if len(b) == 0 || len(b) == 1 && b[0] == '/' {
		return mainNamespace, nil
	}
	for _, n := range s.names {
		if n == string(b) {
			return n, nil
		}
	}
	if b[0] != '/' || len(b) > MaxNamespaceBytes || !utf8.Valid(b) {
		return "", errNamespace
	}
	n := string(b)
	if len(s.names) < maxNames {
		s.names = append(s.names, n)
		return n, nil
	}
	s.names[s.nextName] = n
	s.nextName = (s.nextName + 1) % maxNames
	return n, nil
}

// elsewhere reports whether a packet is about a namespace that this side has
// not dialled.
func (s *session) elsewhere(namespace string) bool { return s.dialled && namespace != s.namespace }

// key is the id of a connection in version 4, which both sides make alike.
func (s *session) key(namespace string) string {
	if namespace == mainNamespace {
		return s.engineID
	}
	return namespace + "#" + s.engineID
}

// target returns the name of the namespace that a packet to send is about.
func (s *session) target(p *wire.Packet) (string, error) {
	n := p.Namespace
	switch n {
	case "":
		return s.namespace, nil
	case mainNamespace:
		return n, nil
	}
	if n[0] != '/' || len(n) > MaxNamespaceBytes || strings.IndexByte(n, ',') >= 0 || !utf8.ValidString(n) ||
		s.version == 4 && strings.IndexByte(n, '?') >= 0 {
		return "", errBadNamespace
	}
	return n, nil
}

// helloOf completes a Hello that has its namespace and credentials.
func (s *session) helloOf(p *wire.Packet) {
	p.Type = wire.Hello
	if s.version == 4 {
		p.Key = s.key(p.Namespace)
	}
}

// refusal is what a connect error says.
func refusal(message string, details codec.Payload) *wire.ErrorBody {
	e := &wire.ErrorBody{Code: "unauthorized", Message: message, Details: details}
	if message == "Invalid namespace" {
		e.Code = "not_found"
	}
	return e
}

// spoken is an error's message, in words that go into any packet.
func spoken(e *wire.ErrorBody) string {
	if e.Message == "" {
		return strings.ToValidUTF8(e.Code, "\uFFFD")
	}
	return strings.ToValidUTF8(e.Message, "\uFFFD")
}
