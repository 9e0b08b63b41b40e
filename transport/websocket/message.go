package websocket

import (
	"unicode/utf8"

	"github.com/polywire/polywire/transport"
)

// message is a fragmented message in progress (RFC 6455 section 5.4).
type message struct {
	op         transport.FrameType
	compressed bool
	fragments  int
	checked    int // data[:checked] is known to be UTF-8
	data       []byte
}

// limit returns how long the message may become on the wire.
func (m *message) limit(maxBytes int) int {
	if m.compressed {
		return compressedLimit(maxBytes)
	}
	return maxBytes
}

// takeFragment adds a fragment to the message in progress, or begins one.
func (c *Conn) takeFragment(first byte, payload []byte) (f transport.Frame, whole bool, err error) {
	if c.msg == nil {
		c.msg = &message{op: transport.FrameType(first & bitsOpcode), compressed: first&bitRSV1 != 0}
	}
	m := c.msg
	if m.fragments++; c.maxFragments > 0 && m.fragments > c.maxFragments {
		return f, false, violation(transport.CloseTooBig, "too many fragments")
	}
	m.data = append(m.data, payload...)
	whole = first&bitFin != 0
	if m.op == transport.Text && !m.compressed && !m.checkText(whole) {
		return f, false, violation(transport.CloseInvalidPayload, "text is not UTF-8")
	}
	if !whole {
		return f, false, nil
	}
	c.msg = nil
	f = transport.Frame{Type: m.op, Data: m.data}
	if !m.compressed {
		c.assembled = true
		return f, true, nil
	}
	if f.Data, err = c.inflate(m.data); err != nil {
		return f, false, err
	}
	if m.op == transport.Text && !utf8.Valid(f.Data) {
		return f, false, violation(transport.CloseInvalidPayload, "text is not UTF-8")
	}
	return f, true, nil
}

// checkText checks what has come since the last time, but for a character
// whose end is still missing; at the end none may be.
func (m *message) checkText(end bool) bool {
	b := m.data[m.checked:]
	n := len(b)
	if !end {
		n -= incompleteRune(b)
	}
	m.checked += n
	return utf8.Valid(b[:n])
}

// incompleteRune returns how many bytes at the end of b may be the beginning
// of a character.
func incompleteRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
