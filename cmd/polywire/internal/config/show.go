package config

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// masked stands for a secret.
const masked = "********"

// Effective is a setting with its value, for people and consoles.
type Effective struct {
	Key      string `json:"key"`
	Value    string `json:"value"`   // as YAML, secrets masked
	Default  string `json:"default"` // the same
	Source   string `json:"source"`  // default, file:line, variable or flag
	Flag     string `json:"flag"`
	Variable string `json:"variable"`
	Doc      string `json:"doc"`
	Accepts  string `json:"accepts"`
	Reload   bool   `json:"reload"` // it can change while the program runs
	Secret   bool   `json:"secret"`
}

// Effective returns all settings with the values that they have, in the order
// of their declaration.
func (s *Set) Effective() []Effective {
	all := make([]Effective, len(s.entries))
	for i, e := range s.entries {
		place := e.place
		if place == "" {
			place = "default"
		}
		all[i] = Effective{
			Key: e.Key, Value: text(e.visible()), Default: e.initial(), Source: place,
			Flag: "--" + e.Flag, Variable: s.variable(e), Doc: strings.ReplaceAll(e.Doc, "`", ""), Accepts: e.value.wants(),
			Reload: e.Reload, Secret: e.Secret != Public,
		}
	}
	return all
}

// initial is the default, as YAML.
func (e *entry) initial() string { return text(e.value.initial()) }

// visible is an entry's value without what is secret.
func (e *entry) visible() *yaml.Node {
	if e.Secret == Public || e.node == nil || !e.value.plain() {
		return e.value.shown()
	}
	return e.mask(e.node)
}

func (e *entry) mask(n *yaml.Node) *yaml.Node {
	c := *n
	switch {
	case n.Kind == yaml.SequenceNode:
		c.Content = make([]*yaml.Node, len(n.Content))
		for i, item := range n.Content {
			c.Content[i] = e.mask(item)
		}
	case n.Value == "" || strings.HasPrefix(n.Value, "env:") || strings.HasPrefix(n.Value, "file:"):
	case e.Secret == SecretInURL:
		c.Value = HideUser(n.Value)
	default:
		c.Value = masked
	}
	return &c
}

// HideUser masks what may be secret in URLs with commas between them: what
// stands before the @, and what follows a ? or a #. Of what is no URL nothing is
// left.
func HideUser(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		scheme, rest, found := strings.Cut(u, "://")
		if found {
			scheme += "://"
		} else {
			scheme, rest = "", u
		}
		parts[i] = scheme + hideIn(rest)
	}
	return strings.Join(parts, ",")
}

// hideIn masks in a URL without its scheme.
func hideIn(rest string) string {
	if _, err := url.Parse("x://" + rest); err != nil { // also the beginning of one whose password has a comma
		return masked
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i+1] + masked
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = masked + rest[at:]
	}
	return rest
}

// text writes a node as YAML without comments, a scalar or a short list in one line.
func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if e.Encode(bare(n)) != nil || e.Close() != nil {
		return ""
	}
	return strings.TrimRight(out.String(), "\n")
}

// bare copies a node without its comments and places.
func bare(n *yaml.Node) *yaml.Node {
	c := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style & (yaml.FlowStyle | yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)}
	for _, item := range n.Content {
		c.Content = append(c.Content, bare(item))
	}
	return c
}

// tree writes all settings by section.
func (s *Set) tree(w io.Writer, path, indent string, write func(e *entry, name, indent string)) {
	for _, name := range s.below(path) {
		key := name
		if path != "" {
			key = path + "." + name
		}
		if e := s.byKey[key]; e != nil {
			write(e, name, indent)
			continue
		}
		fmt.Fprintf(w, "%s%s:\n", indent, name)
		s.tree(w, key, indent+"  ", write)
	}
}

