// Package codec is the port between payload bytes and Go values, with the
// codecs that need only the standard library: JSON, raw bytes, and JSON with
// bytes beside it. Others are in the folders below.
package codec

import (
	"errors"
	"fmt"
)

// Content types that wires have short names for.
const (
	TypeJSON     = "application/json"
	TypeProtobuf = "application/protobuf"
	TypeMsgpack  = "application/msgpack"
	TypeBytes    = "application/octet-stream"
)

// Payload is one argument of a message: bytes and what they are. The empty
// Type with no Data is "no payload". Whoever hands out a Payload says how long
// Data is valid.
type Payload struct {
	Type string
	Data []byte
	// Name is the full name of the message type, where the Type has such and
	// somebody has told: of protobuf made from Go values and for wires that say
	// it. Empty: not known.
	Name string
}

// Empty reports whether there is no payload at all.
func (p Payload) Empty() bool { return p.Type == "" && len(p.Data) == 0 }

// Clone returns a payload with a copy of the data.
func (p Payload) Clone() Payload {
	if p.Data != nil {
		p.Data = append(make([]byte, 0, len(p.Data)), p.Data...)
	}
	return p
}

// Codec turns Go values into bytes of one content type and back. Methods may
// be called from many goroutines at once.
type Codec interface {
	// ContentType is the media type in lower case, without parameters.
	ContentType() string
	// Append appends the encoding of v to dst. An error leaves dst as it was.
	Append(dst []byte, v any) ([]byte, error)
	// Unmarshal decodes data into v, a non-nil pointer. It does not keep data.
	Unmarshal(data []byte, v any) error
}

// Claimer is implemented by codecs that are the natural one for some Go types:
// protobuf for generated messages, bytes for []byte.
type Claimer interface {
	// Claims reports whether v, a value to encode or the pointer to decode
	// into, is this codec's when nobody asked for another.
	Claims(v any) bool
}

// Translator is implemented by codecs whose payloads can be said in JSON, and
// back. The kind is the message's, for codecs that need to know the type.
type Translator interface {
	// AppendJSON appends data, translated to JSON, to dst.
	AppendJSON(dst []byte, kind string, data []byte) ([]byte, error)
	// AppendFromJSON appends the translation of JSON text to dst.
	AppendFromJSON(dst []byte, kind string, json []byte) ([]byte, error)
}

// ValueJSON is implemented by codecs whose Go values have a JSON form that is
// not encoding/json's: generated protobuf messages and protojson.
type ValueJSON interface {
	Claimer
	// AppendValueJSON appends the JSON of v, which the codec claims, to dst.
	AppendValueJSON(dst []byte, v any) ([]byte, error)
	// UnmarshalValueJSON decodes JSON text into v, which the codec claims.
	UnmarshalValueJSON(text []byte, v any) error
}

// Namer is implemented by codecs whose payloads have types with names: protobuf.
type Namer interface {
	// TypeName returns the name of the type of v, a value to encode or the
	// pointer to decode into; empty if that is none of the codec's.
	TypeName(v any) string
	// NameOf returns the name of the type that payloads of a kind have, known
	// to the codec or not.
	NameOf(kind string) string
}

// ErrNoTranslation is wrapped by errors of [Set.Translate] when a payload
// cannot be said in the other content type.
var ErrNoTranslation = errors.New("codec: no translation")

// ErrUnknownType is wrapped by errors about content types that no codec of a set has.
var ErrUnknownType = errors.New("codec: unknown content type")

// ErrOtherType is wrapped by errors of [Set.Unmarshal] about payloads of
// another type than that of the variable.
var ErrOtherType = errors.New("codec: the payload is of another type")

func noTranslation(from, to, kind string, cause error) error {
	return fmt.Errorf("%w from %q to %q for kind %q: %w", ErrNoTranslation, from, to, kind, cause)
}
