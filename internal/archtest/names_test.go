package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// names are what the packages for users export: by package, and of types by
// their own name, since documents write both forms.
type names struct {
	packages map[string]map[string]bool // "queue" -> "New"
	members  map[string]map[string]bool // "Broker" -> "Publish"; nil: anything, since it embeds what is not ours
	all      map[string]bool
}

// exportedNames collects the names of everything that a user can import.
func exportedNames(files []file) names {
	n := names{packages: make(map[string]map[string]bool), members: make(map[string]map[string]bool), all: make(map[string]bool)}
	for _, f := range files {
		if f.isTest() || !f.inModule() || f.ast.Name.Name == "main" || strings.Contains("/"+f.path, "/internal/") ||
			strings.HasPrefix(f.path, "examples/") {
			continue
		}
		pkg := f.ast.Name.Name
		if n.packages[pkg] == nil {
			n.packages[pkg] = make(map[string]bool)
		}
		for _, d := range f.ast.Decls {
			n.declaration(pkg, d)
		}
	}
	return n
}

func (n names) declaration(pkg string, d ast.Decl) {
	add := func(id *ast.Ident) {
		if id.IsExported() {
			n.packages[pkg][id.Name], n.all[id.Name] = true, true
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			add(d.Name)
			return
		}
		n.member(receiver(d.Recv.List[0].Type), d.Name.Name)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, id := range s.Names {
					add(id)
				}
			case *ast.TypeSpec:
				add(s.Name)
				n.typ(s.Name.Name, s.Type)
			}
		}
	}
}

// typ notes the fields and methods that a type is declared with.
func (n names) typ(name string, t ast.Expr) {
	n.member(name, "")
	var fields *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		fields = t.Fields
	case *ast.InterfaceType:
		fields = t.Methods
	default:
		if _, isFunc := t.(*ast.FuncType); !isFunc { // of another type's making
			n.member(name, "*")
		}
		return
	}
	for _, field := range fields.List {
		if len(field.Names) == 0 { // embedded
			n.member(name, "*")
		}
		for _, id := range field.Names {
			n.member(name, id.Name)
		}
	}
}

func (n names) member(typ, name string) {
	if n.members[typ] == nil {
		n.members[typ] = make(map[string]bool)
	}
	n.members[typ][name], n.all[name] = true, true
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

var (
	spanPattern    = regexp.MustCompile("`([^`\n]+)`")
	dottedPattern  = regexp.MustCompile(`(^|[^\w.)\]"/])([A-Za-z]\w*)\.([A-Z]\w*)`)
	optionPattern  = regexp.MustCompile(`(^|[^\w.])(With(?:out)?[A-Z]\w*)`)
	definedPattern = regexp.MustCompile(`(?m)([\w, ]+):=`)
	fencePattern   = regexp.MustCompile("(?ms)^[ \t]*```go\n(.*?)^[ \t]*```")
)

// goText returns the pieces of a document that name things of Go: blocks of go,
// and what stands in backquotes. Tables of wires have the words of others in
// their first column; pages for those who come from elsewhere have them all
// over, but for columns headed Polywire or here. A first column headed before has
// names that are gone.
func goText(doc, text string) []string {
	migrate := strings.HasPrefix(doc, "docs/migrate/")
	var pieces []string
	if !migrate {
		for _, m := range fencePattern.FindAllStringSubmatch(text, -1) {
			pieces = append(pieces, m[1])
		}
	}
	ours, gone := 0, false // the column; 0: none
	for _, line := range prose(text) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, " "), "|")
		table := len(cells) > 3 && cells[0] == ""
		if !table {
			ours, gone = 0, false
		} else if gone = gone || strings.TrimSpace(cells[1]) == "before"; gone {
			cells[1] = ""
			line = strings.Join(cells, "|")
		} else if column := slices.IndexFunc(cells, isOurs); column > 0 && ours == 0 {
			ours = column
		}
		switch {
		case migrate && ours > 0 && ours < len(cells):
			line = cells[ours]
		case migrate:
			continue
		case table && strings.HasPrefix(doc, "docs/wire-"):
			line = strings.Join(cells[2:], " ")
		}
		for _, m := range spanPattern.FindAllStringSubmatch(line, -1) {
			pieces = append(pieces, m[1])
		}
	}
	return pieces
}

