package codec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/codectest"
)

// parts makes a payload of text and parts, given as strings.
func parts(text string, parts ...string) []byte {
	all := make([][]byte, len(parts))
	for i, p := range parts {
		all[i] = []byte(p)
	}
	return codec.AppendParts(nil, []byte(text), all...)
}

func place(i int) string { return fmt.Sprintf(`{"_placeholder":true,"num":%d}`, i) }

type file struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
	Any  any    `json:"any,omitempty"`
}

// malformedParts is what a hostile peer may say.
func malformedParts() [][]byte {
	valid := parts(`{"data":`+place(0)+`}`, "abc")
	many := strings.Repeat(place(0)+",", 200) + place(0)
	return [][]byte{
		nil,
		{},
		{0x80},                            // half a count
		bytes.Repeat([]byte{0xff}, 11),    // a count beyond 64 bits
		{0xff, 0xff, 0xff, 0xff, 0x7f},    // 34 billion parts
		{1, 0xff, 0xff, 0xff, 0xff, 0x7f}, // a part of 34 billion bytes
		{1, 5, 'a'},
		{2, 1, 'a'},
		valid[:len(valid)-1],
		append(slices.Clone(valid), '}'),
		parts(``, "a"),
		parts(place(0)),
		parts(place(1), "a"),
		parts(`{"_placeholder":true,"num":-1}`, "a"),
		parts(`{"_placeholder":true,"num":0.5}`, "a"),
		parts(`{"_placeholder":true,"num":"0"}`, "a"),
		parts(`{"_placeholder":true,"num":"splice"}`, "a"),
		parts(`{"_placeholder":true,"num":99999999999999999999}`, "a"),
		parts(`{"_placeholder":true,"num":{"_placeholder":true,"num":0}}`, "a"),
		parts(`{"_placeholder":true}`, "a"),
		parts(`{"num":7,"_placeholder":true}`, "a"),
		parts("\"\xff\"", "a"),
		parts(strings.Repeat("[", 129)+place(0)+strings.Repeat("]", 129), "a"),
		parts(strings.Repeat("[", 100_000), "a"),
		parts(`[`+many+`]`, strings.Repeat("x", 1<<10)), // 200 KiB of 1 KiB
	}
}

func TestParts(t *testing.T) {
	codectest.Run(t, codec.Parts{}, codectest.Values{
		Good: []any{
			file{"a", []byte{0, 1, 2}, nil},
			map[string]any{"a": []byte{0xff, 0}, "b": []any{1.5, []byte("x"), nil, map[string]any{"c": []byte{}}}, "s": "Zm9v"},
			map[string][]byte{"a": []byte("x"), "b": {}},
			[][]byte{[]byte("x"), {}, nil},
			[]byte{1, 2, 3},
			[]any{"text", []byte("x"), true},
			point{1, 2, "no bytes"},
			"text",
			map[string]any{"_placeholder": false, "num": 0.0},
		},
		Unsupported: []any{
			make(chan int), func() {},
			map[string]any{"b": []byte("x"), "f": func() {}},
			map[string]any{"_placeholder": true, "num": 0},
			map[string]any{"b": []byte("x"), "c": map[string]any{"_placeholder": true, "num": 0}},
			nested(200),
		},
		Malformed: malformedParts(),
	})
}

// nested is bytes in n lists.
func nested(n int) any {
	var v any = []byte("deep")
	for range n {
		v = []any{v}
	}
	return v
}

func TestPartsBytes(t *testing.T) {
	v := map[string]any{"b": []byte("second"), "a": []any{[]byte("first"), nil}, "<": "&"}
	data, err := codec.Parts{}.Append(nil, v)
	want := parts(`{"<":"&","a":[`+place(0)+`,null],"b":`+place(1)+`}`, "first", "second")
	if err != nil || !bytes.Equal(data, want) {
		t.Errorf("%q, %v, want %q", data, err, want)
	}
	text, got, err := codec.SplitParts(want)
	if err != nil || string(text) != `{"<":"&","a":[`+place(0)+`,null],"b":`+place(1)+`}` || len(got) != 2 ||
		string(got[0]) != "first" || string(got[1]) != "second" || cap(got[0]) != 5 {
		t.Errorf("%s %q, %v", text, got, err)
	}
	if _, ok := v["b"].([]byte); !ok {
		t.Errorf("the value was changed: %v", v)
	}
}

