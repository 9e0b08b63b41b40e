package sse

import (
	"sync"

	"github.com/polywire/polywire/transport"
)

const pingEvent = ": ping\n\n"

// framer makes whole events of their lines. It notes the one that ends the
// stream, for Write to know it: it is the last that is written.
type framer struct {
	mu   sync.Mutex
	last []byte // nil: not yet
	code uint16
	why  string
}

// Begin implements [transport.Framer]: events have no header.
func (*framer) Begin(dst []byte) []byte { return dst }

// End implements [transport.Framer]. What a ping carries is left out, and a
// pong altogether: nobody would understand them.
func (f *framer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	switch t {
	case transport.Ping:
		return append(dst[:start], pingEvent...), nil
	case transport.Pong:
		return dst[:start], nil
	case transport.Close:
		said := transport.ParseClosePayload(dst[start:])
		dst = append(appendClose(dst[:start], said.Code, said.Reason), '\n')
		f.mu.Lock()
		f.last, f.code, f.why = append([]byte(nil), dst[start:]...), said.Code, said.Reason
		f.mu.Unlock()
		return dst, nil
	}
	return append(dst, '\n'), nil
}

// Format implements [transport.Framer].
func (*framer) Format() string { return "event-stream" }

// silence is the framer of clients, who have nothing to say. A byte stands for
// the end, which Write takes for that.
type silence struct{}

// Begin implements [transport.Framer].
func (silence) Begin(dst []byte) []byte { return dst }

// End implements [transport.Framer]: there are no frames.
func (silence) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	if t == transport.Close {
		return append(dst[:start], '\n'), nil
	}
	return dst[:start], nil
}

// Format implements [transport.Framer].
func (silence) Format() string { return "" }
