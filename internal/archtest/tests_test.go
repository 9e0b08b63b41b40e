package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// decoderFree names packages that have a method with a decoder's name and
// nothing to fuzz, with the reason.
var decoderFree = map[string]string{}

// realTime names packages whose tests let time pass with <-time.After for a
// reason that is the same for all of its places.
var realTime = map[string]string{
	"cluster/clustertest": "times of the port's contract pass, on the clock of whatever is tested",
}

// decoderNames are what functions that take a peer's bytes are called here.
var decoderNames = []string{"Decode", "Next", "Unmarshal", "AppendJSON"}

// TestEveryPackageLooksForLeaks wants a look for leaks in the TestMain of each package with tests.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	files, _ := load(t)
	for folder, group := range byFolder(files) {
		if wrong := checkTestMain(group); wrong != "" {
			t.Errorf("%s: %s", folder, wrong)
		}
	}
}

func checkTestMain(group []file) string {
	tested := false
	for _, f := range group {
		if !f.isTest() {
			continue
		}
		for _, d := range functions(f) {
			if d.Recv != nil {
				continue
			}
			if d.Name.Name == "TestMain" {
				if uses(d.Body, "testenv.VerifyNoLeaks") || uses(d.Body, "goleak.VerifyTestMain") || uses(d.Body, "goleak.Find") {
					return ""
				}
				return "its TestMain does not look for leaked goroutines"
			}
			tested = tested || isTest(d.Name.Name)
		}
	}
	if tested {
		return "it has tests and no TestMain that looks for leaked goroutines"
	}
	return ""
}

func isTest(name string) bool {
	return slices.ContainsFunc([]string{"Test", "Fuzz", "Benchmark", "Example"}, func(p string) bool {
		return strings.HasPrefix(name, p)
	})
}

// uses reports whether a.b occurs below a node.
func uses(n ast.Node, name string) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && selector(e) == name {
			found = true
		}
		return !found
	})
	return found
}

// TestEveryDecoderIsFuzzed wants a fuzz target in each package that decodes
// what a peer sent.
func TestEveryDecoderIsFuzzed(t *testing.T) {
	files, _ := load(t)
	decoders := 0
	for folder, group := range byFolder(files) {
		name := decoder(group)
		if name == "" {
			continue
		}
		decoders++
		if _, free := decoderFree[folder]; !free && !fuzzed(group) {
			t.Errorf("%s: %s takes a peer's bytes, and no fuzz target is there", folder, name)
		}
	}
	if decoders == 0 {
		t.Error("no decoder found at all: do decoderNames still say how they are called?")
	}
	for folder := range decoderFree {
		if decoder(byFolder(files)[folder]) == "" {
			t.Errorf("decoderFree names %s, which has no decoder", folder)
		}
	}
}

// decoder returns the name of a decoder in a package of the protocol layers.
func decoder(group []file) string {
	for _, f := range group {
		layer, _, _ := strings.Cut(f.folder(), "/")
		if f.forTests() || f.generated() || !slices.Contains([]string{"codec", "wire", "transport"}, layer) {
			continue
		}
		for _, d := range functions(f) {
			if slices.Contains(decoderNames, d.Name.Name) {
				return d.Name.Name
			}
		}
	}
	return ""
}

func fuzzed(group []file) bool {
	for _, f := range group {
		if f.isTest() && slices.ContainsFunc(functions(f), func(d *ast.FuncDecl) bool {
			return d.Recv == nil && strings.HasPrefix(d.Name.Name, "Fuzz")
		}) {
			return true
		}
	}
	return false
}

// TestTestsDoNotWait wants no sleep for luck and no skip that a full run would
// let pass.
func TestTestsDoNotWait(t *testing.T) {
	files, _ := load(t)
	needed := make(map[string]bool)
	for _, f := range files {
		if !f.forTests() {
			continue
		}
		wrong := checkSleep(f)
		if _, ok := realTime[f.folder()]; ok {
			needed[f.folder()] = needed[f.folder()] || len(wrong) > 0
			wrong = slices.DeleteFunc(wrong, func(w string) bool { return strings.Contains(w, "<-time.After") })
		}
		for _, wrong := range append(wrong, checkSkip(f)...) {
			t.Error(wrong)
		}
	}
	for folder := range realTime {
		if !needed[folder] {
			t.Errorf("realTime names %s, whose tests do not wait in real time", folder)
		}
	}
}

