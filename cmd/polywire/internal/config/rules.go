package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Field is a name that a rule may have in a file.
type Field struct {
	Name string
	Doc  string
	// Check refuses values; nil takes all. Its error says what is wanted.
	Check Check
	// Many: it may have a list.
	Many bool
	// Word: it is there or not, as true or false in a file.
	Word bool
	// Required: a rule has it.
	Required bool
}

// Pair is one value of a rule.
type Pair struct{ Name, Value string }

// Form is how the rules of a list are written: in a line, as for flags, or in
// a file with names.
type Form struct {
	Want   string // the line: "kind=queue"
	Fields []Field
	// Split takes a line apart.
	Split func(line string) ([]Pair, error)
	// Quote is what of a line may be shown, where it may have a secret; of such
	// rules no other value is shown either. Nil: all may.
	Quote func(line string) string
}

// rules is a value of several rules.
type rules[T any] struct {
	p     *[]T
	form  Form
	build func(pairs []Pair) (T, error)
	given []*yaml.Node
}

// Rules is a list of rules. build makes one of the pairs that a line or the
// names in a file have, in the order of the form's fields in a file.
func Rules[T any](p *[]T, form Form, build func(pairs []Pair) (T, error)) Value {
	return &rules[T]{p: p, form: form, build: build}
}

func (r *rules[T]) wants() string {
	return "a list of " + r.form.Want + ", or of its parts with their names"
}
func (r *rules[T]) reset()          { *r.p, r.given = nil, nil }
func (r *rules[T]) plain() bool     { return false }
func (r *rules[T]) listed() bool    { return true }
func (r *rules[T]) fields() []Field { return r.form.Fields }

func (r *rules[T]) shown() *yaml.Node   { return ruleNode(r.given) }
func (r *rules[T]) initial() *yaml.Node { return ruleNode(nil) }

func ruleNode(given []*yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: given}
	if len(given) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

// split takes the rules of a variable apart at semicolons and line ends.
func (r *rules[T]) split(args []string, env bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, a := range args {
		if !env {
			n.Content = append(n.Content, textNode(a))
			continue
		}
		for part := range strings.FieldsFuncSeq(a, func(c rune) bool { return c == ';' || c == '\n' }) {
			if part = strings.TrimSpace(part); part != "" {
				n.Content = append(n.Content, textNode(part))
			}
		}
	}
	return n
}

func (r *rules[T]) read(n *yaml.Node) (problems []problem) {
	items := n.Content
	switch n.Kind {
	case yaml.ScalarNode, yaml.MappingNode: // one alone
		items = []*yaml.Node{n}
	case yaml.SequenceNode:
	default:
		return []problem{{n, "", "want " + r.wants()}}
	}
	var all []T
	for _, item := range items {
		one, wrong := r.rule(item)
		problems = append(problems, wrong...)
		all = append(all, one)
	}
	if len(problems) == 0 {
		*r.p, r.given = all, items
	}
	return problems
}

// rule reads one.
func (r *rules[T]) rule(n *yaml.Node) (one T, problems []problem) {
	var pairs []Pair
	var quoted string
	switch n.Kind {
	case yaml.MappingNode:
		if pairs, problems = r.named(n); len(problems) > 0 {
			return one, problems
		}
	case yaml.ScalarNode:
		if isNull(n) {
			return one, []problem{{n, "", "no value; want " + r.form.Want}}
		}
		if quoted = n.Value; r.form.Quote != nil {
			quoted = r.form.Quote(n.Value)
		}
		var err error
		if pairs, err = r.form.Split(n.Value); err != nil {
			return one, []problem{{n, quoted, err.Error()}}
		}
	default:
		return one, []problem{{n, "", "want " + r.form.Want + ", or its parts with their names"}}
	}
	one, err := r.build(pairs)
	if err != nil {
		return one, []problem{{n, quoted, err.Error()}}
	}
	return one, nil
}

// named reads a rule's parts with their names, in the order of the form.
func (r *rules[T]) named(n *yaml.Node) (pairs []Pair, problems []problem) {
	values := make(map[string]*yaml.Node)
	var names []string
	for _, f := range r.form.Fields {
		names = append(names, f.Name)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch _, twice := values[k.Value]; {
		case !slices.Contains(names, k.Value) || k.Kind != yaml.ScalarNode:
			near, _ := nearest(k.Value, names)
			problems = append(problems, problem{k, "", fmt.Sprintf("no such part%s; did you mean %s? There are %s", r.form.quoted(k.Value), near, strings.Join(names, ", "))})
		case twice:
			problems = append(problems, problem{k, "", k.Value + " is there twice"})
		default:
			values[k.Value] = v
		}
	}
	for _, f := range r.form.Fields {
		v := values[f.Name]
		if v == nil {
			if f.Required {
				problems = append(problems, problem{n, "", f.Name + " is missing"})
			}
			continue
		}
		found, wrong := f.read(v, r.form.quoted)
		pairs, problems = append(pairs, found...), append(problems, wrong...)
	}
	return pairs, problems
}

// quoted returns a value as it is put behind a name, nothing if it is not to be
// shown.
func (f *Form) quoted(value string) string {
	if f.Quote != nil {
		return ""
	}
	return fmt.Sprintf(" %q", shorten(value))
}

// read reads one part of a rule.
func (f Field) read(n *yaml.Node, quoted func(value string) string) (pairs []Pair, problems []problem) {
	items := []*yaml.Node{n}
	if f.Many && n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		switch {
		case item.Kind != yaml.ScalarNode || isNull(item):
			problems = append(problems, problem{item, "", f.Name + ": want a value"})
		case f.Word:
			yes, err := strconv.ParseBool(item.Value)
			if err != nil {
				problems = append(problems, problem{item, "", fmt.Sprintf("%s%s: want true or false", f.Name, quoted(item.Value))})
			} else if yes {
				pairs = append(pairs, Pair{f.Name, ""})
			}
		default:
			if err := f.Check.check(item.Value); err != nil {
				problems = append(problems, problem{item, "", fmt.Sprintf("%s%s: %v", f.Name, quoted(item.Value), err)})
				continue
			}
			pairs = append(pairs, Pair{f.Name, item.Value})
		}
	}
	return pairs, problems
}

// PositiveInt is a check for whole numbers above zero.
func PositiveInt(text string) error {
	if n, err := strconv.Atoi(text); err != nil || n < 1 {
		return errors.New("want a number, at least 1")
	}
	return nil
}

// PositiveDuration is a check for times above zero.
func PositiveDuration(text string) error {
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		return errors.New("want a time with its unit, as 30s or 5m")
	}
	return nil
}

// PositiveBytes is a check for sizes above zero.
func PositiveBytes(text string) error {
	if n, err := ParseBytes(text); err != nil || n < 1 {
		return errors.New("want a size, as 4096, 64KiB or 1MiB")
	}
	return nil
}

// Words is a check for one of some words.
func Words(words ...string) Check { return among(words, either(words)) }
