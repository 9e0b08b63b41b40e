// Package strictjson decodes the bodies of requests: one object, whose names
// are known, as they are written, and there once.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

const maxErrorBytes = 300

// Decode decodes one JSON object into the struct that v points to: names as
// they are written there, each once, and nothing behind it. A value that is
// null is an error, but for the names in nullable.
func Decode(b []byte, v any, nullable ...string) error {
	if err := checkNames(b, Fields(reflect.TypeOf(v).Elem()), nullable); err != nil {
		return err
	}
	err := json.Unmarshal(b, v)
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%.50s cannot be a %.50s", wrongType.Field, wrongType.Value) // which has all digits of a number
	}
	if err != nil && len(err.Error()) > maxErrorBytes {
		return errors.New(strings.ToValidUTF8(err.Error()[:maxErrorBytes], "") + "...") // a type's own, with the value
	}
	return err
}

// checkNames looks at the names of the outermost object, which encoding/json
// takes in any case, and several times.
func checkNames(b []byte, known []Field, nullable []string) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want one object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // names are strings
		switch {
		case seen[name]:
			return fmt.Errorf("%.50q is there twice", name)
		case !isField(known, name):
			return fmt.Errorf("%.50q is not known here", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if string(value) == "null" && !slices.Contains(nullable, name) {
			return fmt.Errorf("%.50q is null: leave it out", name)
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the object")
	}
	return nil
}

// Field is one of a struct, as JSON has it.
type Field struct {
	reflect.StructField

	Name     string
	Required bool
}

func isField(fields []Field, name string) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name })
}

// Fields returns the fields of a struct, those of embedded ones among them.
func Fields(t reflect.Type) []Field {
	var fields []Field
	for f := range t.Fields() {
		if f.Anonymous {
			fields = append(fields, Fields(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, Field{f, name, !strings.Contains(options, "omit")})
	}
	return fields
}
