package protobuf_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/codectest"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/wire/native/nativepb"
)

const kind = "polywire.v1.Envelope"

func envelope() *nativepb.Envelope {
	return &nativepb.Envelope{Type: nativepb.Type_CALL, Id: 7, Kind: "é", Payload: []byte{1, 2}, Headers: map[string]string{"a": "b"}}
}

func equal(got, want any) bool {
	g, ok := got.(proto.Message)
	w, ok2 := want.(proto.Message)
	return ok && ok2 && proto.Equal(g, w)
}

func TestCodec(t *testing.T) {
	codectest.Run(t, protobuf.Codec{}, codectest.Values{
		Good:        []any{envelope(), &nativepb.Envelope{}, wrapperspb.String("x")},
		Kind:        kind,
		Unsupported: []any{7, "text", nil, struct{}{}, wrapperspb.String("\xff")},
		Malformed:   [][]byte{{0x0f}, {0x1a, 0x7f}, {0x2a, 0xff, 0xff, 0xff, 0x7f}, {0x1a, 0x01, 0xff}},
		Equal:       equal,
	})
}

func TestUnmarshalTargets(t *testing.T) {
	data, err := protobuf.Codec{}.Append(nil, envelope())
	if err != nil {
		t.Fatal(err)
	}
	var direct nativepb.Envelope
	variable := &nativepb.Envelope{Room: "gone after Unmarshal"}
	kept := variable
	if err := (protobuf.Codec{}).Unmarshal(data, &direct); err != nil || !proto.Equal(&direct, envelope()) {
		t.Errorf("into a message: %v, %v", &direct, err)
	}
	if err := (protobuf.Codec{}).Unmarshal(data, &variable); err != nil || kept != variable || !proto.Equal(variable, envelope()) {
		t.Errorf("into a variable: %v, %v", variable, err)
	}
	var m map[string]any
	for _, v := range []any{&m, new(*int), (**nativepb.Envelope)(nil), nil} {
		if err := (protobuf.Codec{}).Unmarshal(data, v); err == nil {
			t.Errorf("%T took a message", v)
		}
	}
}

func TestKinds(t *testing.T) {
	c := protobuf.Codec{
		Kinds: map[string]string{"say": kind, "lost": "no.such.Message"},
		Resolve: func(kind string) protoreflect.MessageType {
			if kind == "value" {
				return (&structpb.Value{}).ProtoReflect().Type()
			}
			return nil
		},
	}
	for _, row := range []struct{ kind, in, out string }{
		{"say", `{"id":"7","kind":"k","unknown":1}`, `{"id":"7","kind":"k"}`},
		{kind, `{"type":"CALL","payload":"AQI="}`, `{"type":"CALL","payload":"AQI="}`},
		{"value", `{"a":[1,null]}`, `{"a":[1,null]}`},
		{"google.protobuf.StringValue", `"x"`, `"x"`},
	} {
		data, err := c.AppendFromJSON(nil, row.kind, []byte(row.in))
		if err != nil {
			t.Errorf("%s: %v", row.kind, err)
			continue
		}
		text, err := c.AppendJSON(nil, row.kind, data)
		if got := strings.ReplaceAll(string(text), " ", ""); err != nil || got != row.out {
			t.Errorf("%s: %s, %v, want %s", row.kind, got, err, row.out)
		}
	}
	for kind, want := range map[string]string{
		"chat.say": `protobuf: no message type is linked in under the kind's name "chat.say", and Kinds does not map it`,
		"lost":     `protobuf: no message type is linked in under the name "no.such.Message"`,
		"":         `protobuf: no message type is linked in under the kind's name "", and Kinds does not map it`,
		"/ odd":    `protobuf: no message type is linked in under the kind's name "/ odd", and Kinds does not map it`,
	} {
		if _, err := c.AppendJSON(nil, kind, nil); !errors.Is(err, protobuf.ErrUnknownKind) || err.Error() != want {
			t.Errorf("AppendJSON of %q: %v", kind, err)
		}
		if _, err := c.AppendFromJSON(nil, kind, []byte(`{}`)); !errors.Is(err, protobuf.ErrUnknownKind) {
			t.Errorf("AppendFromJSON of %q: %v", kind, err)
		}
	}
}

func TestOptions(t *testing.T) {
	strict := protobuf.Codec{RejectUnknownFields: true}
	if _, err := strict.AppendFromJSON(nil, kind, []byte(`{"unknown":1}`)); err == nil {
		t.Error("an unknown field was taken")
	}
	text, err := protobuf.Codec{EmitDefaults: true}.AppendJSON(nil, "google.protobuf.Int32Value", nil)
	if err != nil || string(text) != "0" {
		t.Errorf("%s, %v", text, err)
	}
	text, err = protobuf.Codec{EmitDefaults: true}.AppendJSON(nil, "polywire.v1.Argument", nil)
	if got := strings.ReplaceAll(string(text), " ", ""); err != nil || got != `{"payload":"","content":"NONE","contentType":""}` {
		t.Errorf("%s, %v", got, err)
	}
}

// A set lets one handler take a message whatever it came in, and one message
// go out whatever the receiver wants.
func TestInASet(t *testing.T) {
	s, err := codec.NewSet(codec.JSON{}, protobuf.Codec{})
	if err != nil {
		t.Fatal(err)
	}
	binary, err := s.Marshal(envelope(), "")
	if err != nil || binary.Type != codec.TypeProtobuf {
		t.Fatalf("%v, %v", binary, err)
	}
	text, err := s.Marshal(envelope(), codec.TypeJSON)
	if err != nil || text.Type != codec.TypeJSON {
		t.Fatalf("%v, %v", text, err)
	}
	for _, p := range []codec.Payload{binary, text} {
		var m *nativepb.Envelope
		if err := s.Unmarshal(p, &m); err != nil || !proto.Equal(m, envelope()) {
			t.Errorf("of %s: %v, %v", p.Type, m, err)
		}
	}
	back, err := s.Translate(kind, text, codec.TypeProtobuf)
	if err != nil {
		t.Fatal(err)
	}
	var m nativepb.Envelope
	if err := s.Unmarshal(back, &m); err != nil || !proto.Equal(&m, envelope()) {
		t.Errorf("translated: %v, %v", &m, err)
	}
}

func FuzzTranslate(f *testing.F) {
	data, err := proto.Marshal(envelope())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{0x1a, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := protobuf.Codec{}
		text, err := c.AppendJSON(nil, kind, data)
		if err != nil {
			return
		}
		back, err := c.AppendFromJSON(nil, kind, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var a, b nativepb.Envelope
		known := proto.UnmarshalOptions{DiscardUnknown: true}
		if known.Unmarshal(data, &a) != nil || c.Unmarshal(back, &b) != nil {
			t.Fatal("what was translated cannot be read")
		}
		if !proto.Equal(&a, &b) {
			t.Fatalf("%v came back as %v", &a, &b)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	m, buf := envelope(), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (protobuf.Codec{}).Append(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}
