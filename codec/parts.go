package codec

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/polywire/polywire/internal/jsonscan"
)

// TypeParts is JSON text with byte strings inside, which are kept beside it: a
// Socket.IO argument with binary attachments. See [AppendParts] for the bytes.
const TypeParts = "application/vnd.polywire.parts"

// AppendParts appends a payload of [TypeParts] to dst: the number of parts as
// a uvarint, each part behind its length as a uvarint, then the JSON text, in
// which {"_placeholder":true,"num":i} stands for part i, counted from zero.
func AppendParts(dst, text []byte, parts ...[]byte) []byte {
	n := len(text) + binary.MaxVarintLen64
	for _, p := range parts {
		n += len(p) + binary.MaxVarintLen32
	}
	dst = slices.Grow(dst, n)
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for _, p := range parts {
		dst = binary.AppendUvarint(dst, uint64(len(p)))
		dst = append(dst, p...)
	}
	return append(dst, text...)
}

var errParts = errors.New("codec: parts that are not whole")

// SplitParts takes a payload of [TypeParts] apart. What it returns refers to
// data; the text is not looked into.
func SplitParts(data []byte) (text []byte, parts [][]byte, err error) {
	count, data, ok := uvarint(data)
	if !ok || count > uint64(len(data)) { // a part has a length of one byte at least
		return nil, nil, errParts
	}
	for range count {
		n, rest, ok := uvarint(data)
		if !ok || n > uint64(len(rest)) {
			return nil, nil, errParts
		}
		parts = append(parts, rest[:n:n])
		data = rest[n:]
	}
	return data, parts, nil
}

func uvarint(data []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 {
		return 0, nil, false
	}
	return n, data[size:], true
}

// Parts is the codec of [TypeParts]. It encodes any value as JSON does, but
// each []byte in a map[string]any, map[string][]byte, []any or [][]byte becomes
// a part; those in structs are base64. It decodes as JSON does, too: a part
// goes into a []byte, or into an any as a []byte; anything else gets it as a
// string in base64 (RFC 4648 section 4, with padding), which is also what it is
// in JSON.
type Parts struct{}

// ContentType returns [TypeParts].
func (Parts) ContentType() string { return TypeParts }

// Append appends the encoding of v to dst. Values nested more than 128 deep,
// and JSON that looks like a placeholder by itself, are errors.
func (Parts) Append(dst []byte, v any) ([]byte, error) {
	var x extractor
	v, err := x.value(v, 0)
	if err != nil {
		return dst, err
	}
	text, err := JSON{}.Append(nil, v)
	if err != nil {
		return dst, err
	}
	if refs, err := findParts(text, x.parts); err != nil {
		return dst, err
	} else if len(refs) != len(x.parts) {
		return dst, errPlaceholder
	}
	return AppendParts(dst, text, x.parts...), nil
}

// Unmarshal decodes data into v.
func (Parts) Unmarshal(data []byte, v any) error {
	text, parts, refs, err := readParts(data)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return json.Unmarshal(text, v)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return err
	}
	tree = withParts(tree, parts)
	switch v := v.(type) {
	case *any:
		if *v == nil {
			*v = tree
			return nil
		}
	case *[]byte:
		if b, ok := tree.([]byte); ok {
			*v = b
			return nil
		}
	case *map[string]any:
		if m, ok := tree.(map[string]any); ok && *v == nil {
			*v = m
			return nil
		}
	}
	if err := json.Unmarshal(expand(nil, text, parts, refs), v); err != nil {
		return err
	}
	fillParts(v, tree)
	return nil
}

// AppendJSON appends the text with base64 in place of the placeholders.
func (Parts) AppendJSON(dst []byte, _ string, data []byte) ([]byte, error) {
	text, parts, refs, err := readParts(data)
	if err != nil {
		return dst, err
	}
	return expand(dst, text, parts, refs), nil
}

// AppendFromJSON appends text as a payload without parts. Text with a
// placeholder is an error.
func (Parts) AppendFromJSON(dst []byte, _ string, text []byte) ([]byte, error) {
	if _, err := findParts(text, nil); err != nil {
		return dst, err
	}
	return AppendParts(dst, text), nil
}

// readParts takes data apart and checks everything about it.
func readParts(data []byte) (text []byte, parts [][]byte, refs []partRef, err error) {
	text, parts, err = SplitParts(data)
	if err != nil {
		return nil, nil, nil, err
	}
	refs, err = findParts(text, parts)
	if err != nil {
		return nil, nil, nil, err
	}
	return text, parts, refs, nil
}

// expand appends the text with base64 in place of the placeholders.
func expand(dst, text []byte, parts [][]byte, refs []partRef) []byte {
	n := len(text)
	for _, r := range refs {
		n += base64.StdEncoding.EncodedLen(len(parts[r.part])) + 2 - (r.end - r.start)
	}
	dst = slices.Grow(dst, max(n, 0))
	from := 0
	for _, r := range refs {
		dst = append(dst, text[from:r.start]...)
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, parts[r.part])
		dst = append(dst, '"')
		from = r.end
	}
	return append(dst, text[from:]...)
}

// partRef is a placeholder: where it is in the text, and the part it stands for.
type partRef struct{ start, end, part int }

var errPlaceholder = errors.New("codec: illegal placeholder for a part")

// partScan goes through JSON text in search of placeholders.
type partScan struct {
	jsonscan.Scanner
	parts [][]byte
	left  int // bytes that placeholders may still stand for
	refs  []partRef
}

