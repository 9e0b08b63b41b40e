package codec

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/polywire/polywire/internal/jsonscan"
)

// Set is the codecs that an application knows, in order of preference. It is
// immutable and safe for concurrent use.
type Set struct {
	codecs []Codec
}

// NewSet returns a set of the given codecs. JSON, Bytes and Parts are added at
// the end when they are not among them; the first codec is the one for Go
// values that no codec claims. A nil codec, one without a content type, and two of
// one content type are errors.
func NewSet(codecs ...Codec) (*Set, error) {
	if slices.Contains(codecs, nil) {
		return nil, errors.New("codec: a nil codec")
	}
	s := &Set{codecs: slices.Clone(codecs)}
	for _, c := range []Codec{JSON{}, Bytes{}, Parts{}} {
		if s.Lookup(c.ContentType()) == nil {
			s.codecs = append(s.codecs, c)
		}
	}
	for i, c := range s.codecs {
		if c.ContentType() == "" {
			return nil, errors.New("codec: a codec without a content type")
		}
		if slices.ContainsFunc(s.codecs[:i], func(o Codec) bool { return o.ContentType() == c.ContentType() }) {
			return nil, fmt.Errorf("codec: two codecs for %s", c.ContentType())
		}
	}
	return s, nil
}

// ContentTypes lists the content types of the set, in order of preference.
func (s *Set) ContentTypes() []string {
	types := make([]string, len(s.codecs))
	for i, c := range s.codecs {
		types[i] = c.ContentType()
	}
	return types
}

// Lookup returns the codec of a content type, or nil.
func (s *Set) Lookup(contentType string) Codec {
	for _, c := range s.codecs {
		if c.ContentType() == contentType {
			return c
		}
	}
	return nil
}

// For returns the codec for a Go value: one that claims it, else the one of
// the preferred content type if it is known, else the first.
func (s *Set) For(v any, preferred string) Codec {
	if c := s.claims(v); c != nil {
		return c
	}
	if c := s.Lookup(preferred); c != nil && preferred != TypeBytes {
		return c
	}
	return s.codecs[0]
}

func (s *Set) claims(v any) Codec {
	for _, c := range s.codecs {
		if cl, ok := c.(Claimer); ok && cl.Claims(v) {
			return c
		}
	}
	return nil
}

// Marshal makes a payload of a Go value in the preferred content type, or, when
// that is empty or not one for this value, by the codec that [Set.For] returns.
// A value that a codec claims is said in JSON only when JSON is preferred and
// the codec is a [ValueJSON]. A value that a [Claimer] neither claims nor can
// encode is said in JSON. A nil v is the empty payload, a Payload is
// returned as it is; raw JSON is validated. Without a preference, what would be
// JSON becomes [TypeParts] when there are bytes inside that [Parts] sees.
func (s *Set) Marshal(v any, preferred string) (Payload, error) {
	return s.marshal(v, preferred, preferred == "")
}

func (s *Set) marshal(v any, preferred string, parts bool) (Payload, error) {
	switch v := v.(type) {
	case nil:
		return Payload{}, nil
	case Payload:
		return v, nil
	case []byte:
		return Payload{Type: TypeBytes, Data: v}, nil
	case json.RawMessage:
		return marshalRaw(v)
	}
	c := s.For(v, preferred)
	if parts && c.ContentType() == TypeJSON && holdsBytes(v) {
		c = s.Lookup(TypeParts)
	}
	contentType, encode := c.ContentType(), c.Append
	if vj, ok := c.(ValueJSON); ok && preferred == TypeJSON && vj.Claims(v) {
		contentType, encode = TypeJSON, vj.AppendValueJSON
	}
	data, err := encode(nil, v)
	if err != nil {
		if cl, ok := c.(Claimer); ok && contentType != TypeJSON && !cl.Claims(v) {
			// The codec is for values of its own: the others are JSON.
			if text, jsonErr := s.Lookup(TypeJSON).Append(nil, v); jsonErr == nil {
				return Payload{Type: TypeJSON, Data: text}, nil
			}
		}
		return Payload{}, fmt.Errorf("codec: %s of %T: %w", contentType, v, err)
	}
	p := Payload{Type: contentType, Data: data}
	if n, ok := c.(Namer); ok && contentType == c.ContentType() {
		p.Name = n.TypeName(v)
	}
	return p, nil
}

// marshalRaw validates raw in place.
func marshalRaw(raw json.RawMessage) (Payload, error) {
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	if err := jsonscan.Valid(raw); err != nil {
		return Payload{}, fmt.Errorf("codec: %s of %T: %w", TypeJSON, raw, err)
	}
	return Payload{Type: TypeJSON, Data: raw}, nil
}

