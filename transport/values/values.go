// Package values carries values that say themselves where they end, one after
// the other, over any stream of bytes: JSON or MessagePack on TCP, TLS and unix
// sockets. A frame is a value, nothing is around it.
//
// There are no frames about the link. What is written for a ping is a value of
// the message language's own ([Syntax.Ping]), whose answer is a frame like
// others and shows that the peer lives. A close frame's code and reason cannot
// be said: it ends what this side writes, and the peer reads the end of the
// stream.
package values

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/internal/msgscan"
	"github.com/polywire/polywire/internal/netio"
	"github.com/polywire/polywire/transport"
)

// DefaultMaxMessageBytes is the limit of a received value when Options has none.
const DefaultMaxMessageBytes = 1 << 20

// Syntax is how values look on a link. It is not changed once in use.
type Syntax struct {
	// Name names what framers make: links with equal names have equal
	// Separator and Ping too.
	Name string
	// Type is that of all frames, Text or Binary. Text is valid UTF-8.
	Type transport.FrameType
	// NewScanner returns what finds the ends of values on one connection.
	NewScanner func() Scanner
	// Blank are the bytes that may stand between values.
	Blank string
	// Separator is written after each value.
	Separator string
	// Ping is written for a ping frame, whose payload is not; empty: nothing is.
	Ping string
	// Stop is a byte that no value ends with, together with Separator. It
	// stands for a close frame until it would be written. A frame that ends
	// with it is refused.
	Stop byte
}

// JSON returns the syntax of objects and arrays with a newline after each,
// which a reader does not depend on. Other JSON values do not say where they
// end, and are a violation.
func JSON() Syntax {
	return Syntax{
		Name: "values/json", Type: transport.Text,
		NewScanner: func() Scanner { return new(jsonscan.Extent) },
		Blank:      " \t\r\n", Separator: "\n", Stop: 0,
	}
}

// Msgpack returns the syntax of MessagePack values. Those that are sent may
// end in anything but 0xc1, which the last byte of a string never is.
func Msgpack() Syntax {
	return Syntax{
		Name: "values/msgpack", Type: transport.Binary,
		NewScanner: func() Scanner { return new(msgscan.Extent) },
		Stop:       0xc1,
	}
}

// Scanner finds the end of one value after the other. It looks at the same
// bytes a bounded number of times, however few of them come at once.
type Scanner interface {
	// Scan goes on in data, which begins with the value and grows from call to
	// call. It returns the value's length, zero when its end has not come. An
	// error is final, and told to the peer in at most 123 bytes.
	Scan(data []byte) (int, error)
	// Reset goes to the beginning of another value.
	Reset()
}

// Options are what [New] may be told. The zero value is good.
type Options struct {
	// MaxMessageBytes is the largest value that is received; zero or less
	// means 1 MiB. What is sent has no limit.
	MaxMessageBytes int
	// Early is what has been read from the connection already, while opening
	// it. It is copied.
	Early []byte
	// Scanner finds the ends of values, in place of one that the syntax makes;
	// nil: that. It passes no text but valid UTF-8.
	Scanner Scanner
}

// Conn is a link over a net.Conn. Beside transport.Conn it implements
// [transport.Sleeper], and says there what may be called beside what. Each
// slice given to Write ends with a frame.
type Conn struct {
	r       netio.Reader
	syntax  *Syntax
	scanner Scanner
	max     int
	begun   bool // the scanner is inside of a value
	checks  bool // the scanner passes no text but valid UTF-8
	err     *transport.CloseError
}

var (
	_ transport.Conn    = (*Conn)(nil)
	_ transport.Sleeper = (*Conn)(nil)
)

// New returns the link over nc, which belongs to it from now on.
func New(nc net.Conn, s *Syntax, o Options) *Conn {
	c := &Conn{syntax: s, scanner: o.Scanner, checks: o.Scanner != nil, max: DefaultMaxMessageBytes}
	if c.scanner == nil {
		c.scanner = s.NewScanner()
	}
	if o.MaxMessageBytes > 0 {
		c.max = o.MaxMessageBytes
	}
	c.r.Init(nc, o.Early)
	return c
}

