package webhookapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// decodeStrict decodes one JSON object into a struct: names as they are
// written there, each once, and nothing behind it. Errors wrap errJSON.
func decodeStrict(b []byte, v any) error {
	if err := checkNames(b, fieldsOf(reflect.TypeOf(v).Elem())); err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("%w: %s cannot be a %s", errJSON, wrongType.Field, wrongType.Value)
		}
		return fmt.Errorf("%w: %s", errJSON, strings.TrimPrefix(err.Error(), "webhook: "))
	}
	return nil
}

// checkNames looks at the names of the outermost object, which encoding/json
// takes in any case, and several times.
func checkNames(b []byte, known []field) error {
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
		if string(value) == "null" && name != "data" {
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

// field is one of a struct, as JSON has it.
type field struct {
	name     string
	required bool
	reflect.StructField
}

func isField(fields []field, name string) bool {
	for _, f := range fields {
		if f.name == name {
			return true
		}
	}
	return false
}

// fieldsOf returns the fields of a struct, those of embedded ones among them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for f := range t.Fields() {
		if f.Anonymous {
			fields = append(fields, fieldsOf(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, field{name, !strings.Contains(options, "omit"), f})
	}
	return fields
}
