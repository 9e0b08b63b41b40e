package websocket

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/polywire/polywire/transport"
)

// The bits of a frame's first two bytes (RFC 6455 section 5.2).
const (
	bitFin     = 0x80
	bitRSV1    = 0x40
	bitsRSV23  = 0x30
	bitsOpcode = 0x0f
	bitMask    = 0x80

	opContinuation = 0
	maxControl     = 125
)

// Next implements [transport.Reader].
func (c *Conn) Next() (transport.Frame, bool, error) {
	if c.err != nil {
		return transport.Frame{}, false, c.err
	}
	c.recycle()
	c.assembled = false
	for {
		first, payload, ok, err := c.frame()
		if !ok {
			c.err = err
			return transport.Frame{}, false, err
		}
		f, whole, err := c.take(first, payload)
		if err != nil {
			c.err = err
			return transport.Frame{}, false, err
		}
		if whole {
			return f, true, nil
		}
	}
}

// frame takes the next whole frame out of the buffer: its first byte, and its
// payload unmasked in place. Every rule that a header can break is checked as
// soon as the header is there.
func (c *Conn) frame() (first byte, payload []byte, ok bool, err error) {
	b := c.in.Buffered()
	c.need = 0
	if len(b) < 2 {
		return 0, nil, false, nil
	}
	first = b[0]
	if plain := first == bitFin|byte(transport.Text) || first == bitFin|byte(transport.Binary); !plain || c.msg != nil {
		if err := c.checkFirst(first, b[1]); err != nil {
			return 0, nil, false, err
		}
	}
	if (b[1]&bitMask != 0) != c.server { // section 5.1
		return 0, nil, false, violation(transport.CloseProtocolError, "wrong masking")
	}
	length, head, err := frameLength(b)
	if head == 0 {
		return 0, nil, false, err
	}
	if limit := c.limit(first); length > uint64(limit) {
		return 0, nil, false, violation(transport.CloseTooBig, "message too big")
	}
	end := head + int(length)
	if c.server {
		end += 4
	}
	if len(b) < end {
		c.need = end
		return 0, nil, false, nil
	}
	payload = b[end-int(length) : end : end]
	if c.server {
		mask(payload, binary.LittleEndian.Uint32(b[head:]))
	}
	c.in.Discard(end)
	return first, payload, true, nil
}

// checkFirst checks flags and opcode against each other and what came before
// (RFC 6455 sections 5.2, 5.4 and 5.5, RFC 7692 section 6).
func (c *Conn) checkFirst(first, second byte) error {
	op := first & bitsOpcode
	var reason string
	switch {
	case first&bitsRSV23 != 0:
		reason = "reserved bit set"
	case first&bitRSV1 != 0 && (c.compression == nil || op == opContinuation || transport.FrameType(op).Control()):
		reason = "reserved bit set"
	case op > 2 && op < 8, op > 10:
		reason = "unknown opcode"
	case op >= 8 && first&bitFin == 0:
		reason = "fragmented control frame"
	case op >= 8 && second&^bitMask > maxControl:
		reason = "control frame too long"
	case op == opContinuation && c.msg == nil:
		reason = "continuation of nothing"
	case (op == 1 || op == 2) && c.msg != nil:
		reason = "message within a message"
	default:
		return nil
	}
	return violation(transport.CloseProtocolError, reason)
}

// frameLength decodes a payload's length; head is where it ends, zero when
// part of it is missing or wrong. Only the shortest form is right (RFC 6455
// section 5.2).
func frameLength(b []byte) (length uint64, head int, err error) {
	var least uint64
	switch n := b[1] &^ bitMask; {
	case n < 126:
		return uint64(n), 2, nil
	case n == 126:
		if len(b) < 4 {
			return 0, 0, nil
		}
		length, head, least = uint64(binary.BigEndian.Uint16(b[2:])), 4, 126
	default:
		if len(b) < 10 {
			return 0, 0, nil
		}
		length, head, least = binary.BigEndian.Uint64(b[2:]), 10, 1<<16
	}
	if length < least || length>>63 != 0 {
		return 0, 0, violation(transport.CloseProtocolError, "wrong form of length")
	}
	return length, head, nil
}

// limit returns how much payload a frame may have.
func (c *Conn) limit(first byte) int {
	switch {
	case transport.FrameType(first & bitsOpcode).Control():
		return maxControl
	case c.msg != nil:
		return c.msg.limit(c.maxBytes) - len(c.msg.data)
	case first&bitRSV1 != 0:
		return compressedLimit(c.maxBytes)
	}
	return c.maxBytes
}

// take makes a frame for the caller of a frame on the wire, if it completes one.
func (c *Conn) take(first byte, payload []byte) (f transport.Frame, whole bool, err error) {
	op := transport.FrameType(first & bitsOpcode)
	switch {
	case op == transport.Close:
		return f, false, transport.ParseClosePayload(payload)
	case op.Control():
		return transport.Frame{Type: op, Data: payload}, true, nil
	case c.msg == nil && first&bitFin != 0:
		f = transport.Frame{Type: op, Data: payload}
		if first&bitRSV1 != 0 {
			if f.Data, err = c.inflate(payload); err != nil {
				return f, false, err
			}
		}
		if op == transport.Text && !utf8.Valid(f.Data) {
			return f, false, violation(transport.CloseInvalidPayload, "text is not UTF-8")
		}
		return f, true, nil
	}
	return c.takeFragment(first, payload)
}

// violation is the end of a connection whose peer broke a rule.
func violation(code uint16, reason string) error {
	return &transport.CloseError{Code: code, Reason: reason, Local: true}
}
