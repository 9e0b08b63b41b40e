package load

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/polywire/polywire/transport"
)

// framing makes and finds the frames of a link. Implementations are immutable.
type framing interface {
	// begin appends room for a header; append the payload, then call end with
	// the length that dst had before.
	begin(dst []byte) []byte
	end(dst []byte, start int, t transport.FrameType) []byte
	// next returns the first frame in b, which it may refer to, and its size
	// with header; a size of 0 when it is not whole yet.
	next(b []byte) (f transport.Frame, size int, err error)
}

func tooLarge(n uint64, limit int) error {
	return fmt.Errorf("a frame of %d bytes where %d were the most to expect", n, limit)
}

// webSocketFraming is the client's side of RFC 6455 section 5.2. Its mask is
// zero: the server has the same work as with any other, while the generator
// saves its own.
type webSocketFraming struct{ maxBytes int }

const (
	finBit    = 0x80
	maskBit   = 0x80
	shortHead = 6  // first byte, length, mask
	midHead   = 8  // with 16 bits of length
	longHead  = 14 // with 64 bits
)

func (webSocketFraming) begin(dst []byte) []byte {
	return append(dst, 0, maskBit, 0, 0, 0, 0)
}

func (webSocketFraming) end(dst []byte, start int, t transport.FrameType) []byte {
	n := len(dst) - start - shortHead
	switch {
	case n < 126:
		dst[start+1] = maskBit | byte(n)
	case n < 1<<16:
		dst = widen(dst, start, midHead-shortHead)
		dst[start+1] = maskBit | 126
		binary.BigEndian.PutUint16(dst[start+2:], uint16(n))
		clear(dst[start+4 : start+midHead])
	default:
		dst = widen(dst, start, longHead-shortHead)
		dst[start+1] = maskBit | 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(n))
		clear(dst[start+10 : start+longHead])
	}
	dst[start] = finBit | byte(t)
	return dst
}

// widen makes the room that begin left in dst larger by n bytes.
func widen(dst []byte, start, n int) []byte {
	var more [longHead - shortHead]byte
	dst = append(dst, more[:n]...)
	copy(dst[start+shortHead+n:], dst[start+shortHead:len(dst)-n])
	return dst
}

func (w webSocketFraming) next(b []byte) (f transport.Frame, size int, err error) {
	if len(b) < 2 {
		return f, 0, nil
	}
	n, head := uint64(b[1]), 2
	if b[0]&0xf0 != finBit || b[0]&0xf == 0 || n&maskBit != 0 {
		return f, 0, errors.New("a fragmented, masked or extended WebSocket frame from the server")
	}
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return f, 0, nil
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return f, 0, nil
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	if n > uint64(w.maxBytes) {
		return f, 0, tooLarge(n, w.maxBytes)
	}
	if size = head + int(n); len(b) < size {
		return f, 0, nil
	}
	return transport.Frame{Type: transport.FrameType(b[0] & 0xf), Data: b[head:size]}, size, nil
}

// streamFraming is what the native wire uses on TCP and unix sockets: one byte
// of type, four of length, big endian.
type streamFraming struct{ maxBytes int }

const streamHead = 5

func (streamFraming) begin(dst []byte) []byte { return append(dst, 0, 0, 0, 0, 0) }

func (streamFraming) end(dst []byte, start int, t transport.FrameType) []byte {
	dst[start] = byte(t)
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-streamHead))
	return dst
}

func (s streamFraming) next(b []byte) (f transport.Frame, size int, err error) {
	if len(b) < streamHead {
		return f, 0, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	if uint64(n) > uint64(s.maxBytes) {
		return f, 0, tooLarge(uint64(n), s.maxBytes)
	}
	if size = streamHead + int(n); len(b) < size {
		return f, 0, nil
	}
	return transport.Frame{Type: transport.FrameType(b[0]), Data: b[streamHead:size]}, size, nil
}
