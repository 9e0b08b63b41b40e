package load

import (
	"cmp"
	"encoding/binary"

	"github.com/polywire/polywire/transport"
)

// goomerangWire speaks frames of Goomerang.
type goomerangWire struct {
	simple

	payload []byte // as a google.protobuf.BytesValue
	news    bool   // Broadcast
	tail    []byte // a request's fields after the uuid
}

// Field numbers of Frame and BroadcastCmd.
const (
	frameUUID        = 1
	frameKind        = 2
	framePayloadSize = 3
	frameSync        = 4
	frameCreation    = 5
	framePayload     = 7

	cmdKind    = 2
	cmdMessage = 3
)

// A request's uuid is uuidHead and the number in uuidDigits digits.
const (
	uuidHead   = "706f6c79-7769-4265-8000-"
	uuidDigits = 12
)

const bytesValue = "google.protobuf.BytesValue"

func newGoomerangWire(m Mode, payload []byte) *goomerangWire {
	w := &goomerangWire{payload: appendBytesField(nil, 1, payload), news: m == Broadcast}
	kind, body := bytesValue, w.payload
	if w.news {
		kind = "goomerang.protocol.BroadcastCmd"
		body = appendBytesField(appendBytesField(nil, cmdKind, []byte(bytesValue)), cmdMessage, w.payload)
	}
	w.tail = appendBytesField(nil, frameKind, []byte(kind))
	w.tail = binary.AppendUvarint(append(w.tail, framePayloadSize<<3|protoVarint), uint64(len(body)))
	if !w.news {
		w.tail = append(w.tail, frameSync<<3|protoVarint, 1)
	}
	created := binary.AppendUvarint([]byte{1<<3 | protoVarint}, 1_600_000_000)
	created = binary.AppendUvarint(append(created, 2<<3|protoVarint), 123_456_789)
	w.tail = appendBytesField(w.tail, frameCreation, created)
	w.tail = appendBytesField(w.tail, framePayload, body)
	return w
}

func (*goomerangWire) path(given string) string       { return cmp.Or(given, "/ws") }
func (*goomerangWire) hello() []byte                  { return nil }
func (*goomerangWire) subprotocol() string            { return "" }
func (*goomerangWire) frameType() transport.FrameType { return transport.Binary }
func (w *goomerangWire) body() []byte                 { return w.payload }

func (w *goomerangWire) appendRequest(dst []byte, id uint64) []byte {
	if w.news {
		return append(dst, w.tail...)
	}
	dst = append(dst, frameUUID<<3|protoBytes, byte(len(uuidHead)+uuidDigits))
	dst = append(dst, uuidHead...)
	var digits [uuidDigits]byte
	for i := range digits {
		digits[uuidDigits-1-i] = '0' + byte(id%10)
		id /= 10
	}
	return append(append(dst, digits[:]...), w.tail...)
}

func (w *goomerangWire) classify(f transport.Frame) (class, uint64) {
	if f.Type != transport.Binary {
		return failure, 0
	}
	var uuid, kind, payload []byte
	sync := false
	for b := f.Data; len(b) > 0; {
		tag, v, data, rest, ok := nextField(b)
		if !ok {
			return failure, 0
		}
		switch tag {
		case frameUUID<<3 | protoBytes:
			uuid = data
		case frameKind<<3 | protoBytes:
			kind = data
		case frameSync<<3 | protoVarint:
			sync = v != 0
		case framePayload<<3 | protoBytes:
			payload = data
		}
		b = rest
	}
	mine := string(kind) == bytesValue && len(payload) == len(w.payload)
	switch {
	case string(kind) == "polywire.v1.Error":
		return failure, 0
	case w.news && !sync && mine:
		return answer, 0
	case !w.news && sync && mine && len(uuid) == len(uuidHead)+uuidDigits && string(uuid[:len(uuidHead)]) == uuidHead:
		if id, rest := leadingUint(uuid[len(uuidHead):]); len(rest) == 0 && id > 0 {
			return answer, id
		}
	}
	return unrelated, 0
}
