package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	testenv.Together(4)
	testenv.VerifyNoLeaks(chromium.Main(m))
}

// run runs the program with arguments and returns what it printed.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	c := newRoot()
	c.SetArgs(args)
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&errOut)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = c.ExecuteContext(ctx)
	return out.String(), errOut.String(), err
}

// start runs a serving command in the background until the test ends, and
// returns the first lines that it prints.
func start(t *testing.T, lines int, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	c := newRoot()
	c.SetArgs(args)
	c.SetOut(w)
	c.SetErr(t.Output())
	var done sync.WaitGroup
	var err error
	done.Go(func() {
		err = c.ExecuteContext(ctx)
		w.Close()
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		if err != nil {
			t.Errorf("polywire %s: %v", strings.Join(args, " "), err)
		}
	})
	in := bufio.NewScanner(r)
	var got []string
	for len(got) < lines && in.Scan() {
		got = append(got, in.Text())
	}
	if len(got) < lines {
		done.Wait()
		t.Fatalf("polywire %s ended: %v", strings.Join(args, " "), err)
	}
	done.Go(func() { _, _ = io.Copy(io.Discard, r) })
	return got
}

// last is the last word of a line.
func last(line string) string { return line[strings.LastIndexByte(line, ' ')+1:] }

func TestWrongInput(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, `unknown command "sevre"`},
		{[]string{"bench", "rnu"}, `unknown command "rnu"`},
		{[]string{"serve", "--lisen", "x"}, "--help says more"},
		{[]string{"serve", "--listen", "ftp://127.0.0.1:0"}, `unknown scheme "ftp"`},
		{[]string{"serve", "--listen", "tcp://127.0.0.1"}, "has no port"},
		{[]string{"serve", "--listen", "wss://127.0.0.1:0"}, "needs WithTLS"},
		{[]string{"serve", "--listen", "smoke+tcp://127.0.0.1:0"}, "no wire serves"},
		{[]string{"serve", "--listen", "127.0.0.1:0", "--tls-cert", "a"}, "go together"},
		{[]string{"serve", "--listen", "127.0.0.1:0", "--tls-cert", "/nowhere", "--tls-key", "/nowhere"}, "no such file"},
		{[]string{"serve", "--allow", "everything"}, "want publish or broadcast"},
		{[]string{"serve", "--log-level", "loud"}, "want debug, info, warn or error"},
		{[]string{"serve", "--max-message-bytes", "0"}, "want a size"},
		{[]string{"serve", "--origin", "example.com"}, "https://host"},
		{[]string{"call"}, "KIND is missing"},
		{[]string{"call", "echo", "{not json"}, "the payload is not JSON"},
		{[]string{"call", "echo", "1", "--url", "ws://127.0.0.1:1"}, "connection refused"},
		{[]string{"call", "echo", "1", "--url", "gopher://x"}, "no wire for the scheme"},
		{[]string{"call", "echo", "1", "--header", "novalue"}, "want name=value"},
		{[]string{"pub", "room"}, "KIND is missing"},
		{[]string{"sub"}, "ROOM is missing"},
		{[]string{"pub", "--all"}, "KIND is missing\n\nusage: polywire pub KIND [JSON | -] --all\nas in: polywire pub --all headline"},
		{[]string{"sub", "r", "--count", "-1"}, "want 0 or more"},
		{[]string{"sub", "r", "--count", "x"}, `--count "x": want a whole number`},
		{[]string{"call", "time", "--timeout", "0s"}, "want more than nothing"},
		{[]string{"bench", "run", "fly"}, `"fly" is none of echo, broadcast`},
		{[]string{"bench", "run", "echo", "--url", "ws://192.0.2.1:80", "--quiet"}, "loopback"},
		{[]string{"bench", "run", "echo", "--wire", "telepathy", "--quiet"}, "unknown wire"},
		{[]string{"bench", "run", "echo", "--conns", "-1", "--quiet"}, "Conns is -1"},
	} {
		_, _, err := run(t, "", c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("polywire %s: %v, want %q", strings.Join(c.args, " "), err, c.want)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	out, _, err := run(t, "", "version")
	if err != nil || !strings.HasPrefix(out, "polywire ") {
		t.Errorf("version: %q, %v", out, err)
	}
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"bench", "run", "--help"}, {"completion", "bash"}} {
		if out, _, err := run(t, "", args...); err != nil || len(out) < 500 {
			t.Errorf("%v: %d bytes, %v", args, len(out), err)
		}
	}
}

