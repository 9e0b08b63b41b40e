// Package msgpack is the codec of MessagePack. Go values go through
// github.com/vmihailenco/msgpack/v5, after a check of ours that the data is
// whole, so that no memory is spent on what a header claims; JSON is
// translated directly.
//
// In JSON, bin is a string in base64 and a timestamp a string by RFC 3339;
// integer keys of maps become their digits. NaN and infinities, other keys,
// strings that are not UTF-8 and other extension types cannot be said in JSON.
// From JSON, whole numbers become integers where 64 bits hold them and floats
// elsewhere, with the precision that floats have.
package msgpack

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/polywire/polywire/codec"
)

// MaxDepth is how deep arrays and maps may nest, as in JSON.
const MaxDepth = 128

// Codec is the codec of [codec.TypeMsgpack]. The zero value is good.
type Codec struct {
	// StructTag is the tag of struct fields that names them where there is no
	// msgpack tag; empty: json.
	StructTag string
}

// ContentType returns [codec.TypeMsgpack].
func (Codec) ContentType() string { return codec.TypeMsgpack }

func (c Codec) tag() string {
	if c.StructTag == "" {
		return "json"
	}
	return c.StructTag
}

// Append appends the encoding of v, integers in their shortest form.
func (c Codec) Append(dst []byte, v any) ([]byte, error) {
	w := appender{dst}
	e := msgpack.GetEncoder()
	defer msgpack.PutEncoder(e)
	e.Reset(&w)
	e.SetCustomStructTag(c.tag())
	e.UseCompactInts(true)
	if err := e.Encode(v); err != nil {
		return dst, err
	}
	return w.b, nil
}

// Unmarshal decodes one value into v.
func (c Codec) Unmarshal(data []byte, v any) (err error) {
	if err := check(data); err != nil {
		return err
	}
	// A map key of a type that Go cannot hash makes the library panic.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("msgpack: %v", r)
		}
	}()
	d := msgpack.GetDecoder()
	d.Reset(bytes.NewReader(data))
	d.SetCustomStructTag(c.tag())
	err = d.Decode(v)
	msgpack.PutDecoder(d)
	return err
}

// appender is an io.Writer at the end of a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

func (a *appender) WriteByte(c byte) error {
	a.b = append(a.b, c)
	return nil
}
