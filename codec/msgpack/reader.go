package msgpack

import (
	"errors"
	"fmt"
	"math"

	"github.com/polywire/polywire/internal/msgscan"
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
type reader struct{ msgscan.Reader }

func newReader(data []byte) reader { return reader{msgscan.Reader{Data: data}} }

// check says whether data is one whole value.
func check(data []byte) error {
	r := newReader(data)
	if err := r.skip(0); err != nil {
		return err
	}
	return r.end()
}

func (r *reader) end() error {
	if r.Pos < len(r.Data) {
		return fmt.Errorf("msgpack: unexpected data after the value at byte %d", r.Pos)
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
func (r *reader) next() (t token, err error) {
	at := r.Pos
	h, err := r.Head()
	if err != nil {
		if errors.Is(err, msgscan.ErrFormat) {
			err = fmt.Errorf("msgpack: byte 0x%02x is no format, at byte %d", r.Data[at], at)
		} else {
			err = errShort
		}
		return t, err
	}
	c := r.Data[at]
	switch h.Kind {
	case msgscan.Nil:
		t.family = famNil
	case msgscan.Bool:
		t.family, t.bits = famBool, uint64(c&1)
	case msgscan.Int:
		t.family, t.bits = r.integer(c, h)
	case msgscan.Float:
		t.family, t.bits = famFloat32+family(c-0xca), msgscan.BigEndian(r.Take(h))
	case msgscan.Str:
		t.family, t.data = famStr, r.Take(h)
	case msgscan.Bin:
		t.family, t.data = famBin, r.Take(h)
	case msgscan.Ext:
		data := r.Take(h)
		t.family, t.ext, t.data = famExt, int8(data[0]), data[1:]
	case msgscan.Array:
		return token{family: famArray, bits: h.N}, r.fits(h.N)
	case msgscan.Map:
		return token{family: famMap, bits: h.N}, r.fits(2 * h.N)
	}
	return t, nil
}

// integer consumes the rest of a number whose first byte is c. Signed ones are
// stretched to 64 bits.
func (r *reader) integer(c byte, h msgscan.Head) (family, uint64) {
	switch {
	case c <= 0x7f:
		return famUint, uint64(c)
	case h.N == 0:
		return famInt, uint64(int8(c))
	case c < 0xd0:
		return famUint, msgscan.BigEndian(r.Take(h))
	}
	shift := 64 - 8*h.N
	return famInt, uint64(int64(msgscan.BigEndian(r.Take(h))<<shift) >> shift)
}

func (r *reader) fits(values uint64) error {
	if values > uint64(len(r.Data)-r.Pos) {
		return errShort
	}
	return nil
}