// NetConn returns the connection that the link runs over. Reading from it or
// writing to it breaks the link.
func (c *Conn) NetConn() net.Conn { return c.r.Conn() }

// Next implements transport.Reader.
func (c *Conn) Next() (transport.Frame, bool, error) {
	if c.err != nil {
		return transport.Frame{}, false, c.err
	}
	b := c.r.Buffered()
	if !c.begun {
		b = c.skipBlank(b)
	}
	if len(b) == 0 {
		return transport.Frame{}, false, nil
	}
	n, err := c.scanner.Scan(b[:min(len(b), c.max)])
	switch {
	case err != nil:
		return c.violation(transport.CloseInvalidPayload, err.Error())
	case n == 0 && len(b) >= c.max:
		return c.violation(transport.CloseTooBig, "message too big")
	case n == 0:
		c.begun = true
		return transport.Frame{}, false, nil
	}
	data := b[:n:n]
	if c.syntax.Type == transport.Text && !c.checks && !utf8.Valid(data) {
		return c.violation(transport.CloseInvalidPayload, "text is not UTF-8")
	}
	c.r.Discard(n)
	c.scanner.Reset()
	c.begun = false
	return transport.Frame{Type: c.syntax.Type, Data: data}, true, nil
}

// skipBlank discards what stands before a value, of which b is the rest.
func (c *Conn) skipBlank(b []byte) []byte {
	n := 0
	for n < len(b) && strings.IndexByte(c.syntax.Blank, b[n]) >= 0 {
		n++
	}
	if n > 0 {
		c.r.Discard(n)
	}
	return b[n:]
}

// violation is the end of reading.
func (c *Conn) violation(code uint16, reason string) (transport.Frame, bool, error) {
	c.err = &transport.CloseError{Code: code, Reason: reason, Local: true}
	return transport.Frame{}, false, c.err
}

// Wait implements transport.Reader.
func (c *Conn) Wait() error { return c.r.Fill(0) }

// Detach implements transport.Reader.
func (c *Conn) Detach() (release func()) { return c.r.Detach() }

// Write implements transport.Conn. After a close frame it ends the stream.
func (c *Conn) Write(bytes ...[]byte) error {
	if n := len(bytes); n > 0 {
		if last := bytes[n-1]; len(last) > 0 && last[len(last)-1] == c.syntax.Stop {
			return c.writeLast(bytes)
		}
	}
	return netio.Write(c.r.Conn(), bytes...)
}

// writeLast writes what comes before a close frame. The other direction stays
// open, if the connection has two, for the peer to end it.
func (c *Conn) writeLast(bytes [][]byte) error {
	rest := append([][]byte(nil), bytes...)
	last := rest[len(rest)-1]
	rest[len(rest)-1] = last[:len(last)-1]
	if err := netio.Write(c.r.Conn(), rest...); err != nil {
		return err
	}
	if half, ok := c.r.Conn().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.r.Close()
}

// Framer implements transport.Conn.
func (c *Conn) Framer() transport.Framer { return framer{c.syntax} }

// Close implements transport.Conn.
func (c *Conn) Close() error { return c.r.Close() }

// Interrupt implements transport.Sleeper.
func (c *Conn) Interrupt() { c.r.Interrupt() }

// Idle implements transport.Sleeper.
func (c *Conn) Idle() (syscall.RawConn, bool) { return c.r.Idle() }

var (
	errType = errors.New("values: a frame of a type that this syntax does not have")
	errStop = errors.New("values: a value that ends like a close frame")
)

type framer struct{ *Syntax }

func (framer) Begin(dst []byte) []byte { return dst }

func (f framer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	switch t {
	case f.Type:
		dst = append(dst, f.Separator...)
		if len(dst) > start && dst[len(dst)-1] == f.Stop {
			return dst, errStop
		}
		return dst, nil
	case transport.Close:
		return append(dst[:start], f.Stop), nil
	case transport.Ping:
		if f.Ping == "" {
			return dst[:start], nil
		}
		return append(append(dst[:start], f.Ping...), f.Separator...), nil
	case transport.Pong: // nobody asks for one
		return dst[:start], nil
	}
	return dst, errType
}

func (f framer) Format() string { return f.Name }
