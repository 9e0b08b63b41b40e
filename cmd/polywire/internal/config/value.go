package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Value is what a setting has: the variable of the program, its type and its
// default. Make one with [Text], [Bool], [Int] and the like.
type Value interface {
	wants() string                            // what is accepted
	read(n *yaml.Node) []problem              // sets it
	reset()                                   // to its default
	shown() *yaml.Node                        // its value
	initial() *yaml.Node                      // its default
	split(args []string, env bool) *yaml.Node // of flags, or of a variable
	plain() bool                              // scalars, in which secrets may stand
	listed() bool                             // a flag may be repeated
	fields() []Field                          // of rules
}

// scalar is a value of one text.
type scalar[T any] struct {
	p      *T
	def    T
	want   string
	tag    string // YAML's
	parse  func(text string) (T, error)
	format func(v T) string
}

func (s *scalar[T]) wants() string   { return s.want }
func (s *scalar[T]) reset()          { *s.p = s.def }
func (s *scalar[T]) plain() bool     { return true }
func (s *scalar[T]) listed() bool    { return false }
func (s *scalar[T]) fields() []Field { return nil }

func (s *scalar[T]) shown() *yaml.Node   { return s.node(*s.p) }
func (s *scalar[T]) initial() *yaml.Node { return s.node(s.def) }

func (s *scalar[T]) node(v T) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: s.tag, Value: s.format(v)}
}

func (s *scalar[T]) split(args []string, _ bool) *yaml.Node { return textNode(args[len(args)-1]) }

func (s *scalar[T]) read(n *yaml.Node) []problem {
	text, p := scalarText(n, s.tag, s.want)
	if p != nil {
		return []problem{*p}
	}
	v, err := s.parse(text)
	if err != nil {
		return []problem{{n, text, err.Error()}}
	}
	*s.p = v
	return nil
}

func textNode(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

// scalarText returns the text of a scalar that may stand where one of a tag is
// wanted.
func scalarText(n *yaml.Node, tag, want string) (string, *problem) {
	if n.Kind != yaml.ScalarNode {
		return "", &problem{n, "", "want " + want + ", not " + kindOf(n)}
	}
	if t := n.ShortTag(); t == "!!null" || t == "!!bool" && tag == "!!str" {
		return "", &problem{n, n.Value, "want " + want + "; in quotes it is text"}
	}
	return n.Value, nil
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "names with values"
	case yaml.SequenceNode:
		return "a list"
	}
	return "this"
}

// Check refuses texts; its error says what is wanted.
type Check func(text string) error

func (c Check) check(text string) error {
	if c == nil {
		return nil
	}
	return c(text)
}

// Text is a value of any characters. check may be nil.
func Text(p *string, def, want string, check Check) Value {
	return &scalar[string]{p, def, want, "!!str", func(text string) (string, error) { return text, check.check(text) }, func(v string) string { return v }}
}

// OneOf is one of some words.
func OneOf(p *string, def string, words ...string) Value {
	want := either(words)
	return Text(p, def, want, among(words, want))
}

func either(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return words[0]
}

func among(words []string, want string) Check {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return errors.New("want " + want)
	}
}

// Bool is true or false.
func Bool(p *bool) Value {
	return &scalar[bool]{p, false, "true or false", "!!bool", func(text string) (bool, error) {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return false, errors.New("want true or false")
		}
		return v, nil
	}, strconv.FormatBool}
}

// Int is a whole number.
func Int(p *int, def, lowest, highest int) Value {
	want := span("a number", lowest, highest, math.MaxInt, strconv.Itoa)
	return &scalar[int]{p, def, want, "!!int", func(text string) (int, error) {
		v, err := strconv.Atoi(text)
		if err != nil || v < lowest || v > highest {
			return 0, errors.New("want " + want)
		}
		return v, nil
	}, strconv.Itoa}
}

// span says what is accepted; highest is not said where it is the type's own.
func span[T comparable](what string, lowest, highest, limit T, format func(T) string) string {
	if highest == limit {
		return what + ", at least " + format(lowest)
	}
	if strings.Contains(what, ",") {
		what += ","
	}
	return what + " from " + format(lowest) + " to " + format(highest)
}

// OneOfInts is one of some numbers.
func OneOfInts(p *int, def int, numbers ...int) Value {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.Itoa(n)
	}
	want := either(words)
	return &scalar[int]{p, def, want, "!!int", func(text string) (int, error) {
		v, err := strconv.Atoi(text)
		if err != nil || !slices.Contains(numbers, v) {
			return 0, errors.New("want " + want)
		}
		return v, nil
	}, strconv.Itoa}
}

