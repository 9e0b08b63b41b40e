package jsonscan

import (
	"bytes"
	"errors"
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
			n := bytes.IndexByte(data[i:], '"')
			if n < 0 {
				break
			}
			i += n + 1
			e.quoted = escaped(data[:i-1])
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
	e.pos = len(data)
	return 0, nil
}

// Reset goes to the beginning of another value.
func (e *Extent) Reset() { *e = Extent{} }

// escaped reports whether what comes after text, which is inside of a string,
// is escaped: after an odd number of backslashes.
func escaped(text []byte) bool {
	odd := false
	for i := len(text) - 1; text[i] == '\\'; i-- { // a quote is before them all
		odd = !odd
	}
	return odd
}
