// Package config gives a program settings that come from a YAML file, from
// variables of the environment and from flags, each stronger than the one
// before. A setting is declared once, with [Set.Add]: that is how the file is
// read, the variable and the flag are named, and what the reference says.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting declares one setting.
type Setting struct {
	// Key is its path in the file, as "limits.connections".
	Key string
	// Flag is its name as a flag; in capitals behind the prefix it is that of
	// its variable.
	Flag string
	// Short is the flag's single letter; empty: none.
	Short string
	// Doc says what it is, for --help, the reference and the default file. A
	// word in backquotes stands for the value in --help.
	Doc string
	// Default is said in place of the value's own default; for one that is
	// found out at run time.
	Default string
	// Reload: it can be changed while the program runs.
	Reload bool
	// Secret says how much of the value must not be shown.
	Secret Secrecy
	// Foreign reports whether a value of the variable is somebody else's, of
	// the same name; nil: none is.
	Foreign func(value string) bool
}

// Secrecy says what of a value must not be shown.
type Secrecy int

// What is secret of a value. A secret may be given as env:NAME or file:PATH,
// which is what is shown then.
const (
	Public      Secrecy = iota
	Secret              // all of it
	SecretInURL         // what stands before the @ of a URL, and what follows a ?
)

// Source says where a value comes from. Later ones are stronger.
type Source int

// The sources of a value.
const (
	Default Source = iota
	File
	Environment
	Flag
)

// Set has the settings of a program. It is not for concurrent use.
type Set struct {
	prefix  string
	entries []*entry
	byKey   map[string]*entry
	byFlag  map[string]*entry
	files   func(name string) ([]byte, error) // reads secrets
	lookup  func(name string) (string, bool)  // reads variables
}

// entry is a setting, and what it has.
type entry struct {
	Setting

	value  Value
	args   []string   // of the flag
	given  bool       // as a flag
	source Source     // of the value
	place  string     // the same for people
	node   *yaml.Node // as it was given; nil: the default
}

// New returns an empty set, whose variables begin with prefix and an underscore.
func New(prefix string) *Set {
	return &Set{prefix: prefix, byKey: make(map[string]*entry), byFlag: make(map[string]*entry)}
}

// Add declares a setting; its value has its default from now on. Keys and
// flags that are there already are a programmer's mistake, which [Set.Check] tells.
func (s *Set) Add(d Setting, v Value) {
	e := &entry{Setting: d, value: v}
	v.reset()
	s.entries = append(s.entries, e)
	s.byKey[d.Key] = e
	s.byFlag[d.Flag] = e
}

// Check returns what is wrong with the declarations.
func (s *Set) Check() error {
	if len(s.byKey) != len(s.entries) || len(s.byFlag) != len(s.entries) {
		return errors.New("config: a key or a flag is declared twice")
	}
	word := regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)
	var errs []error
	for _, e := range s.entries {
		if !word.MatchString(e.Key) || e.Doc == "" || e.Flag == "" {
			errs = append(errs, fmt.Errorf("config: %q needs a key of lower case letters, a flag and a description", e.Key))
		}
		for i, c := range e.Key {
			if c == '.' && s.byKey[e.Key[:i]] != nil {
				errs = append(errs, fmt.Errorf("config: %q is a setting and a section", e.Key[:i]))
			}
		}
	}
	return errors.Join(errs...)
}

// Input is where values are read from. What is nil is not read.
type Input struct {
	FileName string
	File     []byte
	// Lookup returns a variable of the environment, as os.LookupEnv.
	Lookup func(name string) (string, bool)
	// ReadFile reads what a secret of the form file:PATH names.
	ReadFile func(name string) ([]byte, error)
}