// isOurs tells whether a column is headed as one with our words.
func isOurs(cell string) bool {
	cell = strings.ToLower(strings.TrimSpace(cell))
	return cell == "polywire" || cell == "here"
}

// unknown returns what a piece names that is not there. Names of other packages
// and of variables are not looked at.
func (n names) unknown(piece string) (wrong []string) {
	variables := make(map[string]bool)
	for _, m := range definedPattern.FindAllStringSubmatch(piece, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			variables[strings.TrimSpace(name)] = true
		}
	}
	for _, m := range dottedPattern.FindAllStringSubmatch(piece, -1) {
		if exported, ours := n.packages[m[2]]; ours && !exported[m[3]] && !variables[m[2]] {
			wrong = append(wrong, m[2]+"."+m[3])
		}
		if members, ours := n.members[m[2]]; ours && token.IsExported(m[2]) && !members[m[3]] && !members["*"] {
			wrong = append(wrong, m[2]+"."+m[3])
		}
	}
	for _, m := range optionPattern.FindAllStringSubmatch(piece, -1) {
		if !n.all[m[2]] {
			wrong = append(wrong, m[2])
		}
	}
	return wrong
}

// TestDocumentNames looks in every document for names of our packages, types and
// options that are not there, or not any more.
func TestDocumentNames(t *testing.T) {
	files, docs := load(t)
	n := exportedNames(files)
	for _, doc := range docs {
		text, err := os.ReadFile(filepath.Join(testenv.Root(t), filepath.FromSlash(doc)))
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range goText(doc, string(text)) {
			for _, name := range n.unknown(piece) {
				t.Errorf("%s: there is no %s", doc, name)
			}
		}
	}
}

func TestNameRules(t *testing.T) {
	n := exportedNames([]file{
		parse(t, "queue/a.go", "package queue\n\ntype Broker struct{ Name string; hidden int }\nfunc (b *Broker) Publish() {}\nfunc WithX() {}\nvar ErrFull = 1\ntype List[T any] struct{ Driver }\n"),
		parse(t, "internal/x/x.go", "package x\n\nfunc Hidden() {}\n"),
		parse(t, "queue/a_test.go", "package queue\n\nfunc ForTests() {}\n"),
	})
	tests := []struct {
		doc, text string
		want      []string
	}{
		{"README.md", "`queue.WithX`, `queue.ErrFull`, `Broker.Publish`, `Broker.Name`, `WithX(3)`", nil},
		{"README.md", "`queue.WithY`, `WithY`", []string{"WithY", "queue.WithY"}},
		{"README.md", "`queue.ForTests()`", []string{"queue.ForTests"}},
		{"README.md", "`Broker.Close`", []string{"Broker.Close"}},
		{"README.md", "`List.Anything`, `other.Thing`, `x.Hidden`", nil},
		{"README.md", "queue.WithY in prose", nil},
		{"README.md", "```go\nqueue.Open()\n```\n", []string{"queue.Open"}},
		{"README.md", "```js\nqueue.Open()\n```\n", nil},
		{"README.md", "```go\nqueue, err := other()\nqueue.Open()\n```\n", nil},
		{"README.md", "`a.queue.Open()` is a field of something else", nil},
		{"README.md", "| `WithY` | `WithZ` |", []string{"WithY", "WithZ"}},
		{"docs/wire-a.md", "| `WithY` | `WithZ` |", []string{"WithZ"}},
		{"docs/migrate/a.md", "`WithA`\n\n| there | Polywire | |\n|---|---|---|\n| `WithY` | `WithZ` | `WithB` |", []string{"WithZ"}},
		{"docs/migrate/a.md", "| there | then |\n|---|---|\n| `WithY` | `WithZ` |", nil},
	}
	for _, tt := range tests {
		var got []string
		for _, piece := range goText(tt.doc, tt.text) {
			got = append(got, n.unknown(piece)...)
		}
		slices.Sort(got)
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %s: %v, want %v", tt.doc, tt.text, got, tt.want)
		}
	}
}
