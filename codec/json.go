package codec

import (
	"encoding/json"

	"github.com/polywire/polywire/internal/jsonscan"
)

// JSON is the codec of [TypeJSON] by encoding/json, without its escaping of
// HTML. Generated protobuf messages do not belong here: codec/protobuf claims
// them and translates by protojson's rules.
type JSON struct{}

// ContentType returns [TypeJSON].
func (JSON) ContentType() string { return TypeJSON }

// Append appends the JSON of v to dst. A json.RawMessage is validated (as by
// AppendJSON) and taken as it is; an empty one is null.
func (JSON) Append(dst []byte, v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return appendRaw(dst, raw)
	}
	w := appender{dst}
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return dst, err
	}
	return w.b[:len(w.b)-1], nil // Encode ends with a newline.
}

// Unmarshal decodes one JSON value into v.
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// AppendJSON appends data, which it validates: one value, in UTF-8, nested at
// most 128 deep.
func (JSON) AppendJSON(dst []byte, _ string, data []byte) ([]byte, error) {
	if err := jsonscan.Valid(data); err != nil {
		return dst, err
	}
	return append(dst, data...), nil
}

// AppendFromJSON appends text, validated as by AppendJSON.
func (j JSON) AppendFromJSON(dst []byte, kind string, text []byte) ([]byte, error) {
	return j.AppendJSON(dst, kind, text)
}

func appendRaw(dst []byte, raw json.RawMessage) ([]byte, error) {
	if len(raw) == 0 {
		return append(dst, "null"...), nil
	}
	return JSON{}.AppendJSON(dst, "", raw)
}

// appender is an io.Writer at the end of a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
