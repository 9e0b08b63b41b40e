package socketio

import (
	"bytes"
	"strconv"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
)

// Attachments are bytes beside the JSON text, in which objects stand for them
// that have "_placeholder":true and a "num".

// placer goes through one JSON value, which is valid, and writes it anew where
// the numbers of placeholders change.
type placer struct {
	sc    jsonscan.Scanner
	limit int // numbers are below that
	// Numbers are said by their place in order, which grows as they are met,
	// or if that is nil as base and number.
	order *[]int
	base  int

	out   []byte // what has been written
	taken int    // how much of Data that covers
	found int    // placeholders
	whole bool   // the value is a placeholder itself
	num   int    // the last one's number
}

// place appends the value in text to dst.
func (r *placer) place(dst, text []byte) ([]byte, error) {
	r.sc = jsonscan.Scanner{Data: text}
	r.out, r.taken = dst, 0
	placeholder, err := r.value()
	if err != nil {
		return dst, err
	}
	r.whole = placeholder
	return append(r.out, text[r.taken:]...), nil
}

// value goes through any value and reports whether it is a placeholder. The
// recursion is as deep as valid text may be.
func (r *placer) value() (placeholder bool, err error) {
	switch r.sc.Peek() {
	case '{':
		return r.object()
	case '[':
		return false, r.array()
	}
	_, err = r.sc.Value()
	return false, err
}

func (r *placer) array() error {
	if err := r.sc.Open('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := r.sc.More(']', first)
		if err != nil || !more {
			return err
		}
		if _, err := r.value(); err != nil {
			return err
		}
	}
}

func (r *placer) object() (placeholder bool, err error) {
	start, written, taken, found, ordered := r.sc.Pos, len(r.out), r.taken, r.found, 0
	if r.order != nil {
		ordered = len(*r.order)
	}
	if err := r.sc.Open('{'); err != nil {
		return false, err
	}
	var num []byte
	for first := true; ; first = false {
		more, err := r.sc.More('}', first)
		if err != nil {
			return false, err
		}
		if !more {
			break
		}
		key, err := r.sc.Key()
		if err != nil {
			return false, err
		}
		r.sc.Peek()
		at := r.sc.Pos
		if _, err := r.value(); err != nil {
			return false, err
		}
		switch value := r.sc.Data[at:r.sc.Pos]; string(key) {
		case "_placeholder":
			placeholder = string(value) == "true"
		case "num":
			num = value
		}
	}
	if !placeholder {
		return false, nil
	}
	// Whatever else it has goes with it.
	r.found = found
	if r.order != nil {
		*r.order = (*r.order)[:ordered]
	}
	n, err := r.number(num)
	if err != nil {
		return false, err
	}
	r.out = append(r.out[:written], r.sc.Data[taken:start]...)
	r.out = appendPlaceholder(r.out, n)
	r.taken = r.sc.Pos
	return true, nil
}

// number reads a placeholder's number and returns the one to say in its place.
func (r *placer) number(text []byte) (int, error) {
	sc := jsonscan.Scanner{Data: text}
	if r.limit == 0 {
		return 0, errAttachments
	}
	u, err := sc.Uint(uint64(r.limit) - 1)
	if err != nil || sc.Pos != len(text) {
		return 0, errAttachments
	}
	r.found++
	r.num = int(u)
	if r.order == nil {
		return r.base + r.num, nil
	}
	for i, n := range *r.order {
		if n == r.num {
			return i, nil
		}
	}
	*r.order = append(*r.order, r.num)
	return len(*r.order) - 1, nil
}

const placeholderStart = `{"_placeholder":true,"num":`

func appendPlaceholder(dst []byte, n int) []byte {
	dst = append(dst, placeholderStart...)
	return append(strconv.AppendInt(dst, int64(n), 10), '}')
}

// resolver makes arguments of JSON text and attachments.
type resolver struct {
	parts  [][]byte
	order  []int
	text   []byte
	copied int
}

// resolve returns the argument that a valid JSON value is. Attachments inside
// are copied into it.
func (v *resolver) resolve(text []byte) (codec.Payload, error) {
	// As official encoders write what most arguments are.
	if num, ok := bytes.CutPrefix(text, []byte(placeholderStart)); ok && len(num) == 2 && num[1] == '}' {
		if n := int(num[0]) - '0'; n >= 0 && n < len(v.parts) {
			return codec.Payload{Type: codec.TypeBytes, Data: v.parts[n]}, nil
		}
	} else if !bytes.Contains(text, []byte("_placeholder")) && bytes.IndexByte(text, '\\') < 0 {
		return codec.Payload{Type: codec.TypeJSON, Data: text}, nil
	}
	v.order = v.order[:0]
	r := placer{limit: len(v.parts), order: &v.order}
	out, err := r.place(v.text[:0], text)
	if err != nil {
		return codec.Payload{}, err
	}
	v.text = out
	switch {
	case r.whole:
		return codec.Payload{Type: codec.TypeBytes, Data: v.parts[r.num]}, nil
	case r.found == 0:
		return codec.Payload{Type: codec.TypeJSON, Data: text}, nil
	}
	inside := make([][]byte, len(v.order))
	size := 0
	for i, n := range v.order {
		inside[i] = v.parts[n]
		size += len(inside[i])
	}
	if v.copied += size; v.copied > v.bound() {
		return codec.Payload{}, errAttachments
	}
	return codec.Payload{Type: codec.TypeParts, Data: codec.AppendParts(nil, out, inside...)}, nil
}

// bound is how much may be copied: a packet whose arguments all name the same
// attachment must not grow by their number. Official encoders attach each
// value once for each time that it appears.
func (v *resolver) bound() int {
	n := 64 << 10
	for _, p := range v.parts {
		n += 2 * len(p)
	}
	return n
}
