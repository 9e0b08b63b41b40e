package msgpack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/polywire/polywire/internal/jsonscan"
)

// AppendFromJSON translates JSON to one value.
func (Codec) AppendFromJSON(dst []byte, _ string, text []byte) ([]byte, error) {
	w := writer{Scanner: jsonscan.Scanner{Data: text}, out: dst}
	err := w.value(0)
	if err == nil {
		err = w.End()
	}
	if err != nil {
		return dst, err
	}
	return w.out, nil
}

// writer appends what the scanner reads.
type writer struct {
	jsonscan.Scanner
	out []byte
}

func (w *writer) value(depth int) error {
	c := w.Peek()
	if c == '{' || c == '[' {
		if depth == MaxDepth {
			return errDeep
		}
		return w.container(c, depth+1)
	}
	if c == '"' {
		return w.str()
	}
	text, err := w.Value()
	if err != nil {
		return err
	}
	switch c {
	case 'n':
		w.out = append(w.out, 0xc0)
	case 'f':
		w.out = append(w.out, 0xc2)
	case 't':
		w.out = append(w.out, 0xc3)
	default:
		return w.number(text)
	}
	return nil
}

// container writes an array or map behind a header of one byte, and widens
// that when there turn out to be more than 15 elements.
func (w *writer) container(open byte, depth int) error {
	small, wide, end := byte(0x90), byte(0xdc), byte(']')
	if open == '{' {
		small, wide, end = 0x80, 0xde, '}'
	}
	if err := w.Open(open); err != nil {
		return err
	}
	at := len(w.out)
	w.out = append(w.out, small)
	n := 0
	for ; ; n++ {
		more, err := w.More(end, n == 0)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if open == '{' {
			if err := w.key(); err != nil {
				return err
			}
		}
		if err := w.value(depth); err != nil {
			return err
		}
	}
	switch {
	case n <= 15:
		w.out[at] = small | byte(n)
	case n <= math.MaxUint16:
		w.out[at] = wide
		w.out = slices.Insert(w.out, at+1, byte(n>>8), byte(n))
	default:
		w.out[at] = wide + 1
		w.out = slices.Insert(w.out, at+1, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return nil
}

func (w *writer) key() error {
	key, err := w.Key()
	if err != nil {
		return err
	}
	w.appendStr(key)
	return nil
}

func (w *writer) str() error {
	s, err := w.String()
	if err != nil {
		return err
	}
	w.appendStr(s)
	return nil
}

func (w *writer) appendStr(s []byte) {
	switch n := len(s); {
	case n < 32:
		w.out = append(w.out, 0xa0|byte(n))
	case n <= math.MaxUint8:
		w.out = append(w.out, 0xd9, byte(n))
	case n <= math.MaxUint16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, 0xda), uint16(n))
	default:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xdb), uint32(n))
	}
	w.out = append(w.out, s...)
}

func (w *writer) number(text []byte) error {
	if !bytes.ContainsAny(text, ".eE") {
		if text[0] == '-' {
			if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				w.appendInt(i)
				return nil
			}
		} else if u, err := strconv.ParseUint(string(text), 10, 64); err == nil {
			w.appendUint(u)
			return nil
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("msgpack: number %.32s is beyond 64 bits", text)
	}
	w.out = binary.BigEndian.AppendUint64(append(w.out, 0xcb), math.Float64bits(f))
	return nil
}

func (w *writer) appendUint(u uint64) {
	switch {
	case u < 128:
		w.out = append(w.out, byte(u))
	case u <= math.MaxUint8:
		w.out = append(w.out, 0xcc, byte(u))
	case u <= math.MaxUint16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, 0xcd), uint16(u))
	case u <= math.MaxUint32:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xce), uint32(u))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, 0xcf), u)
	}
}

func (w *writer) appendInt(i int64) {
	switch {
	case i >= 0:
		w.appendUint(uint64(i))
	case i >= -32:
		w.out = append(w.out, byte(i))
	case i >= math.MinInt8:
		w.out = append(w.out, 0xd0, byte(i))
	case i >= math.MinInt16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, 0xd1), uint16(i))
	case i >= math.MinInt32:
		w.out = binary.BigEndian.AppendUint32(append(w.out, 0xd2), uint32(i))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, 0xd3), uint64(i))
	}
}