func TestServeAndTalk(t *testing.T) {
	socket := t.TempDir() + "/p.sock"
	lines := start(t, 3, "serve", "--listen", "127.0.0.1:0", "--listen", "tcp://127.0.0.1:0", "--listen", "unix://"+socket, "--allow", "publish,broadcast")
	for _, line := range lines {
		url := last(line)
		out, _, err := run(t, "", "call", "echo", `{"a": [1, 2]}`, "--url", url)
		if err != nil || out != `{"a": [1, 2]}`+"\n" {
			t.Errorf("call echo on %s: %q, %v", url, out, err)
		}
		out, _, err = run(t, `"from standard input"`, "call", "echo", "-", "--url", url)
		if err != nil || out != `"from standard input"`+"\n" {
			t.Errorf("call echo on %s: %q, %v", url, out, err)
		}
		if _, _, err = run(t, "", "call", "nonsense", "--url", url); err == nil || !strings.Contains(err.Error(), "not_found") {
			t.Errorf("call nonsense on %s: %v", url, err)
		}
	}
	if out, _, err := run(t, "", "call", "time", "--url", last(lines[0])); err != nil || !strings.HasPrefix(out, `"20`) {
		t.Errorf("call time: %q, %v", out, err)
	}
	meetInRoom(t, last(lines[0]), last(lines[1]), last(lines[2]))
	if _, _, err := run(t, "", "pub", "--all", "note", "--url", last(lines[1])); err != nil {
		t.Errorf("pub --all: %v", err)
	}
}

// meetInRoom has two subscribers on different wires, and a publisher on a third.
func meetInRoom(t *testing.T, first, second, publisher string) {
	t.Helper()
	lines := make(chan string, 100)
	var subs sync.WaitGroup
	for _, url := range []string{first, second} {
		r, w := io.Pipe()
		c := newRoot()
		c.SetArgs([]string{"sub", "news", "--count", "1", "--url", url})
		c.SetOut(w)
		c.SetErr(t.Output())
		subs.Go(func() {
			if err := c.ExecuteContext(t.Context()); err != nil {
				t.Errorf("sub on %s: %v", url, err)
			}
			w.Close()
		})
		subs.Go(func() {
			for in := bufio.NewScanner(r); in.Scan(); {
				lines <- in.Text()
			}
		})
	}
	// A subscriber ends with its first message; until both have one, there is
	// another publication.
	for got := 0; got < 2; {
		if _, _, err := run(t, "", "pub", "news", "headline", `{"text":"hello"}`, "--url", publisher); err != nil {
			t.Fatal(err)
		}
		for ; len(lines) > 0; got++ {
			if line := <-lines; line != `{"room":"news","kind":"headline","payload":{"text":"hello"}}` {
				t.Errorf("a subscriber printed %s", line)
			}
		}
	}
	subs.Wait()
}