// checkSleep finds time.Sleep and a bare <-time.After, which is the same, in
// real time. A case of a select is none: it bounds a wait for something else.
// The check is exact in a function given to synctest.Test; elsewhere a line can
// say that it runs there, or what is waited for in real time and why nothing
// else tells:
//
//	time.Sleep(d) // virtual
//	<-time.After(d) // real: the reason
func checkSleep(f file) []string {
	excused := make(map[int]bool)
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			reason, isReal := strings.CutPrefix(c.Text, "// real: ")
			excused[f.line(c.Pos())] = strings.HasPrefix(c.Text, "// virtual") || isReal && len(reason) > 10
		}
	}
	cases := make(map[ast.Stmt]bool)
	var wrong []string
	found := func(n ast.Node, what string) {
		if !excused[f.line(n.Pos())] {
			wrong = append(wrong, fmt.Sprintf("%s:%d: %s in real time", f.path, f.line(n.Pos()), what))
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if selector(n.Fun) == "synctest.Test" {
				return false
			}
		case *ast.CommClause:
			cases[n.Comm] = true
		case *ast.ExprStmt:
			if !cases[n] && waitsForTime(n.X) {
				found(n, "<-time.After")
			}
		case *ast.SelectorExpr:
			if selector(n) == "time.Sleep" {
				found(n, "time.Sleep")
			}
		}
		return true
	})
	return wrong
}

// waitsForTime reports whether an expression is <-time.After(d).
func waitsForTime(e ast.Expr) bool {
	receive, ok := e.(*ast.UnaryExpr)
	if !ok || receive.Op != token.ARROW {
		return false
	}
	call, ok := receive.X.(*ast.CallExpr)
	return ok && selector(call.Fun) == "time.After"
}

// checkSkip finds skips that do not go through internal/testenv. Suites may
// leave out what an implementation says it has not, and fuzz targets an input.
func checkSkip(f file) []string {
	if !f.isTest() {
		return nil
	}
	var wrong []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && selector(call.Fun) == "f.Fuzz" {
			return false
		}
		if call, ok := n.(*ast.CallExpr); ok {
			switch selector(call.Fun) {
			case "t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "b.Skipf", "tb.Skip", "tb.Skipf":
				wrong = append(wrong, fmt.Sprintf("%s:%d: skip with testenv.Need or testenv.Missing", f.path, f.line(n.Pos())))
			}
		}
		return true
	})
	return wrong
}

func TestTestRules(t *testing.T) {
	check := map[string]func(file) []string{
		"sleep": checkSleep,
		"skip":  checkSkip,
		"leaks": func(f file) []string {
			if w := checkTestMain([]file{f}); w != "" {
				return []string{w}
			}
			return nil
		},
		"fuzz": func(f file) []string {
			if decoder([]file{{path: "wire/x/x.go", fset: f.fset, ast: f.ast}}) != "" && !fuzzed([]file{f}) {
				return []string{"not fuzzed"}
			}
			return nil
		},
	}
	tests := []struct {
		rule, source string
		wrong        int
	}{
		{"sleep", "func f() { time.Sleep(1) }", 1},
		{"sleep", "func f() { sleep := time.Sleep; sleep(1) }", 1},
		{"sleep", "func f() { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }", 0},
		{"sleep", "func f() { <-time.After(1) }", 1},
		{"sleep", "func f() { for ; !ok(); <-time.After(1) {\n} }", 1},
		{"sleep", "func f() { select {\ncase <-done:\ncase <-time.After(1):\n} }", 0},
		{"sleep", "func f() { select {\ncase <-done:\n<-time.After(1)\n} }", 1},
		{"sleep", "func f() { synctest.Test(t, func(t *testing.T) { <-time.After(1) }) }", 0},
		{"sleep", "func f() {\n\t<-time.After(1) // virtual\n}", 0},
		{"sleep", "func f() {\n\t<-time.After(1) // real: nothing tells when the other process has read\n}", 0},
		{"sleep", "func f() {\n\t<-time.After(1) // real: luck\n}", 1},
		{"sleep", "func f() {\n\ttime.Sleep(1) // virtual: used in a bubble\n}", 0},
		{"sleep", "func f() {\n\ttime.Sleep(1) // to be sure\n}", 1},
		{"skip", "func f() { t.Skip(1) }", 1},
		{"skip", "func f() { t.Run(n, func(t *testing.T) { t.SkipNow() }) }", 1},
		{"skip", "func f() { f.Fuzz(func(t *testing.T, b []byte) { t.Skip() }) }", 0},
		{"skip", "func f() { testenv.Need(t, n) }", 0},
		{"leaks", "func TestA(t *testing.T) {}", 1},
		{"leaks", "func FuzzA(f *testing.F) {}", 1},
		{"leaks", "func TestMain(m *testing.M) { m.Run() }", 1},
		{"leaks", "func TestA(t *testing.T) {}\nfunc TestMain(m *testing.M) { goleak.VerifyTestMain(m) }", 0},
		{"leaks", "func helper() {}", 0},
		{"fuzz", "func (s S) Decode() {}", 1},
		{"fuzz", "func (s S) Decode() {}\nfunc FuzzDecode(f *testing.F) {}", 0},
		{"fuzz", "func (s S) Encode() {}", 0},
	}
	for _, tt := range tests {
		if got := check[tt.rule](parse(t, "wire/x/x_test.go", "package x\n\n"+tt.source+"\n")); len(got) != tt.wrong {
			t.Errorf("%s: %s: got %q, want %d", tt.rule, tt.source, got, tt.wrong)
		}
	}
}
