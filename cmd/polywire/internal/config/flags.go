package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Register makes a flag of every setting, whose values [Set.Load] reads.
func (s *Set) Register(flags *pflag.FlagSet) { s.register(flags, false) }

// RegisterOnly makes a flag of every setting, for a program that has no other
// sources and calls no Load: a value is set when its flag is parsed.
func (s *Set) RegisterOnly(flags *pflag.FlagSet) { s.register(flags, true) }

func (s *Set) register(flags *pflag.FlagSet, now bool) {
	for _, e := range s.entries {
		v := &flagValue{set: s, entry: e, now: now}
		f := flags.VarPF(v, e.Flag, e.Short, e.help(s.variable(e)))
		f.DefValue = v.initial()
		if _, ok := e.value.(*scalar[bool]); ok {
			f.NoOptDefVal = "true"
		}
	}
}

// help is what --help says.
func (e *entry) help(variable string) string {
	text := e.Doc
	if e.value.listed() {
		text += "; may be repeated"
	}
	if e.Default != "" {
		text += "; default: " + e.Default
	}
	if e.Secret != Public {
		text += " (" + variable + ")"
	}
	return text
}

// flagValue is a setting as a flag.
type flagValue struct {
	set   *Set
	entry *entry
	now   bool // nobody calls Load
}

// initial is what --help says of the default; empty: nothing.
func (f *flagValue) initial() string {
	n := f.entry.value.shown()
	if f.entry.Default != "" || n.Kind != yaml.ScalarNode || n.Value == "0" || n.Value == "0s" || n.Value == "false" {
		if n.Kind == yaml.SequenceNode && len(n.Content) > 0 {
			return text(n)
		}
		return ""
	}
	return n.Value
}

// String implements [pflag.Value].
func (f *flagValue) String() string {
	if f == nil || f.entry == nil { // pflag asks a zero value
		return ""
	}
	return f.initial()
}

// Set implements [pflag.Value].
func (f *flagValue) Set(value string) error {
	e := f.entry
	args := []string{value}
	if e.value.listed() {
		args = append(slices.Clone(e.args), value)
	}
	e.args, e.given = args, true
	if !f.now { // Load says all that is wrong at once, and does not quote secrets
		return nil
	}
	if found := f.set.read(e, Flag, "--"+e.Flag, e.value.split(args, false)); len(found) > 0 {
		return &flagError{found[len(found)-1].Message}
	}
	return nil
}

// Type implements [pflag.Value].
func (f *flagValue) Type() string {
	switch f.entry.value.(type) {
	case *scalar[bool]:
		return "bool"
	case *scalar[int], *scalar[float64]:
		return "number"
	}
	if strings.HasPrefix(f.entry.value.wants(), "a time") {
		return "time"
	}
	return "text"
}

// flagError is what is wanted.
type flagError struct{ text string }

func (e *flagError) Error() string { return e.text }