func TestPartsInto(t *testing.T) {
	type inner struct{ Any any }
	type outer struct {
		inner
		*point
		Body   map[string]any `json:"body"`
		List   []inner
		ByName map[string]inner
		Ptr    *inner
		Raw    json.RawMessage
		Text   string
		Skip   any `json:"-"`
		Data   []byte
		Same   any
	}
	text := `{"any":` + place(0) + `,"body":{"x":[1,` + place(1) + `]},"List":[{},{"Any":` + place(0) + `}],
		"ByName":{"k":{"Any":` + place(1) + `}},"Ptr":{"Any":` + place(1) + `},"Raw":` + place(1) + `,
		"Text":` + place(0) + `,"Skip":` + place(0) + `,"Data":` + place(0) + `,"Same":"` + "YQ==" + `","unknown":` + place(0) + `}`
	a, b := []byte("a"), []byte("bb")
	var got outer
	if err := (codec.Parts{}).Unmarshal(parts(text, "a", "bb"), &got); err != nil {
		t.Fatal(err)
	}
	want := outer{
		inner: inner{a}, Body: map[string]any{"x": []any{1.0, b}}, List: []inner{{}, {a}},
		ByName: map[string]inner{"k": {b}}, Ptr: &inner{b}, Raw: json.RawMessage(`"YmI="`),
		Text: "YQ==", Data: a, Same: "YQ==",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// own decodes itself.
type own struct{ got string }

func (o *own) UnmarshalJSON(text []byte) error {
	o.got = string(text)
	return nil
}

func TestPartsIntoOthers(t *testing.T) {
	var (
		anything   any
		fresh      map[string]any
		there      = map[string]any{"kept": 1}
		list       []any
		data       []byte
		inAny      any = &file{}
		custom     own
		customs    = map[string]*own{}
		array      [1]any
		typed      map[string]string
		wrongField struct{ Data int }
	)
	for _, c := range []struct {
		text string
		v    any
		want any
	}{
		{place(0), &anything, []byte("a")},
		{`{"data":` + place(0) + `}`, &fresh, map[string]any{"data": []byte("a")}},
		{`{"data":` + place(0) + `}`, &there, map[string]any{"kept": 1, "data": []byte("a")}},
		{`[` + place(0) + `,` + place(0) + `]`, &list, []any{[]byte("a"), []byte("a")}},
		{place(0), &data, []byte("a")},
		{`{"data":` + place(0) + `,"any":` + place(0) + `}`, &inAny, &file{Data: []byte("a"), Any: []byte("a")}},
		{`{"x":` + place(0) + `}`, &custom, own{`{"x":"YQ=="}`}},
		{`{"x":` + place(0) + `}`, &customs, map[string]*own{"x": {`"YQ=="`}}},
		{`[` + place(0) + `,` + place(0) + `]`, &array, [1]any{[]byte("a")}},
		{`{"x":` + place(0) + `}`, &typed, map[string]string{"x": "YQ=="}},
	} {
		if err := (codec.Parts{}).Unmarshal(parts(c.text, "a"), c.v); err != nil {
			t.Errorf("%s into %T: %v", c.text, c.v, err)
		} else if got := reflect.ValueOf(c.v).Elem().Interface(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s into %T: %#v, want %#v", c.text, c.v, got, c.want)
		}
	}
	for _, v := range []any{&wrongField, new(int), wrongField, nil, (*file)(nil)} {
		if err := (codec.Parts{}).Unmarshal(parts(`{"data":`+place(0)+`}`, "a"), v); err == nil {
			t.Errorf("no error for %T", v)
		}
	}
}

func TestSetParts(t *testing.T) {
	s := newSet(t)
	sio := []string{codec.TypeJSON, codec.TypeBytes, codec.TypeParts}
	v := map[string]any{"b": []byte("a")}
	inParts := codec.Payload{Type: codec.TypeParts, Data: parts(`{"b":`+place(0)+`}`, "a")}
	inJSON := codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"b":"YQ=="}`)}
	circle := map[string]any{}
	circle["a"], circle["b"] = circle, circle
	for _, c := range []struct {
		v     any
		types []string
		want  codec.Payload
	}{
		{v, sio, inParts},
		{v, []string{codec.TypeJSON, codec.TypeBytes}, inJSON},
		{v, nil, inJSON},
		{inParts, sio, inParts},
		{inParts, nil, inJSON},
		{inParts, []string{codec.TypeJSON}, inJSON},
		{[]any{[]byte("a")}, sio, codec.Payload{Type: codec.TypeParts, Data: parts(`[`+place(0)+`]`, "a")}},
		{[][]byte{[]byte("a")}, sio, codec.Payload{Type: codec.TypeParts, Data: parts(`[`+place(0)+`]`, "a")}},
		{map[string][]byte{"b": []byte("a")}, sio, inParts},
		{[]byte("a"), sio, codec.Payload{Type: codec.TypeBytes, Data: []byte("a")}},
		{map[string]any{"b": "text"}, sio, codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"b":"text"}`)}},
		{map[string]any{"b": []byte(nil)}, sio, codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"b":null}`)}},
		{file{Name: "n", Data: []byte("a")}, sio, codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"name":"n","data":"YQ=="}`)}},
	} {
		got, err := s.MarshalFor("kind", c.v, c.types)
		if err != nil || got.Type != c.want.Type || string(got.Data) != string(c.want.Data) {
			t.Errorf("%#v for %v: %s %q, %v", c.v, c.types, got.Type, got.Data, err)
		}
	}
	if p, err := s.Marshal(v, ""); err != nil || p.Type != codec.TypeParts {
		t.Errorf("without a preference: %v, %v", p, err)
	}
	if p, err := s.Marshal(v, codec.TypeJSON); err != nil || string(p.Data) != string(inJSON.Data) {
		t.Errorf("in JSON: %v, %v", p, err)
	}
	if p, err := s.MarshalFor("kind", circle, sio); err == nil {
		t.Errorf("a circle became %v", p)
	}
	if p, err := s.Translate("kind", inParts, codec.TypeBytes); !errors.Is(err, codec.ErrNoTranslation) {
		t.Errorf("an object became the bytes %v, %v", p, err)
	}
	var l loud
	loudParts := codec.Payload{Type: codec.TypeParts, Data: parts(`{"loud":`+place(0)+`}`, "a")}
	if err := newSet(t, shout{}).Unmarshal(loudParts, &l); err != nil || l != "YQ==" {
		t.Errorf("into a value with a JSON of its own: %q, %v", l, err)
	}
}

