package websocket

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/polywire/polywire/transport"
)

// headBytes is what Begin reserves: the header of a short frame.
const headBytes = 2

// serverFramer makes unmasked frames; all connections share their bytes.
type serverFramer struct{}

func (serverFramer) Format() string { return "ws" }

func (serverFramer) Begin(dst []byte) []byte { return append(dst, 0, 0) }

func (serverFramer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	return endFrame(dst, start, t, nil, false)
}

// deflateFramer makes unmasked frames for peers that can inflate. There is one
// format whatever the options: each message is compressed by itself.
type deflateFramer struct{ compression *Compression }

func (deflateFramer) Format() string { return "ws+deflate" }

func (deflateFramer) Begin(dst []byte) []byte { return append(dst, 0, 0) }

func (f deflateFramer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	return endFrame(dst, start, t, f.compression, false)
}

// Uncompressed implements [transport.Compressor].
func (deflateFramer) Uncompressed() transport.Framer { return deflateFramer{} }

// clientFramer makes masked frames, each with a mask of its own, which nobody
// shares.
type clientFramer struct{ compression *Compression }

func (clientFramer) Format() string { return "" }

func (clientFramer) Begin(dst []byte) []byte { return append(dst, 0, 0, 0, 0, 0, 0) }

// Uncompressed implements [transport.Compressor].
func (clientFramer) Uncompressed() transport.Framer { return clientFramer{} }

func (f clientFramer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	return endFrame(dst, start, t, f.compression, true)
}

// endFrame completes the frame in dst[start:]: it compresses the payload where
// that pays, makes room for a longer header, writes that, and masks.
func endFrame(dst []byte, start int, t transport.FrameType, comp *Compression, masked bool) ([]byte, error) {
	body := start + headBytes
	if masked {
		body += 4
	}
	first := bitFin | byte(t)
	switch {
	case t == transport.Text || t == transport.Binary:
		if comp != nil && len(dst)-body >= comp.minBytes() {
			var smaller bool
			if dst, smaller = comp.deflate(dst, body); smaller {
				first |= bitRSV1
			}
		}
	case t != transport.Close && t != transport.Ping && t != transport.Pong:
		return nil, fmt.Errorf("websocket: %v cannot be sent", t)
	case len(dst)-body > maxControl:
		return nil, fmt.Errorf("websocket: a %v of %d bytes is too long", t, len(dst)-body)
	}
	length := len(dst) - body
	dst, body = makeRoom(dst, body, length)
	h := dst[start:body:body]
	h[0] = first
	switch {
	case length < 126:
		h[1] = byte(length)
	case length < 1<<16:
		h[1] = 126
		binary.BigEndian.PutUint16(h[2:], uint16(length))
	default:
		h[1] = 127
		binary.BigEndian.PutUint64(h[2:], uint64(length))
	}
	if masked {
		// The generator behind this is ChaCha8 with a seed from the system,
		// which RFC 6455 section 10.3 asks for; it costs no lock and no memory.
		key := rand.Uint32() //nolint:gosec // see above
		h[1] |= bitMask
		binary.LittleEndian.PutUint32(h[len(h)-4:], key)
		mask(dst[body:], key)
	}
	return dst, nil
}

// makeRoom moves the payload at body back for a length that does not fit into
// the second byte.
func makeRoom(dst []byte, body, length int) ([]byte, int) {
	var more int
	switch {
	case length >= 1<<16:
		more = 8
	case length >= 126:
		more = 2
	default:
		return dst, body
	}
	dst = append(dst, make([]byte, more)...)
	copy(dst[body+more:], dst[body:body+length])
	return dst, body + more
}