// WriteEffective writes all values as a file has them, each with where it
// comes from. Secrets are masked.
func (s *Set) WriteEffective(w io.Writer) {
	s.tree(w, "", "", func(e *entry, name, indent string) {
		value, place := text(e.visible()), e.place
		if place == "" {
			place = "default"
		}
		if !strings.Contains(value, "\n") && !e.isBlock() {
			fmt.Fprintf(w, "%s%s: %s # %s\n", indent, name, value, place)
			return
		}
		fmt.Fprintf(w, "%s%s: # %s\n", indent, name, place)
		for line := range strings.Lines(value) {
			fmt.Fprintf(w, "%s  %s\n", indent, strings.TrimRight(line, "\n"))
		}
	})
}

// isBlock reports whether a value is written below its name.
func (e *entry) isBlock() bool {
	n := e.visible()
	return n.Kind == yaml.SequenceNode && n.Style&yaml.FlowStyle == 0
}

// WriteDefault writes a file of comments that has all settings with their
// defaults.
func (s *Set) WriteDefault(w io.Writer) {
	s.tree(w, "", "", func(e *entry, name, indent string) {
		for _, line := range wrap(sentence(e), 92-len(indent)) {
			fmt.Fprintf(w, "%s# %s\n", indent, line)
		}
		accepts := "Accepts " + e.value.wants() + "."
		if e.Reload {
			accepts += " Reloaded on SIGHUP."
		}
		for _, line := range wrap(accepts, 92-len(indent)) {
			fmt.Fprintf(w, "%s# %s\n", indent, line)
		}
		fmt.Fprintf(w, "%s#%s: %s\n\n", indent, name, e.initial())
	})
}

// sentence is an entry's description with a capital and a full stop.
func sentence(e *entry) string {
	doc := strings.Join(strings.Fields(strings.ReplaceAll(e.Doc, "`", "")), " ")
	if e.Default != "" {
		doc += "; default: " + e.Default
	}
	if doc != "" {
		doc = strings.ToUpper(doc[:1]) + doc[1:]
	}
	return strings.TrimSuffix(doc, ".") + "."
}

// wrap breaks a text into lines.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// WriteReference writes the tables of all settings, as Markdown.
func (s *Set) WriteReference(w io.Writer) {
	type part struct {
		name    string
		entries []*entry
	}
	var parts []*part
	byName := make(map[string]*part)
	for _, e := range s.entries {
		name, _, section := strings.Cut(e.Key, ".")
		if !section {
			name = ""
		}
		p := byName[name]
		if p == nil {
			p = &part{name: name}
			byName[name] = p
			parts = append(parts, p)
		}
		p.entries = append(p.entries, e)
	}
	for _, p := range parts {
		if p.name == "" {
			fmt.Fprint(w, "\n### At the top of the file\n")
		} else {
			fmt.Fprintf(w, "\n### %s\n", p.name)
		}
		fmt.Fprint(w, "\n| key | what it is | accepts | default | flag, variable | reload |\n|---|---|---|---|---|---|\n")
		for _, e := range p.entries {
			reload := ""
			if e.Reload {
				reload = "yes"
			}
			fmt.Fprintf(w, "| `%s` | %s | %s | %s | `--%s` `%s` | %s |\n", e.Key, cell(e.what()), cell(e.value.wants()),
				cell("`"+e.initial()+"`"), e.Flag, s.variable(e), reload)
		}
		for _, e := range p.entries {
			e.writeFields(w)
		}
	}
}

// what is an entry's description, with how its secret may be given.
func (e *entry) what() string {
	doc := sentence(e)
	switch {
	case e.Secret == Public || !e.value.plain():
	case e.Secret == Secret:
		doc += " A secret: also `env:NAME` or `file:PATH`."
	default:
		doc += " May have a password: also `env:NAME` or `file:PATH`."
	}
	return doc
}

// writeFields writes the parts of a rule.
func (e *entry) writeFields(w io.Writer) {
	fields := e.value.fields()
	if len(fields) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe parts of a rule of `%s`:\n\n| part | what it is | |\n|---|---|---|\n", e.Key)
	for _, f := range fields {
		var notes []string
		if f.Required {
			notes = append(notes, "required")
		}
		if f.Many {
			notes = append(notes, "one, or a list")
		}
		if f.Word {
			notes = append(notes, "true or false")
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", f.Name, cell(f.Doc), strings.Join(notes, ", "))
	}
}

// cell makes a text fit into a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
