// Package protobuf is the codec of generated protobuf messages, by
// google.golang.org/protobuf. It says them in JSON by protojson's rules.
package protobuf

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/polywire/polywire/codec"
)

// Codec is the codec of [codec.TypeProtobuf]. The zero value is good: it takes
// kinds for full names of messages that are linked into the program. Do not
// change it while it is in use.
type Codec struct {
	// Kinds maps kinds to full names of messages, for those that differ.
	Kinds map[string]string
	// Resolve, when set, is asked first for the message type of a kind; it
	// returns nil where it knows none. It is called by many goroutines at once.
	Resolve func(kind string) protoreflect.MessageType
	// RejectUnknownFields makes JSON with fields that the message does not have
	// an error. They are discarded otherwise.
	RejectUnknownFields bool
	// EmitDefaults says fields without presence in JSON even when they have
	// their default values.
	EmitDefaults bool
}

// ErrUnknownKind is wrapped by errors about kinds without a message type.
var ErrUnknownKind = errors.New("protobuf: no message type is linked in")

// ContentType returns [codec.TypeProtobuf].
func (Codec) ContentType() string { return codec.TypeProtobuf }

// Claims reports whether v is a generated message, or a pointer to a variable
// of one.
func (Codec) Claims(v any) bool {
	if _, ok := v.(proto.Message); ok {
		return true
	}
	t := reflect.TypeOf(v)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Pointer && t.Elem().Implements(messageType())
}

// TypeName returns the full name of the message that v is, or points to.
func (Codec) TypeName(v any) string {
	m, err := message(v)
	if err != nil {
		return ""
	}
	return string(m.ProtoReflect().Descriptor().FullName())
}

// NameOf returns the full name of a kind's message: by Resolve, by Kinds, or
// the kind itself.
func (c Codec) NameOf(kind string) string {
	if c.Resolve != nil {
		if t := c.Resolve(kind); t != nil {
			return string(t.Descriptor().FullName())
		}
	}
	return cmp.Or(c.Kinds[kind], kind)
}

func messageType() reflect.Type { return reflect.TypeFor[proto.Message]() }

// message returns the message that v is, or points to; a nil variable gets a
// new one.
func message(v any) (proto.Message, error) {
	if m, ok := v.(proto.Message); ok {
		return m, nil
	}
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Pointer && !r.IsNil() && r.Type().Elem().Kind() == reflect.Pointer {
		if e := r.Elem(); e.Type().Implements(messageType()) {
			if e.IsNil() && e.CanSet() {
				e.Set(reflect.New(e.Type().Elem()))
			}
			if m, ok := reflect.TypeAssert[proto.Message](e); ok {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("protobuf: %T is not a protobuf message", v)
}

// Append appends the binary form of v, a message.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	m, err := message(v)
	if err != nil {
		return dst, err
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Unmarshal decodes the binary form into v, a message or a pointer to a
// variable of one.
func (Codec) Unmarshal(data []byte, v any) error {
	m, err := message(v)
	if err != nil {
		return err
	}
	return proto.Unmarshal(data, m)
}

// AppendValueJSON appends v, a message, in JSON.
func (c Codec) AppendValueJSON(dst []byte, v any) ([]byte, error) {
	m, err := message(v)
	if err != nil {
		return dst, err
	}
	out, err := protojson.MarshalOptions{EmitDefaultValues: c.EmitDefaults}.MarshalAppend(dst, m)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// UnmarshalValueJSON decodes JSON into v as Unmarshal does the binary form.
func (c Codec) UnmarshalValueJSON(text []byte, v any) error {
	m, err := message(v)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: !c.RejectUnknownFields}.Unmarshal(text, m)
}

// AppendJSON translates the binary form of the kind's message to JSON.
func (c Codec) AppendJSON(dst []byte, kind string, data []byte) ([]byte, error) {
	m, err := c.newMessage(kind)
	if err != nil {
		return dst, err
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return dst, err
	}
	return c.AppendValueJSON(dst, m)
}

// AppendFromJSON translates JSON to the binary form of the kind's message.
func (c Codec) AppendFromJSON(dst []byte, kind string, text []byte) ([]byte, error) {
	m, err := c.newMessage(kind)
	if err != nil {
		return dst, err
	}
	if err := c.UnmarshalValueJSON(text, m); err != nil {
		return dst, err
	}
	return c.Append(dst, m)
}

func (c Codec) newMessage(kind string) (proto.Message, error) {
	if c.Resolve != nil {
		if t := c.Resolve(kind); t != nil {
			return t.New().Interface(), nil
		}
	}
	name, mapped := c.Kinds[kind]
	if !mapped {
		name = kind
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err == nil {
		return t.New().Interface(), nil
	}
	if mapped {
		return nil, fmt.Errorf("%w under the name %q", ErrUnknownKind, name)
	}
	return nil, fmt.Errorf("%w under the kind's name %q, and Kinds does not map it", ErrUnknownKind, kind)
}
