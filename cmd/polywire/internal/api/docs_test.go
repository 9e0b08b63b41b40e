package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// docs/http-api.md has every path, scope and code, with the status that it has.
func TestDocument(t *testing.T) {
	read := func(path ...string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(append([]string{testenv.Root(t)}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc := read("docs", "http-api.md")

	routes := 0
	for _, op := range operations() {
		for _, p := range op.paths {
			routes++
			last := p.pattern[strings.LastIndexByte(p.pattern, '/'):]
			whole, short := p.method+" "+p.pattern, p.method+" …"+last
			if !strings.Contains(doc, "`"+whole+"`") && !(strings.Contains(doc, "`"+short+"`") && strings.Contains(doc, strings.TrimSuffix(p.pattern, last)+"/")) {
				t.Errorf("docs/http-api.md does not have %s", whole)
			}
		}
	}
	if routes < 20 {
		t.Errorf("%d paths", routes)
	}
	for _, s := range Scopes() {
		if !strings.Contains(doc, "| `"+string(s)+"` |") {
			t.Errorf("docs/http-api.md does not have the scope %s", s)
		}
	}

	told := make(map[string]int)
	for _, row := range regexp.MustCompile("(?m)^\\| (\\d{3}) \\| (`[a-z_`, ]+) \\|").FindAllStringSubmatch(doc, -1) {
		status, _ := strconv.Atoi(row[1])
		for word := range strings.SplitSeq(row[2], ",") {
			told[strings.Trim(word, "` ")] = status
		}
	}
	source := read("cmd", "polywire", "internal", "api", "problem.go")
	codes := regexp.MustCompile(`code\w+ +problemCode = "(\w+)"`).FindAllStringSubmatch(source, -1)
	for _, code := range codes {
		if got, want := told[code[1]], problemCode(code[1]).class().status; got != want {
			t.Errorf("docs/http-api.md has %d for %s, want %d", got, code[1], want)
		}
		delete(told, code[1])
	}
	for code := range told {
		t.Errorf("docs/http-api.md has %s, which is no code", code)
	}
	if len(codes) < 15 {
		t.Errorf("%d codes", len(codes))
	}
}
