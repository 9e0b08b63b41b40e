// Package jsonscan reads JSON text (RFC 8259) in place: it validates in one
// pass, allocates nothing for text without escapes, and is strict where peers
// must agree: UTF-8 throughout, one value, bounded depth.
package jsonscan

import (
	"fmt"
)

// MaxDepth is how deep arrays and objects may nest: deeper than people's data,
// shallow enough for receivers that recurse.
const MaxDepth = 128

// SyntaxError says what was expected and where.
type SyntaxError struct {
	Offset int    // byte offset into the text
	What   string // what is wrong there
}

// Error returns both.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.What, e.Offset) }

// Valid returns nil when data is one JSON value with nothing but white space
// around it, else a *[SyntaxError].
func Valid(data []byte) error {
	s := Scanner{Data: data}
	if _, err := s.Value(); err != nil {
		return err
	}
	return s.End()
}

// Scanner walks through JSON text. The zero Pos is its beginning. Methods
// return a *[SyntaxError]; after one the Scanner is of no more use. What they
// return refers to Data unless it says otherwise.
type Scanner struct {
	Data []byte
	Pos  int
	// Inside is how many arrays and objects are open around what Value reads,
	// where the text that they belong to is to keep to [MaxDepth].
	Inside int
}

// Peek skips white space and returns the byte after it, zero at the end.
func (s *Scanner) Peek() byte {
	for ; s.Pos < len(s.Data); s.Pos++ {
		switch c := s.Data[s.Pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// End checks that nothing but white space is left.
func (s *Scanner) End() error {
	if s.Peek(); s.Pos < len(s.Data) {
		return s.fail("unexpected text after the value")
	}
	return nil
}

// Open consumes the brace or bracket that begins an object or array.
func (s *Scanner) Open(c byte) error {
	if s.Peek() == c {
		s.Pos++
		return nil
	}
	if c == '{' {
		return s.fail("expected an object")
	}
	return s.fail("expected an array")
}

// More reports whether another element follows before the closing byte, and
// consumes the comma before it or the close. first is set for the first one.
func (s *Scanner) More(end byte, first bool) (bool, error) {
	switch c := s.Peek(); {
	case c == end:
		s.Pos++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, s.fail("expected a comma or the end")
	}
	s.Pos++
	if s.Peek() == end {
		return false, s.fail("expected an element after the comma")
	}
	return true, nil
}

// Key consumes an object's key and the colon. A key with escapes is decoded
// into memory of its own.
func (s *Scanner) Key() ([]byte, error) {
	if s.Peek() != '"' {
		return nil, s.fail("expected a key in quotes")
	}
	key, err := s.String()
	if err != nil {
		return nil, err
	}
	return key, s.colon()
}

func (s *Scanner) colon() error {
	if s.Peek() != ':' {
		return s.fail("expected a colon")
	}
	s.Pos++
	return nil
}

// Null consumes a null and reports whether there was one.
func (s *Scanner) Null() (bool, error) {
	if s.Peek() != 'n' {
		return false, nil
	}
	return true, s.literal("null")
}

// Uint consumes a whole number without sign, fraction or exponent, of at most limit.
func (s *Scanner) Uint(limit uint64) (uint64, error) {
	s.Peek()
	start := s.Pos
	if err := s.number(); err != nil {
		return 0, err
	}
	var n uint64
	for i, c := range s.Data[start:s.Pos] {
		if c < '0' || c > '9' {
			return 0, &SyntaxError{start, "expected a whole number"}
		}
		d := uint64(c - '0')
		if d > limit || n > (limit-d)/10 || i > 19 {
			return 0, &SyntaxError{start, fmt.Sprintf("number over %d", limit)}
		}
		n = n*10 + d
	}
	return n, nil
}

// Value consumes any value and returns its text, validated.
func (s *Scanner) Value() ([]byte, error) {
	quoted := s.Peek() == '"'
	start := s.Pos
	if quoted {
		_, _, err := s.raw()
		if err != nil {
			return nil, err
		}
		return s.Data[start:s.Pos:s.Pos], nil
	}
	if end := quick(s.Data, start, MaxDepth-s.Inside); end >= 0 {
		s.Pos = end
		return s.Data[start:end:end], nil
	}
	return s.anyValue()
}

// anyValue consumes a value at Pos, and says what is wrong with it if something is.
func (s *Scanner) anyValue() ([]byte, error) {
	start := s.Pos
	// One bit a level says whether it is an object.
	var objects [MaxDepth / 64]uint64
	depth := 0
	for {
		opened, err := s.begin()
		if err != nil {
			return nil, err
		}
		if opened != 0 {
			if depth >= MaxDepth-s.Inside {
				return nil, s.failAt(s.Pos-1, "nested too deep")
			}
			bit := uint64(1) << (depth % 64)
			objects[depth/64] &^= bit
			if opened == '{' {
				objects[depth/64] |= bit
			}
			depth++
		}
		first := opened != 0
		// Close what ends here, then go on with the next element.
		for {
			if depth == 0 {
				return s.Data[start:s.Pos:s.Pos], nil
			}
			object := objects[(depth-1)/64]>>((depth-1)%64)&1 == 1
			more, err := s.next(object, first)
			if err != nil {
				return nil, err
			}
			if more {
				break
			}
			depth--
			first = false
		}
	}
}

// next goes on in an array or object and consumes the key, if any.
func (s *Scanner) next(object, first bool) (bool, error) {
	if !object {
		return s.More(']', first)
	}
	more, err := s.More('}', first)
	if err != nil || !more {
		return false, err
	}
	if s.Peek() != '"' {
		return false, s.fail("expected a key in quotes")
	}
	if _, _, err := s.raw(); err != nil {
		return false, err
	}
	return true, s.colon()
}

// begin consumes a scalar, or the byte that opens an array or object, which it returns.
func (s *Scanner) begin() (byte, error) {
	switch c := s.Peek(); c {
	case '{', '[':
		s.Pos++
		return c, nil
	case '"':
		_, _, err := s.raw()
		return 0, err
	case 't':
		return 0, s.literal("true")
	case 'f':
		return 0, s.literal("false")
	case 'n':
		return 0, s.literal("null")
	default:
		return 0, s.number()
	}
}

func (s *Scanner) literal(word string) error {
	if len(s.Data)-s.Pos < len(word) || string(s.Data[s.Pos:s.Pos+len(word)]) != word {
		return s.fail("expected a value")
	}
	s.Pos += len(word)
	return nil
}

// number consumes a number by the grammar of RFC 8259 section 6.
func (s *Scanner) number() error {
	d, i := s.Data, s.Pos
	if i < len(d) && d[i] == '-' {
		i++
	}
	switch {
	case i < len(d) && d[i] == '0':
		i++
	case digits(d, i) > i:
		i = digits(d, i)
	case i == s.Pos:
		return s.fail("expected a value")
	default:
		return s.failAt(i, "expected a digit")
	}
	if i < len(d) && d[i] == '.' {
		end := digits(d, i+1)
		if end == i+1 {
			return s.failAt(end, "expected a digit")
		}
		i = end
	}
	if i < len(d) && d[i]|0x20 == 'e' {
		i++
		if i < len(d) && (d[i] == '+' || d[i] == '-') {
			i++
		}
		end := digits(d, i)
		if end == i {
			return s.failAt(end, "expected a digit")
		}
		i = end
	}
	s.Pos = i
	return nil
}

func digits(d []byte, i int) int {
	for i < len(d) && d[i] >= '0' && d[i] <= '9' {
		i++
	}
	return i
}

func (s *Scanner) fail(what string) error { return s.failAt(s.Pos, what) }

func (s *Scanner) failAt(i int, what string) error {
	if i >= len(s.Data) {
		return &SyntaxError{len(s.Data), "unexpected end"}
	}
	return &SyntaxError{i, what}
}
