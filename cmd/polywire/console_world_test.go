package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	document "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
)

const (
	consoleToken = "a-token-that-nobody-guesses"
	// consolePatience is for a page on a machine that has much else to do.
	consolePatience = 2 * time.Minute
	consoleLimit    = 8 * time.Minute // of a whole test
)

// consoleServer is a server with something for every view.
type consoleServer struct {
	*place // of its queues

	process *process
	url     string // for clients
	admin   string
}

// consoleServe starts it. What follows in the test runs beside other tests.
func consoleServe(t *testing.T) *consoleServer {
	t.Helper()
	s := &consoleServer{place: natsPlace(t)}
	withVariables(t, map[string]string{"THE_SECRET": authSecret, apiKeyVariable: testAPIKey, "POLYWIRE_ADMIN_TOKEN": consoleToken}, func() {
		s.process = background(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--queue-in", "order.*=orders", "--webhooks", "--webhook-out", "hook.*", "--webhook-allow-http", "--webhook-allow-network", "127.0.0.1/32",
			"--auth-secret", "env:THE_SECRET", "--auth-issuer", "test", "--auth-audience", "chat", "--auth-room", "*=subscribe,publish"}, s.flags...)...)
		s.url = last(s.process.line())
		s.process.logs("the admin listener is there")
	})
	t.Parallel()
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	s.admin = regexp.MustCompile(`the admin listener is there".*? at=(http://[0-9.:]+)`).FindStringSubmatch(s.process.log.String())[1]
	return s
}

// dial connects somebody.
func (s *consoleServer) dial(user string, rooms ...string) *client.Client {
	s.t.Helper()
	c, err := dialAs(s.t, s.url, signed(s.t, user, nil))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, room := range rooms {
		if err := c.Subscribe(s.t.Context(), room); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}

// endpoint registers a webhook endpoint that answers with a status.
func (s *consoleServer) endpoint(id, description string, status int) {
	s.t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	s.t.Cleanup(receiver.Close)
	body, err := json.Marshal(map[string]any{"id": id, "url": receiver.URL + "/path-that-is-a-secret", "types": []string{"hook.*"}, "description": description})
	if err != nil {
		s.t.Fatal(err)
	}
	code, text := postAs(s.t, s.url, webhookAPIPath+"/endpoints", string(body), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testAPIKey) })
	if code != http.StatusCreated {
		s.t.Fatalf("adding an endpoint: %d %s", code, text)
	}
}

// consolePage is the console in a browser.
type consolePage struct {
	t   *testing.T
	ctx context.Context
	at  string

	mu    sync.Mutex
	wrong []string // exceptions
}

// What a page is watched for: refused by its policy, or run where it must not.
const watchPage = `
	window.violations = [];
	addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI), true);`

// openConsole opens it in a browser of its own.
func openConsole(t *testing.T, s *consoleServer) *consolePage {
	t.Helper()
	p := &consolePage{t: t, ctx: browserFor(t, consoleLimit), at: s.admin + "/console/"}
	err := chromedp.Listen(p.ctx, func(event any) {
		if e, ok := event.(*runtime.EventExceptionThrown); ok {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.wrong = append(p.wrong, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
		}
	})
	if err == nil {
		_, err = chromedp.Call(p.ctx, document.AddScriptToEvaluateOnNewDocument, document.AddScriptToEvaluateOnNewDocumentParams{Source: watchPage})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Navigate(p.at))
	t.Cleanup(p.harmless)
	return p
}

// enterConsole opens it and logs in.
func enterConsole(t *testing.T, s *consoleServer) *consolePage {
	t.Helper()
	p := openConsole(t, s)
	p.holds("the form is there", `document.activeElement?.id === "token"`)
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), consoleToken+"\r"))
	p.live()
	return p
}

// harmless fails the test if something of a stranger has run, or tried to.
func (p *consolePage) harmless() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.wrong {
		p.t.Errorf("exception in the page: %s", text)
	}
	found, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](`[...window.violations, ...(window.pwned === undefined ? [] : ["it ran"])]`))
	if err != nil || len(found) > 0 {
		p.t.Errorf("in the page: %q, %v", found, err)
	}
}

