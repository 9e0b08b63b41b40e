package msgscan

import "errors"

// Extent finds the end of a value whose bytes come in parts, reading each head
// once. What is inside of strings, and how deep values nest, is for [Valid] to
// judge. The zero value is at the beginning.
type Extent struct {
	pos   int
	begun bool
	left  uint64 // values to come
}

// Scan goes on in data, which is what has come of the value so far: all that
// was given before, and more. It returns the length of the value, zero when
// its end has not come. An error is final: there is no such format.
func (e *Extent) Scan(data []byte) (int, error) {
	if !e.begun {
		e.begun, e.left = true, 1
	}
	r := Reader{Data: data, Pos: e.pos}
	for e.left > 0 {
		h, err := r.Head()
		if errors.Is(err, errShort) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		e.left--
		switch h.Kind {
		case Array:
			e.left += h.N
		case Map:
			e.left += 2 * h.N
		default:
			r.Take(h)
		}
		e.pos = r.Pos
	}
	return e.pos, nil
}

// Reset goes to the beginning of another value.
func (e *Extent) Reset() { *e = Extent{} }
