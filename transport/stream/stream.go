// Package stream carries frames over any stream of bytes: TCP, TLS, unix
// sockets, an upgraded HTTP connection.
//
// A frame is one byte of [transport.FrameType], four bytes of payload length
// (big endian), and the payload. There is no fragmentation and no masking, and
// both ends are alike. Close, ping and pong frames have at most 125 bytes of
// payload, a close frame's is that of RFC 6455 section 5.5.1, and text is
// valid UTF-8. Anything else is a violation: 1002 for an unknown type, a long
// control frame or a malformed close frame, 1007 for text that is not UTF-8,
// 1009 for a frame over the limit, as soon as its header says so.
package stream

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"syscall"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/netio"
	"github.com/polywire/polywire/transport"
)

// DefaultMaxMessageBytes is the limit of a received message when Options has none.
const DefaultMaxMessageBytes = 1 << 20

const (
	headerBytes     = 5
	maxControlBytes = 125
)

// Options are what [New] may be told. The zero value is good.
type Options struct {
	// MaxMessageBytes is the largest payload that is received; zero or less
	// means 1 MiB. What is sent has no limit but the header's 4 GiB.
	MaxMessageBytes int
	// Early is what has been read from the connection already, while opening
	// it. It is copied.
	Early []byte
}

// Conn is a link over a net.Conn. Beside transport.Conn it implements
// [transport.Sleeper], and says there what may be called beside what.
type Conn struct {
	r   netio.Reader
	max uint32
}

var (
	_ transport.Conn    = (*Conn)(nil)
	_ transport.Sleeper = (*Conn)(nil)
)

// New returns the link over nc, which belongs to it from now on.
func New(nc net.Conn, o Options) *Conn {
	c := &Conn{max: DefaultMaxMessageBytes}
	if o.MaxMessageBytes > 0 {
		c.max = uint32(min(uint64(o.MaxMessageBytes), math.MaxUint32))
	}
	c.r.Init(nc, o.Early)
	return c
}

// NetConn returns the connection that the link runs over. Reading from it or
// writing to it breaks the link.
func (c *Conn) NetConn() net.Conn { return c.r.Conn() }

// Next implements transport.Reader.
func (c *Conn) Next() (transport.Frame, bool, error) {
	b := c.r.Buffered()
	if len(b) == 0 {
		return transport.Frame{}, false, nil
	}
	t := transport.FrameType(b[0])
	if !known(t) {
		return transport.Frame{}, false, violation(transport.CloseProtocolError, "unknown frame type")
	}
	if len(b) < headerBytes {
		return transport.Frame{}, false, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	switch {
	case t.Control() && n > maxControlBytes:
		return transport.Frame{}, false, violation(transport.CloseProtocolError, "control frame too long")
	case n > c.max:
		return transport.Frame{}, false, violation(transport.CloseTooBig, "message too big")
	case uint64(len(b)) < headerBytes+uint64(n):
		return transport.Frame{}, false, nil
	}
	end := headerBytes + int(n)
	data := b[headerBytes:end:end]
	switch {
	case t == transport.Close: // it stays in the buffer: no call after this one goes further
		return transport.Frame{}, false, transport.ParseClosePayload(data)
	case t == transport.Text && !utf8.Valid(data):
		return transport.Frame{}, false, violation(transport.CloseInvalidPayload, "text is not UTF-8")
	}
	c.r.Discard(end)
	return transport.Frame{Type: t, Data: data}, true, nil
}

// Wait implements transport.Reader.
func (c *Conn) Wait() error {
	total := 0
	if b := c.r.Buffered(); len(b) >= headerBytes {
		total = headerBytes + int(min(binary.BigEndian.Uint32(b[1:]), c.max))
	}
	return c.r.Fill(total)
}

// Detach implements transport.Reader.
func (c *Conn) Detach() (release func()) { return c.r.Detach() }

// Write implements transport.Conn.
func (c *Conn) Write(bytes ...[]byte) error { return netio.Write(c.r.Conn(), bytes...) }

// Framer implements transport.Conn. All streams share one format.
func (c *Conn) Framer() transport.Framer { return framer{} }

// Close implements transport.Conn.
func (c *Conn) Close() error { return c.r.Close() }

// Interrupt implements transport.Sleeper.
func (c *Conn) Interrupt() { c.r.Interrupt() }

// Idle implements transport.Sleeper.
func (c *Conn) Idle() (syscall.RawConn, bool) { return c.r.Idle() }

var (
	errTooLong     = errors.New("stream: payload of 4 GiB or more")
	errLongControl = errors.New("stream: control frame of more than 125 bytes")
	errType        = errors.New("stream: unknown frame type")
)

type framer struct{}

func (framer) Begin(dst []byte) []byte { return append(dst, make([]byte, headerBytes)...) }

func (framer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	n := len(dst) - start - headerBytes
	switch {
	case !known(t):
		return nil, errType
	case t.Control() && n > maxControlBytes:
		return nil, errLongControl
	case uint64(n) > math.MaxUint32:
		return nil, errTooLong
	}
	dst[start] = byte(t)
	binary.BigEndian.PutUint32(dst[start+1:], uint32(n))
	return dst, nil
}

func (framer) Format() string { return "stream" }

func known(t transport.FrameType) bool {
	switch t {
	case transport.Text, transport.Binary, transport.Close, transport.Ping, transport.Pong:
		return true
	}
	return false
}

func violation(code uint16, reason string) *transport.CloseError {
	return &transport.CloseError{Code: code, Reason: reason, Local: true}
}
