package engineio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/polywire/polywire/transport"
)

// Neutral bytes are what the framers of all connections make: frames of a
// WebSocket server (RFC 6455 section 5.2, unmasked, whole) whose payload is the
// packet. They are written to a WebSocket as they are, and translated where a
// session polls, so that they do not depend on what it does just now.

const (
	frameFin = 0x80

	// roomBytes is what Begin reserves: the header of a short frame and the
	// type of the packet.
	roomBytes = 3

	maxControl = 125 // of RFC 6455 section 5.5, for pings and pongs too

	// separator is between the packets of a payload of version 4. JSON has it
	// escaped only.
	separator = 0x1e
)

// framer makes neutral bytes. All connections of a version share them.
type framer struct{ v version }

var errSeparator = errors.New("engineio: text has a byte 0x1e, which no payload can carry")

func (f framer) Format() string {
	if f.v == v3 {
		return "engineio/3"
	}
	return "engineio/4"
}

func (framer) Begin(dst []byte) []byte { return append(dst, 0, 0, 0) }

func (f framer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	op, body := transport.Text, start+roomBytes
	payload := dst[body:]
	first := byte(kindMessage)
	switch t {
	case transport.Text:
		if f.v != v3 && bytes.IndexByte(payload, separator) >= 0 {
			return nil, errSeparator
		}
	case transport.Binary:
		op, first = transport.Binary, byte(kindMessage-'0')
	case transport.Ping, transport.Pong, transport.Close:
		if len(payload) > maxControl {
			return nil, fmt.Errorf("engineio: a %v of %d bytes is too long", t, len(payload))
		}
		switch t {
		case transport.Ping:
			first = byte(kindPing)
		case transport.Pong:
			first = byte(kindPong)
		default:
			op, dst = transport.Close, dst[:body+closeBytes(payload)]
		}
	default:
		return nil, fmt.Errorf("engineio: %v cannot be sent", t)
	}
	if typed := op == transport.Text || op == transport.Binary && f.v == v3; typed {
		body--
		dst[body] = first
	}
	return putHeader(dst, start, body, op), nil
}

// Uncompressed implements [transport.Compressor].
func (f framer) Uncompressed() transport.Framer { return plainFramer{f} }

// plainFramer makes neutral bytes of messages that are not to be compressed. A
// mark before each says so: a pong that nobody has asked for (RFC 6455 section
// 5.5.3), which means nothing on a WebSocket that gets the bytes as they are.
type plainFramer struct{ framer }

const mark = "\x8a\x00"

func (plainFramer) Begin(dst []byte) []byte { return append(dst, mark+"\x00\x00\x00"...) }

func (f plainFramer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	return f.framer.End(dst, start+len(mark), t)
}

// marked reports whether the next frame in neutral bytes has a mark.
func marked(b []byte) bool { return bytes.HasPrefix(b, []byte(mark)) }

// compressible reports whether some frame in neutral bytes may be compressed.
func compressible(b []byte) bool {
	for len(b) > 0 {
		if !marked(b) {
			return true
		}
		_, _, rest, err := cutFrame(b)
		if err != nil {
			return false
		}
		b = rest
	}
	return false
}

// closeBytes returns how much of a close frame's payload is sent. Official
// servers close without a code, and with 1009 alone.
func closeBytes(payload []byte) int {
	if len(payload) < 2 {
		return 0
	}
	switch code := binary.BigEndian.Uint16(payload); {
	case code == transport.CloseTooBig:
		return 2
	case code >= 3000:
		return len(payload)
	}
	return 0
}

// putHeader makes a frame of dst[start:] with the payload dst[body:], which it
// moves to where the header ends.
func putHeader(dst []byte, start, body int, op transport.FrameType) []byte {
	length := len(dst) - body
	head := 2
	switch {
	case length >= 1<<16:
		head = 10
	case length >= 126:
		head = 4
	}
	if to := start + head; to != body {
		if to > body {
			dst = append(dst, make([]byte, to-body)...)
		}
		copy(dst[to:], dst[body:body+length])
		dst = dst[:to+length]
	}
	h := dst[start : start+head]
	h[0] = frameFin | byte(op)
	switch head {
	case 2:
		h[1] = byte(length)
	case 4:
		h[1] = 126
		binary.BigEndian.PutUint16(h[2:], uint16(length))
	default:
		h[1] = 127
		binary.BigEndian.PutUint64(h[2:], uint64(length))
	}
	return dst
}

// appendControl appends the neutral frame of a packet that no framer makes: an
// open packet, a noop, the pong of a probe.
func appendControl(dst []byte, _ version, k kind, data string) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, byte(k))
	dst = append(dst, data...)
	return putHeader(dst, start, start+2, transport.Text)
}

// eachFrame calls f for every frame in neutral bytes, until one is malformed
// or f fails. The payload is the packet as a WebSocket carries it.
func eachFrame(b []byte, f func(t transport.FrameType, payload []byte) error) error {
	for len(b) > 0 {
		op, payload, rest, err := cutFrame(b)
		if err != nil {
			return err
		}
		if err := f(op, payload); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// cutFrame takes the first frame off b, and its mark.
func cutFrame(b []byte) (op transport.FrameType, payload, rest []byte, err error) {
	if marked(b) {
		b = b[len(mark):]
	}
	if len(b) < 2 || b[0]&0xf0 != frameFin || b[1]&0x80 != 0 {
		return 0, nil, nil, malformed("no whole, unmasked frame")
	}
	op = transport.FrameType(b[0] & 0x0f)
	if op != transport.Text && op != transport.Binary && op != transport.Close {
		return 0, nil, nil, malformed("unknown frame")
	}
	length, head := uint64(b[1]), 2
	switch {
	case length == 126 && len(b) >= 4:
		length, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, head = binary.BigEndian.Uint64(b[2:]), 10
	case length >= 126:
		return 0, nil, nil, malformed("frame without length")
	}
	if length > uint64(len(b)-head) {
		return 0, nil, nil, malformed("frame too short")
	}
	end := head + int(length)
	return op, b[head:end:end], b[end:], nil
}
