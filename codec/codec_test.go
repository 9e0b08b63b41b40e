package codec_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/codectest"
)

type point struct {
	X, Y int
	Name string `json:"name,omitempty"`
}

func TestJSON(t *testing.T) {
	codectest.Run(t, codec.JSON{}, codectest.Values{
		Good:        []any{point{1, -2, "<é>"}, map[string]any{"a": []any{1.5, nil, true}}, "text", 7, json.RawMessage(`{"a":1}`)},
		Unsupported: []any{make(chan int), func() {}, json.RawMessage(`{"a":`), json.RawMessage("\"\xff\"")},
		Malformed:   [][]byte{nil, []byte(`{`), []byte(`{"X":1}}`), []byte(`{"X":01}`)},
	})
}

func TestJSONKeepsHTML(t *testing.T) {
	if b, err := (codec.JSON{}).Append(nil, "<b>&"); err != nil || string(b) != `"<b>&"` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestBytes(t *testing.T) {
	codectest.Run(t, codec.Bytes{}, codectest.Values{
		Good:        []any{[]byte{0, 1, 0xfe, 0xff}, []byte{}, "text"},
		Unsupported: []any{7, point{}, nil},
	})
	var v any
	if err := (codec.Bytes{}).Unmarshal([]byte("x"), &v); err != nil || string(v.([]byte)) != "x" {
		t.Errorf("into *any: %v, %v", v, err)
	}
	if err := (codec.Bytes{}).Unmarshal([]byte("x"), new(int)); err == nil {
		t.Error("bytes became an int")
	}
	for _, text := range []string{`null`, `1`, `"a"`, `"####"`, `"AAE="x`, `"AAF="`} {
		if b, err := (codec.Bytes{}).AppendFromJSON(nil, "", []byte(text)); err == nil {
			t.Errorf("%s became %q", text, b)
		}
	}
}

// shout is a codec that claims loud values and has a JSON of its own.
type shout struct{}

type loud string

func (shout) ContentType() string { return "text/loud" }
func (shout) Claims(v any) bool {
	switch v.(type) {
	case loud, *loud:
		return true
	}
	return false
}
func (shout) Append(dst []byte, v any) ([]byte, error) {
	l, ok := v.(loud)
	if !ok {
		return dst, errors.New("not loud")
	}
	return append(dst, strings.ToUpper(string(l))...), nil
}
func (shout) Unmarshal(data []byte, v any) error {
	*v.(*loud) = loud(strings.ToLower(string(data)))
	return nil
}
func (shout) AppendValueJSON(dst []byte, v any) ([]byte, error) {
	return append(dst, `{"loud":"`+string(v.(loud))+`"}`...), nil
}
func (shout) UnmarshalValueJSON(text []byte, v any) error {
	var o struct{ Loud loud }
	err := json.Unmarshal(text, &o)
	*v.(*loud) = o.Loud
	return err
}

func newSet(t *testing.T, codecs ...codec.Codec) *codec.Set {
	t.Helper()
	s, err := codec.NewSet(codecs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewSet(t *testing.T) {
	for name, codecs := range map[string][]codec.Codec{
		"two of a type": {codec.JSON{}, codec.JSON{}},
		"nil":           {codec.JSON{}, nil},
	} {
		if _, err := codec.NewSet(codecs...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := newSet(t, shout{})
	for _, ct := range []string{codec.TypeJSON, codec.TypeBytes, "text/loud"} {
		if c := s.Lookup(ct); c == nil || c.ContentType() != ct {
			t.Errorf("%s: %v", ct, c)
		}
	}
	if c := s.Lookup(codec.TypeMsgpack); c != nil {
		t.Errorf("msgpack: %v", c)
	}
}

func TestSetMarshal(t *testing.T) {
	s := newSet(t, codec.JSON{}, shout{})
	given := codec.Payload{Type: "x/y", Data: []byte("z")}
	for _, c := range []struct {
		v         any
		preferred string
		want      codec.Payload
	}{
		{nil, "", codec.Payload{}},
		{given, codec.TypeJSON, given},
		{[]byte("b"), codec.TypeJSON, codec.Payload{Type: codec.TypeBytes, Data: []byte("b")}},
		{json.RawMessage(` 1`), "", codec.Payload{Type: codec.TypeJSON, Data: []byte(" 1")}},
		{json.RawMessage(nil), "", codec.Payload{Type: codec.TypeJSON, Data: []byte("null")}},
		{7, "", codec.Payload{Type: codec.TypeJSON, Data: []byte("7")}},
		{7, codec.TypeBytes, codec.Payload{Type: codec.TypeJSON, Data: []byte("7")}},
		{7, "un/known", codec.Payload{Type: codec.TypeJSON, Data: []byte("7")}},
		{loud("hey"), "", codec.Payload{Type: "text/loud", Data: []byte("HEY")}},
		{loud("hey"), codec.TypeMsgpack, codec.Payload{Type: "text/loud", Data: []byte("HEY")}},
		{loud("hey"), codec.TypeJSON, codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"loud":"hey"}`)}},
	} {
		got, err := s.Marshal(c.v, c.preferred)
		if err != nil || got.Type != c.want.Type || string(got.Data) != string(c.want.Data) {
			t.Errorf("%#v for %q: %s %q, %v", c.v, c.preferred, got.Type, got.Data, err)
		}
	}
	for _, v := range []any{make(chan int), json.RawMessage(`{`)} {
		if p, err := s.Marshal(v, ""); err == nil {
			t.Errorf("%T: %v", v, p)
		}
	}
}

func TestSetUnmarshal(t *testing.T) {
	s := newSet(t, codec.JSON{}, shout{})
	text := codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"X":1,"loud":"hey"}`)}
	var (
		p   codec.Payload
		raw json.RawMessage
		b   []byte
		l   loud
		pt  = point{X: 9}
	)
	for _, c := range []struct {
		p    codec.Payload
		v    any
		want func() bool
	}{
		{codec.Payload{}, &pt, func() bool { return pt.X == 9 }},
		{text, &pt, func() bool { return pt.X == 1 }},
		{text, &p, func() bool { return p.Type == text.Type && &p.Data[0] != &text.Data[0] }},
		{text, &raw, func() bool { return string(raw) == string(text.Data) && &raw[0] != &text.Data[0] }},
		{text, &l, func() bool { return l == "hey" }},
		{codec.Payload{Type: "text/loud", Data: []byte("HO")}, &l, func() bool { return l == "ho" }},
		{codec.Payload{Type: codec.TypeBytes, Data: []byte("b")}, &b, func() bool { return string(b) == "b" }},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte(`"AAE="`)}, &b, func() bool { return string(b) == "\x00\x01" }},
	} {
		if err := s.Unmarshal(c.p, c.v); err != nil || !c.want() {
			t.Errorf("%v into %T: %v", c.p, c.v, err)
		}
	}
	if err := s.Unmarshal(codec.Payload{Type: "un/known", Data: []byte("x")}, &pt); !errors.Is(err, codec.ErrUnknownType) {
		t.Errorf("unknown type: %v", err)
	}
}

func TestSetTranslate(t *testing.T) {
	s := newSet(t, codec.JSON{}, shout{})
	bin := codec.Payload{Type: codec.TypeBytes, Data: []byte("\x00\x01")}
	text := codec.Payload{Type: codec.TypeJSON, Data: []byte(`"AAE="`)}
	same := func(p codec.Payload, to string, want codec.Payload) {
		t.Helper()
		got, err := s.Translate("kind", p, to)
		if err != nil || got.Type != want.Type || string(got.Data) != string(want.Data) {
			t.Errorf("%v to %s: %v, %v", p, to, got, err)
		}
	}
	same(bin, codec.TypeJSON, text)
	same(text, codec.TypeBytes, bin)
	same(bin, codec.TypeBytes, bin)
	same(codec.Payload{}, codec.TypeJSON, codec.Payload{})
	for _, c := range []struct {
		p  codec.Payload
		to string
	}{
		{codec.Payload{Type: "text/loud", Data: []byte("HO")}, codec.TypeJSON},
		{text, "text/loud"},
		{text, "un/known"},
		{codec.Payload{Type: "un/known", Data: []byte("x")}, codec.TypeJSON},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte(`{}`)}, codec.TypeBytes},
	} {
		if got, err := s.Translate("kind", c.p, c.to); !errors.Is(err, codec.ErrNoTranslation) {
			t.Errorf("%v to %s: %v, %v", c.p, c.to, got, err)
		}
	}
}

// FuzzUnmarshal decodes what a peer may send: it comes back the same, and a
// payload takes no more memory than JSON's own decoder needs.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5,null,"\u00e9"]}`))
	f.Add([]byte(`"AAE="`))
	f.Add([]byte("[[[[\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if err := (codec.JSON{}).Unmarshal(data, &v); err == nil {
			if _, err := (codec.JSON{}).Append(nil, v); err != nil {
				t.Fatalf("%q does not go back: %v", data, err)
			}
		}
		text, err := codec.JSON{}.AppendJSON(nil, "", data)
		if err == nil && (!json.Valid(data) || string(text) != string(data)) {
			t.Fatalf("%q was taken as %q", data, text)
		}
		var b []byte
		if err := (codec.Bytes{}).Unmarshal(data, &b); err != nil || string(b) != string(data) {
			t.Fatalf("%q became %q, %v", data, b, err)
		}
		if b, err := (codec.Bytes{}).AppendFromJSON(nil, "", data); err == nil && len(b) > len(data) {
			t.Fatalf("%q became %q", data, b)
		}
	})
}

func BenchmarkTranslateBytesToJSON(b *testing.B) {
	s, err := codec.NewSet()
	if err != nil {
		b.Fatal(err)
	}
	p := codec.Payload{Type: codec.TypeBytes, Data: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Translate("kind", p, codec.TypeJSON); err != nil {
			b.Fatal(err)
		}
	}
}
