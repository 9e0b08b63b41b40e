package native

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/wire"
)

var errBigID = errors.New("id over 2^53-1")

// appendJSON appends a packet's envelope, its members in the order of the
// binary form's field numbers and maps in the order of their keys.
func appendJSON(b []byte, p *wire.Packet) ([]byte, error) {
	if err := checkOut(p); err != nil {
		return b, err
	}
	if p.ID > maxJSONID {
		return b, errBigID
	}
	w := jsonWriter{b: b}
	w.b = append(w.b, `{"type":"`...)
	w.b = append(append(w.b, p.Type.String()...), '"')
	w.uint(`,"id":`, p.ID)
	w.str(`,"kind":`, p.Kind)
	w.uint(`,"code":`, uint64(p.Code))
	w.payload(',', `"payload":`, p.Payload)
	w.headers(p.Header)
	w.str(`,"room":`, p.Room)
	if p.Err != nil {
		w.error(p.Err)
	}
	w.str(`,"key":`, p.Key)
	w.codes(p.Codes)
	w.args(p.Args)
	w.str(`,"offset":`, p.Position)
	if p.Recovered {
		w.b = append(w.b, `,"recovered":true`...)
	}
	w.b = append(w.b, '}')
	return w.b, w.err
}

// jsonWriter appends members, each behind a comma and with its name as given.
// Those with zero values are left out.
type jsonWriter struct {
	b   []byte
	err error // the first
}

func (w *jsonWriter) uint(name string, v uint64) {
	if v != 0 {
		w.b = strconv.AppendUint(append(w.b, name...), v, 10)
	}
}

func (w *jsonWriter) str(name, s string) {
	if s != "" {
		w.b = append(w.b, name...)
		w.quote(s)
	}
}

func (w *jsonWriter) quote(s string) {
	if !utf8.ValidString(s) {
		w.fail(errNotUTF8)
	}
	w.b = jsonscan.AppendString(w.b, s)
}

func (w *jsonWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// payload writes what says one, behind sep. JSON is checked here: it may come
// from a peer, and must not break out of the envelope.
func (w *jsonWriter) payload(sep byte, name string, p codec.Payload) {
	switch {
	case p.Empty():
		return
	case p.Type == codec.TypeJSON:
		if err := jsonscan.Valid(p.Data); err != nil {
			w.fail(fmt.Errorf("payload is not JSON: %w", err))
			return
		}
		w.b = append(append(w.b, sep), name...)
		w.b = append(w.b, p.Data...)
		return
	}
	w.b = append(append(w.b, sep), `"data":"`...)
	w.b = base64.StdEncoding.AppendEncode(w.b, p.Data)
	w.b = append(w.b, '"')
	if p.Type != "" && p.Type != codec.TypeBytes {
		w.str(`,"contentType":`, p.Type)
	}
}

func (w *jsonWriter) headers(m map[string]string) {
	if len(m) == 0 {
		return
	}
	var buf [MaxHeaders]string
	w.b = append(w.b, `,"headers":{`...)
	for i, k := range sortedKeys(buf[:0], m) {
		w.key(i, k)
		w.quote(m[k])
	}
	w.b = append(w.b, '}')
}

func (w *jsonWriter) codes(m map[string]uint32) {
	if len(m) == 0 {
		return
	}
	w.b = append(w.b, `,"codes":{`...)
	for i, k := range sortedKeys(nil, m) {
		w.key(i, k)
		w.b = strconv.AppendUint(w.b, uint64(m[k]), 10)
	}
	w.b = append(w.b, '}')
}

// key begins the i-th member of an object.
func (w *jsonWriter) key(i int, k string) {
	if i > 0 {
		w.b = append(w.b, ',')
	}
	w.quote(k)
	w.b = append(w.b, ':')
}

func (w *jsonWriter) error(e *wire.ErrorBody) {
	w.b = append(w.b, `,"error":{"code":`...)
	w.quote(e.Code)
	w.str(`,"message":`, e.Message)
	w.payload(',', `"details":`, e.Details)
	w.b = append(w.b, '}')
}

func (w *jsonWriter) args(args []codec.Payload) {
	if len(args) == 0 {
		return
	}
	sep := byte('[')
	w.b = append(w.b, `,"args":`...)
	for _, a := range args {
		w.b = append(w.b, sep)
		if a.Empty() {
			w.b = append(w.b, '{')
		} else {
			w.payload('{', `"payload":`, a)
		}
		w.b = append(w.b, '}')
		sep = ','
	}
	w.b = append(w.b, ']')
}
