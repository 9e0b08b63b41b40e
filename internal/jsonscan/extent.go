package jsonscan

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

var (
	errNoBracket = errors.New("expected an object or an array")
	errTooDeep   = errors.New("nested too deep")
)

// Extent finds the end of an object or array whose text comes in parts,
// looking at each byte once. It minds quotes and brackets only: what it finds
// is for [Valid] to judge. The zero value is at the beginning.
type Extent struct {
	pos    int
	depth  int
	quoted bool
}

// Scan goes on in data, which is what has come of the value so far: all that
// was given before, and more. It returns the length of the value, zero when
// its end has not come. An error is final: data does not begin with an object
// or array, or it nests deeper than [MaxDepth].
func (e *Extent) Scan(data []byte) (int, error) {
	i := e.pos
	if i == 0 && len(data) > 0 && data[0] != '{' && data[0] != '[' {
		return 0, errNoBracket
	}
	for i < len(data) {
		if e.quoted {
			if i += plainRun(data[i:]); i == len(data) {
				break
			}
			switch {
			case data[i] == '"':
				e.quoted = false
			case data[i] == '\\' && i+1 == len(data):
				e.pos = i // what is escaped is yet to come
				return 0, nil
			case data[i] == '\\':
				i++
			}
			i++
			continue
		}
		c := data[i]
		i++
		switch c {
		case '"':
			e.quoted = true
		case '{', '[':
			if e.depth++; e.depth > MaxDepth {
				return 0, errTooDeep
			}
		case '}', ']':
			if e.depth--; e.depth == 0 {
				e.pos = i
				return i, nil
			}
		}
	}
	e.pos = i
	return 0, nil
}

// Reset goes to the beginning of another value.
func (e *Extent) Reset() { *e = Extent{} }

// plainRun returns how many bytes come before the first quote, backslash or
// control character.
func plainRun(d []byte) int {
	i := 0
	for ; i+8 <= len(d); i += 8 {
		if m := special(binary.LittleEndian.Uint64(d[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(d) && d[i] != '"' && d[i] != '\\' && d[i] >= 0x20 {
		i++
	}
	return i
}
