package codec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Bytes is the codec of [TypeBytes]: data that is what it is. It takes []byte
// and string, and gives *[]byte, *string and *any (a []byte). In JSON it is a
// string in base64 (RFC 4648 section 4, with padding), as encoding/json has it.
type Bytes struct{}

// ContentType returns [TypeBytes].
func (Bytes) ContentType() string { return TypeBytes }

// Claims reports whether v is a []byte.
func (Bytes) Claims(v any) bool {
	_, ok := v.([]byte)
	return ok
}

// Append appends v, a []byte or string, to dst.
func (Bytes) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case string:
		return append(dst, v...), nil
	}
	return dst, fmt.Errorf("codec: %T is not bytes", v)
}

// Unmarshal copies data into v.
func (Bytes) Unmarshal(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = append([]byte{}, data...)
	case *string:
		*v = string(data)
	case *any:
		*v = append([]byte{}, data...)
	default:
		return fmt.Errorf("codec: bytes cannot be put into a %T", v)
	}
	return nil
}

// AppendJSON appends data as a JSON string in base64.
func (Bytes) AppendJSON(dst []byte, _ string, data []byte) ([]byte, error) {
	dst = slices.Grow(dst, base64.StdEncoding.EncodedLen(len(data))+2)
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, '"'), nil
}

// AppendFromJSON appends the bytes that a JSON string in base64 stands for.
func (Bytes) AppendFromJSON(dst []byte, _ string, text []byte) ([]byte, error) {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return dst, errors.New("codec: only a string in base64 can be turned into bytes")
	}
	out, err := base64.StdEncoding.Strict().AppendDecode(dst, []byte(*s))
	if err != nil {
		return dst, err
	}
	return out, nil
}
