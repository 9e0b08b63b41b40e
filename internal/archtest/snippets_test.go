package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// snippet is a block of Go in a document.
type snippet struct {
	doc  string
	line int // of its first line
	text string
}

var goFence = regexp.MustCompile("^[ \t]*```go\\b")

// snippets returns the blocks of Go of a document.
func snippets(doc, text string) []snippet {
	var found []snippet
	var open *snippet
	number := 0
	for line := range strings.Lines(text) {
		number++
		switch {
		case open != nil && strings.HasPrefix(strings.TrimSpace(line), "```"):
			found, open = append(found, *open), nil
		case open != nil:
			open.text += line
		case goFence.MatchString(line):
			open = &snippet{doc: doc, line: number + 1}
		}
	}
	return found
}

// What a snippet leaves out is written as three dots: the whole body or line,
// some statements of it, more arguments.
var leftOut = []struct {
	pattern *regexp.Regexp
	source  string
}{
	{regexp.MustCompile(`\{ \.\.\. \}`), `{ panic("left out") }`},
	{regexp.MustCompile(`\{ \.\.\.; `), `{ `},
	{regexp.MustCompile(`(?m)^[ \t]*\.\.\.$`), ``},
	{regexp.MustCompile(`, \.\.\.\)`), `)`},
}

// parseSnippet makes a file of a snippet: it may be a whole one, declarations, or
// statements, among which "return err" is allowed.
func parseSnippet(fset *token.FileSet, s snippet) (*ast.File, error) {
	text := s.text
	for _, l := range leftOut {
		text = l.pattern.ReplaceAllString(text, l.source)
	}
	place := fmt.Sprintf("//line %s:%d\n", path.Base(s.doc), s.line) // beside the file's own name
	if strings.HasPrefix(text, "package ") {
		return parser.ParseFile(fset, s.doc, place+text, parser.SkipObjectResolution)
	}
	f, err := parser.ParseFile(fset, s.doc, "package p\n"+place+text, parser.SkipObjectResolution)
	if err == nil {
		return f, nil
	}
	return parser.ParseFile(fset, s.doc, "package p\nfunc _() error {\n"+place+text+"\nreturn nil\n}", parser.SkipObjectResolution)
}

// addImports imports the packages that a piece of a file writes before a dot; a variable of the same name hides its package. paths has them by name.
func addImports(f *ast.File, paths map[string]string) {
	names := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok && paths[id.Name] != "" {
				names[id.Name] = true
			}
		}
		return true
	})
	for _, name := range slices.Sorted(maps.Keys(names)) {
		spec := &ast.ImportSpec{Name: ast.NewIdent(name), Path: &ast.BasicLit{Kind: token.STRING, Value: strconv.Quote(paths[name])}}
		f.Decls = slices.Insert(f.Decls, 0, ast.Decl(&ast.GenDecl{Tok: token.IMPORT, Specs: []ast.Spec{spec}}))
		f.Imports = append(f.Imports, spec)
	}
}

// compiled are packages as the compiler has left them for those who import them.
type compiled struct {
	paths   map[string]string // by the name that documents use
	exports map[string]string // files, by path
}

// compilePackages finds what users can import, and what snippets take of the
// standard library.
func compilePackages(t *testing.T, files []file) compiled {
	t.Helper()
	c := compiled{paths: map[string]string{
		"context": "context", "errors": "errors", "http": "net/http", "log": "log", "os": "os", "slices": "slices",
		"slog": "log/slog", "sync": "sync", "synctest": "testing/synctest", "testing": "testing", "time": "time", "tls": "crypto/tls",
	}, exports: make(map[string]string)}
	for _, f := range files {
		name := f.ast.Name.Name
		if f.isTest() || !f.inModule() || name == "main" || strings.Contains("/"+f.path, "/internal/") || strings.HasPrefix(f.path, "examples/") {
			continue
		}
		c.paths[name] = path.Join(module, f.folder())
	}
	args := []string{"list", "-deps", "-export", "-json=ImportPath,Export"}
	if raced() { // those are compiled already
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(t.Context(), "go", slices.Concat(args, slices.Sorted(maps.Values(c.paths)))...)
	cmd.Dir = testenv.Root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for list := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			return c
		} else if err != nil {
			t.Fatal(err)
		}
		c.exports[p.ImportPath] = p.Export
	}
}

// raced reports whether this test has been built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// importers makes the importer of one snippet. Packages below example.com are the
// reader's, and lie in testdata/snippets.
type importers struct {
	fset   *token.FileSet
	common types.Importer
	folder string
}

