package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/polywire/polywire/internal/testenv"
)

// snippet returns the first block of JavaScript of a document, for a server
// that listens on address.
func snippet(t *testing.T, doc, address string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(testenv.Root(t), doc))
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(page), "```js\n")
	code, _, ok := strings.Cut(code, "```")
	if !ok || !strings.Contains(code, "localhost:8080") {
		t.Fatalf("%s has no JavaScript for localhost:8080", doc)
	}
	return strings.ReplaceAll(code, "localhost:8080", address)
}

// inPage opens a page of the server's in which console.log is kept, and runs a script.
func inPage(ctx context.Context, t *testing.T, address, script string) {
	t.Helper()
	err := chromedp.Do(ctx,
		chromedp.Navigate("http://"+address+"/no-such-page"),
		chromedp.Evaluate[chromedp.Void](`window.logged = []; console.log = (...all) => logged.push(JSON.stringify(all))`),
		chromedp.Evaluate[chromedp.Void](script),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// logged waits until the page has logged so many lines, and returns them.
func logged(ctx context.Context, t *testing.T, lines string) string {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`new Promise((resolve) => {
		const look = () => logged.length >= `+lines+` ? resolve(logged.join("\n")) : setTimeout(look, 10)
		look()
	})`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func publish(t *testing.T, address, kind, payload string) {
	t.Helper()
	if _, _, err := run(t, "", "pub", "news", kind, payload, "--url", "ws://"+address); err != nil {
		t.Fatal(err)
	}
}

// The ten lines of the native wire's document, at a path of one's own.
func TestTenLinesInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	address := strings.TrimPrefix(last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--allow", "publish", "--ws-path", "/api/v1/ws")[0]), "ws://")
	for _, path := range []string{"/polywire", "/api/v1/ws"} {
		code := strings.Replace(snippet(t, "docs/wire-native.md", address), "/polywire", path, 1)
		if n := strings.Count(strings.TrimSpace(code), "\n") + 1; n != 10 {
			t.Errorf("the ten lines are %d", n)
		}
		inPage(ctx, t, address, code)
		if got := logged(ctx, t, "1"); got != `["answer",1,{"text":"hi"}]` {
			t.Errorf("%s: %s", path, got)
		}
		publish(t, address, "headline", `{"text":"ten lines"}`)
		if got := logged(ctx, t, "2"); !strings.HasSuffix(got, "\n"+`["news","headline",{"text":"ten lines"}]`) {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// The EventSource of the document: events arrive, and a final end is one.
func TestEventSourceInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	address := strings.TrimPrefix(last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--allow", "publish")[0]), "ws://")
	code := snippet(t, "docs/wire-sse.md", address)
	inPage(ctx, t, address, code+`
		events.onopen = () => console.log("open")
		events.onmessage = (event) => console.log("message", event.data)`)
	if got := logged(ctx, t, "1"); got != `["open"]` {
		t.Fatal(got)
	}
	publish(t, address, "headline", "{\n\"text\":\n\"two\\nlines\"\n}")
	publish(t, address, "message", `"plain"`)
	if got := logged(ctx, t, "3"); got != `["open"]`+"\n"+`[{"text":"two\nlines"}]`+"\n"+`["message","\"plain\""]` {
		t.Errorf("%s", got)
	}
	refused, err := chromedp.Run(ctx, chromedp.Evaluate[int](`new Promise((resolve) => {
		const refused = new EventSource("/events?room=$x")
		refused.onerror = () => resolve(refused.readyState)
	})`, chromedp.EvalAwaitPromise))
	if err != nil || refused != 2 {
		t.Errorf("a refused EventSource is in state %d, %v; want closed", refused, err)
	}
}

func TestSubscribeToEvents(t *testing.T) {
	address := strings.TrimPrefix(last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--allow", "publish")[0]), "ws://")
	line := make(chan string, 1)
	go func() {
		defer close(line)
		out, errOut, err := run(t, "", "sub", "news", "other", "-n", "1", "--url", "sse+http://"+address)
		if err != nil || errOut != "listening to news, other\n" {
			t.Errorf("%v: %s", err, errOut)
		}
		line <- out
	}()
	for got := ""; got == ""; {
		publish(t, address, "headline", `{"n":1}`)
		select {
		case got = <-line: // or "" where it has failed
			if got != `{"room":"news","kind":"headline","payload":{"n":1}}`+"\n" {
				t.Errorf("%q", got)
			}
			return
		default:
		}
	}
}

func TestServeWithout(t *testing.T) {
	address := strings.TrimPrefix(last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--without", "sse,goomerang", "--events-path", "/live")[0]), "ws://")
	resp, err := http.Get("http://" + address + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%s: %s %v", resp.Status, body, err)
	}
	for args, want := range map[string]string{
		"--without smoke":     "there is no such wire",
		"--without drs,drs":   "given twice",
		"--ws-path rt":        "begins with a slash",
		"--events-path /a?b":  "begins with a slash",
		"--ws-path /polywire": "both want path",

		"--without native,socketio,drs,goomerang,sse": "no wire is left",
	} {
		_, _, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
