package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// decoderFree names packages that have a method with a decoder's name and
// nothing to fuzz, with the reason.
var decoderFree = map[string]string{}

// decoderNames are what functions that take a peer's bytes are called here.
var decoderNames = []string{"Decode", "Next", "Unmarshal", "AppendJSON"}

// TestEveryPackageLooksForLeaks wants goleak in the TestMain of each package with tests.
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
				if uses(d.Body, "goleak.VerifyTestMain") || uses(d.Body, "goleak.Find") {
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
	for _, f := range files {
		if !f.forTests() {
			continue
		}
		for _, wrong := range append(checkSleep(f), checkSkip(f)...) {
			t.Error(wrong)
		}
	}
}

// checkSleep finds time.Sleep in real time. It is exact in a function given to
// synctest.Test, and in helpers that run there, whose line says so:
//
//	time.Sleep(d) // virtual
func checkSleep(f file) []string {
	virtual := make(map[int]bool)
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			virtual[f.line(c.Pos())] = strings.HasPrefix(c.Text, "// virtual")
		}
	}
	var wrong []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && selector(call.Fun) == "synctest.Test" {
			return false
		}
		if e, ok := n.(ast.Expr); ok && selector(e) == "time.Sleep" && !virtual[f.line(n.Pos())] {
			wrong = append(wrong, fmt.Sprintf("%s:%d: time.Sleep in real time", f.path, f.line(n.Pos())))
		}
		return true
	})
	return wrong
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
		{"sleep", "func f() { <-time.After(1) }", 0},
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