func TestPublishIsRefusedByDefault(t *testing.T) {
	url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0")[0])
	for _, args := range [][]string{{"pub", "r", "k"}, {"pub", "--all", "k"}, {"sub", "$system"}} {
		if _, _, err := run(t, "", append(args, "--url", url)...); err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestBench(t *testing.T) {
	line := strings.Fields(start(t, 1, "bench", "serve", "--listen", "127.0.0.1:0")[0])
	url, pid := strings.TrimSuffix(line[2], ","), line[len(line)-1]
	for _, mode := range []string{
		"echo --window 2", "broadcast --window 2", "idle", "idle --speak", "connect", "handshakes --dial-rate 200",
		"echo --wire native-json", "echo --wire socketio --window 2", "broadcast --wire socketio --window 2",
		"idle --wire socketio --speak", "handshakes --wire socketio --dial-rate 200",
		"echo --wire socketio-polling", "handshakes --wire socketio-polling --dial-rate 200",
	} {
		args := append([]string{"bench", "run", "--url", url, "--pid", pid, "--conns", "10",
			"--duration", "500ms", "--warmup", "10ms", "--json"}, strings.Fields(mode)...)
		out, _, err := run(t, "", args...)
		var result struct {
			Messages uint64
			Errors   int
		}
		if err != nil || json.Unmarshal([]byte(out), &result) != nil || result.Messages == 0 || result.Errors != 0 {
			t.Errorf("bench run %s: %v\n%s", mode, err, out)
		}
	}
	out, _, err := run(t, "", "bench", "run", "echo", "--url", url, "--conns", "2", "--duration", "50ms", "--warmup", "0s")
	if err != nil || !strings.Contains(out, "p99") {
		t.Errorf("the table: %v\n%s", err, out)
	}
}

func TestBenchServeProfiles(t *testing.T) {
	dir := t.TempDir()
	cpu, heap := filepath.Join(dir, "cpu.prof"), filepath.Join(dir, "heap.prof")
	t.Run("a server that is told to end", func(t *testing.T) {
		start(t, 1, "bench", "serve", "--listen", "127.0.0.1:0", "--cpu-profile", cpu, "--heap-profile", heap)
	})
	for _, path := range []string{cpu, heap} {
		if b, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // gzip
			t.Errorf("%s: %v, %d bytes", path, err, len(b))
		}
	}
	for _, flag := range []string{"--cpu-profile", "--heap-profile"} {
		if _, _, err := run(t, "", "bench", "serve", "--listen", "256.0.0.1:0", flag, filepath.Join(dir, "nowhere", "x")); err == nil {
			t.Errorf("%s: no error", flag)
		}
	}
	if err := writeHeap(filepath.Join(dir, "nowhere", "x")); err == nil {
		t.Error("a profile was written into a folder that is not there")
	}
}

func TestDemoServesItsPage(t *testing.T) {
	line := start(t, 1, "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")[0]
	url := strings.Fields(line)[4]
	for path, want := range map[string]string{"": "<html", "style.css": "{", "app.js": "import", "sdk/polywire.js": "export"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, %d bytes without %q", path, resp.StatusCode, len(body), want)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	ws := strings.Replace(strings.TrimSuffix(url, "/"), "http://", "ws://", 1)
	var joined struct {
		Members []struct{ Name string }
	}
	// The bot comes by itself, a moment after the page.
	for range 1000 {
		out, _, err := run(t, "", "call", "chat.join", `{"room":"lobby","name":"tester"}`, "--url", ws)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), &joined); err != nil {
			t.Fatal(err)
		}
		if len(joined.Members) == 2 {
			break
		}
	}
	if len(joined.Members) != 2 {
		t.Errorf("members: %+v", joined)
	}
	for _, c := range []struct{ kind, payload, want string }{
		{"chat.join", `{"room":"","name":"x"}`, "bad_request"},
		{"chat.join", `{"room":"lobby","name":"` + strings.Repeat("x", 41) + `"}`, "bad_request"},
		{"chat.join", `[1]`, "bad_request"},
		{"chat.say", `{"room":"nowhere","text":"x"}`, "not_found"},
		{"chat.say", `{"room":"lobby","text":"  "}`, "bad_request"},
		{"chat.rename", `{"name":"\u0000"}`, "bad_request"},
	} {
		if _, _, err := run(t, "", "call", c.kind, c.payload, "--url", ws); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.kind, c.payload, err, c.want)
		}
	}
	if out, _, err := run(t, "", "call", "chat.rooms", "--url", ws); err != nil || !strings.Contains(out, `"lobby"`) {
		t.Errorf("chat.rooms: %s %v", out, err)
	}
}
