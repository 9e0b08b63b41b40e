//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/polywire/polywire/internal/testenv"
)

const (
	quickstartPage = "docs/quickstart.md"
	quickstartWait = 2 * time.Minute // for what comes at once on a machine that is not busy
)

// The quickstart goes through as it stands. Its blocks say what to do with them:
//
//	```sh terminal=1      these lines are typed into terminal 1, a bash
//	```text terminal=1    this is what terminal 1 shows next
//	```text browser=page  this is to be read on a page; visits has the way there
//
// Commands run as they are written but for what substitutes and samples say. In
// what is shown "…" is some text, and any lines, or none, where it is a line.
func TestQuickstart(t *testing.T) {
	testenv.Need(t, "bash", "git", "curl", "go", "chromium")
	t.Parallel()
	q := newQuickstart(t)
	text, err := os.ReadFile(filepath.Join(q.root, filepath.FromSlash(quickstartPage)))
	if err != nil {
		t.Fatal(err)
	}
	blocks := quickstartBlocks(t, string(text))
	for _, b := range blocks {
		at := fmt.Sprintf("%s:%d", quickstartPage, b.line)
		switch where, name, _ := strings.Cut(b.place, "="); {
		case where == "browser":
			q.visit(at, name, b.text)
		case b.language == "sh":
			q.terminal(b.place).enter(q.command(b.text))
		default:
			q.shown(at, q.terminal(b.place), b.text)
		}
	}
	if len(blocks) < 20 || len(q.visited) != len(visits()) {
		t.Errorf("%d blocks, and visits to %v: the page has lost steps", len(blocks), q.visited)
	}
	q.terminal("terminal=1").interrupt() // the demo, which ends without a complaint
}

// block is a fenced block of the page.
type block struct {
	line                  int
	language, place, text string
}

var fence = regexp.MustCompile("^```(sh|text) ((?:terminal|browser)=[a-z0-9]+)$")

func quickstartBlocks(t *testing.T, page string) (all []block) {
	t.Helper()
	var open *block
	for i, line := range strings.Split(page, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open != nil && line == "```":
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		case m != nil:
			open = &block{line: i + 1, language: m[1], place: m[2]}
		case strings.HasPrefix(line, "```"):
			t.Fatalf("%s:%d: %q is a block that no test would run", quickstartPage, i+1, line)
		}
	}
	return all
}

// quickstart is a stranger with some terminals.
type quickstart struct {
	t         *testing.T
	root, dir string // the checkout, and where the stranger is
	program   string // what `go run ./cmd/polywire` is
	samples   []sample
	terminals map[string]*shell
	visited   map[string]bool
}

// sample is something of the page that is different each time. What is shown
// first tells what it is now; commands get that.
type sample struct{ text, pattern, actual string }

func newQuickstart(t *testing.T) *quickstart {
	t.Helper()
	q := &quickstart{
		t: t, root: testenv.Root(t), dir: t.TempDir(), program: filepath.Join(t.TempDir(), "polywire"),
		terminals: make(map[string]*shell), visited: make(map[string]bool),
		samples: []sample{
			{demoListen, `127\.0\.0\.1:\d+`, ""},
			{demoAdmin, `127\.0\.0\.1:\d+`, ""},
			{"J5S7K2QXW3ZRT6UEB4MNCYHVAD", `[A-Z2-7]{26}`, ""},
			{"127.0.0.1:8787", "", freeAddress(t)},
		},
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", q.program, "./cmd/polywire")
	build.Dir = q.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return q
}

// substitutes are the changes to what is typed, besides the samples.
func (q *quickstart) substitutes() *strings.Replacer {
	return strings.NewReplacer(
		"go run ./cmd/polywire demo", q.program+" demo --listen 127.0.0.1:0 --admin 127.0.0.1:0",
		"go run ./cmd/polywire webhook listen", q.program+" webhook listen --listen "+q.samples[3].actual,
		"go run ./cmd/polywire", q.program)
}

// command is what is typed for the text of a block.
func (q *quickstart) command(text string) string {
	text = q.substitutes().Replace(text)
	for _, s := range q.samples {
		if s.actual != "" {
			text = strings.ReplaceAll(text, s.text, s.actual)
		} else if strings.Contains(text, s.text) {
			q.t.Fatalf("%q is used before it is shown", s.text)
		}
	}
	return text
}

// shown wants a terminal to show a text, and learns the samples in it.
func (q *quickstart) shown(at string, term *shell, text string) {
	q.t.Helper()
	pattern, learned := q.pattern(text)
	re := regexp.MustCompile(`\A` + pattern)
	m := term.next(re)
	if m == nil {
		q.t.Fatalf("%s: %s does not show\n%s\nbut\n%s\nas a whole it has shown\n%s", at, term.name, text, term.unread(), term.all())
	}
	for i, s := range learned {
		s.actual = m[i+1]
	}
}

// pattern is a text that is shown as a regular expression, whose groups are the
// samples that are not known yet.
func (q *quickstart) pattern(text string) (pattern string, learned []*sample) {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "…" {
			pattern += `(?:.*\n)*?`
			continue
		}
		line = strings.ReplaceAll(regexp.QuoteMeta(line), "…", `.+`)
		for i := range q.samples {
			s := &q.samples[i]
			quoted := regexp.QuoteMeta(s.text)
			switch {
			case !strings.Contains(line, quoted):
			case s.actual != "":
				line = strings.ReplaceAll(line, quoted, regexp.QuoteMeta(s.actual))
			default:
				line = strings.Replace(line, quoted, "("+s.pattern+")", 1)
				learned = append(learned, s)
			}
		}
		pattern += line
	}
	return pattern, learned
}