func (p *consolePage) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// read evaluates an expression to a text.
func (p *consolePage) read(expression string) string {
	p.t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

// holds waits until an expression is true.
func (p *consolePage) holds(what, expression string) {
	p.t.Helper()
	yes := false
	defer func() {
		if !yes {
			p.t.Logf("not so: %s\n%s", expression, p.read(`document.body.innerText`))
		}
	}()
	testenv.Eventually(p.t, consolePatience, what, func() bool {
		var err error
		yes, err = chromedp.Run(p.ctx, chromedp.Evaluate[bool]("Promise.resolve("+expression+").then(Boolean)", chromedp.EvalAwaitPromise))
		if err != nil {
			p.t.Fatalf("%s: %v", expression, err)
		}
		return yes
	})
}

// shows waits until an element has a text in it.
func (p *consolePage) shows(selector, text string) {
	p.t.Helper()
	p.holds(selector+" shows "+text, fmt.Sprintf(`[...document.querySelectorAll(%q)].some((node) => node.textContent.includes(%s))`, selector, quoted(text)))
}

// quoted is a text as JavaScript has it.
func quoted(text string) string {
	b, _ := json.Marshal(text) // a text always can be
	return string(b)
}

func (p *consolePage) live() {
	p.t.Helper()
	p.holds("the page is live", `document.getElementById("status").dataset.status === "live" && !document.getElementById("shell").hidden`)
}

// goTo opens a view by its hash, and returns when it is there: what is asked
// for then is not found in the one before.
func (p *consolePage) goTo(hash string) {
	p.t.Helper()
	p.holds("the view is "+hash, fmt.Sprintf(`new Promise((done) => {
		const before = location.href;
		addEventListener("hashchange", () => done(true), { once: true });
		location.hash = %s;
		if (location.href === before) done(true);
	})`, quoted(hash)))
}

// click clicks the first element that has a text, as soon as there is one: it
// may be drawn anew at any time.
func (p *consolePage) click(selector, text string) {
	p.t.Helper()
	found := fmt.Sprintf(`[...document.querySelectorAll(%q)].find((node) => node.textContent.includes(%s) && !node.disabled)`, selector, quoted(text))
	p.holds("there is "+text, fmt.Sprintf(`((node) => node && (node.click(), true))(%s)`, found))
}

// keys presses keys that have names.
func (p *consolePage) keys(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// types presses keys of characters. What takes one keeps it from being typed,
// as it is with a keyboard.
func (p *consolePage) types(text string) {
	p.t.Helper()
	for _, c := range text {
		for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
			e := input.DispatchKeyEventParams{Type: kind, Key: string(c)}
			if kind == input.DispatchKeyEventTypeKeyDown {
				e.Text = string(c)
			}
			if _, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, e); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// looks sets the width of the page and its colours.
func (p *consolePage) looks(width int64, colours string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.do(chromedp.EmulateViewport(width, map[bool]int64{true: 800, false: 860}[width < 500]))
	p.drawn() // the page knows of it
}

// drawn waits until what has changed is drawn.
func (p *consolePage) drawn() {
	p.t.Helper()
	p.holds("it is drawn", `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

// fits fails the test where the page is wider than its window.
func (p *consolePage) fits(what string) {
	p.t.Helper()
	wide := p.read(`[document.documentElement, document.body, document.getElementById("main"), ...document.querySelectorAll(".view, .card, .plot")]
		.filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.id || node.className || node.tagName).join(" ")`)
	if wide != "" {
		p.t.Errorf("%s: wider than the window: %s", what, wide)
	}
}

// pictures takes one of each width and colours where POLYWIRE_SCREENSHOTS says.
func (p *consolePage) pictures(name string) {
	p.t.Helper()
	for _, width := range []int64{1280, 400} {
		for _, colours := range []string{"dark", "light"} {
			if os.Getenv("POLYWIRE_SCREENSHOTS") == "" && colours == "dark" {
				continue
			}
			p.looks(width, colours)
			p.fits(fmt.Sprintf("%s at %d", name, width))
			screenshot(p.ctx, p.t, fmt.Sprintf("console-%s-%d-%s.png", name, width, colours))
		}
	}
	p.looks(1280, "light")
}
