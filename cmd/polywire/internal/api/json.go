package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// The JSON of the paths is not quite protobuf's own: names are those of
// polywire.proto, whole numbers are numbers, and a Json stands for itself, so
// that no number in it loses digits.

// jsonName is the message that stands for a value of JSON.
const jsonName = "polywire.api.v1.Json"

func isJSON(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.MessageKind && f.Message().FullName() == jsonName
}

func jsonText(m protoreflect.Message) []byte {
	return m.Get(m.Descriptor().Fields().ByNumber(1)).Bytes()
}

// decodeJSON decodes one object into a message: names as they are written
// there, each once, and nothing behind it. Errors wrap errJSON.
func decodeJSON(b []byte, m protoreflect.Message) error {
	err := errors.New("it is not UTF-8")
	if utf8.Valid(b) {
		err = decodeObject(b, m)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
	}
	return nil
}

// decodeObject is decodeJSON for a part. How deep it goes polywire.proto says.
func decodeObject(b []byte, m protoreflect.Message) error {
	seen := make(map[string]bool)
	return eachMember(b, func(name string, value json.RawMessage) error {
		f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		switch {
		case f == nil:
			return fmt.Errorf("%.50q is not known here", name)
		case seen[name]:
			return fmt.Errorf("%.50q is there twice", name)
		}
		seen[name] = true
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() && m.WhichOneof(one) != nil {
			return fmt.Errorf("%s and %s exclude each other", m.WhichOneof(one).Name(), name)
		}
		if err := setField(m, f, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// eachMember walks over the members of an object.
func eachMember(b []byte, visit func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want one object")
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return syntax(err)
		}
		name, _ := t.(string) // names are strings
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return syntax(err)
		}
		if err := visit(name, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return syntax(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the object")
	}
	return nil
}

func syntax(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("it ends too early")
	}
	return err
}

func setField(m protoreflect.Message, f protoreflect.FieldDescriptor, b json.RawMessage) error {
	if string(b) == "null" && !isJSON(f) {
		return errors.New("null: leave it out")
	}
	switch {
	case f.IsMap():
		return setMap(m.Mutable(f).Map(), b)
	case f.IsList():
		return setList(m.Mutable(f).List(), f, b)
	case isJSON(f):
		j := m.Mutable(f).Message()
		j.Set(j.Descriptor().Fields().ByNumber(1), protoreflect.ValueOfBytes(slices.Clone(b)))
		return nil
	case f.Kind() == protoreflect.MessageKind:
		return decodeObject(b, m.Mutable(f).Message())
	}
	v, err := scalar(f.Kind(), b)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

// setMap sets a map of strings to strings, the only one that there is.
func setMap(to protoreflect.Map, b json.RawMessage) error {
	return eachMember(b, func(name string, value json.RawMessage) error {
		key := protoreflect.ValueOfString(name).MapKey()
		if to.Has(key) {
			return fmt.Errorf("%.50q is there twice", name)
		}
		v, err := scalar(protoreflect.StringKind, value)
		if err != nil {
			return fmt.Errorf("%.50q: %w", name, err)
		}
		to.Set(key, v)
		return nil
	})
}

// maxElements of a list; where fewer are wanted the operation says so.
const maxElements = 1000

func setList(to protoreflect.List, f protoreflect.FieldDescriptor, b json.RawMessage) error {
	var all []json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return errors.New("want an array")
	}
	if len(all) > maxElements {
		return fmt.Errorf("more than %d elements", maxElements)
	}
	for _, b := range all {
		v, err := scalar(f.Kind(), b)
		if err != nil {
			return err
		}
		to.Append(v)
	}
	return nil
}

// scalar decodes a value that has no parts. What polywire.proto has no field
// of is missing here.
func scalar(k protoreflect.Kind, b json.RawMessage) (v protoreflect.Value, err error) {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind:
		var s string
		if b[0] != '"' || json.Unmarshal(b, &s) != nil {
			return v, errors.New("want a string")
		}
		if k == protoreflect.StringKind {
			return protoreflect.ValueOfString(s), nil
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return v, errors.New("want base64 with its padding")
		}
		return protoreflect.ValueOfBytes(raw), nil
	case protoreflect.BoolKind:
		if s := string(b); s != "true" && s != "false" {
			return v, errors.New("want true or false")
		}
		return protoreflect.ValueOfBool(b[0] == 't'), nil
	case protoreflect.Int32Kind:
		n, err := strconv.ParseFloat(string(b), 64) // 1.0 and 1e3 are whole numbers, too
		if err != nil || n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
			return v, errors.New("want a whole number, and no larger one than makes sense")
		}
		return protoreflect.ValueOfInt32(int32(n)), nil
	}
	return v, fmt.Errorf("no JSON for %v", k)
}

// appendJSON encodes a message. Fields that have no presence are always there.
func appendJSON(dst []byte, m protoreflect.Message) []byte {
	dst = append(dst, '{')
	begin := len(dst)
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), f.Name()...), '"', ':')
		dst = appendField(dst, f, m.Get(f))
	}
	return append(dst, '}')
}

func appendField(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case f.IsMap():
		return appendMap(dst, v.Map())
	case f.IsList():
		dst = append(dst, '[')
		for i := range v.List().Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, f, v.List().Get(i))
		}
		return append(dst, ']')
	}
	return appendValue(dst, f, v)
}

func appendMap(dst []byte, m protoreflect.Map) []byte {
	names := make([]string, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		names = append(names, k.String())
		return true
	})
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		dst = appendString(dst, m.Get(protoreflect.ValueOfString(name).MapKey()).String())
	}
	return append(dst, '}')
}

func appendValue(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch f.Kind() {
	case protoreflect.MessageKind:
		if isJSON(f) {
			if text := jsonText(v.Message()); len(text) > 0 {
				return append(dst, text...)
			}
			return append(dst, "null"...)
		}
		return appendJSON(dst, v.Message())
	case protoreflect.StringKind:
		return appendString(dst, v.String())
	case protoreflect.BytesKind:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"')
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool())
	case protoreflect.Uint64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10)
	}
	return strconv.AppendInt(dst, v.Int(), 10)
}

func appendString(dst []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // strings can be encoded
		return append(dst, `""`...)
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// hasUnknown reports whether somebody has sent fields that are not in
// polywire.proto: one that names what a message leaves out must not be passed over.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				found = found || hasUnknown(v.List().Get(i).Message())
			}
		default:
			found = hasUnknown(v.Message())
		}
		return !found
	})
	return found
}
