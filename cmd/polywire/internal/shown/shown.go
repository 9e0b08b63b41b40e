// Package shown says payloads of any content type in a form that JSON can
// carry: for the HTTP API and the console.
package shown

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
)

const typeText = "text/plain"

// Form is a payload in one of three forms, or none.
type Form struct {
	JSON  []byte // one valid value
	Text  *string
	Bytes []byte // not nil where it is the form
}

// Forms knows the content types. It is safe for concurrent use.
type Forms struct{ codecs *codec.Set }

// New returns one that knows JSON, protobuf and MessagePack.
func New() (*Forms, error) {
	codecs, err := codec.NewSet(codec.JSON{}, protobuf.Codec{}, msgpack.Codec{})
	if err != nil {
		return nil, err
	}
	return &Forms{codecs}, nil
}

// Of returns the form of a payload of a message of some kind, which may be
// empty: JSON where it can be said so, and else its bytes. It may refer to the
// payload's data.
func (f *Forms) Of(kind string, p codec.Payload) Form {
	switch {
	case p.Empty():
		return Form{}
	case p.Type == typeText && utf8.Valid(p.Data):
		text := string(p.Data)
		return Form{Text: &text}
	case p.Type == codec.TypeBytes:
		return Form{Bytes: nonNil(p.Data)}
	case p.Type == codec.TypeJSON, p.Type == "": // the latter is of programs without types
		if ValidJSON(p.Data) {
			return Form{JSON: p.Data}
		}
		return Form{Bytes: nonNil(p.Data)}
	}
	j, err := f.codecs.Translate(kind, p, codec.TypeJSON)
	if err != nil || !ValidJSON(j.Data) {
		return Form{Bytes: nonNil(p.Data)}
	}
	return Form{JSON: j.Data}
}

// Payload encodes a Go value, as JSON where its type says nothing else.
func (f *Forms) Payload(v any) (codec.Payload, error) { return f.codecs.Marshal(v, codec.TypeJSON) }

// ValidJSON reports whether b is one JSON value in UTF-8.
func ValidJSON(b []byte) bool { return json.Valid(b) && utf8.Valid(b) }

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
