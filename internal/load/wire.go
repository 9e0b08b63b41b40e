package load

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/polywire/polywire/transport"
)

// The wires' names.
const (
	wireRaw    = "raw"
	wireNative = "native"
)

// Wires lists the message languages that can be driven:
//
//   - raw: WebSocket messages that the server sends back; one that begins with
//     'B' it sends to everybody.
//   - native: Polywire's own wire in its binary form, over WebSocket, TCP and
//     unix sockets. Kind "echo" answers a call with its payload; a message of
//     kind "broadcast" makes the server send its payload as "news" to everybody.
func Wires() []string { return []string{wireRaw, wireNative} }

// class is what a message from the server is to a run.
type class uint8

const (
	unrelated class = iota
	answer          // to a request (Echo), or a delivery (Broadcast)
	failure         // a request's
)

// wire is what the engine must know of a message language, in one mode and
// with one payload. Implementations are immutable.
type wire interface {
	path() string        // where a ws URL has none
	subprotocol() string // asked for, and insisted on; empty for none
	frameType() transport.FrameType
	// appendRequest appends the content of a frame that asks for one answer,
	// or starts one broadcast. ids begin at 1.
	appendRequest(dst []byte, id uint64) []byte
	// classify says what a frame is, and whose answer: 0 on wires that answer
	// in order.
	classify(f transport.Frame) (class, uint64)
	// body is the payload as it stands in answers.
	body() []byte
}

func newWire(name string, m Mode, payloadBytes int) (wire, error) {
	payload := bytes.Repeat([]byte("x"), payloadBytes)
	switch name {
	case wireRaw:
		if m == Broadcast {
			payload[0] = 'B'
		}
		return &rawWire{payload: payload}, nil
	case wireNative:
		return newNativeWire(m, payload), nil
	}
	return nil, fmt.Errorf("load: unknown wire %q", name)
}

type rawWire struct{ payload []byte }

func (*rawWire) path() string                                { return "/" }
func (*rawWire) subprotocol() string                         { return "" }
func (*rawWire) frameType() transport.FrameType              { return transport.Binary }
func (w *rawWire) appendRequest(dst []byte, _ uint64) []byte { return append(dst, w.payload...) }
func (w *rawWire) body() []byte                              { return w.payload }

func (w *rawWire) classify(f transport.Frame) (class, uint64) {
	if len(f.Data) != len(w.payload) || f.Data[0] != w.payload[0] {
		return unrelated, 0
	}
	return answer, 0
}

// nativeWire speaks the envelope of wire/native/nativepb/polywire.proto.
type nativeWire struct {
	payload []byte
	news    bool   // Broadcast
	tail    []byte // a request's fields after the id
}

// Field numbers and values of the envelope.
const (
	fieldType    = 1
	fieldID      = 2
	fieldKind    = 3
	fieldPayload = 5
	fieldContent = 6

	typeMessage = 0
	typeCall    = 1
	typeReply   = 2
	typeError   = 3

	contentBytes = 4

	protoVarint  = 0
	protoFixed64 = 1
	protoBytes   = 2
	protoFixed32 = 5
)

func newNativeWire(m Mode, payload []byte) *nativeWire {
	kind := "echo"
	if m == Broadcast {
		kind = "broadcast"
	}
	tail := appendBytesField(nil, fieldKind, []byte(kind))
	tail = appendBytesField(tail, fieldPayload, payload)
	tail = append(tail, fieldContent<<3|protoVarint, contentBytes)
	return &nativeWire{payload: payload, news: m == Broadcast, tail: tail}
}

func appendBytesField(dst []byte, field byte, v []byte) []byte {
	dst = append(dst, field<<3|protoBytes)
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func (*nativeWire) path() string                   { return "/polywire" }
func (*nativeWire) subprotocol() string            { return "polywire.v1.proto" }
func (*nativeWire) frameType() transport.FrameType { return transport.Binary }
func (w *nativeWire) body() []byte                 { return w.payload }

func (w *nativeWire) appendRequest(dst []byte, id uint64) []byte {
	if !w.news {
		dst = append(dst, fieldType<<3|protoVarint, typeCall, fieldID<<3|protoVarint)
		dst = binary.AppendUvarint(dst, id)
	}
	return append(dst, w.tail...)
}

func (w *nativeWire) classify(f transport.Frame) (class, uint64) {
	if f.Type != transport.Binary {
		return unrelated, 0
	}
	e, ok := parseEnvelope(f.Data)
	switch {
	case !ok:
		return failure, 0
	case e.kind == typeError:
		return failure, e.id
	case !w.news && e.kind == typeReply && e.id != 0 && len(e.payload) == len(w.payload):
		return answer, e.id
	case w.news && e.kind == typeMessage && string(e.name) == "news" && len(e.payload) == len(w.payload):
		return answer, 0
	}
	return unrelated, 0
}

// envelope is the part of a message that a run looks at.
type envelope struct {
	kind    uint64 // the type
	id      uint64
	name    []byte // the kind
	payload []byte
}

// parseEnvelope reads a message in place, and reports whether it is well formed.
func parseEnvelope(b []byte) (e envelope, ok bool) {
	for len(b) > 0 {
		tag, n := uvarint(b)
		if n <= 0 {
			return e, false
		}
		b = b[n:]
		if tag&7 == protoFixed32 || tag&7 == protoFixed64 {
			size := 4
			if tag&7 == protoFixed64 {
				size = 8
			}
			if len(b) < size {
				return e, false
			}
			b = b[size:]
			continue
		}
		v, n := uvarint(b)
		if n <= 0 || (tag&7 != protoVarint && tag&7 != protoBytes) {
			return e, false
		}
		b = b[n:]
		var data []byte
		if tag&7 == protoBytes {
			if v > uint64(len(b)) {
				return e, false
			}
			data, b = b[:v], b[v:]
		}
		e.set(tag, v, data)
	}
	return e, true
}

func (e *envelope) set(tag, v uint64, data []byte) {
	switch tag {
	case fieldType<<3 | protoVarint:
		e.kind = v
	case fieldID<<3 | protoVarint:
		e.id = v
	case fieldKind<<3 | protoBytes:
		e.name = data
	case fieldPayload<<3 | protoBytes:
		e.payload = data
	}
}

// uvarint is binary.Uvarint with a way round it for the usual single byte.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}
