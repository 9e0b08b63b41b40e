package native

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/content"
	"github.com/polywire/polywire/wire"
)

// appendProto appends a packet's envelope, its fields in the order of their
// numbers and maps in the order of their keys.
func appendProto(b []byte, p *wire.Packet) ([]byte, error) {
	if err := checkOut(p); err != nil {
		return b, err
	}
	w := protoWriter{b: b}
	w.uint(fieldType, uint64(p.Type-wire.Message))
	w.uint(fieldID, p.ID)
	w.str(fieldKind, p.Kind)
	w.uint(fieldCode, uint64(p.Code))
	w.payload(p.Payload, fieldPayload, fieldContent, fieldContentType)
	w.headers(p.Header)
	w.str(fieldRoom, p.Room)
	if p.Err != nil {
		w.error(p.Err)
	}
	w.str(fieldKey, p.Key)
	w.codes(p.Codes)
	for _, a := range p.Args {
		w.open(fieldArgs, sizeArgument(a))
		w.payload(a, 1, 2, 3)
	}
	w.str(fieldOffset, p.Position)
	if p.Recovered {
		w.uint(fieldRecovered, 1)
	}
	if w.notUTF8 {
		return w.b, errNotUTF8
	}
	return w.b, nil
}

// protoWriter appends fields. Those with zero values are left out.
type protoWriter struct {
	b       []byte
	notUTF8 bool // a string was not
}

func (w *protoWriter) tag(num, wireType uint64) { w.varint(num<<3 | wireType) }

func (w *protoWriter) varint(v uint64) {
	if v < 0x80 {
		w.b = append(w.b, byte(v))
		return
	}
	w.b = binary.AppendUvarint(w.b, v)
}

func (w *protoWriter) uint(num, v uint64) {
	if v != 0 {
		w.tag(num, typeVarint)
		w.varint(v)
	}
}

// open begins a field of size bytes.
func (w *protoWriter) open(num uint64, size int) {
	w.tag(num, typeBytes)
	w.varint(uint64(size))
}

func (w *protoWriter) str(num uint64, s string) {
	if s != "" {
		w.must(num, s)
	}
}

// must is str for strings that are said when empty too.
func (w *protoWriter) must(num uint64, s string) {
	w.open(num, len(s))
	w.b = append(w.b, s...)
	w.notUTF8 = w.notUTF8 || !utf8.ValidString(s)
}

// payload writes the three fields that say one.
func (w *protoWriter) payload(p codec.Payload, data, number, contentType uint64) {
	if len(p.Data) > 0 {
		w.open(data, len(p.Data))
		w.b = append(w.b, p.Data...)
	}
	c := content.Of(p)
	w.uint(number, c)
	if c == content.Other {
		w.str(contentType, p.Type)
	}
}

// headers writes the map; its entries have both fields always, as protobuf's
// own encoders write them.
func (w *protoWriter) headers(m map[string]string) {
	if len(m) == 0 {
		return
	}
	var buf [MaxHeaders]string
	for _, k := range sortedKeys(buf[:0], m) {
		v := m[k]
		w.open(fieldHeaders, sizeBytes(len(k))+sizeBytes(len(v)))
		w.must(1, k)
		w.must(2, v)
	}
}

func (w *protoWriter) codes(m map[string]uint32) {
	if len(m) == 0 {
		return
	}
	for _, k := range sortedKeys(nil, m) {
		v := uint64(m[k])
		w.open(fieldCodes, sizeBytes(len(k))+1+sizeVarint(v))
		w.must(1, k)
		w.tag(2, typeVarint)
		w.varint(v)
	}
}

func (w *protoWriter) error(e *wire.ErrorBody) {
	size, details := sizeString(e.Code)+sizeString(e.Message), 0
	if !e.Details.Empty() {
		details = sizeArgument(e.Details)
		size += sizeBytes(details)
	}
	w.open(fieldError, size)
	w.str(1, e.Code)
	w.str(2, e.Message)
	if !e.Details.Empty() {
		w.open(3, details)
		w.payload(e.Details, 1, 2, 3)
	}
}

func sizeVarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// sizeBytes is the size of a field of n bytes whose number is below 16.
func sizeBytes(n int) int { return 1 + sizeVarint(uint64(n)) + n }

func sizeString(s string) int {
	if s == "" {
		return 0
	}
	return sizeBytes(len(s))
}

// sizeArgument is the size of what payload writes with small field numbers.
func sizeArgument(p codec.Payload) int {
	n := 0
	if len(p.Data) > 0 {
		n = sizeBytes(len(p.Data))
	}
	c := content.Of(p)
	if c != content.None {
		n += 2
	}
	if c == content.Other {
		n += sizeBytes(len(p.Type))
	}
	return n
}