// Looking for bytes in values that have none takes no memory.
func TestNoPartsCostNothing(t *testing.T) {
	s := newSet(t)
	sio := []string{codec.TypeJSON, codec.TypeBytes, codec.TypeParts}
	for _, v := range []any{point{1, 2, "x"}, "text", map[string]any{"a": []any{"b", map[string]any{"c": 1}}}} {
		count := func(types []string) float64 {
			return testing.AllocsPerRun(200, func() {
				if _, err := s.MarshalFor("kind", v, types); err != nil {
					t.Fatal(err)
				}
			})
		}
		// The least of some: a pool that is emptied meanwhile, as with the race
		// detector now and then, takes its part.
		least := func(types []string) float64 {
			n := count(types)
			for range 20 {
				n = min(n, count(types))
			}
			return n
		}
		if with, without := least(sio), least(sio[:2]); with != without {
			t.Errorf("%T: %v allocations, %v where there are no parts", v, with, without)
		}
	}
}

// FuzzParts decodes what a peer may send: it ends, takes memory in proportion
// to the data, and means the same in all its forms.
func FuzzParts(f *testing.F) {
	f.Add(parts(`{"a":`+place(0)+`,"b":[`+place(1)+`,{"_placeholder":false}]}`, "x", ""))
	f.Add(parts(`[1,2]`))
	f.Add(parts(`{"_placeholder":true,"_placeholder":1,"num":0,"\u006eum":1}`, "x", "y"))
	for _, m := range malformedParts() {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		text, split, err := codec.SplitParts(data)
		if err == nil {
			size := len(text)
			for _, p := range split {
				size += len(p) + 1
			}
			if size >= len(data) {
				t.Fatalf("%d bytes of %d", size, len(data))
			}
			again := codec.AppendParts(nil, text, split...)
			if len(again) > len(data) {
				t.Fatalf("%q became %q", data, again)
			}
		}
		var v any
		decoded := codec.Parts{}.Unmarshal(data, &v)
		asJSON, translated := codec.Parts{}.AppendJSON(nil, "", data)
		if translated == nil && len(asJSON) > 4*len(data)+128<<10 {
			t.Fatalf("%d bytes became %d", len(data), len(asJSON))
		}
		if decoded == nil && translated != nil || decoded != nil && translated == nil && json.Unmarshal(asJSON, new(any)) == nil {
			t.Fatalf("%q: %v, in JSON %v", data, decoded, translated)
		}
		if translated == nil && !json.Valid(asJSON) {
			t.Fatalf("%q became %q", data, asJSON)
		}
		var fl file
		_ = codec.Parts{}.Unmarshal(data, &fl) // must not panic
		var m map[string]*file
		_ = codec.Parts{}.Unmarshal(data, &m)
		if !bytes.Equal(before, data) {
			t.Fatal("the data was changed")
		}
		if decoded != nil {
			return
		}
		back, err := codec.Parts{}.Append(nil, v)
		if err != nil {
			t.Fatalf("%q does not go back: %v", data, err)
		}
		var again any
		if err := (codec.Parts{}).Unmarshal(back, &again); err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%#v came back as %#v, %v", v, again, err)
		}
	})
}

func BenchmarkMarshalFor(b *testing.B) {
	s, err := codec.NewSet()
	if err != nil {
		b.Fatal(err)
	}
	sio := []string{codec.TypeJSON, codec.TypeBytes, codec.TypeParts}
	for _, c := range []struct {
		name  string
		v     any
		types []string
	}{
		{"struct", point{1, 2, "name"}, sio},
		{"map", map[string]any{"x": 1, "y": 2, "name": "name"}, sio},
		{"map/no parts", map[string]any{"x": 1, "y": 2, "name": "name"}, sio[:2]},
		{"map with bytes", map[string]any{"x": 1, "data": make([]byte, 1024)}, sio},
		{"map with bytes/no parts", map[string]any{"x": 1, "data": make([]byte, 1024)}, sio[:2]},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.MarshalFor("kind", c.v, c.types); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
