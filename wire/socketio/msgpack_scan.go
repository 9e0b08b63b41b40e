package socketio

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// MessagePack, as https://github.com/msgpack/msgpack/blob/master/spec.md has
// it, read in place. Nothing is allocated for what a header merely claims.

// maxMsgpackDepth is how deep arrays and maps may nest, as in JSON.
const maxMsgpackDepth = 128

var (
	errShort    = errors.New("MessagePack ends too soon")
	errDeep     = errors.New("MessagePack nests too deep")
	errFormat   = errors.New("MessagePack with an unknown first byte")
	errTrailing = errors.New("bytes after the MessagePack value")
)

// mpKind is a family of MessagePack formats.
type mpKind uint8

const (
	mpNil mpKind = iota + 1
	mpBool
	mpInt
	mpFloat
	mpStr
	mpBin
	mpArray
	mpMap
	mpExt
)

// mpHead is the beginning of a value: what it is and how much follows.
type mpHead struct {
	kind mpKind
	// n is the length in bytes of strings, binaries, extensions and numbers,
	// the number of elements of arrays and of pairs of maps; inline is the
	// number in a byte that is head and number in one.
	n      uint64
	inline int64
}

// mpReader reads one value after the other.
type mpReader struct {
	b   []byte
	pos int
	ext bool // a value that was skipped has extensions in it
}

// head reads the beginning of a value. What it claims of the bytes that follow
// has been checked, but for the elements of arrays and maps.
func (r *mpReader) head() (h mpHead, err error) {
	if r.pos >= len(r.b) {
		return h, errShort
	}
	c := r.b[r.pos]
	r.pos++
	switch {
	case c <= 0x7f:
		return mpHead{kind: mpInt, inline: int64(c)}, nil
	case c <= 0x8f:
		return mpHead{kind: mpMap, n: uint64(c & 0x0f)}, nil
	case c <= 0x9f:
		return mpHead{kind: mpArray, n: uint64(c & 0x0f)}, nil
	case c <= 0xbf:
		h = mpHead{kind: mpStr, n: uint64(c & 0x1f)}
	case c >= 0xe0:
		return mpHead{kind: mpInt, inline: int64(int8(c))}, nil
	default:
		if h, err = r.long(c); err != nil {
			return h, err
		}
	}
	if h.kind != mpArray && h.kind != mpMap && h.n > uint64(len(r.b)-r.pos) {
		return h, errShort
	}
	return h, nil
}

// long reads the beginning of a value whose first byte c is from 0xc0 to 0xdf.
func (r *mpReader) long(c byte) (h mpHead, err error) {
	var size int // bytes of the length
	switch c {
	case 0xc0:
		return mpHead{kind: mpNil}, nil
	case 0xc2, 0xc3:
		return mpHead{kind: mpBool}, nil
	case 0xc4, 0xc5, 0xc6:
		h.kind, size = mpBin, 1<<(c-0xc4)
	case 0xc7, 0xc8, 0xc9:
		h.kind, size = mpExt, 1<<(c-0xc7)
	case 0xca, 0xcb:
		return mpHead{kind: mpFloat, n: 4 << (c - 0xca)}, nil
	case 0xcc, 0xcd, 0xce, 0xcf:
		return mpHead{kind: mpInt, n: 1 << (c - 0xcc)}, nil
	case 0xd0, 0xd1, 0xd2, 0xd3:
		return mpHead{kind: mpInt, n: 1 << (c - 0xd0)}, nil
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // and a byte for the extension's type
		return mpHead{kind: mpExt, n: 1<<(c-0xd4) + 1}, nil
	case 0xd9, 0xda, 0xdb:
		h.kind, size = mpStr, 1<<(c-0xd9)
	case 0xdc, 0xdd:
		h.kind, size = mpArray, 2<<(c-0xdc)
	case 0xde, 0xdf:
		h.kind, size = mpMap, 2<<(c-0xde)
	default:
		return h, errFormat
	}
	if len(r.b)-r.pos < size {
		return h, errShort
	}
	for range size {
		h.n = h.n<<8 | uint64(r.b[r.pos])
		r.pos++
	}
	if h.kind == mpExt {
		h.n++
	}
	return h, nil
}