func (c compiled) importers(fset *token.FileSet, folder string) importers {
	return importers{fset: fset, folder: folder, common: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if c.exports[path] == "" {
			return nil, fmt.Errorf("no package %s", path)
		}
		return os.Open(c.exports[path])
	})}
}

func (i importers) Import(name string) (*types.Package, error) {
	if !strings.HasPrefix(name, "example.com/") {
		return i.common.Import(name)
	}
	f, err := parser.ParseFile(i.fset, filepath.Join(i.folder, path.Base(name)+".go"), nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return (&types.Config{Importer: i.common}).Check(name, i.fset, []*ast.File{f}, nil)
}

// check returns what the compiler would say of a snippet, but for variables and
// imports that are not used, and values that are shown alone on a line.
func (s snippet) check(c compiled, folder string) []string {
	fset := token.NewFileSet()
	f, err := parseSnippet(fset, s)
	if err != nil {
		return []string{err.Error()}
	}
	all := []*ast.File{f}
	if f.Name.Name == "p" {
		addImports(f, c.paths)
		for _, name := range []string{"common", strings.TrimSuffix(strings.ReplaceAll(s.doc, "/", "-"), ".md")} {
			have, err := parser.ParseFile(fset, filepath.Join(folder, name+".go"), nil, parser.SkipObjectResolution)
			if errors.Is(err, os.ErrNotExist) {
				continue
			} else if err != nil {
				return []string{err.Error()}
			}
			all = append(all, have)
		}
	}
	var wrong []string
	config := types.Config{Importer: c.importers(fset, folder), Error: func(err error) {
		var e types.Error
		if errors.As(err, &e) && (e.Soft || strings.HasSuffix(e.Msg, "is not used")) {
			return
		}
		wrong = append(wrong, err.Error())
	}}
	_, _ = config.Check(f.Name.Name, fset, all, nil) // the first of the errors
	return wrong
}

// TestSnippets compiles every block of Go in every document. What a snippet takes
// from its reader's program is in testdata/snippets: common.go, and a file for
// each document that needs more.
func TestSnippets(t *testing.T) {
	files, docs := load(t)
	root := testenv.Root(t)
	folder := filepath.Join(root, "internal", "archtest", "testdata", "snippets")
	c := compilePackages(t, files)
	count := 0
	for _, doc := range docs {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(doc)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range snippets(doc, string(text)) {
			count++
			for _, why := range s.check(c, folder) {
				t.Error(why)
			}
		}
	}
	if count < 30 {
		t.Errorf("only %d snippets were found", count)
	}
}

func TestSnippetRules(t *testing.T) {
	files, _ := load(t)
	c := compilePackages(t, files)
	tests := []struct {
		text, want string // a part of what is wrong
	}{
		{"srv, err := polywire.New()\nif err != nil { return err }\nlog.Fatal(srv.ListenAndServe(\"ws://:8080\"))\n", ""},
		{"func f() { ... }\n", ""},
		{"f := func() { ...; return }\n...\nlog.Fatal(errors.New(\"a\"), ...)\n", ""},
		{"package main\n\nimport \"context\"\n\nfunc main() { context.Background() }\n", ""},
		{"client, err := webhook.NewClient(webhook.ClientOptions{})\nclient.Prepare(webhook.Endpoint{})\n", ""},
		{"polywire.WithHistory(\"chat:*\", polywire.History{Size: 1000})\n", ""},
		{"polywire.WithHistory(\"chat:*\", polywire.History{Length: 1000})\n", "unknown field Length"},
		{"srv := polywire.New()\n", "assignment mismatch"},
		{"srv, err := polywire.New(context.Background())\n", "does not implement"},
		{"srv, err := polywire.News()\n", "undefined: polywire.News"},
		{"nobody.Knows()\n", "undefined: nobody"},
		{"package main\n\nfunc main() { log.Fatal() }\n", "undefined: log"},
		{"if {\n", "docs/a.md:7:"},
	}
	for _, tt := range tests {
		got := strings.Join(snippet{doc: "docs/a.md", line: 7, text: tt.text}.check(c, t.TempDir()), "; ")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.text, got, tt.want)
		}
	}
	found := snippets("a.md", "```go\na\n```\n```js\nb\n```\n  ```go title\nc\nd\n  ```\n")
	if want := []snippet{{"a.md", 2, "a\n"}, {"a.md", 8, "c\nd\n"}}; !slices.Equal(found, want) {
		t.Errorf("%+v, want %+v", found, want)
	}
}