// Load reads all values anew. The flags are those that were parsed last. All
// errors are returned at once, as [Errors].
func (s *Set) Load(in Input) error {
	s.lookup, s.files = in.Lookup, in.ReadFile
	var found Errors
	for _, e := range s.entries {
		e.value.reset()
		e.source, e.place, e.node = Default, "default", nil
	}
	found = append(found, s.loadFile(in.FileName, in.File)...)
	for _, e := range s.entries {
		if in.Lookup != nil {
			name := s.variable(e)
			text, ok := in.Lookup(name)
			if ok && text != "" && (e.Foreign == nil || !e.Foreign(text)) {
				found = append(found, s.read(e, Environment, name, e.value.split([]string{text}, true))...)
			}
		}
		if e.given {
			found = append(found, s.read(e, Flag, "--"+e.Flag, e.value.split(e.args, false))...)
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// variable returns the name of an entry's variable.
func (s *Set) variable(e *entry) string {
	return s.prefix + "_" + strings.ToUpper(strings.ReplaceAll(e.Flag, "-", "_"))
}

// read gives an entry the value of a source.
func (s *Set) read(e *entry, from Source, place string, n *yaml.Node) Errors {
	resolved, problems := s.resolve(e, n)
	if len(problems) == 0 {
		problems = e.value.read(resolved)
	}
	var found Errors
	for _, p := range problems {
		found = append(found, e.problem(place, from, p))
	}
	if from == File {
		place = fmt.Sprintf("%s:%d", place, n.Line)
	}
	e.source, e.place, e.node = from, place, n
	return found
}

// problem says what is wrong with a value, and where.
func (e *entry) problem(place string, from Source, p problem) *Error {
	if from == File {
		place = fmt.Sprintf("%s:%d:%d", place, p.node.Line, p.node.Column)
	}
	err := &Error{Place: place, Message: p.message, line: p.node.Line, column: p.node.Column}
	if from == File {
		err.Key = e.Key
	}
	if quoted := p.quoted; quoted != "" && (e.Secret == Public || !e.value.plain()) {
		err.Value = quoted
	}
	return err
}

// Source returns where a setting's value comes from; Default if there is none
// of that key.
func (s *Set) Source(key string) Source {
	if e := s.byKey[key]; e != nil {
		return e.source
	}
	return Default
}

// Strongest returns the strongest of the sources of some settings.
func (s *Set) Strongest(keys ...string) (strongest Source) {
	for _, k := range keys {
		strongest = max(strongest, s.Source(k))
	}
	return strongest
}

// Inherit takes the flags that were given to another set of the same
// declarations, before a Load.
func (s *Set) Inherit(other *Set) {
	for _, e := range s.entries {
		if o := other.byKey[e.Key]; o != nil {
			e.args, e.given = o.args, o.given
		}
	}
}

// Adopt takes the values that another set of the same declarations has loaded,
// of settings that can be changed at run time.
func (s *Set) Adopt(other *Set) error {
	s.lookup, s.files = other.lookup, other.files
	var found Errors
	for _, e := range s.entries {
		o := other.byKey[e.Key]
		if o == nil || !e.Reload {
			continue
		}
		e.value.reset()
		e.source, e.place, e.node = o.source, o.place, nil
		if o.node != nil {
			found = append(found, s.read(e, o.source, o.place, o.node)...)
			e.place = o.place
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// Change is a setting whose value differs.
type Change struct {
	Key    string
	Reload bool
}

// Changes returns the settings that differ in another set of the same
// declarations, in their order.
func (s *Set) Changes(other *Set) (changes []Change) {
	for _, e := range s.entries {
		if o := other.byKey[e.Key]; o != nil && text(o.value.shown()) != text(e.value.shown()) {
			changes = append(changes, Change{e.Key, e.Reload})
		}
	}
	return changes
}

var flagName = regexp.MustCompile(`--[a-z][a-z-]*[a-z]`)

// Explain returns err with the names of flags in its text replaced by the
// names by which those settings were given, so that who wrote a file finds its
// keys in the message, with their lines.
func (s *Set) Explain(err error) error {
	if err == nil {
		return nil
	}
	said := err.Error()
	told := flagName.ReplaceAllStringFunc(said, func(name string) string {
		e := s.byFlag[name[2:]]
		if e == nil {
			return name
		}
		switch e.source {
		case File:
			return e.Key + " (" + e.place + ")"
		case Environment:
			return e.place
		case Default:
			if s.Strongest(slices.Collect(maps.Keys(s.byKey))...) == File { // nothing was given in another way
				return e.Key
			}
		case Flag:
		}
		return name
	})
	if told == said {
		return err
	}
	return &explained{told, err}
}

// explained is an error in other words.
type explained struct {
	told string
	err  error
}

func (e *explained) Error() string { return e.told }
func (e *explained) Unwrap() error { return e.err }

// Stray returns variables of the environment (NAME=value) that are named as if
// they were settings, and the settings that they could have meant.
func (s *Set) Stray(environ []string) (found map[string]string) {
	found = make(map[string]string)
	var names []string
	for _, e := range s.entries {
		names = append(names, s.variable(e))
	}
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, s.prefix+"_") || slices.Contains(names, name) {
			continue
		}
		if near, d := nearest(name, names); d <= 2 {
			found[name] = near
		}
	}
	return found
}

// Error is one thing that is wrong with a value.
type Error struct {
	Place   string // file:line:column, a variable or a flag
	Key     string // in the file; empty: it was not in a file
	Value   string // what was given; empty: it must not be shown, or has no text
	Message string // what is accepted
	line    int
	column  int
}

// Error implements error: the place, the key, the value and what is accepted.
func (e *Error) Error() string {
	where := e.Place
	if e.Key != "" {
		where += ": " + e.Key
	}
	if e.Value != "" {
		where += fmt.Sprintf(" %q", shorten(e.Value))
	}
	return where + ": " + e.Message
}

// shorten keeps a message readable.
func shorten(text string) string {
	const longest = 80
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}

// Errors are all that is wrong, one a line.
type Errors []*Error

// Error implements error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// problem is what a value says of its input.
type problem struct {
	node    *yaml.Node
	quoted  string
	message string
}

// resolve puts what references name into secrets.
func (s *Set) resolve(e *entry, n *yaml.Node) (*yaml.Node, []problem) {
	if e.Secret == Public || !e.value.plain() {
		return n, nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		value, err := s.Reveal(n.Value)
		if err != nil {
			return n, []problem{{node: n, message: err.Error()}}
		}
		c := *n
		c.Value = value
		return &c, nil
	case yaml.SequenceNode:
		c := *n
		c.Content = slices.Clone(n.Content)
		var problems []problem
		for i, item := range c.Content {
			var found []problem
			if item.Kind == yaml.ScalarNode { // else the value will say that
				c.Content[i], found = s.resolve(e, item)
			}
			problems = append(problems, found...)
		}
		return &c, problems
	}
	return n, nil
}

// maxSecret is the most bytes of a secret.
const maxSecret = 16 << 10

// Reveal returns what a secret of the form env:NAME or file:PATH names, and
// any other as it is.
func (s *Set) Reveal(secret string) (string, error) {
	form, name, _ := strings.Cut(secret, ":")
	switch form {
	case "env":
		if s.lookup == nil {
			return "", errors.New("variables are not read here")
		}
		if value, _ := s.lookup(name); value != "" {
			return value, nil
		}
		return "", fmt.Errorf("the variable %s is not set", cmp.Or(name, "without a name"))
	case "file":
		if s.files == nil {
			return "", errors.New("files are not read here")
		}
		b, err := s.files(name)
		if err != nil {
			return "", err
		}
		if value := strings.TrimRight(string(b), "\r\n"); value != "" && len(value) <= maxSecret {
			return value, nil
		}
		return "", fmt.Errorf("%s is empty, or too long for a secret", name)
	}
	return secret, nil
}
