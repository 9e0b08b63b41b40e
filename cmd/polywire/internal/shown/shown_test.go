package shown_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire/cmd/polywire/internal/shown"
	"github.com/polywire/polywire/codec"
)

func newForms(t *testing.T) *shown.Forms {
	t.Helper()
	f, err := shown.New()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOf(t *testing.T) {
	f := newForms(t)
	for _, c := range []struct {
		p                 codec.Payload
		json, text, bytes string
	}{
		{codec.Payload{}, "", "", ""},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"a":1}`)}, `{"a":1}`, "", ""},
		{codec.Payload{Data: []byte(`[1]`)}, `[1]`, "", ""},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"a":`)}, "", "", `{"a":`},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte("\"\xff\"")}, "", "", "\"\xff\""},
		{codec.Payload{Type: "text/plain", Data: []byte("hello")}, "", "hello", ""},
		{codec.Payload{Type: "text/plain", Data: []byte("\xff")}, "", "", "\xff"},
		{codec.Payload{Type: codec.TypeBytes, Data: []byte(`{"a":1}`)}, "", "", `{"a":1}`},
		{codec.Payload{Type: "application/msgpack", Data: []byte{0x81, 0xa1, 'a', 1}}, `{"a":1}`, "", ""},
		{codec.Payload{Type: "application/msgpack", Data: []byte{0x81, 0xa1}}, "", "", "\x81\xa1"},
		{codec.Payload{Type: "application/protobuf", Data: []byte{10, 1, 'x'}}, "", "", "\n\x01x"},
		{codec.Payload{Type: "image/png", Data: []byte("x")}, "", "", "x"},
	} {
		got := f.Of("", c.p)
		text := ""
		if got.Text != nil {
			text = *got.Text
		}
		if string(got.JSON) != c.json || text != c.text || string(got.Bytes) != c.bytes {
			t.Errorf("%s %q: %q %q %q", c.p.Type, c.p.Data, got.JSON, text, got.Bytes)
		}
	}
	if f.Of("", codec.Payload{Type: codec.TypeBytes, Data: nil}).Bytes == nil {
		t.Error("no bytes are bytes, too")
	}
}

func TestPayload(t *testing.T) {
	f := newForms(t)
	for _, c := range []struct {
		v    any
		want string
	}{
		{map[string]int{"a": 1}, `{"a":1}`},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte(`1`)}, `1`},
		{wrapperspb.String("x"), `"x"`},
	} {
		p, err := f.Payload(c.v)
		if got := f.Of("", p); err != nil || string(got.JSON) != c.want {
			t.Errorf("%v: %s %q, %v", c.v, p.Type, p.Data, err)
		}
	}
	if _, err := f.Payload(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
