package goomerang

import (
	"bytes"
	"maps"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// plainly reads a Frame field by field with protowire alone.
func plainly(data []byte) (f frame, ok bool) {
	for len(data) > 0 {
		num, t, n := protowire.ConsumeTag(data)
		if n < 0 || num > protowire.MaxValidNumber {
			return f, false
		}
		data = data[n:]
		size := protowire.ConsumeFieldValue(num, t, data)
		if size < 0 {
			return f, false
		}
		value, _ := protowire.ConsumeBytes(data)
		want := protowire.BytesType
		switch num {
		case fieldUUID:
			f.uuid = value
			ok = utf8.Valid(value)
		case fieldKind:
			f.kind = value
			ok = utf8.Valid(value)
		case fieldSync:
			v, _ := protowire.ConsumeVarint(data)
			f.sync, ok, want = v != 0, true, protowire.VarintType
		case fieldCreation:
			ok = isMessage(value)
		case fieldHeaders:
			if t == want {
				ok = f.plainHeader(value)
			}
		case fieldPayload:
			f.payload, ok = value, true
		default:
			ok, want = true, t
		}
		if !ok || t != want {
			return f, false
		}
		data = data[size:]
	}
	return f, len(f.kind) > 0
}

func isMessage(b []byte) bool {
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 || num > protowire.MaxValidNumber {
			return false
		}
		b = b[n:]
	}
	return true
}

func (f *frame) plainHeader(entry []byte) bool {
	var key, value []byte
	for len(entry) > 0 {
		num, t, n := protowire.ConsumeTag(entry)
		size := -1
		if n > 0 && num <= protowire.MaxValidNumber {
			size = protowire.ConsumeFieldValue(num, t, entry[n:])
		}
		if size < 0 {
			return false
		}
		b, _ := protowire.ConsumeBytes(entry[n:])
		if (num == 1 || num == 2) && (t != protowire.BytesType || !utf8.Valid(b)) {
			return false
		}
		switch num {
		case 1:
			key = b
		case 2:
			value = b
		}
		entry = entry[n+size:]
	}
	if f.headers == nil {
		f.headers = make(map[string]string)
	}
	f.headers[string(key)] = string(value)
	return len(f.headers) <= MaxHeaders
}

// FuzzFrame checks that what is read in one go is what is read field by field.
func FuzzFrame(f *testing.F) {
	const rest = "\x12\x04kind\x18\x02\x20\x01\x2a\x0c\x08\x80\xa0\xf5\xfa\x05\x10\x95\x9a\xef\x3a\x3a\x02hi"
	for _, data := range []string{
		"", "\x12\x04kind", "\x0a\x01u" + rest, rest + rest, "\x12\x04kind\x20\x00\x20\x81\x00", "\x12\x04kin\xff", "\x0a\x01\xff" + rest,
		"\x12\x04kind\x2a\x02\x08\x80", "\x12\x04kind\x2a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x12\x04kind\x2a\x02\x00\x01",
		"\x12\x04kind\x2a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "\x12\x04kind\x2a\x03\x0a\x01x", "\x12\x04kind\x2a\x02\x0a\x02",
		"\x12\x04kind\x32\x06\x0a\x01k\x12\x01v", "\x12\x04kind\x32\x02\x0a\x05", "\x12\x04kind\x10\x01", "\x12\x84\x00kind", "\x12\x05kind",
		"\x12\x04kind\x18", "\x12\x04kind\x18\x80", "\x12\x04kind\x3a\x7f", "\x12\x04kind\x40\x01\x4a\x01x\x0a\x01u", "\x92\x00\x04kind",
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got frame
		err := got.read(data)
		want, ok := plainly(data)
		switch {
		case (err == nil) != ok:
			t.Fatalf("%q: %v, want %v", data, err, ok)
		case err != nil:
		case !bytes.Equal(got.uuid, want.uuid), !bytes.Equal(got.kind, want.kind), !bytes.Equal(got.payload, want.payload),
			got.sync != want.sync, !maps.Equal(got.headers, want.headers):
			t.Fatalf("%q: %+v, want %+v", data, got, want)
		}
	})
}

// Names whose places are the same are all found, and nothing else is.
func TestNamesOfOneLength(t *testing.T) {
	var n names
	all := []proto.Message{&wrapperspb.Int32Value{}, &wrapperspb.Int64Value{}, &wrapperspb.BytesValue{}, &wrapperspb.BoolValue{}}
	for range 3 {
		for _, m := range all {
			name := string(m.ProtoReflect().Descriptor().FullName())
			if got, ok := n.linked([]byte(name)); !ok || got != name || !n.has(name) {
				t.Errorf("%s is not found: %q", name, got)
			}
			other := "x" + name[1:]
			if got, ok := n.linked([]byte(other)); ok || got != other || n.has(other) {
				t.Errorf("%s is found: %q", other, got)
			}
		}
		if _, ok := n.linked(nil); ok || n.has("") {
			t.Error("no name is one")
		}
	}
}