// MarshalFor makes a payload that a receiver of the given content types (in
// order of preference; none: any) understands, translating if need be. For
// receivers with such types it has a Name where its codec is a [Namer].
// [TypeParts] is only for receivers that list it; others get JSON.
func (s *Set) MarshalFor(kind string, v any, types []string) (Payload, error) {
	if len(types) == 0 {
		p, err := s.marshal(v, "", false)
		if err != nil || p.Type != TypeParts {
			return p, err
		}
		return s.Translate(kind, p, TypeJSON)
	}
	p, err := s.marshal(v, types[0], slices.Contains(types, TypeParts))
	if err != nil || p.Empty() {
		return p, err
	}
	if slices.Contains(types, p.Type) {
		return s.named(kind, p), nil
	}
	return s.Translate(kind, p, types[0])
}

// named gives a payload the name that the kind's have, if it has none.
func (s *Set) named(kind string, p Payload) Payload {
	if p.Name == "" && kind != "" && p.Type != TypeJSON {
		if n, ok := s.Lookup(p.Type).(Namer); ok {
			p.Name = n.NameOf(kind)
		}
	}
	return p
}

// Unmarshal decodes a payload into v. A *Payload takes any payload as it is, a
// *[]byte bytes, a *json.RawMessage JSON (copies). A value that another codec
// claims is decoded from the payload's JSON when that codec is a [ValueJSON].
// Anything else goes through the codec of the payload's type; a Name that is
// not v's is an error that wraps [ErrOtherType]. The empty payload leaves v as
// it is.
func (s *Set) Unmarshal(p Payload, v any) error {
	if p.Empty() {
		return nil
	}
	switch v := v.(type) {
	case *Payload:
		*v = p.Clone()
		return nil
	case *[]byte:
		if p.Type == TypeBytes {
			*v = slices.Clone(p.Data)
			return nil
		}
	case *json.RawMessage:
		if p.Type == TypeJSON {
			*v = slices.Clone(p.Data)
			return nil
		}
	}
	c := s.Lookup(p.Type)
	if c == nil {
		return fmt.Errorf("%w %q", ErrUnknownType, p.Type)
	}
	owner := s.claims(v)
	if n, ok := owner.(Namer); ok && p.Name != "" && owner.ContentType() == p.Type {
		if name := n.TypeName(v); name != p.Name {
			return fmt.Errorf("%w: %s, not %s", ErrOtherType, p.Name, name)
		}
	}
	if vj, ok := owner.(ValueJSON); ok && owner.ContentType() != p.Type {
		return s.unmarshalJSON(p, v, vj)
	}
	return c.Unmarshal(p.Data, v)
}

// unmarshalJSON decodes a payload into v by way of JSON.
func (s *Set) unmarshalJSON(p Payload, v any, vj ValueJSON) error {
	text, err := s.Translate("", p, TypeJSON)
	if err != nil {
		return err
	}
	return vj.UnmarshalValueJSON(text.Data, v)
}

// Translate returns the payload in another content type, itself when it is
// that already or empty. A Name that the codec knows goes before the kind. The
// data is new or p's own: treat both as read-only.
// Errors wrap [ErrNoTranslation].
func (s *Set) Translate(kind string, p Payload, to string) (Payload, error) {
	if p.Type == to || p.Empty() {
		return p, nil
	}
	text, err := s.toJSON(kind, p)
	if err == nil && to != TypeJSON {
		text, err = s.fromJSON(kind, text, to)
	}
	if err != nil {
		return Payload{}, noTranslation(p.Type, to, kind, err)
	}
	return s.named(kind, Payload{Type: to, Data: text}), nil
}

func (s *Set) toJSON(kind string, p Payload) ([]byte, error) {
	if p.Type == TypeJSON {
		return p.Data, nil
	}
	if t, ok := s.Lookup(p.Type).(Translator); ok {
		text, err := t.AppendJSON(nil, cmp.Or(p.Name, kind), p.Data)
		if err != nil && p.Name != "" && p.Name != kind { // a name that only its own side knows
			return t.AppendJSON(nil, kind, p.Data)
		}
		return text, err
	}
	return nil, fmt.Errorf("no codec says %q in JSON", p.Type)
}

func (s *Set) fromJSON(kind string, text []byte, to string) ([]byte, error) {
	if t, ok := s.Lookup(to).(Translator); ok {
		return t.AppendFromJSON(nil, kind, text)
	}
	return nil, fmt.Errorf("no codec makes %q of JSON", to)
}
