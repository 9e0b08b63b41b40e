package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// What strangers say to harm the person who looks: each would set pwned if it
// were anything but a text, or hides what it is.
func hostile() []string {
	texts := []string{
		`<script>window.pwned=1</script>`,
		`"><img src=x onerror=window.pwned=1>`,
		`'"><svg/onload=window.pwned=1>`,
		`javascript:window.pwned=1`,
		"gnp.exe\u202egpj.\u2066\u200b",
		"nul\x00 bell\a line\ntab\t",
		`\u003cscript\u003ewindow.pwned=1\u003c/script\u003e`,
	}
	return append(texts, strings.Repeat(texts[0], 10<<10/len(texts[0])))
}

func withoutControls(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, text)
}

// hostileQueues has them in queues: as kinds, keys, bodies, headers and errors,
// and in the name of one.
func hostileQueues(t *testing.T, s *consoleServer) {
	t.Helper()
	for i, text := range hostile() {
		short := text[:min(len(text), 200)]
		s.must("publish", "orders", quoted(text), "--id", fmt.Sprint(i), "--kind", short, "--key", short)
	}
	s.must("publish", hostile()[1], "1")
	d, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	err = b.Handle("orders", func(_ context.Context, d *queue.Delivery) error { return queue.Discard(errors.New(d.Kind)) }, queue.HandleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.awaits("orders", 0, int64(len(hostile())))
}

// hostileClients are users of such names in rooms of such names, as far as the
// server takes them.
func hostileClients(t *testing.T, s *consoleServer) (all []*client.Client) {
	t.Helper()
	for _, text := range hostile() {
		c, err := dialAs(t, s.url, signed(t, text, nil))
		if err != nil {
			t.Logf("the user %.40q of %d bytes is refused: %v", text, len(text), err)
			continue
		}
		for _, room := range []string{text, text[:min(len(text), 200)]} {
			if err := c.Subscribe(t.Context(), room); err != nil {
				t.Logf("the room %.40q of %d bytes is refused: %v", room, len(room), err)
			}
		}
		all = append(all, c)
	}
	if len(all) < 5 {
		t.Fatalf("only %d users were let in", len(all))
	}
	return all
}

// Nothing that a stranger says is more than a text, in any view; and each view
// fits into narrow and wide windows.
func TestConsoleHostile(t *testing.T) {
	s := consoleServe(t)
	hostileQueues(t, s)
	s.endpoint("hostile", withoutControls(strings.Join(hostile()[:7], " ")), 503)
	all := hostileClients(t, s)
	if err := all[0].Call(t.Context(), "hook.hostile", strings.Join(hostile(), " "), nil); err != nil {
		t.Fatal(err)
	}
	p := enterConsole(t, s)
	script := hostile()[0]

	p.shows("table[aria-label=Wires] tr", "native")
	p.pictures("overview")
	p.goTo("#/connections")
	p.shows("tbody tr", script)
	p.shows("tbody tr", "‹U+202E›")
	p.pictures("connections")
	p.click("tbody tr", hostile()[1])
	p.shows("a.chip", hostile()[1])
	p.pictures("connection")
	p.click("button", "Disconnect…")
	p.pictures("disconnect")
	p.click("dialog button", "Cancel")
	p.goTo("#/rooms")
	p.shows("tbody tr", hostile()[2])
	p.pictures("rooms")
	p.click("tbody a", hostile()[2])
	p.holds("its member", `document.querySelectorAll("tbody tr").length === 1`)
	p.pictures("room")
	p.goTo("#/nodes")
	p.shows("tbody tr", "this one")
	p.pictures("nodes")
	p.goTo("#/queues")
	p.shows("tbody tr", hostile()[1])
	p.pictures("queues")
	p.click("tbody a", "orders")
	p.holds("all of them", fmt.Sprintf(`document.querySelectorAll(".letters li").length === %d`, len(hostile())))
	p.read(`(document.querySelectorAll("details").forEach((d) => d.open = true), "")`)
	p.shows(".letters .block", script)
	p.fits("all letters")
	p.goTo("#/webhooks")
	p.shows("tbody tr", "hostile")
	p.pictures("webhooks")
	p.click("tbody a", "hostile")
	p.shows(".facts", script)
	p.shows("tbody tr", "503")
	p.goTo("#/settings")
	p.shows(".settings li", "admin.token")
	p.read(`(document.querySelectorAll("details").forEach((d) => d.open = true), "")`)
	p.holds("secrets are masked", fmt.Sprintf(`![%q, %q, %q].some((secret) => document.body.textContent.includes(secret))`, consoleToken, testAPIKey, authSecret))
	p.click(".check input", "")
	p.shows(".settings li", "queues.in")
	p.pictures("settings")
	for _, text := range []string{hostile()[1], hostile()[5]} {
		for _, view := range []string{"rooms", "connections", "queues", "webhooks", "nowhere", "tail?kind=", "connections?user=", "webhooks?event="} {
			p.goTo("#/" + view + "/" + text)
			p.holds("a view is there", `document.querySelector("#view h1")`)
		}
	}
	hostileTail(t, p, all)
	p.holds("it is all text", `document.querySelectorAll("#view script, #view img, #view iframe, #view object, #view [onload], #view [onerror], #view a[href^=javascript]").length === 0`)
}

// hostileTail has them pass as kinds, bodies, rooms and errors.
func hostileTail(t *testing.T, p *consolePage, all []*client.Client) {
	t.Helper()
	p.goTo("#/tail")
	pass := func() {
		for i, text := range hostile() {
			c := all[i%len(all)]
			_ = c.Call(t.Context(), text[:min(len(text), 200)], text, nil) // not found: that is shown, too
			_ = c.Publish(t.Context(), hostile()[0], text[:min(len(text), 200)], map[string]string{text[:20]: text})
		}
	}
	testenv.Eventually(t, consolePatience, "they pass", func() bool {
		pass()
		return p.read(`String(document.querySelectorAll(".tail li").length >= 14)`) == "true"
	})
	p.shows(".tail-kind", hostile()[0])
	p.shows(".tail summary .bad", "not_found")
	p.types("p")
	p.read(`(document.querySelectorAll(".tail details").forEach((d) => d.open = true), "")`)
	p.shows(".tail .block", hostile()[0])
	p.shows(".tail .detail", "no handler")
	p.pictures("tail-open")
	p.fits("the tail")
	p.read(`(document.querySelectorAll(".tail details").forEach((d) => d.open = false), "")`)
	p.pictures("tail")
}

// Everything can be reached and done without a mouse.
func TestConsoleKeyboard(t *testing.T) {
	s := consoleServe(t)
	s.dial("ann", "lobby")
	s.dial("bob", "lobby")
	p := enterConsole(t, s)
	p.shows(".tile", "Connections2")
	p.do(chromedp.Reload())
	p.live()
	p.keys(kb.Tab)
	p.holds("the way past the list of views comes first", `document.activeElement.matches(".skip") && getComputedStyle(document.activeElement).transform === "none"`)
	p.keys(kb.Enter)
	p.holds("it leads to the view, and no other", `document.activeElement.id === "main" && location.hash === ""`)
	p.keys(kb.Tab + kb.Tab)
	p.holds("what has the focus is seen", `getComputedStyle(document.activeElement.closest("label") ?? document.activeElement).outlineStyle === "solid"`)
	p.read(`(document.querySelectorAll(".plot-box")[2].focus(), "")`)
	p.holds("there are two points", `document.querySelectorAll(".plot .stroke.s0")[2].getAttribute("d").includes("L")`)
	p.keys(kb.ArrowLeft)
	p.holds("a plot is read", `/^open \d+ at \d\d:\d\d:\d\d$/.test(document.querySelectorAll(".plot [aria-live]")[2].textContent) && /:/.test(document.querySelectorAll(".plot-when")[2].textContent)`)
	p.keys(kb.Escape)
	p.holds("it goes on", `document.querySelectorAll(".plot-when")[2].textContent === "now"`)

	testenv.Eventually(t, consolePatience, "a shortcut is heard", func() bool { // its keys have to follow each other within a second or two
		p.types("gc")
		return p.read("location.hash") == "#/connections"
	})
	p.holds("a shortcut changes the view", `location.hash === "#/connections" && document.title.startsWith("Connections")`)
	p.holds("both are there", `document.querySelectorAll("tbody tr").length === 2`)
	p.types("/")
	p.holds("the search has the focus", `document.activeElement.type === "search"`)
	p.types("gr?ann")
	p.holds("what is typed is no shortcut", `document.activeElement.value === "gr?ann" && location.hash.startsWith("#/connections") && !document.querySelector("dialog")`)
	p.read(`(document.activeElement.select(), "")`)
	p.types("ann")
	p.holds("she is found", `document.querySelectorAll("tbody tr").length === 1 && document.querySelector("tbody tr").textContent.includes("ann")`)
	p.read(`(document.activeElement.blur(), "")`)
	p.types("j")
	p.holds("a row has the focus", `document.activeElement.matches("tbody a")`)
	p.keys(kb.Enter)
	p.shows(".facts", "ann")
	p.types("?")
	p.shows("dialog[open] dt", "g r")
	p.pictures("shortcuts")
	p.keys(kb.Escape)
	p.holds("Escape closes it", `!document.querySelector("dialog")`)
	p.types("d")
	p.holds("colours change, and stay", `document.documentElement.dataset.theme === "light" && localStorage.getItem("polywire.console.theme") === "light"`)
	p.types("d")
	p.holds("dark", `document.documentElement.dataset.theme === "dark" && getComputedStyle(document.body).backgroundColor === "rgb(13, 14, 22)"`)
	p.do(chromedp.Reload())
	p.live()
	p.holds("after a reload, too", `document.documentElement.dataset.theme === "dark"`)
	p.types("d")

	p.looks(400, "dark")
	p.holds("dark as the system is", `getComputedStyle(document.body).backgroundColor === "rgb(13, 14, 22)"`)
	p.read(`(document.getElementById("menu").focus(), "")`)
	p.keys(kb.Enter)
	p.holds("the list of views slides in, and has the focus", `document.activeElement.closest("#side") && document.getElementById("main").inert`)
	p.holds("it has slid in", `document.getAnimations().length === 0`)
	screenshot(p.ctx, t, "console-menu-400-dark.png")
	p.keys(kb.Escape)
	p.holds("Escape closes it", `document.activeElement.id === "menu" && !document.getElementById("main").inert`)
	p.keys(kb.Enter + kb.Tab + kb.Enter)
	p.holds("it leads on, and closes", `location.hash !== "" && !document.body.matches("[data-drawer]")`)
}

// A page whose server has gone says so.
func TestConsoleNotLive(t *testing.T) {
	s := consoleServe(t)
	p := enterConsole(t, s)
	p.shows(".tile", "Connections0")
	s.process.end()
	p.shows("#banner:not([hidden])", "Not live")
	p.shows("#status-text", "Not live")
	p.pictures("not-live")
	p.goTo("#/connections")
	p.shows(".failure", "Try again")
}