// Float is a number with decimals.
func Float(p *float64, def, lowest, highest float64) Value {
	format := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	want := span("a number", lowest, highest, math.MaxFloat64, format)
	return &scalar[float64]{p, def, want, "", func(text string) (float64, error) {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !(v >= lowest && v <= highest) {
			return 0, errors.New("want " + want)
		}
		return v, nil
	}, format}
}

// Duration is a time with its unit.
func Duration(p *time.Duration, def, lowest, highest time.Duration) Value {
	want := span("a time with its unit, as 500ms, 30s or 5m", lowest, highest, math.MaxInt64, FormatDuration)
	if lowest == 1 && highest == math.MaxInt64 {
		want = "a time with its unit, as 500ms, 30s or 5m, more than nothing"
	}
	return &scalar[time.Duration]{p, def, want, "!!str", func(text string) (time.Duration, error) {
		v, err := time.ParseDuration(text)
		if err != nil || v < lowest || v > highest {
			return 0, errors.New("want " + want)
		}
		return v, nil
	}, FormatDuration}
}

// FormatDuration leaves out the zeros of a time.
func FormatDuration(d time.Duration) string {
	text := d.String()
	if s, ok := strings.CutSuffix(text, "m0s"); ok {
		text = s + "m"
	}
	if s, ok := strings.CutSuffix(text, "h0m"); ok {
		text = s + "h"
	}
	return text
}

// Bytes is a size.
func Bytes(p *int, def, lowest, highest int) Value {
	format := func(v int) string { return FormatBytes(int64(v)) }
	want := span("a size, as 4096, 64KiB or 1MiB", lowest, highest, math.MaxInt, format)
	return &scalar[int]{p, def, want, "!!str", func(text string) (int, error) {
		v, err := ParseBytes(text)
		if err != nil || v < int64(lowest) || v > int64(highest) {
			return 0, errors.New("want " + want)
		}
		return int(v), nil
	}, format}
}

// ParseBytes reads a number with nothing, k, m, g, KiB, MiB or GiB behind it,
// which are powers of 1,024.
func ParseBytes(text string) (int64, error) {
	number := strings.ToLower(text)
	shift := 0
	for i, unit := range []string{"k", "m", "g"} {
		for _, suffix := range []string{unit + "ib", unit} {
			if n, ok := strings.CutSuffix(number, suffix); ok {
				number, shift = n, 10*(i+1)
			}
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err == nil && (n > 1<<62>>shift || n < 0) {
		err = strconv.ErrRange
	}
	return n << shift, err
}

// FormatBytes writes a size as it is read.
func FormatBytes(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if size := int64(1) << (10 * (3 - i)); n >= size && n%size == 0 {
			return strconv.FormatInt(n/size, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10)
}

// list is a value of several texts.
type list struct {
	p      *[]string
	def    []string
	want   string
	commas bool // flags may have several, with commas
	check  Check
}

// List is several texts. With commas a flag may have several of them, as a
// variable always may. check may be nil.
func List(p *[]string, def []string, want string, commas bool, check Check) Value {
	return &list{p, def, want, commas, check}
}

func (l *list) wants() string   { return l.want }
func (l *list) reset()          { *l.p = slices.Clone(l.def) }
func (l *list) plain() bool     { return true }
func (l *list) listed() bool    { return true }
func (l *list) fields() []Field { return nil }

func (l *list) shown() *yaml.Node   { return l.node(*l.p) }
func (l *list) initial() *yaml.Node { return l.node(l.def) }

func (l *list) node(texts []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, text := range texts {
		n.Content = append(n.Content, textNode(text))
	}
	return n
}

func (l *list) split(args []string, env bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, a := range args {
		if !l.commas && !env {
			n.Content = append(n.Content, textNode(a))
			continue
		}
		for part := range strings.SplitSeq(a, ",") {
			if part = strings.TrimSpace(part); part != "" {
				n.Content = append(n.Content, textNode(part))
			}
		}
	}
	return n
}

func (l *list) read(n *yaml.Node) (problems []problem) {
	items := n.Content
	if n.Kind == yaml.ScalarNode { // one alone
		items = []*yaml.Node{n}
	} else if n.Kind != yaml.SequenceNode {
		return []problem{{n, "", fmt.Sprintf("want %s, not %s", l.want, kindOf(n))}}
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, p := scalarText(item, "!!str", l.want)
		if p == nil {
			if err := l.check.check(text); err != nil {
				p = &problem{item, text, err.Error()}
			}
		}
		if p != nil {
			problems = append(problems, *p)
			continue
		}
		texts = append(texts, text)
	}
	if len(problems) == 0 {
		*l.p = texts
	}
	return problems
}
