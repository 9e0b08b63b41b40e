// Package transport is the port between a link's bytes and the message
// language spoken on it: a [Conn] is a pipe of frames that have no meaning.
//
// Implementations live in the folders below; transporttest has the suite that
// each of them passes and an in-memory pair for tests.
package transport

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// FrameType says what a frame is. The numbers are the opcodes of RFC 6455
// section 5.2, for every transport.
type FrameType uint8

// The frame types. Text and Binary carry messages, the others are about the link.
const (
	Text   FrameType = 1
	Binary FrameType = 2
	Close  FrameType = 8
	Ping   FrameType = 9
	Pong   FrameType = 10
)

// String returns the type's name in lower case.
func (t FrameType) String() string {
	switch t {
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	}
	return fmt.Sprintf("frame type %d", uint8(t))
}

// Control reports whether frames of this type are about the link and carry no message.
func (t FrameType) Control() bool { return t >= Close }

// Frame is one whole message as the transport delivers it; a fragmented one
// has been put together. Data is valid until the next call of Next or Wait on
// the connection that returned it; see [Reader.Detach] to keep it longer.
type Frame struct {
	Type FrameType
	Data []byte
}

// Reader is the receiving half of a [Conn]. One goroutine at a time uses it,
// beside any use of the sending half.
type Reader interface {
	// Next returns the next frame among those that have been received, and
	// false when there is no whole one: then Wait. It never blocks. A close
	// frame from the peer is delivered as an error that is a *[CloseError];
	// pings and pongs are delivered as frames and not answered. Any other
	// error is final; a violation of the protocol is a *[CloseError] with
	// Local set, whose code is for the peer to know.
	Next() (Frame, bool, error)

	// Wait blocks until more has been received, and reads all that is there.
	// It returns io.EOF when the peer has ended the link, [ErrInterrupted]
	// after [Sleeper.Interrupt], net.ErrClosed (wrapped or not) after Close.
	// A connection that waits holds no buffer unless part of a frame has come.
	Wait() error

	// Detach leaves the buffer of the last frame to the caller, who calls
	// release once when done with the frame's data. The connection goes on
	// with a copy of what is not decoded yet. release may be called from any
	// goroutine.
	Detach() (release func())
}

// Conn is one link: a pipe of frames in both directions.
type Conn interface {
	Reader

	// Write sends bytes that Framer made, all of them or an error, and blocks
	// while the peer does not read. One goroutine at a time calls it, beside
	// any use of Reader. The slices are not modified and not kept.
	Write(bytes ...[]byte) error

	// Framer returns what makes frames for this link. It is the same for as
	// long as the connection lives.
	Framer() Framer

	// Close ends the link at once, without a close frame; blocked calls of
	// Wait and Write return. It may be called at any time, any number of times.
	Close() error
}

// Framer turns payloads into the bytes of frames, in place: append Begin's
// room, append the payload, call End. Its methods may be called from many
// goroutines at once. [Writer] is the convenient way to use it.
type Framer interface {
	// Begin appends room for a frame's header.
	Begin(dst []byte) []byte
	// End completes the frame that began when dst had start bytes: dst[start:]
	// is Begin's room and the payload. It may move the payload, and returns
	// the whole. An error (too long for the peer, say) leaves dst[:start] good.
	End(dst []byte, start int, t FrameType) ([]byte, error)
	// Format names what the bytes look like. Bytes made by one framer may be
	// sent on every link whose framer has the same non-empty format, which is
	// what lets a message to many be encoded once. Empty: never shared.
	Format() string
}

// Compressor is implemented by framers that compress what is worth it.
type Compressor interface {
	// Uncompressed returns a framer of the same format that leaves messages
	// as they are.
	Uncompressed() Framer
}

// Sleeper is implemented by connections that can wait without a goroutine.
type Sleeper interface {
	// Interrupt makes a Wait that is blocked, or else the next one that would
	// block, return [ErrInterrupted]. Nothing that was received is lost.
	Interrupt()
	// Idle returns the raw connection to watch for readability, and false
	// when this connection cannot be watched that way just now (part of a
	// frame is buffered, or bytes are hidden in a TLS layer). The reading
	// goroutine calls it while nobody is in Wait.
	Idle() (syscall.RawConn, bool)
}

// Heart is implemented by connections whose transport prescribes the heartbeat.
// On others a quiet peer is pinged, and anything that it sends is an answer.
type Heart interface {
	// Heartbeat returns what is prescribed. It is the same for as long as the
	// connection lives.
	Heartbeat() Heartbeat
}

// Heartbeat is how two sides make sure of each other.
type Heartbeat struct {
	// Expected says that the peer sends the pings: it is gone when none has
	// come for Interval and Timeout together. Otherwise this side sends one
	// when Interval has passed since the last pong, whatever else goes back
	// and forth, and the peer is gone when no pong has come for Timeout.
	Expected bool
	// Unanswered says that the peer cannot answer: this side sends a ping each
	// time that Interval has passed, and only a write that fails, or the end
	// of the link, tells that the peer is gone.
	Unanswered        bool
	Interval, Timeout time.Duration
}

// Gate is implemented by connections that keep what is written until the peer
// asks for it.
type Gate interface {
	// Ready reports whether what is written now would leave at once. It may
	// be called at any time, and must not block.
	Ready() bool
}

// ErrInterrupted is returned by Wait after Interrupt.
var ErrInterrupted = errors.New("transport: wait interrupted")

// CloseError is the end of a link in an orderly way: a close frame from the
// peer, or (Local) a violation that this side found and must tell the peer of.
// Codes are those of RFC 6455 section 7.4 and the application's own.
type CloseError struct {
	Code   uint16 // 1005 when the peer gave none
	Reason string // at most 123 bytes of UTF-8
	Local  bool
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	who := "peer closed"
	if e.Local {
		who = "protocol violation"
	}
	if e.Reason == "" {
		return fmt.Sprintf("transport: %s (%d)", who, e.Code)
	}
	return fmt.Sprintf("transport: %s (%d): %s", who, e.Code, e.Reason)
}

// Close codes of RFC 6455 section 7.4.1 that transports themselves use.
const (
	CloseNormal         uint16 = 1000
	CloseGoingAway      uint16 = 1001
	CloseProtocolError  uint16 = 1002
	CloseUnsupported    uint16 = 1003
	CloseNoStatus       uint16 = 1005 // never sent
	CloseInvalidPayload uint16 = 1007
	CloseTooBig         uint16 = 1009
)
