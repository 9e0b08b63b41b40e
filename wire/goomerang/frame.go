package goomerang

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of goomerang.protocol.Frame.
const (
	fieldUUID        = 1
	fieldKind        = 2
	fieldPayloadSize = 3
	fieldSync        = 4
	fieldCreation    = 5
	fieldHeaders     = 6
	fieldPayload     = 7
)

// Field numbers that the commands have in common: BroadcastCmd has no topic,
// SubscribeCmd and UnsubscribeCmd nothing else.
const (
	fieldTopic   = 1
	fieldInner   = 2 // the kind of the message
	fieldMessage = 3
)

// What is wrong with an encoding.
var (
	errTruncated   = errors.New("unexpected end")
	errEncoding    = errors.New("not a protobuf message")
	errWireType    = errors.New("wrong wire type")
	errNotUTF8     = errors.New("not UTF-8")
	errNoKind      = errors.New("no kind")
	errManyHeaders = fmt.Errorf("more than %d headers", MaxHeaders)
)

// inField adds where an error is.
func inField(num protowire.Number, err error) error { return fmt.Errorf("field %d: %w", num, err) }

// broken is what a negative length of protowire's means.
func broken(n int) error {
	if errors.Is(protowire.ParseError(n), io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return errEncoding
}

// fields takes fields off the front of what is left of a message.
type fields []byte

// tag consumes what a field begins with. Something must be left.
func (f *fields) tag() (protowire.Number, protowire.Type, error) {
	if b := *f; b[0] >= 1<<3 && b[0] < 0x80 { // nearly always
		*f = b[1:]
		return protowire.Number(b[0] >> 3), protowire.Type(b[0] & 7), nil
	}
	num, t, n := protowire.ConsumeTag(*f)
	switch {
	case n < 0:
		return 0, 0, broken(n)
	case num > protowire.MaxValidNumber:
		return 0, 0, errEncoding
	}
	*f = (*f)[n:]
	return num, t, nil
}

// bytes consumes a field's data and leaves it in place.
func (f *fields) bytes(t protowire.Type, v *[]byte) error {
	if t != protowire.BytesType {
		return errWireType
	}
	if b := *f; len(b) > 0 && b[0] < 0x80 && int(b[0]) < len(b) { // very often
		end := 1 + int(b[0])
		*v, *f = b[1:end:end], b[end:]
		return nil
	}
	b, n := protowire.ConsumeBytes(*f)
	if n < 0 {
		return broken(n)
	}
	*v, *f = slices.Clip(b), (*f)[n:]
	return nil
}

// text is bytes for strings, which are UTF-8 in proto3.
func (f *fields) text(t protowire.Type, v *[]byte) error {
	if err := f.bytes(t, v); err != nil {
		return err
	}
	if !utf8.Valid(*v) {
		return errNotUTF8
	}
	return nil
}

func (f *fields) varint(t protowire.Type, v *uint64) error {
	if t != protowire.VarintType {
		return errWireType
	}
	if b := *f; len(b) > 0 && b[0] < 0x80 { // very often
		*v, *f = uint64(b[0]), b[1:]
		return nil
	}
	u, n := protowire.ConsumeVarint(*f)
	if n < 0 {
		return broken(n)
	}
	*v, *f = u, (*f)[n:]
	return nil
}

// skip consumes the value of a field that we do not know.
func (f *fields) skip(num protowire.Number, t protowire.Type) error {
	if t == protowire.VarintType {
		var v uint64
		return f.varint(t, &v)
	}
	n := protowire.ConsumeFieldValue(num, t, *f)
	if n < 0 {
		return broken(n)
	}
	*f = (*f)[n:]
	return nil
}

// message consumes a message, if it is one.
func (f *fields) message(t protowire.Type) error {
	var m []byte
	if err := f.bytes(t, &m); err != nil {
		return err
	}
	for r := fields(m); len(r) > 0; {
		num, t, err := r.tag()
		if err == nil {
			err = r.skip(num, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// frame is a Frame as it came. All of it but the headers stays in place.
type frame struct {
	uuid, kind, payload []byte
	sync                bool
	headers             map[string]string
}

// usual reads fields as long as they are what nearly all frames have, shorter
// than 128 bytes and right, and returns what is left.
func (f *frame) usual(b []byte) []byte {
	for len(b) >= 2 && b[1] < 0x80 {
		end := 2 + int(b[1])
		switch b[0] {
		case fieldPayloadSize<<3 | varint:
			b = b[2:]
			continue
		case fieldSync<<3 | varint:
			f.sync, b = b[1] != 0, b[2:]
			continue
		}
		if end > len(b) {
			return b
		}
		v := b[2:end:end]
		switch b[0] {
		case fieldUUID<<3 | length:
			if !utf8.Valid(v) {
				return b
			}
			f.uuid = v
		case fieldKind<<3 | length:
			if !utf8.Valid(v) {
				return b
			}
			f.kind = v
		case fieldCreation<<3 | length:
			if !numbers(v) {
				return b
			}
		case fieldPayload<<3 | length:
			f.payload = v
		default:
			return b
		}
		b = b[end:]
	}
	return b
}

// numbers reports whether b is a message of varints of at most nine bytes.
func numbers(b []byte) bool {
	for len(b) > 0 {
		if t := b[0]; t < 1<<3 || t >= 0x80 || t&7 != varint {
			return false
		}
		n := 1
		for n < len(b) && n < 9 && b[n] >= 0x80 {
			n++
		}
		if n == len(b) || b[n] >= 0x80 {
			return false
		}
		b = b[n+1:]
	}
	return true
}

// read reads a Frame; of what occurs twice the last counts.
func (f *frame) read(data []byte) error {
	for r := fields(f.usual(data)); len(r) > 0; r = f.usual(r) {
		num, t, err := r.tag()
		if err != nil {
			return err
		}
		switch num {
		case fieldUUID:
			err = r.text(t, &f.uuid)
		case fieldKind:
			err = r.text(t, &f.kind)
		case fieldSync:
			var v uint64
			err = r.varint(t, &v)
			f.sync = v != 0
		case fieldCreation: // which says nothing that matters here
			err = r.message(t)
		case fieldHeaders:
			err = f.header(&r, t)
		case fieldPayload:
			err = r.bytes(t, &f.payload)
		default:
			err = r.skip(num, t)
		}
		if err != nil {
			return inField(num, err)
		}
	}
	if len(f.kind) == 0 {
		return errNoKind
	}
	return nil
}

// header consumes an entry of the map, whose fields are 1 and 2.
func (f *frame) header(r *fields, t protowire.Type) error {
	var entry, key, value []byte
	if err := r.bytes(t, &entry); err != nil {
		return err
	}
	for e := fields(entry); len(e) > 0; {
		num, t, err := e.tag()
		if err != nil {
			return err
		}
		switch num {
		case 1:
			err = e.text(t, &key)
		case 2:
			err = e.text(t, &value)
		default:
			err = e.skip(num, t)
		}
		if err != nil {
			return err
		}
	}
	if f.headers == nil {
		f.headers = make(map[string]string)
	}
	f.headers[string(key)] = string(value)
	if len(f.headers) > MaxHeaders {
		return errManyHeaders
	}
	return nil
}

// command is the payload of one.
type command struct{ topic, kind, message []byte }

func (c *command) read(data []byte) error {
	for r := fields(data); len(r) > 0; {
		num, t, err := r.tag()
		if err != nil {
			return err
		}
		switch num {
		case fieldTopic:
			err = r.text(t, &c.topic)
		case fieldInner:
			err = r.text(t, &c.kind)
		case fieldMessage:
			err = r.bytes(t, &c.message)
		default:
			err = r.skip(num, t)
		}
		if err != nil {
			return inField(num, err)
		}
	}
	return nil
}
