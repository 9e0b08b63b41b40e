package load

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
)

// drsWire speaks the commands of DRS in JSON. It does not answer what the
// server fires, which nobody waits for.
type drsWire struct {
	payload []byte // as a JSON string
	news    bool   // Broadcast
	tail    []byte // a request's members after the key
}

// drsKeyDigits is how long the keys of requests are: about as long as those of
// DRS clients, which make them of the time.
const drsKeyDigits = 16

func newDRSWire(m Mode, payload []byte) *drsWire {
	w := &drsWire{payload: jsonscan.AppendString(nil, payload), news: m == Broadcast}
	action := "echo"
	if w.news {
		action = "broadcast"
	}
	w.tail = fmt.Appendf(nil, `","action":"%s","body":%s}`, action, w.payload)
	return w
}

func (*drsWire) path(given string) string       { return cmp.Or(given, "/socket") }
func (*drsWire) hello() []byte                  { return nil }
func (*drsWire) subprotocol() string            { return "" }
func (*drsWire) stream(maxBytes int) framing    { return valueFraming{maxBytes} }
func (*drsWire) frameType() transport.FrameType { return transport.Text }
func (*drsWire) open(*line) error               { return nil }
func (w *drsWire) body() []byte                 { return w.payload }

func (w *drsWire) appendRequest(dst []byte, id uint64) []byte {
	var digits [20]byte
	n := strconv.AppendUint(digits[:0], id, 10)
	dst = append(dst, `{"key":"`...)
	for range drsKeyDigits - len(n) {
		dst = append(dst, '0')
	}
	return append(append(dst, n...), w.tail...)
}

// appendPong answers drs.ping, whose key is that of the answer.
func (*drsWire) appendPong(dst, ping []byte) []byte {
	c, _ := parseCommand(ping) // it was looked at
	dst = jsonscan.AppendString(append(dst, `{"key":`...), c.key)
	return append(dst, `,"action":"drs.response"}`...)
}

func (w *drsWire) classify(f transport.Frame) (class, uint64) {
	if f.Type != transport.Text {
		return failure, 0
	}
	c, err := parseCommand(f.Data)
	if err != nil {
		return failure, 0
	}
	switch string(c.action) {
	case "drs.error", "drs.exception":
		return failure, 0
	case "drs.ping":
		return heartbeat, 0
	case "drs.response":
		id, rest := leadingUint(c.key)
		if w.news || id == 0 || len(rest) > 0 || len(c.body) != len(w.payload) {
			return unrelated, 0
		}
		return answer, id
	case "news":
		if w.news && len(c.body) == len(w.payload) {
			return answer, 0
		}
	}
	return unrelated, 0
}

// command is the part of one that a run looks at.
type command struct{ key, action, body []byte }

// parseCommand reads a command in place.
func parseCommand(b []byte) (c command, err error) {
	s := jsonscan.Scanner{Data: b}
	if err = s.Open('{'); err != nil {
		return c, err
	}
	for first := true; ; first = false {
		if more, err := s.More('}', first); err != nil || !more {
			return c, err
		}
		name, err := s.Key()
		if err != nil {
			return c, err
		}
		switch string(name) {
		case "key":
			c.key, err = s.String()
		case "action":
			c.action, err = s.String()
		case "body":
			c.body, err = s.Value()
		default:
			_, err = s.Value()
		}
		if err != nil {
			return c, err
		}
	}
}

// valueFraming is what DRS uses on TCP and unix sockets: JSON values, with a
// newline after each or without.
type valueFraming struct{ maxBytes int }

func (valueFraming) begin(dst []byte) []byte { return dst }

func (valueFraming) end(dst []byte, _ int, t transport.FrameType) []byte {
	if t.Control() {
		return dst
	}
	return append(dst, '\n')
}

func (v valueFraming) next(b []byte) (f transport.Frame, size int, err error) {
	value := bytes.TrimLeft(b, " \t\r\n")
	if len(value) == 0 {
		return f, 0, nil
	}
	var e jsonscan.Extent
	n, err := e.Scan(value)
	switch {
	case err != nil:
		return f, 0, err
	case n > v.maxBytes, n == 0 && len(value) > v.maxBytes:
		return f, 0, tooLarge(uint64(max(n, len(value))), v.maxBytes)
	case n == 0:
		return f, 0, nil
	}
	return transport.Frame{Type: transport.Text, Data: value[:n:n]}, len(b) - len(value) + n, nil
}
