package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes is the most that a file may have.
const MaxFileBytes = 1 << 20

// loadFile reads the values of a file.
func (s *Set) loadFile(name string, content []byte) Errors {
	if name == "" {
		return nil
	}
	at := func(line, column int, format string, args ...any) Errors {
		return Errors{{Place: fmt.Sprintf("%s:%d:%d", name, line, column), Message: fmt.Sprintf(format, args...)}}
	}
	if len(content) > MaxFileBytes {
		return at(1, 1, "the file has %d bytes, more than %d", len(content), MaxFileBytes)
	}
	d := yaml.NewDecoder(bytes.NewReader(content))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil // nothing but comments
	case err != nil:
		line, column, message := syntax(err, content)
		return at(line, column, "%s", message)
	}
	switch err := d.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		line, column, message := syntax(err, content)
		return at(line, column, "%s", message)
	default:
		return at(more.Line, max(1, more.Column), "a second document; there is one in a file")
	}
	root := doc.Content[0]
	f := file{set: s, name: name, seen: make(map[string]int)}
	switch {
	case isNull(root):
	case root.Kind != yaml.MappingNode:
		return at(root.Line, root.Column, "want settings, as listen: 127.0.0.1:8080")
	default:
		f.section("", root)
	}
	slices.SortStableFunc(f.found, func(a, b *Error) int { return cmp.Or(a.line-b.line, a.column-b.column) })
	return f.found
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// syntax takes the parser's message apart, which knows the line alone.
func syntax(err error, content []byte) (line, column int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	line = 1
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	if strings.HasPrefix(message, "unknown anchor") { // its name may be a password that was to be text
		message = "anchors and aliases are not taken here; text that begins with * stands in quotes"
	}
	lines := strings.Split(string(content), "\n")
	line = min(max(line, 1), len(lines))
	text := lines[line-1]
	column = 1 + len(text) - len(strings.TrimLeft(text, " \t"))
	if strings.ContainsRune(text[:column-1], '\t') {
		message += "; YAML is indented with spaces, not with tabs"
	}
	return line, column, message
}

// file is one that is being read.
type file struct {
	set   *Set
	name  string
	seen  map[string]int // lines of keys
	found Errors
}

func (f *file) wrong(n *yaml.Node, key, format string, args ...any) {
	f.found = append(f.found, &Error{
		Place: fmt.Sprintf("%s:%d:%d", f.name, n.Line, n.Column), Key: key, Message: fmt.Sprintf(format, args...), line: n.Line, column: n.Column,
	})
}

// section reads the keys below a path.
func (f *file) section(path string, m *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			f.wrong(k, path, "want a name before the colon")
			continue
		}
		key := k.Value
		if path != "" {
			key = path + "." + k.Value
		}
		if line, twice := f.seen[key]; twice {
			f.wrong(k, key, "it is there already, in line %d", line)
			continue
		}
		f.seen[key] = k.Line
		e := f.set.byKey[key]
		switch {
		case e == nil && !f.set.isSection(key):
			f.wrong(k, key, "no such setting; %s", f.set.hint(path, k.Value))
		case shared(v) != nil:
			f.wrong(shared(v), key, "anchors, aliases and tags of your own are not taken here")
		case e == nil && isNull(v): // all in it is commented out
		case e == nil && v.Kind != yaml.MappingNode:
			f.wrong(v, key, "want the settings of this section below it: %s", strings.Join(f.set.below(key), ", "))
		case e == nil:
			f.section(key, v)
		case isNull(v):
			f.wrong(k, key, "no value; want %s. Without this line it has its default", e.value.wants())
		default:
			f.found = append(f.found, f.set.read(e, File, f.name, v)...)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// shared returns what a value has that stands for something elsewhere, or nil.
func shared(n *yaml.Node) *yaml.Node {
	own := strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!")
	if n.Kind == yaml.AliasNode || n.Anchor != "" || own || n.ShortTag() == "!!merge" || n.ShortTag() == "!!binary" {
		return n
	}
	for _, c := range n.Content {
		if found := shared(c); found != nil {
			return found
		}
	}
	return nil
}

// isSection reports whether settings are below a path.
func (s *Set) isSection(path string) bool { return len(s.below(path)) > 0 }

// below returns the names that can stand in a section, in their order.
func (s *Set) below(path string) (names []string) {
	prefix := path + "."
	if path == "" {
		prefix = ""
	}
	seen := make(map[string]bool)
	for _, e := range s.entries {
		rest, ok := strings.CutPrefix(e.Key, prefix)
		if !ok {
			continue
		}
		if name, _, _ := strings.Cut(rest, "."); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// hint says what an unknown name in a section could have meant.
func (s *Set) hint(path, name string) string {
	if e := s.byFlag[strings.ReplaceAll(name, "_", "-")]; e != nil {
		return fmt.Sprintf("did you mean %s?", e.Key)
	}
	siblings := s.below(path)
	near, changes := nearest(name, siblings)
	elsewhere, last := "", changes
	for _, e := range s.entries { // in another section
		base := e.Key[strings.LastIndexByte(e.Key, '.')+1:]
		if d := distance(shorten(name), base); d < last {
			elsewhere, last = e.Key, d
		}
	}
	if elsewhere != "" && last <= len(name)/3 {
		return fmt.Sprintf("did you mean %s?", elsewhere)
	}
	if path != "" {
		near = path + "." + near
	}
	return fmt.Sprintf("did you mean %s?", near)
}