// skip goes past one value of any kind.
func (r *mpReader) skip() error {
	var left [maxMsgpackDepth]uint64 // elements to come, by depth
	depth := 0
	for {
		h, err := r.head()
		if err != nil {
			return err
		}
		switch h.kind {
		case mpArray, mpMap:
			if h.kind == mpMap {
				h.n *= 2
			}
			if depth == maxMsgpackDepth {
				return errDeep
			}
			if h.n > uint64(len(r.b)-r.pos) { // each takes a byte at least
				return errShort
			}
			left[depth] = h.n
			depth++
		case mpStr:
			text := r.take(h)
			if !utf8.Valid(text) {
				return errNotUTF8
			}
		case mpExt:
			r.take(h)
			r.ext = true
		default:
			r.take(h)
		}
		for depth > 0 && left[depth-1] == 0 {
			depth--
		}
		if depth == 0 {
			return nil
		}
		left[depth-1]--
	}
}

// take returns the bytes that a head has announced.
func (r *mpReader) take(h mpHead) []byte {
	start := r.pos
	r.pos += int(h.n)
	return r.b[start:r.pos:r.pos]
}

// value returns the bytes of the next value, which is valid.
func (r *mpReader) value() ([]byte, error) {
	start := r.pos
	if err := r.skip(); err != nil {
		return nil, err
	}
	return r.b[start:r.pos:r.pos], nil
}

// validMsgpack returns nil when b is one value and nothing else, and whether
// it has extensions in it.
func validMsgpack(b []byte) (ext bool, err error) {
	r := mpReader{b: b}
	if err := r.skip(); err != nil {
		return false, err
	}
	if r.pos < len(b) {
		return false, errTrailing
	}
	return r.ext, nil
}

// What follows reads values that are valid.

// mpText returns what a string says.
func mpText(value []byte) (text []byte, ok bool) { return mpBytes(value, mpStr) }

// mpBytes returns what is in a value of a kind that has bytes.
func mpBytes(value []byte, kind mpKind) ([]byte, bool) {
	r := mpReader{b: value}
	h, err := r.head()
	if err != nil || h.kind != kind {
		return nil, false
	}
	return r.take(h), true
}

// mpIs reports whether a value is of a kind.
func mpIs(value []byte, kind mpKind) bool {
	r := mpReader{b: value}
	h, err := r.head()
	return err == nil && h.kind == kind
}

// mpUint returns a whole number that is not negative.
func mpUint(value []byte) (uint64, bool) {
	r := mpReader{b: value}
	h, err := r.head()
	switch {
	case err != nil || h.kind != mpInt:
		return 0, false
	case h.n == 0:
		return uint64(h.inline), h.inline >= 0
	}
	u := bigEndian(r.take(h))
	negative := value[0] >= 0xd0 && u>>(8*h.n-1) != 0
	return u, !negative
}

func bigEndian(b []byte) (u uint64) {
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u
}

// mpNumber returns a number in decimal digits.
func mpNumber(value []byte) (string, bool) {
	r := mpReader{b: value}
	h, err := r.head()
	switch {
	case err != nil:
		return "", false
	case h.kind == mpInt && h.n == 0:
		return strconv.FormatInt(h.inline, 10), true
	case h.kind == mpInt && value[0] < 0xd0:
		return strconv.FormatUint(bigEndian(r.take(h)), 10), true
	case h.kind == mpInt:
		shift := 64 - 8*h.n
		return strconv.FormatInt(int64(bigEndian(r.take(h))<<shift)>>shift, 10), true
	case h.kind == mpFloat && h.n == 4:
		f := math.Float32frombits(uint32(bigEndian(r.take(h))))
		return strconv.FormatFloat(float64(f), 'g', -1, 32), true
	case h.kind == mpFloat:
		return strconv.FormatFloat(math.Float64frombits(bigEndian(r.take(h))), 'g', -1, 64), true
	}
	return "", false
}

// The shortest form of everything that packets need.

func appendMapHeader(b []byte, n int) []byte {
	if n <= 15 {
		return append(b, 0x80|byte(n))
	}
	return binary.BigEndian.AppendUint16(append(b, 0xde), uint16(n))
}

func appendArrayHeader(b []byte, n int) []byte {
	if n <= 15 {
		return append(b, 0x90|byte(n))
	}
	return binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(n))
}

func appendStr(b []byte, s string) []byte {
	n := len(s)
	switch {
	case n <= 31:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

func appendBin(b, data []byte) []byte {
	n := len(data)
	switch {
	case n <= math.MaxUint8:
		b = append(b, 0xc4, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
	}
	return append(b, data...)
}

func appendUint(b []byte, u uint64) []byte {
	switch {
	case u <= 0x7f:
		return append(b, byte(u))
	case u <= math.MaxUint8:
		return append(b, 0xcc, byte(u))
	case u <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(u))
	case u <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(u))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), u)
}
