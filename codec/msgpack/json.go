package msgpack

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/jsonscan"
)

// AppendJSON translates one value to JSON.
func (Codec) AppendJSON(dst []byte, _ string, data []byte) ([]byte, error) {
	r := newReader(data)
	out, err := r.appendValue(dst, 0)
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (r *reader) appendValue(dst []byte, depth int) ([]byte, error) {
	t, err := r.next()
	if err != nil {
		return dst, err
	}
	switch t.family {
	case famNil:
		return append(dst, "null"...), nil
	case famBool:
		return strconv.AppendBool(dst, t.bits == 1), nil
	case famInt:
		return strconv.AppendInt(dst, int64(t.bits), 10), nil
	case famUint:
		return strconv.AppendUint(dst, t.bits, 10), nil
	case famFloat32:
		return appendFloat(dst, t.float(), 32)
	case famFloat64:
		return appendFloat(dst, t.float(), 64)
	case famStr:
		return appendStr(dst, t.data)
	case famBin:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, t.data)
		return append(dst, '"'), nil
	case famExt:
		return appendExt(dst, t)
	}
	if depth == MaxDepth {
		return dst, errDeep
	}
	if t.family == famArray {
		return r.appendArray(dst, t.bits, depth+1)
	}
	return r.appendMap(dst, t.bits, depth+1)
}

func (r *reader) appendArray(dst []byte, n uint64, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = r.appendValue(dst, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (r *reader) appendMap(dst []byte, n uint64, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = r.appendKey(dst); err != nil {
			return dst, err
		}
		if dst, err = r.appendValue(append(dst, ':'), depth); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (r *reader) appendKey(dst []byte) ([]byte, error) {
	t, err := r.next()
	if err != nil {
		return dst, err
	}
	switch t.family {
	case famStr:
		return appendStr(dst, t.data)
	case famInt:
		dst = strconv.AppendInt(append(dst, '"'), int64(t.bits), 10)
	case famUint:
		dst = strconv.AppendUint(append(dst, '"'), t.bits, 10)
	default:
		return dst, fmt.Errorf("msgpack: a map key that is neither a string nor an integer, before byte %d", r.Pos)
	}
	return append(dst, '"'), nil
}

func appendStr(dst, s []byte) ([]byte, error) {
	if !utf8.Valid(s) {
		return dst, errors.New("msgpack: a string that is not UTF-8")
	}
	return jsonscan.AppendString(dst, s), nil
}

// appendFloat writes numbers as ECMAScript and encoding/json do.
func appendFloat(dst []byte, f float64, bits int) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("msgpack: %v has no JSON", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits), nil
}

// appendExt writes the one extension type of the specification, the timestamp.
func appendExt(dst []byte, t token) ([]byte, error) {
	if t.ext != -1 {
		return dst, fmt.Errorf("msgpack: extension type %d has no JSON", t.ext)
	}
	var sec int64
	var nsec uint64
	switch d := t.data; len(d) {
	case 4:
		sec = int64(binary.BigEndian.Uint32(d))
	case 8:
		u := binary.BigEndian.Uint64(d)
		sec, nsec = int64(u&(1<<34-1)), u>>34
	case 12:
		sec, nsec = int64(binary.BigEndian.Uint64(d[4:])), uint64(binary.BigEndian.Uint32(d))
	default:
		return dst, fmt.Errorf("msgpack: a timestamp of %d bytes", len(d))
	}
	const year0, year10000 = -62167219200, 253402300800 // the years of RFC 3339
	if nsec > 999_999_999 || sec < year0 || sec >= year10000 {
		return dst, errors.New("msgpack: a timestamp out of range")
	}
	dst = time.Unix(sec, int64(nsec)).UTC().AppendFormat(append(dst, '"'), time.RFC3339Nano)
	return append(dst, '"'), nil
}
