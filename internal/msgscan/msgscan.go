// Package msgscan reads MessagePack in place and writes the shortest form of
// what packets need, as https://github.com/msgpack/msgpack/blob/master/spec.md
// has them. Nothing is allocated for what a header merely claims.
package msgscan

import (
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and maps may nest, as in JSON.
const MaxDepth = 128

// ErrFormat is of a value whose first byte says nothing.
var ErrFormat = errors.New("MessagePack with an unknown first byte")

var (
	errShort    = errors.New("MessagePack ends too soon")
	errNotUTF8  = errors.New("not UTF-8")
	errDeep     = errors.New("MessagePack nests too deep")
	errTrailing = errors.New("bytes after the MessagePack value")
)

// Kind is a family of MessagePack formats.
type Kind uint8

// The families. Times and other extensions are Ext.
const (
	Nil Kind = iota + 1
	Bool
	Int
	Float
	Str
	Bin
	Array
	Map
	Ext
)

// Head is the beginning of a value: what it is and how much follows.
type Head struct {
	Kind Kind
	// N is the length in bytes of strings, binaries, extensions and numbers,
	// the number of elements of arrays and of pairs of maps.
	N      uint64
	inline int64 // the number in a byte that is head and number in one
}

// Reader reads one value after the other. The zero Pos is the beginning. After
// an error it is of no more use. What its methods return refers to Data.
type Reader struct {
	Data []byte
	Pos  int
	Ext  bool // a value that was skipped has extensions in it
}

// Head reads the beginning of a value. What it claims of the bytes that follow
// has been checked, but for the elements of arrays and maps.
func (r *Reader) Head() (h Head, err error) {
	if r.Pos >= len(r.Data) {
		return h, errShort
	}
	c := r.Data[r.Pos]
	r.Pos++
	switch {
	case c <= 0x7f:
		return Head{Kind: Int, inline: int64(c)}, nil
	case c <= 0x8f:
		return Head{Kind: Map, N: uint64(c & 0x0f)}, nil
	case c <= 0x9f:
		return Head{Kind: Array, N: uint64(c & 0x0f)}, nil
	case c <= 0xbf:
		h = Head{Kind: Str, N: uint64(c & 0x1f)}
	case c >= 0xe0:
		return Head{Kind: Int, inline: int64(int8(c))}, nil
	default:
		if h, err = r.long(c); err != nil {
			return h, err
		}
	}
	if h.Kind != Array && h.Kind != Map && h.N > uint64(len(r.Data)-r.Pos) {
		return h, errShort
	}
	return h, nil
}

// long reads the beginning of a value whose first byte c is from 0xc0 to 0xdf.
func (r *Reader) long(c byte) (h Head, err error) {
	var size int // bytes of the length
	switch c {
	case 0xc0:
		return Head{Kind: Nil}, nil
	case 0xc2, 0xc3:
		return Head{Kind: Bool}, nil
	case 0xc4, 0xc5, 0xc6:
		h.Kind, size = Bin, 1<<(c-0xc4)
	case 0xc7, 0xc8, 0xc9:
		h.Kind, size = Ext, 1<<(c-0xc7)
	case 0xca, 0xcb:
		return Head{Kind: Float, N: 4 << (c - 0xca)}, nil
	case 0xcc, 0xcd, 0xce, 0xcf:
		return Head{Kind: Int, N: 1 << (c - 0xcc)}, nil
	case 0xd0, 0xd1, 0xd2, 0xd3:
		return Head{Kind: Int, N: 1 << (c - 0xd0)}, nil
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // and a byte for the extension's type
		return Head{Kind: Ext, N: 1<<(c-0xd4) + 1}, nil
	case 0xd9, 0xda, 0xdb:
		h.Kind, size = Str, 1<<(c-0xd9)
	case 0xdc, 0xdd:
		h.Kind, size = Array, 2<<(c-0xdc)
	case 0xde, 0xdf:
		h.Kind, size = Map, 2<<(c-0xde)
	default:
		return h, ErrFormat
	}
	if len(r.Data)-r.Pos < size {
		return h, errShort
	}
	for range size {
		h.N = h.N<<8 | uint64(r.Data[r.Pos])
		r.Pos++
	}
	if h.Kind == Ext {
		h.N++
	}
	return h, nil
}

// Skip goes past one value of any kind.
func (r *Reader) Skip() error {
	var left [MaxDepth]uint64 // elements to come, by depth
	depth := 0
	for {
		h, err := r.Head()
		if err != nil {
			return err
		}
		switch h.Kind {
		case Array, Map:
			if h.Kind == Map {
				h.N *= 2
			}
			if depth == MaxDepth {
				return errDeep
			}
			if h.N > uint64(len(r.Data)-r.Pos) { // each takes a byte at least
				return errShort
			}
			left[depth] = h.N
			depth++
		case Str:
			text := r.Take(h)
			if !utf8.Valid(text) {
				return errNotUTF8
			}
		case Ext:
			r.Take(h)
			r.Ext = true
		default:
			r.Take(h)
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

// Take returns the bytes that a head has announced.
func (r *Reader) Take(h Head) []byte {
	start := r.Pos
	r.Pos += int(h.N)
	return r.Data[start:r.Pos:r.Pos]
}

// End checks that nothing is left.
func (r *Reader) End() error {
	if r.Pos < len(r.Data) {
		return errTrailing
	}
	return nil
}

// Value returns the bytes of the next value, which is valid.
func (r *Reader) Value() ([]byte, error) {
	start := r.Pos
	if err := r.Skip(); err != nil {
		return nil, err
	}
	return r.Data[start:r.Pos:r.Pos], nil
}

// Valid returns nil when b is one value and nothing else, and whether it has
// extensions in it.
func Valid(b []byte) (ext bool, err error) {
	r := Reader{Data: b}
	if err := r.Skip(); err != nil {
		return false, err
	}
	return r.Ext, r.End()
}

// Text returns what a string says, and false for what is none. This and the
// functions below read values that are valid.
func Text(value []byte) (text []byte, ok bool) { return Bytes(value, Str) }

// Bytes returns what is in a value of a kind that has bytes.
func Bytes(value []byte, kind Kind) ([]byte, bool) {
	r := Reader{Data: value}
	h, err := r.Head()
	if err != nil || h.Kind != kind {
		return nil, false
	}
	return r.Take(h), true
}

// Is reports whether a value is of a kind.
func Is(value []byte, kind Kind) bool {
	r := Reader{Data: value}
	h, err := r.Head()
	return err == nil && h.Kind == kind
}

// Uint returns a whole number that is not negative.
func Uint(value []byte) (uint64, bool) {
	r := Reader{Data: value}
	h, err := r.Head()
	switch {
	case err != nil || h.Kind != Int:
		return 0, false
	case h.N == 0:
		return uint64(h.inline), h.inline >= 0
	}
	u := BigEndian(r.Take(h))
	negative := value[0] >= 0xd0 && u>>(8*h.N-1) != 0
	return u, !negative
}

// BigEndian returns the number in at most eight bytes, as numbers and extensions have them.
func BigEndian(b []byte) (u uint64) {
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u
}

// Number returns a number in decimal digits.
func Number(value []byte) (string, bool) {
	r := Reader{Data: value}
	h, err := r.Head()
	switch {
	case err != nil:
		return "", false
	case h.Kind == Int && h.N == 0:
		return strconv.FormatInt(h.inline, 10), true
	case h.Kind == Int && value[0] < 0xd0:
		return strconv.FormatUint(BigEndian(r.Take(h)), 10), true
	case h.Kind == Int:
		shift := 64 - 8*h.N
		return strconv.FormatInt(int64(BigEndian(r.Take(h))<<shift)>>shift, 10), true
	case h.Kind == Float && h.N == 4:
		f := math.Float32frombits(uint32(BigEndian(r.Take(h))))
		return strconv.FormatFloat(float64(f), 'g', -1, 32), true
	case h.Kind == Float:
		return strconv.FormatFloat(math.Float64frombits(BigEndian(r.Take(h))), 'g', -1, 64), true
	}
	return "", false
}
