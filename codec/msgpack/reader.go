package msgpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// family is a type family of the MessagePack specification.
type family uint8

const (
	famNil family = iota + 1
	famBool
	famInt
	famUint
	famFloat32
	famFloat64
	famStr
	famBin
	famArray
	famMap
	famExt
)

// token is a scalar, or the header of an array or map.
type token struct {
	family family
	ext    int8
	bits   uint64 // the number, the boolean, or how many elements or pairs follow
	data   []byte // str, bin, ext
}

func (t token) float() float64 {
	if t.family == famFloat32 {
		return float64(math.Float32frombits(uint32(t.bits)))
	}
	return math.Float64frombits(t.bits)
}

var (
	errShort = errors.New("msgpack: unexpected end")
	errDeep  = fmt.Errorf("msgpack: nested deeper than %d", MaxDepth)
)

// reader takes tokens from data.
type reader struct {
	data []byte
	pos  int
}

// check says whether data is one whole value.
func check(data []byte) error {
	r := reader{data: data}
	if err := r.skip(0); err != nil {
		return err
	}
	return r.end()
}

func (r *reader) end() error {
	if r.pos < len(r.data) {
		return fmt.Errorf("msgpack: unexpected data after the value at byte %d", r.pos)
	}
	return nil
}

// skip consumes one value.
func (r *reader) skip(depth int) error {
	t, err := r.next()
	if err != nil || t.family != famArray && t.family != famMap {
		return err
	}
	if depth == MaxDepth {
		return errDeep
	}
	n := t.bits
	if t.family == famMap {
		n *= 2
	}
	for ; n > 0; n-- {
		if err := r.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// next consumes a token. The elements of arrays and maps have a byte at least,
// so a count that the rest of the data cannot hold is refused at once.
func (r *reader) next() (token, error) {
	t, n, err := r.head()
	if err != nil {
		return t, err
	}
	left := uint64(len(r.data) - r.pos)
	switch t.family {
	case famStr, famBin, famExt:
		if n > left {
			return t, errShort
		}
		end := r.pos + int(n)
		t.data = r.data[r.pos:end:end]
		r.pos = end
	case famArray, famMap:
		t.bits = n
		if n > left || t.family == famMap && 2*n > left {
			return t, errShort
		}
	}
	return t, nil
}

// head consumes a format byte and what belongs to it, except for data, whose
// length it returns.
func (r *reader) head() (t token, n uint64, err error) {
	c, err := r.uint(1)
	if err != nil {
		return t, 0, err
	}
	switch {
	case c <= 0x7f:
		return token{family: famUint, bits: c}, 0, nil
	case c <= 0x8f:
		return token{family: famMap}, c & 0x0f, nil
	case c <= 0x9f:
		return token{family: famArray}, c & 0x0f, nil
	case c <= 0xbf:
		return token{family: famStr}, c & 0x1f, nil
	case c >= 0xe0:
		return token{family: famInt, bits: uint64(int8(c))}, 0, nil
	}
	switch c {
	case 0xc0:
		t.family = famNil
	case 0xc2, 0xc3:
		t.family, t.bits = famBool, c&1
	case 0xc4, 0xc5, 0xc6:
		t.family = famBin
		n, err = r.uint(1 << (c - 0xc4))
	case 0xc7, 0xc8, 0xc9:
		if n, err = r.uint(1 << (c - 0xc7)); err == nil {
			err = r.extType(&t)
		}
	case 0xca, 0xcb:
		t.family = famFloat32 + family(c-0xca)
		t.bits, err = r.uint(4 << (c - 0xca))
	case 0xcc, 0xcd, 0xce, 0xcf:
		t.family = famUint
		t.bits, err = r.uint(1 << (c - 0xcc))
	case 0xd0, 0xd1, 0xd2, 0xd3:
		t.family = famInt
		t.bits, err = r.int(1 << (c - 0xd0))
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		n, err = 1<<(c-0xd4), r.extType(&t)
	case 0xd9, 0xda, 0xdb:
		t.family = famStr
		n, err = r.uint(1 << (c - 0xd9))
	case 0xdc, 0xdd:
		t.family = famArray
		n, err = r.uint(2 << (c - 0xdc))
	case 0xde, 0xdf:
		t.family = famMap
		n, err = r.uint(2 << (c - 0xde))
	default:
		err = fmt.Errorf("msgpack: byte 0x%02x is no format, at byte %d", c, r.pos-1)
	}
	return t, n, err
}

func (r *reader) extType(t *token) error {
	c, err := r.uint(1)
	t.family, t.ext = famExt, int8(c)
	return err
}

// uint consumes a big-endian number of 1, 2, 4 or 8 bytes.
func (r *reader) uint(size int) (uint64, error) {
	if len(r.data)-r.pos < size {
		return 0, errShort
	}
	b := r.data[r.pos:]
	r.pos += size
	switch size {
	case 1:
		return uint64(b[0]), nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), nil
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), nil
	default:
		return binary.BigEndian.Uint64(b), nil
	}
}

// int is uint with the sign stretched to 64 bits.
func (r *reader) int(size int) (uint64, error) {
	u, err := r.uint(size)
	shift := 64 - 8*size
	return uint64(int64(u<<shift) >> shift), err
}
