package archtest

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/polywire/polywire/internal/testenv"
)

var (
	linkPattern    = regexp.MustCompile(`\]\(([^()\s]+)(?:\s+"[^"]*")?\)`)
	codePattern    = regexp.MustCompile("`[^`\n]*`")
	headingPattern = regexp.MustCompile(`^#{1,6}\s+(.+?)\s*#*$`)
)

// TestDocumentLinks follows every relative link of every Markdown file, to the
// file and to the heading.
func TestDocumentLinks(t *testing.T) {
	_, docs := load(t)
	root := os.DirFS(testenv.Root(t))
	read := func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(testenv.Root(t), filepath.FromSlash(name)))
		return string(b), err
	}
	exists := func(name string) bool {
		f, err := root.Open(name)
		if err != nil {
			return false
		}
		return f.Close() == nil
	}
	for _, doc := range docs {
		text, err := read(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links(text) {
			if why := follow(doc, link, exists, read); why != "" {
				t.Errorf("%s: link to %s: %s", doc, link, why)
			}
		}
	}
}

// TestDocumentIndex: docs/README.md lists every page, or the folder that it is in.
func TestDocumentIndex(t *testing.T) {
	_, docs := load(t)
	index, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, link := range links(string(index)) {
		listed[path.Join("docs", link)] = true
	}
	for _, doc := range docs {
		folder := path.Dir(doc)
		switch {
		case folder == "docs" && path.Base(doc) != "README.md" && !listed[doc],
			path.Dir(folder) == "docs" && !listed[folder] && !listed[folder+"/README.md"]:
			t.Errorf("docs/README.md does not list %s", doc)
		}
	}
}

// prose returns a document's lines outside code blocks.
func prose(text string) []string {
	var lines []string
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			lines = append(lines, line)
		}
	}
	return lines
}

// links returns the targets of a document's links that lead into the repository.
func links(text string) []string {
	var found []string
	for _, line := range prose(text) {
		for _, m := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(line, "`"), -1) {
			if u, err := url.Parse(m[1]); err != nil || u.Scheme == "" {
				found = append(found, m[1])
			}
		}
	}
	return found
}

// anchors returns the names by which a document's headings can be linked to,
// as the usual renderers make them.
func anchors(text string) []string {
	var found []string
	for _, line := range prose(text) {
		m := headingPattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return found
}

// follow says why a link leads nowhere; empty when it leads somewhere.
func follow(doc, link string, exists func(string) bool, read func(string) (string, error)) string {
	u, err := url.Parse(link)
	if err != nil {
		return err.Error()
	}
	target := doc
	if u.Path != "" {
		target = path.Join(path.Dir(doc), u.Path)
	}
	if strings.HasPrefix(target, "../") || path.IsAbs(u.Path) {
		return "it leads out of the repository"
	}
	if !exists(target) {
		return "no such file"
	}
	if u.Fragment == "" || path.Ext(target) != ".md" {
		return ""
	}
	text, err := read(target)
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(anchors(text), u.Fragment) {
		return "no such heading"
	}
	return ""
}

func TestLinkRules(t *testing.T) {
	files := map[string]string{
		"README.md":    "# Polywire\n",
		"docs/a.md":    "# What's in `A`?\n\n```\n# not a heading\n```\n",
		"docs/img.png": "",
	}
	exists := func(name string) bool { _, ok := files[name]; return ok }
	read := func(name string) (string, error) {
		if !exists(name) {
			return "", fmt.Errorf("no %s", name)
		}
		return files[name], nil
	}
	tests := []struct {
		text  string
		wrong int
	}{
		{"[a](a.md) [b](../README.md) ![c](img.png \"title\")", 0},
		{"[a](a.md#whats-in-a)", 0},
		{"[a](#whats-in-a)", 0},
		{"[a](https://example.org/nothing) [b](mailto:a@example.org)", 0},
		{"`[a](nothing.md)`\n\n```\n[a](nothing.md)\n```\n", 0},
		{"[a](nothing.md)", 1},
		{"[a](b.md) and [c](d.md)", 2},
		{"[a](a.md#nothing)", 1},
		{"[a](a.md#not-a-heading)", 1},
		{"[a](../../elsewhere.md)", 1},
		{"[a](/README.md)", 1},
	}
	for _, tt := range tests {
		wrong := 0
		for _, l := range links(tt.text) {
			if follow("docs/a.md", l, exists, read) != "" {
				wrong++
			}
		}
		if wrong != tt.wrong {
			t.Errorf("%q: %d links lead nowhere, want %d", tt.text, wrong, tt.wrong)
		}
	}
}