// findParts validates text, at most 128 levels deep, and finds its
// placeholders. They may stand for some part several times, but what they stand
// for in all is bounded: it is written out once for each.
func findParts(text []byte, parts [][]byte) ([]partRef, error) {
	s := partScan{Scanner: jsonscan.Scanner{Data: text}, parts: parts, left: 64 << 10}
	for _, p := range parts {
		s.left += 2 * len(p)
	}
	if err := s.value(0); err != nil {
		return nil, err
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return s.refs, nil
}

func (s *partScan) value(depth int) error {
	c := s.Peek()
	if c != '{' && c != '[' {
		_, err := s.Value()
		return err
	}
	if depth == jsonscan.MaxDepth {
		return &jsonscan.SyntaxError{Offset: s.Pos, What: "nested too deep"}
	}
	depth++
	if c == '{' {
		return s.object(depth)
	}
	if err := s.Open('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.More(']', first)
		if err != nil || !more {
			return err
		}
		if err := s.value(depth); err != nil {
			return err
		}
	}
}

// object goes through an object, which is a placeholder when its _placeholder
// is true, whatever else it has.
func (s *partScan) object(depth int) error {
	start, before := s.Pos, len(s.refs)
	if err := s.Open('{'); err != nil {
		return err
	}
	placeholder, num := false, []byte(nil)
	for first := true; ; first = false {
		more, err := s.More('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		key, err := s.Key()
		if err != nil {
			return err
		}
		s.Peek()
		at := s.Pos
		if err := s.value(depth); err != nil {
			return err
		}
		switch value := s.Data[at:s.Pos]; string(key) {
		case "_placeholder":
			placeholder = string(value) == "true"
		case "num":
			num = value
		}
	}
	if !placeholder {
		return nil
	}
	n := jsonscan.Scanner{Data: num}
	part, err := n.Uint(1 << 31)
	if err != nil || n.Pos < len(num) || part >= uint64(len(s.parts)) {
		return errPlaceholder
	}
	if s.left -= len(s.parts[part]); s.left < 0 {
		return errors.New("codec: one part stands in too many places")
	}
	s.refs = append(s.refs[:before], partRef{start, s.Pos, int(part)})
	return nil
}

// withParts puts copies of the parts in place of the placeholders of decoded
// text, which [findParts] has checked.
func withParts(v any, parts [][]byte) any {
	switch v := v.(type) {
	case map[string]any:
		if v["_placeholder"] == true {
			num, _ := v["num"].(float64)
			return append([]byte{}, parts[int(num)]...)
		}
		for k, e := range v {
			v[k] = withParts(e, parts)
		}
	case []any:
		for i, e := range v {
			v[i] = withParts(e, parts)
		}
	}
	return v
}

// extractor puts placeholders in place of the bytes in a value.
type extractor struct{ parts [][]byte }

type placeholder struct {
	Is  bool `json:"_placeholder"`
	Num int  `json:"num"`
}

func (x *extractor) bytes(b []byte) any {
	if b == nil {
		return nil
	}
	x.parts = append(x.parts, b)
	return placeholder{true, len(x.parts) - 1}
}

// value returns a copy of v as far as there may be bytes inside.
func (x *extractor) value(v any, depth int) (any, error) {
	if depth > jsonscan.MaxDepth {
		return nil, fmt.Errorf("codec: %T is nested too deep", v)
	}
	switch v := v.(type) {
	case []byte:
		return x.bytes(v), nil
	case map[string][]byte:
		return eachOf(v, func(b []byte) (any, error) { return x.bytes(b), nil })
	case map[string]any:
		return eachOf(v, func(e any) (any, error) { return x.value(e, depth+1) })
	case [][]byte:
		return listOf(v, func(b []byte) (any, error) { return x.bytes(b), nil })
	case []any:
		return listOf(v, func(e any) (any, error) { return x.value(e, depth+1) })
	}
	return v, nil
}

// eachOf goes in the order in which JSON will have the keys.
func eachOf[T any](m map[string]T, f func(T) (any, error)) (any, error) {
	if m == nil {
		return nil, nil
	}
	out := make(map[string]any, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v, err := f(m[k])
		if err != nil {
			return nil, err
		}
		out[k] = v
	}
	return out, nil
}

func listOf[T any](l []T, f func(T) (any, error)) (any, error) {
	if l == nil {
		return nil, nil
	}
	out := make([]any, len(l))
	for i, e := range l {
		v, err := f(e)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// holdsBytes reports whether v is one of the containers that [Parts] looks
// into and has bytes inside. It takes no memory, and gives up on values that
// are nested too deep or in circles.
func holdsBytes(v any) bool {
	switch v.(type) {
	case map[string]any, []any, map[string][]byte, [][]byte:
		found, _ := searchBytes(v, 0)
		return found
	}
	return false
}

func searchBytes(v any, depth int) (found, tooDeep bool) {
	if depth > jsonscan.MaxDepth {
		return false, true
	}
	switch v := v.(type) {
	case []byte:
		return v != nil, false
	case map[string][]byte:
		for _, b := range v {
			if b != nil {
				return true, false
			}
		}
	case [][]byte:
		return slices.ContainsFunc(v, func(b []byte) bool { return b != nil }), false
	case map[string]any:
		for _, e := range v {
			if found, tooDeep = searchBytes(e, depth+1); found || tooDeep {
				return found, tooDeep
			}
		}
	case []any:
		for _, e := range v {
			if found, tooDeep = searchBytes(e, depth+1); found || tooDeep {
				return found, tooDeep
			}
		}
	}
	return false, false
}
