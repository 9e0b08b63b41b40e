package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

const (
	maxFileLines     = 600
	maxFunctionLines = 80
)

// sourceRule returns what is wrong with one file that people wrote.
type sourceRule func(f file) []string

var sourceRules = map[string]sourceRule{
	"file length":     checkFileLength,
	"function length": checkFunctionLength,
	"no init":         checkNoInit,
	"no globals":      checkGlobals,
	"doc comments":    checkDocs,
}

func TestSource(t *testing.T) {
	files, _ := load(t)
	for name, rule := range sourceRules {
		t.Run(name, func(t *testing.T) {
			for _, f := range files {
				if f.generated() {
					continue
				}
				for _, wrong := range rule(f) {
					t.Error(wrong)
				}
			}
		})
	}
}

func checkFileLength(f file) []string {
	if n := f.fset.File(f.ast.Pos()).LineCount(); n > maxFileLines {
		return []string{fmt.Sprintf("%s: %d lines, more than %d", f.path, n, maxFileLines)}
	}
	return nil
}

func checkFunctionLength(f file) []string {
	var wrong []string
	for _, d := range functions(f) {
		if n := f.line(d.End()) - f.line(d.Pos()) + 1; n > maxFunctionLines {
			wrong = append(wrong, fmt.Sprintf("%s:%d: %s has %d lines, more than %d",
				f.path, f.line(d.Pos()), d.Name.Name, n, maxFunctionLines))
		}
	}
	return wrong
}

func checkNoInit(f file) []string {
	var wrong []string
	for _, d := range functions(f) {
		if d.Recv == nil && d.Name.Name == "init" {
			wrong = append(wrong, fmt.Sprintf("%s:%d: func init; pass values instead", f.path, f.line(d.Pos())))
		}
	}
	return wrong
}

func functions(f file) []*ast.FuncDecl {
	var list []*ast.FuncDecl
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			list = append(list, fn)
		}
	}
	return list
}

// checkGlobals allows package-level variables that nobody changes (errors,
// compiled patterns, embedded files, checks that a type fits an interface),
// and others whose line says why, as golangci-lint wants it too:
//
//	//nolint:gochecknoglobals // the reason
//
// The allow-list thus stands beside what it allows. Test files are free.
func checkGlobals(f file) []string {
	if f.isTest() {
		return nil
	}
	reasons := excuses(f)
	var wrong []string
	for _, d := range f.ast.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			if constant(decl, spec) || reasons[f.line(spec.Pos())] || reasons[f.line(decl.Pos())] {
				continue
			}
			wrong = append(wrong, fmt.Sprintf("%s:%d: package-level variable %s", f.path, f.line(spec.Pos()), spec.Names[0].Name))
		}
	}
	return wrong
}

// excuses returns the lines that a comment excuses: its own, and the one after it.
func excuses(f file) map[int]bool {
	lines := make(map[int]bool)
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if reason, ok := strings.CutPrefix(c.Text, "//nolint:gochecknoglobals // "); ok && len(reason) > 10 {
				lines[f.line(c.Pos())] = true
				lines[f.line(c.Pos())+1] = true
			}
		}
	}
	return lines
}

// constant reports whether a variable is one that nobody changes.
func constant(decl *ast.GenDecl, spec *ast.ValueSpec) bool {
	for _, group := range []*ast.CommentGroup{decl.Doc, spec.Doc} {
		if group == nil {
			continue
		}
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	for _, n := range spec.Names {
		if n.Name != "_" && !madeOnce(spec) {
			return false
		}
	}
	return true
}

func madeOnce(spec *ast.ValueSpec) bool {
	if len(spec.Values) == 0 {
		return false
	}
	for _, v := range spec.Values {
		call, ok := v.(*ast.CallExpr)
		if !ok {
			return false
		}
		switch selector(call.Fun) {
		case "errors.New", "fmt.Errorf", "regexp.MustCompile":
		default:
			return false
		}
	}
	return true
}

// selector returns an expression of the form a.b as text.
func selector(e ast.Expr) string {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := sel.X.(*ast.Ident); ok {
		return x.Name + "." + sel.Sel.Name
	}
	return ""
}

// checkDocs wants a comment on every exported name that users can reach.
func checkDocs(f file) []string {
	if f.isTest() || f.ast.Name.Name == "main" {
		return nil
	}
	var wrong []string
	bare := func(pos token.Pos, name string) {
		wrong = append(wrong, fmt.Sprintf("%s:%d: %s has no doc comment", f.path, f.line(pos), name))
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				bare(d.Pos(), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if name := undocumented(d, s); name != "" {
					bare(s.Pos(), name)
				}
			}
		}
	}
	return wrong
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch t := e.(type) {
		case *ast.StarExpr:
			e = t.X
		case *ast.IndexExpr:
			e = t.X
		case *ast.IndexListExpr:
			e = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}

// undocumented returns the name of an exported type, constant or variable
// without a comment. One on a group, or at the end of the line, is enough for
// constants and variables.
func undocumented(d *ast.GenDecl, s ast.Spec) string {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || len(d.Specs) > 1) {
			return s.Name.Name
		}
	case *ast.ValueSpec:
		if s.Doc != nil || s.Comment != nil || d.Doc != nil {
			return ""
		}
		for _, n := range s.Names {
			if n.IsExported() {
				return n.Name
			}
		}
	}
	return ""
}

