package codec

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
)

// fillParts puts bytes into the interface values of v, where decoding the
// payload as JSON has left their base64. tree is the payload with the bytes.
func fillParts(v, tree any) {
	fill(reflect.ValueOf(v), tree)
}

func fill(v reflect.Value, tree any) {
	for v.Kind() == reflect.Pointer {
		if _, own := reflect.TypeAssert[json.Unmarshaler](v); own {
			return // what it has made of the JSON is its own affair
		}
		v = v.Elem()
	}
	if v.Kind() == reflect.Interface {
		if b, ok := tree.([]byte); ok {
			fillBytes(v, b)
			return
		}
		v = v.Elem()
		if v.Kind() == reflect.Pointer {
			fill(v, tree)
			return
		}
	}
	switch tree := tree.(type) {
	case map[string]any:
		for key, sub := range tree {
			switch v.Kind() {
			case reflect.Map:
				fillEntry(v, key, sub)
			case reflect.Struct:
				fillField(v, key, sub)
			}
		}
	case []any:
		if k := v.Kind(); k != reflect.Slice && k != reflect.Array {
			return
		}
		for i, sub := range tree {
			if i < v.Len() {
				fillElement(v.Index(i), sub)
			}
		}
	}
}

// fillElement fills something addressable.
func fillElement(v reflect.Value, tree any) {
	if v.CanAddr() && v.Kind() != reflect.Interface && v.Addr().CanInterface() {
		v = v.Addr()
	}
	fill(v, tree)
}

// fillBytes replaces the base64 of b.
func fillBytes(v reflect.Value, b []byte) {
	s, ok := reflect.TypeAssert[string](v)
	if ok && v.NumMethod() == 0 && v.CanSet() && len(s) == base64.StdEncoding.EncodedLen(len(b)) {
		v.Set(reflect.ValueOf(b))
	}
}

func fillEntry(m reflect.Value, key string, tree any) {
	if m.Type().Key().Kind() != reflect.String {
		return
	}
	k := reflect.ValueOf(key).Convert(m.Type().Key())
	old := m.MapIndex(k)
	if !old.IsValid() {
		return
	}
	e := reflect.New(m.Type().Elem()).Elem()
	e.Set(old)
	fillElement(e, tree)
	m.SetMapIndex(k, e)
}

func fillField(v reflect.Value, key string, tree any) {
	index := fieldNamed(v.Type(), key)
	if index == nil {
		return
	}
	if f, err := v.FieldByIndexErr(index); err == nil && f.CanSet() {
		fillElement(f, tree)
	}
}

// fieldNamed finds the field that encoding/json decodes a key into: the one
// with this name, else one with the same but for case.
func fieldNamed(t reflect.Type, key string) []int {
	var similar []int
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if !f.IsExported() || tag == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if name == key {
			return f.Index
		}
		if similar == nil && strings.EqualFold(name, key) {
			similar = f.Index
		}
	}
	return similar
}