// terminal returns one, which is opened when it is first used.
func (q *quickstart) terminal(name string) *shell {
	q.t.Helper()
	if term := q.terminals[name]; term != nil {
		return term
	}
	dir, env := q.dir, []string{"GIT_CONFIG_GLOBAL=" + q.remote(), "CURL_HOME=" + q.dir}
	if len(q.terminals) > 0 { // the demo runs, and they are opened in the folder
		dir = filepath.Join(dir, "polywire")
		env = append(env, "POLYWIRE_URL=ws://"+q.samples[0].actual)
	}
	term := openShell(q.t, name, dir, env)
	q.terminals[name] = term
	return term
}

// remote makes a repository of files as they are here, and returns a
// configuration of git by which it is the one that the page clones. Other tests
// may write into other folders meanwhile.
func (q *quickstart) remote() string {
	q.t.Helper()
	config, bare := filepath.Join(q.dir, "gitconfig"), filepath.Join(q.dir, "remote.git")
	if len(q.terminals) > 0 {
		return config
	}
	content := fmt.Sprintf("[user]\n\tname = test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n"+
		"[url %q]\n\tinsteadOf = https://github.com/polywire/polywire\n", "file://"+bare)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		q.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(q.dir, ".curlrc"), []byte("no-progress-meter\n"), 0o600); err != nil { // as in a terminal
		q.t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "--quiet", "--bare", bare}, {"add", "go.mod", "go.sum", "README.md", "cmd", "docs"}, {"commit", "--quiet", "--message", "now"}} {
		c := exec.CommandContext(q.t.Context(), "git", args...)
		c.Dir = q.root
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+config)
		if args[0] != "init" {
			c.Env = append(c.Env, "GIT_DIR="+bare, "GIT_WORK_TREE="+q.root)
		}
		if out, err := c.CombinedOutput(); err != nil {
			q.t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return config
}

// visits are the ways to what is to be read on pages: from the addresses that
// the page names, to a selector whose text has it.
func visits() map[string]func(ctx context.Context, demo, admin string) (chromedp.CSS, error) {
	return map[string]func(ctx context.Context, demo, admin string) (chromedp.CSS, error){
		"page": func(ctx context.Context, demo, _ string) (chromedp.CSS, error) {
			return "#lines", chromedp.Do(ctx,
				chromedp.Navigate("http://"+demo+"/"),
				chromedp.WaitVisible(chromedp.CSS(`#status[data-status="running"]`)),
				chromedp.WaitEnabled(chromedp.CSS(`#send`)),
				chromedp.WaitVisible(chromedp.CSS(`#members .chip`)),
				chromedp.SendKeys(chromedp.CSS(`#text`), "hello"),
				chromedp.Click(chromedp.CSS(`#send`)),
			)
		},
		"console": func(ctx context.Context, _, admin string) (chromedp.CSS, error) {
			return "#view", chromedp.Do(ctx,
				chromedp.Navigate("http://"+admin+"/"),
				chromedp.WaitVisible(chromedp.CSS(`#status[data-status="live"]`)),
				chromedp.Click(chromedp.CSS(`#views a[href="#/rooms"]`)),
				chromedp.WaitVisible(chromedp.CSS(`#view table`)),
			)
		},
	}
}

// visit wants a page to have a text.
func (q *quickstart) visit(at, name, want string) {
	q.t.Helper()
	way := visits()[name]
	if way == nil {
		q.t.Fatalf("%s: no way to %q", at, name)
	}
	ctx := browser(q.t)
	selector, err := way(ctx, q.samples[0].actual, q.samples[1].actual)
	if err != nil {
		q.t.Fatalf("%s: %v", at, err)
	}
	pattern, _ := q.pattern(want)
	re := regexp.MustCompile(strings.TrimSuffix(pattern, "\n"))
	testenv.Eventually(q.t, quickstartWait, at+" is to be read: "+want, func() bool {
		return re.MatchString(text(ctx, q.t, selector))
	})
	screenshot(ctx, q.t, "quickstart-"+name+".png")
	q.visited[name] = true
}