// TestPackageComments wants one comment a package that says what it is.
func TestPackageComments(t *testing.T) {
	files, _ := load(t)
	for folder, group := range byFolder(files) {
		source, comments := 0, 0
		for _, f := range group {
			if f.isTest() || f.generated() {
				continue
			}
			source++
			if f.ast.Doc != nil {
				comments++
			}
		}
		if source > 0 && comments != 1 {
			t.Errorf("%s: %d package comments, want 1", folder, comments)
		}
	}
}

func TestSourceRules(t *testing.T) {
	long := strings.Repeat("\n", maxFunctionLines)
	tests := []struct {
		name, path, source string
		rule               sourceRule
		wrong              int
	}{
		{"long file", "a.go", strings.Repeat("\n", maxFileLines), checkFileLength, 1},
		{"short file", "a.go", strings.Repeat("\n", maxFileLines/2), checkFileLength, 0},
		{"long function", "a.go", "func f() {" + long + "}", checkFunctionLength, 1},
		{"long method in a test", "a_test.go", "func (t T) f() {" + long + "}", checkFunctionLength, 1},
		{"short functions", "a.go", "func f() {}\nfunc g() {}" + long, checkFunctionLength, 0},
		{"init", "a.go", "func init() {}", checkNoInit, 1},
		{"a method init", "a.go", "func (t T) init() {}", checkNoInit, 0},
		{"a map", "a.go", "var m = map[string]int{}", checkGlobals, 1},
		{"no value", "a.go", "var n int", checkGlobals, 1},
		{"two in a group", "a.go", "var (\n\ta = 1\n\tb = f()\n)", checkGlobals, 2},
		{"an error and a number", "a.go", "var errA, n = errors.New(\"a\"), f()", checkGlobals, 1},
		{"errors", "a.go", "var (\n\tErrA = errors.New(\"a\")\n\tErrB = fmt.Errorf(\"b: %w\", ErrA)\n)", checkGlobals, 0},
		{"a pattern", "a.go", "var p = regexp.MustCompile(\"a\")", checkGlobals, 0},
		{"an interface check", "a.go", "var _ I = T{}", checkGlobals, 0},
		{"an embedded file", "a.go", "//go:embed a\nvar files embed.FS", checkGlobals, 0},
		{"a reason", "a.go", "var p sync.Pool //nolint:gochecknoglobals // shared by all connections", checkGlobals, 0},
		{"a reason above", "a.go", "//nolint:gochecknoglobals // shared by all connections\nvar p sync.Pool", checkGlobals, 0},
		{"no reason", "a.go", "var p sync.Pool //nolint:gochecknoglobals", checkGlobals, 1},
		{"a global in a test", "a_test.go", "var m = map[string]int{}", checkGlobals, 0},
		{"a bare function", "a.go", "func F() {}", checkDocs, 1},
		{"a bare method", "a.go", "func (t *T[A, B]) M() {}", checkDocs, 1},
		{"a method that nobody sees", "a.go", "func (t *t) M() {}", checkDocs, 0},
		{"a bare type", "a.go", "type T int", checkDocs, 1},
		{"a bare type in a group", "a.go", "// Types.\ntype (\n\tT int\n\t// U is one.\n\tU int\n)", checkDocs, 1},
		{"a bare constant", "a.go", "const C = 1", checkDocs, 1},
		{"a documented group", "a.go", "// Both.\nconst (\n\tC = 1\n\tD = 2\n)", checkDocs, 0},
		{"documented", "a.go", "// F does.\nfunc F() {}\n\n// T is.\ntype T int\n\n// M does.\nfunc (T) M() {}", checkDocs, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.rule(parse(t, tt.path, "package p\n\n"+tt.source+"\n"))
			if len(got) != tt.wrong {
				t.Errorf("got %q, want %d", got, tt.wrong)
			}
		})
	}
}
