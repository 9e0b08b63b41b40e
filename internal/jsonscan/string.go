package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// String consumes a string and returns what it says: a part of Data when it
// has no escapes, else memory of its own.
func (s *Scanner) String() ([]byte, error) {
	if s.Peek() != '"' {
		return nil, s.fail("expected a string")
	}
	raw, escaped, err := s.raw()
	if err != nil || !escaped {
		return raw, err
	}
	return Unquote(make([]byte, 0, len(raw)), raw), nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks with its high bit the first byte of w that ends a plain run: a
// quote, a backslash or a control character. Bytes after the first may be
// marked wrongly.
func special(w uint64) uint64 {
	q := w ^ ones*'"'
	b := w ^ ones*'\\'
	return ((q-ones)&^q | (b-ones)&^b | (w-ones*0x20)&^w) & highs
}

// plain16 reports whether 16 bytes are ASCII without a quote, a backslash or a
// control character. Without bytes above 0x7f no test needs to know of a carry.
func plain16(d []byte) bool {
	a, b := binary.LittleEndian.Uint64(d), binary.LittleEndian.Uint64(d[8:])
	found := a | (a ^ ones*'"' - ones) | (a ^ ones*'\\' - ones) | (a - ones*0x20)
	found |= b | (b ^ ones*'"' - ones) | (b ^ ones*'\\' - ones) | (b - ones*0x20)
	return found&highs == 0
}

// Plain returns the place of the quote that ends a string whose text begins at
// d[i], if that is ASCII without escapes and ends in d; else -1.
func Plain(d []byte, i int) int {
	for i+8 <= len(d) {
		w := binary.LittleEndian.Uint64(d[i:])
		m := special(w)
		if m == 0 {
			if w&highs != 0 {
				return -1
			}
			i += 8
			for i+16 <= len(d) && plain16(d[i:i+16]) {
				i += 16
			}
			continue
		}
		n := bits.TrailingZeros64(m) / 8
		if d[i+n] != '"' || w&(1<<(8*n)-1)&highs != 0 {
			return -1
		}
		return i + n
	}
	for ; i < len(d) && d[i] >= 0x20 && d[i] < 0x80 && d[i] != '\\'; i++ {
		if d[i] == '"' {
			return i
		}
	}
	return -1
}

// raw consumes a string whose opening quote is at Pos, and returns what is
// between the quotes.
func (s *Scanner) raw() (text []byte, escaped bool, err error) {
	d, i := s.Data, s.Pos+1
	start := i
	var seen uint64 // high bits of bytes gone by: whether there is more than ASCII
	for {
		for i+16 <= len(d) && plain16(d[i:i+16]) {
			i += 16
		}
		for i+8 <= len(d) {
			w := binary.LittleEndian.Uint64(d[i:])
			if m := special(w); m != 0 {
				n := bits.TrailingZeros64(m) / 8
				seen |= w & (1<<(8*n) - 1)
				i += n
				break
			}
			seen |= w
			i += 8
		}
		for i < len(d) && d[i] != '"' && d[i] != '\\' && d[i] >= 0x20 {
			seen |= uint64(d[i])
			i++
		}
		switch {
		case i >= len(d):
			return nil, false, s.failAt(i, "")
		case d[i] == '"':
			text = d[start:i:i]
			if seen&highs != 0 && !utf8.Valid(text) {
				return nil, false, &SyntaxError{start, "string is not UTF-8"}
			}
			s.Pos = i + 1
			return text, escaped, nil
		case d[i] < 0x20:
			return nil, false, s.failAt(i, "control character in a string")
		}
		escaped = true
		n := escape(d[i:])
		if n == 0 {
			return nil, false, s.failAt(i, "bad escape")
		}
		i += n
	}
}

// escape returns the length of the escape that d begins with, zero if it is none.
func escape(d []byte) int {
	if len(d) < 2 {
		return 0
	}
	switch d[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(d); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads \uXXXX.
func hex4(d []byte) (rune, bool) {
	if len(d) < 6 || d[0] != '\\' || d[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range d[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// Unquote appends to dst what raw says, the valid text between a string's
// quotes. Half a surrogate pair becomes U+FFFD.
func Unquote(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			n := bytes.IndexByte(raw[i:], '\\')
			if n < 0 {
				return append(dst, raw[i:]...)
			}
			dst = append(dst, raw[i:i+n]...)
			i += n
		}
		if raw[i+1] != 'u' {
			dst = append(dst, plain(raw[i+1]))
			i += 2
			continue
		}
		r, _ := hex4(raw[i:])
		i += 6
		if utf16.IsSurrogate(r) {
			low, _ := hex4(raw[i:])
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				i += 6
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// plain is the character that a one-letter escape stands for.
func plain(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// word returns the eight bytes of s from i on, the first of them lowest.
func word[S string | []byte](s S, i int) uint64 {
	_ = s[i+7]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
}

const hexDigits = "0123456789abcdef"

// AppendString appends s, which is UTF-8, as a JSON string.
func AppendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		if i+8 <= len(s) {
			m := special(word(s, i))
			if m == 0 {
				i += 7
				continue
			}
			i += bits.TrailingZeros64(m) / 8
		}
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
