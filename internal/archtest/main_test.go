package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

const module = "github.com/polywire/polywire"

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// file is a Go source file of this repository, or of a rule's own test.
type file struct {
	path string // from the repository's root, with slashes
	fset *token.FileSet
	ast  *ast.File
}

func (f file) folder() string  { return path.Dir(f.path) }
func (f file) isTest() bool    { return strings.HasSuffix(f.path, "_test.go") }
func (f file) generated() bool { return ast.IsGenerated(f.ast) }

// forTests reports whether the file is only ever compiled into tests: a test
// file, or part of a suite such as transporttest.
func (f file) forTests() bool { return f.isTest() || forTests(f.folder()) }

func (f file) line(p token.Pos) int { return f.fset.Position(p).Line }

// inModule reports whether the file belongs to the module at the root, and not
// to one of those that lie in it.
func (f file) inModule() bool {
	return !strings.HasPrefix(f.path, "bench/") && !strings.HasPrefix(f.path, "tools/")
}

// forTests reports whether a folder's package exists for tests.
func forTests(folder string) bool {
	return strings.HasSuffix(folder, "test") || folder == "internal/testenv"
}

// parse makes a file of source text.
func parse(t *testing.T, name string, source any) file {
	t.Helper()
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file{path: name, fset: fset, ast: tree}
}

// repository is read once for all tests.
var repository struct {
	once  sync.Once
	files []file
	docs  []string // Markdown files, from the root
}

// load reads every Go file and finds every Markdown file below the root.
func load(t *testing.T) ([]file, []string) {
	t.Helper()
	root := testenv.Root(t)
	repository.once.Do(func() {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && skipped(d.Name()) && name != root {
				return filepath.SkipDir
			}
			rel := filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))
			switch filepath.Ext(name) {
			case ".go":
				f := parseFile(t, name)
				f.path = rel
				repository.files = append(repository.files, f)
			case ".md":
				repository.docs = append(repository.docs, rel)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if len(repository.files) == 0 || len(repository.docs) == 0 {
		t.Fatalf("read %d Go files and %d documents below %s", len(repository.files), len(repository.docs), root)
	}
	return repository.files, repository.docs
}

func parseFile(t *testing.T, name string) file {
	t.Helper()
	return parse(t, name, nil)
}

// skipped names the folders in which nothing is ours.
func skipped(folder string) bool {
	return strings.HasPrefix(folder, ".") || folder == "node_modules" || folder == "testdata"
}

// byFolder groups the files of each folder.
func byFolder(files []file) map[string][]file {
	m := make(map[string][]file)
	for _, f := range files {
		m[f.folder()] = append(m[f.folder()], f)
	}
	return m
}
