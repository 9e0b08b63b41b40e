package reply

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// maxDepth is how deep values may nest, as in JSON.
const maxDepth = 128

// FromStruct returns a struct, or a pointer to one, as a map with the names that
// it has in JSON: a Message or its Body. Structs inside become maps and lists
// []any; numbers, strings and []byte keep their Go types and are shared; what
// has a JSON form of its own, such as a time, becomes what that decodes to. The
// error is about values that JSON does not have.
func FromStruct(v any) (map[string]any, error) {
	out, err := convert(reflect.ValueOf(v), 0)
	if err != nil {
		return nil, fmt.Errorf("reply: %T: %w", v, err)
	}
	m, ok := out.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reply: %T is not a struct", v)
	}
	return m, nil
}

// ToStruct puts a map, such as a Body, into the struct that out points to, by
// the names that its fields have in JSON and by the rules of encoding/json.
// Fields that the map does not name stay as they are. Errors are those of
// encoding/json.
func ToStruct(m map[string]any, out any) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// convert returns what v is among values of JSON.
func convert(v reflect.Value, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deep, or in a circle")
	}
	if !v.IsValid() || nilable(v.Kind()) && v.IsNil() {
		return nil, nil
	}
	if ownForm(v) {
		return throughJSON(v)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return convert(v.Elem(), depth+1)
	case reflect.Struct:
		return convertStruct(v, depth+1)
	case reflect.Map:
		return convertMap(v, depth+1)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Bytes(), nil
		}
		return convertList(v, depth+1)
	case reflect.Array:
		return convertList(v, depth+1)
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return nil, fmt.Errorf("JSON has no %s", v.Type())
	}
	return v.Interface(), nil
}

func nilable(k reflect.Kind) bool {
	return k == reflect.Pointer || k == reflect.Interface || k == reflect.Map || k == reflect.Slice
}

// ownForm reports whether the value makes its JSON itself.
func ownForm(v reflect.Value) bool {
	if v.Kind() != reflect.Pointer && v.CanAddr() {
		v = v.Addr()
	}
	switch v.Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return true
	}
	return false
}

// throughJSON returns what the JSON of v decodes to.
func throughJSON(v reflect.Value) (out any, err error) {
	if v.CanAddr() {
		v = v.Addr()
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(text, &out)
	return out, err
}

func convertMap(v reflect.Value, depth int) (any, error) {
	t := v.Type().Key()
	if t.Kind() != reflect.String || t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return throughJSON(v) // the keys become strings by encoding/json's rules
	}
	out := make(map[string]any, v.Len())
	for k, e := range v.Seq2() {
		c, err := convert(e, depth)
		if err != nil {
			return nil, err
		}
		out[k.String()] = c
	}
	return out, nil
}

func convertList(v reflect.Value, depth int) (any, error) {
	out := make([]any, v.Len())
	for i := range out {
		c, err := convert(v.Index(i), depth)
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
}

func convertStruct(v reflect.Value, depth int) (any, error) {
	out := make(map[string]any)
	for _, f := range fieldsOf(v.Type()) {
		e, err := v.FieldByIndexErr(f.index)
		if err != nil || f.omits(e) { // the error: in a nil embedded struct
			continue
		}
		c, err := convert(e, depth)
		if err == nil && f.quoted {
			c, err = quote(c)
		}
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
		out[f.name] = c
	}
	return out, nil
}

// quote makes a string of what has the tag option "string".
func quote(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// field is a field as encoding/json sees it.
type field struct {
	name                string
	index               []int
	tagged              bool
	omitEmpty, omitZero bool
	quoted              bool
}

func (f field) omits(v reflect.Value) bool {
	return f.omitZero && zero(v) || f.omitEmpty && empty(v)
}

func zero(v reflect.Value) bool {
	if !nilable(v.Kind()) || !v.IsNil() {
		if z, ok := reflect.TypeAssert[interface{ IsZero() bool }](v); ok {
			return z.IsZero()
		}
	}
	return v.IsZero()
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// embedded is a struct whose fields are looked at, and the way to it.
type embedded struct {
	t     reflect.Type
	index []int
}

// fieldsOf returns the fields of a struct and of those embedded in it. Of
// several with one name the least deep wins, then the one with a tag; if that
// does not decide there is none.
func fieldsOf(t reflect.Type) []field {
	var all []field
	seen := map[reflect.Type]bool{t: true}
	taken := make(map[string]bool)
	for level := []embedded{{t, nil}}; len(level) > 0; {
		var here []field
		var below []embedded
		for _, s := range level {
			for i := range s.t.NumField() {
				f, inner := fieldOf(s, i)
				if inner != nil && !seen[inner.t] {
					below = append(below, *inner)
				}
				if f.name != "" {
					here = append(here, f)
				}
			}
		}
		all = append(all, winners(here, taken)...)
		for _, s := range below {
			seen[s.t] = true
		}
		level = below
	}
	return all
}

// fieldOf returns a field, or the embedded struct that it is; neither if JSON
// does not see it.
func fieldOf(s embedded, i int) (field, *embedded) {
	sf := s.t.Field(i)
	tag := sf.Tag.Get("json")
	inner := sf.Type
	if inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	structInside := sf.Anonymous && inner.Kind() == reflect.Struct
	if tag == "-" || !sf.IsExported() && !structInside {
		return field{}, nil
	}
	name, options, _ := strings.Cut(tag, ",")
	if strings.ContainsAny(name, "'\"`\\") {
		name = ""
	}
	index := append(slices.Clip(s.index), i)
	if structInside && name == "" {
		return field{}, &embedded{inner, index}
	}
	if !sf.IsExported() {
		return field{}, nil
	}
	f := field{name: name, index: index, tagged: name != ""}
	if name == "" {
		f.name = sf.Name
	}
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "omitempty":
			f.omitEmpty = true
		case "omitzero":
			f.omitZero = true
		case "string":
			f.quoted = quotable(sf.Type)
		}
	}
	return f, nil
}

// quotable reports whether the tag option "string" means something.
func quotable(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	k := t.Kind()
	return k >= reflect.Bool && k <= reflect.Float64 || k == reflect.String
}

// winners picks one field for each name that is not taken yet, and takes it.
func winners(fields []field, taken map[string]bool) []field {
	byName := make(map[string][]field)
	for _, f := range fields {
		byName[f.name] = append(byName[f.name], f)
	}
	var won []field
	for name, same := range byName {
		if taken[name] {
			continue
		}
		taken[name] = true
		tagged := slices.DeleteFunc(slices.Clone(same), func(f field) bool { return !f.tagged })
		switch {
		case len(same) == 1:
			won = append(won, same[0])
		case len(tagged) == 1:
			won = append(won, tagged[0])
		}
	}
	return won
}
