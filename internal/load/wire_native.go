package load

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
)

// nativeWire speaks the envelope of wire/native/nativepb/polywire.proto.
type nativeWire struct {
	simple

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
	typeHello   = 8
	typeOther   = math.MaxUint64 // of no interest here

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

func (*nativeWire) path(given string) string       { return cmp.Or(given, "/polywire") }
func (*nativeWire) hello() []byte                  { return []byte{fieldType<<3 | protoVarint, typeHello} }
func (*nativeWire) subprotocol() string            { return "polywire.v1.proto" }
func (*nativeWire) frameType() transport.FrameType { return transport.Binary }
func (*nativeWire) stream(maxBytes int) framing    { return streamFraming{maxBytes} }
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
		return failure, 0
	}
	e, ok := parseEnvelope(f.Data)
	if !ok {
		return failure, 0
	}
	return e.classify(w.news, len(w.payload))
}

// classify says what a well-formed message is to a run.
func (e *envelope) classify(news bool, payloadBytes int) (class, uint64) {
	switch {
	case e.kind == typeError:
		return failure, e.id
	case !news && e.kind == typeReply && e.id != 0 && len(e.payload) == payloadBytes:
		return answer, e.id
	case news && e.kind == typeMessage && string(e.name) == "news" && len(e.payload) == payloadBytes:
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
		tag, v, data, rest, ok := nextField(b)
		if !ok {
			return e, false
		}
		e.set(tag, v, data)
		b = rest
	}
	return e, true
}

// nextField takes a field off the front of a protobuf message: its number in
// v, or its data, or neither where it has a fixed size.
func nextField(b []byte) (tag, v uint64, data, rest []byte, ok bool) {
	tag, n := uvarint(b)
	if n <= 0 {
		return 0, 0, nil, nil, false
	}
	b = b[n:]
	if tag&7 == protoFixed32 || tag&7 == protoFixed64 {
		size := 4
		if tag&7 == protoFixed64 {
			size = 8
		}
		if len(b) < size {
			return 0, 0, nil, nil, false
		}
		return tag, 0, nil, b[size:], true
	}
	v, n = uvarint(b)
	if n <= 0 || (tag&7 != protoVarint && tag&7 != protoBytes) {
		return 0, 0, nil, nil, false
	}
	b = b[n:]
	if tag&7 == protoBytes {
		if v > uint64(len(b)) {
			return 0, 0, nil, nil, false
		}
		data, b = b[:v], b[v:]
	}
	return tag, v, data, b, true
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

// jsonWire speaks the envelope's text form: docs/wire-native.md, section 2.3.
type jsonWire struct {
	simple

	payload []byte // as a JSON string
	news    bool   // Broadcast
	tail    []byte // a request's members after the id
}

func newJSONWire(m Mode, payload []byte) *jsonWire {
	w := &jsonWire{payload: jsonscan.AppendString(nil, payload), news: m == Broadcast}
	if w.news {
		w.tail = fmt.Appendf(nil, `{"type":"message","kind":"broadcast","payload":%s}`, w.payload)
	} else {
		w.tail = fmt.Appendf(nil, `,"kind":"echo","payload":%s}`, w.payload)
	}
	return w
}

func (*jsonWire) path(given string) string       { return cmp.Or(given, "/polywire") }
func (*jsonWire) hello() []byte                  { return []byte(`{"type":"hello"}`) }
func (*jsonWire) subprotocol() string            { return "polywire.v1.json" }
func (*jsonWire) frameType() transport.FrameType { return transport.Text }
func (*jsonWire) stream(maxBytes int) framing    { return streamFraming{maxBytes} }
func (w *jsonWire) body() []byte                 { return w.payload }

func (w *jsonWire) appendRequest(dst []byte, id uint64) []byte {
	if !w.news {
		dst = append(dst, `{"type":"call","id":`...)
		dst = strconv.AppendUint(dst, id, 10)
	}
	return append(dst, w.tail...)
}

func (w *jsonWire) classify(f transport.Frame) (class, uint64) {
	if f.Type != transport.Text {
		return failure, 0
	}
	e, err := parseJSONEnvelope(f.Data)
	if err != nil {
		return failure, 0
	}
	return e.classify(w.news, len(w.payload))
}

// parseJSONEnvelope reads a message in place.
func parseJSONEnvelope(b []byte) (e envelope, err error) {
	s := jsonscan.Scanner{Data: b}
	if err = s.Open('{'); err != nil {
		return e, err
	}
	for first := true; ; first = false {
		if more, err := s.More('}', first); err != nil || !more {
			return e, err
		}
		key, err := s.Key()
		if err != nil {
			return e, err
		}
		switch string(key) {
		case "type":
			var name []byte
			name, err = s.String()
			e.kind = jsonType(name)
		case "id":
			e.id, err = s.Uint(1<<53 - 1)
		case "kind":
			e.name, err = s.String()
		case "payload":
			e.payload, err = s.Value()
		default:
			_, err = s.Value()
		}
		if err != nil {
			return e, err
		}
	}
}

func jsonType(name []byte) uint64 {
	switch string(name) {
	case "message":
		return typeMessage
	case "reply":
		return typeReply
	case "error":
		return typeError
	}
	return typeOther
}
