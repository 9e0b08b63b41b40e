package protobuf_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/protobuf"
)

func set(t *testing.T, c protobuf.Codec) *codec.Set {
	t.Helper()
	s, err := codec.NewSet(codec.JSON{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is made for a wire that says only protobuf knows its message's name.
func TestNames(t *testing.T) {
	const text, number = "google.protobuf.StringValue", "google.protobuf.Int32Value"
	s := set(t, protobuf.Codec{
		Kinds: map[string]string{"chat.said": text},
		Resolve: func(kind string) protoreflect.MessageType {
			if kind == "count" {
				return (&wrapperspb.Int32Value{}).ProtoReflect().Type()
			}
			return nil
		},
	})
	data := []byte("\x0a\x02hi")
	for name, tt := range map[string]struct {
		kind string
		v    any
		want string
	}{
		"a message, whatever the kind":    {"chat.said", wrapperspb.Int32(1), number},
		"a message without fields":        {"x", &structpb.Struct{}, "google.protobuf.Struct"},
		"bytes of a kind":                 {text, codec.Payload{Type: codec.TypeProtobuf, Data: data}, text},
		"bytes of a mapped kind":          {"chat.said", codec.Payload{Type: codec.TypeProtobuf, Data: data}, text},
		"bytes of a resolved kind":        {"count", codec.Payload{Type: codec.TypeProtobuf}, number},
		"bytes that have a name":          {"count", codec.Payload{Type: codec.TypeProtobuf, Data: data, Name: text}, text},
		"JSON of a mapped kind":           {"chat.said", codec.Payload{Type: codec.TypeJSON, Data: []byte(`"hi"`)}, text},
		"a Go value that is said in JSON": {"chat.said", "hi", text},
		"nothing":                         {"chat.said", nil, ""},
		"a kind that is not linked in":    {"x.Unknown", codec.Payload{Type: codec.TypeProtobuf}, "x.Unknown"},
	} {
		p, err := s.MarshalFor(tt.kind, tt.v, []string{codec.TypeProtobuf})
		if err != nil || p.Name != tt.want {
			t.Errorf("%s: %q, %v, want %q", name, p.Name, err, tt.want)
		}
	}
	if p, err := s.MarshalFor(text, wrapperspb.String("hi"), []string{codec.TypeJSON}); err != nil || p.Name != "" || string(p.Data) != `"hi"` {
		t.Errorf("in JSON: %+v, %v", p, err)
	}
}

// A payload with a name goes only into a message of that name, and is
// translated as that.
func TestNamedPayloads(t *testing.T) {
	s := set(t, protobuf.Codec{})
	p, err := s.Marshal(wrapperspb.String("hi"), codec.TypeProtobuf)
	if err != nil {
		t.Fatal(err)
	}
	var text *wrapperspb.StringValue
	if err := s.Unmarshal(p, &text); err != nil || text.GetValue() != "hi" {
		t.Errorf("%v, %v", text, err)
	}
	var other wrapperspb.BytesValue
	if err := s.Unmarshal(p, &other); !errors.Is(err, codec.ErrOtherType) {
		t.Errorf("into another message: %v", err)
	}
	p.Name = ""
	if err := s.Unmarshal(p, &other); err != nil || string(other.GetValue()) != "hi" {
		t.Errorf("without a name: %v, %v", &other, err)
	}
	for name, kind := range map[string]string{"google.protobuf.StringValue": "whatever", "x.Unknown": "google.protobuf.StringValue"} {
		p.Name = name
		if out, err := s.Translate(kind, p, codec.TypeJSON); err != nil || string(out.Data) != `"hi"` {
			t.Errorf("%s as %s: %s, %v", name, kind, out.Data, err)
		}
	}
}
