package main

import (
	"errors"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
)

func TestConsoleLogin(t *testing.T) {
	s := consoleServe(t)
	p := openConsole(t, s)
	p.holds("the form is there, ready to type", `document.activeElement?.id === "token" && document.getElementById("shell").hidden`)
	p.pictures("login")
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), "another-token-of-somebody\r"))
	p.shows("#login-error", "This is not the token.")
	p.holds("nothing was let in", `document.getElementById("shell").hidden`)
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), consoleToken+"\r")) // what was wrong is selected
	p.live()
	p.holds("scripts do not see the cookie, the page forgets the token", `document.cookie === "" && document.getElementById("token").value === ""`)
	p.do(chromedp.Reload())
	p.live()
	p.do(chromedp.Click(chromedp.CSS("#logout")))
	p.holds("it is over", `document.getElementById("shell").hidden && document.activeElement?.id === "token"`)
	p.holds("for the server, too", `fetch("api/overview").then((r) => r.status === 401)`)
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), consoleToken+"\r"))
	p.live()
	p.holds("a session that ends elsewhere", `fetch("api/logout", { method: "POST" }).then((r) => r.status === 204)`)
	p.shows("#login-error", "The session is over")
}

// The overview moves, connections come and go, and one is disconnected.
func TestConsoleConnections(t *testing.T) {
	s := consoleServe(t)
	p := enterConsole(t, s)
	p.shows(".tile", "Connections0")
	drawn := p.read(`(document.querySelector(".plot .stroke.s0").getAttribute("d") ?? "")`)
	ann, bob := s.dial("ann", "lobby"), s.dial("bob", "lobby", "news")
	p.shows(".tile", "Connections2")
	p.holds("the plot moves", `document.querySelector(".plot .stroke.s0").getAttribute("d") !== `+quoted(drawn))
	p.holds("what it shows is said", `/Connections: open 2 at \d\d:\d\d:\d\d/.test(document.querySelectorAll(".plot-box")[2].ariaLabel)`)
	p.shows("table[aria-label=Wires] tr", "native2")

	p.goTo("#/connections")
	p.holds("both are there", `document.querySelectorAll("tbody tr").length === 2`)
	p.do(chromedp.SendKeys(chromedp.CSS("input[type=search]"), "BOB"))
	p.holds("the search is done by the server, and kept in the address", `document.querySelectorAll("tbody tr").length === 1 && location.hash === "#/connections?q=BOB"`)
	p.do(chromedp.Clear(chromedp.CSS("input[type=search]")), chromedp.SendKeys(chromedp.CSS("input[type=search]"), "nobody"))
	p.shows(".empty", "No connection matches.")
	p.click(".empty a", "show all")
	p.holds("both are there again", `document.querySelectorAll("tbody tr").length === 2`)
	carl := s.dial("carl")
	p.shows("tbody tr", "carl")
	carl.Close()
	p.holds("who leaves is gone", `document.querySelectorAll("tbody tr").length === 2`)

	p.click("tbody tr", "ann") // leads where its link does
	p.shows(".facts", "ann")
	p.click("a.chip", "lobby")
	p.holds("the room's members", `document.querySelectorAll("tbody tr").length === 2 && location.hash === "#/rooms/lobby"`)
	p.goTo("#/connections?user=bob")
	p.shows(".filter", "user bob")
	p.click("tbody a", "")
	p.shows(".facts", "bob")
	p.click("button", "Disconnect…")
	p.shows("dialog", "1 connection ends at once")
	p.keys(kb.Escape)
	p.holds("Escape closes it", `!document.querySelector("dialog")`)
	p.click("button", "Disconnect…")
	p.do(chromedp.SendKeys(chromedp.CSS("#reason"), "enough"))
	p.click("dialog button", "Disconnect")
	testenv.Eventually(t, consolePatience, "he is sent away", func() bool { return bob.Err() != nil })
	if closed := (*polywire.CloseError)(nil); !errors.As(bob.Err(), &closed) || closed.Code != polywire.CloseForceDisconnect || closed.Reason != "enough" {
		t.Errorf("he is told %v", bob.Err())
	}
	p.shows(".empty", "This connection has ended.")
	if ann.Err() != nil {
		t.Errorf("the other one has %v", ann.Err())
	}
}

func TestConsoleTail(t *testing.T) {
	s := consoleServe(t)
	p := enterConsole(t, s)
	p.goTo("#/tail")
	p.shows(".empty", "Waiting for messages.")
	c := s.dial("ann", "lobby")
	say := func(kind, text string) {
		t.Helper()
		if err := c.Call(t.Context(), kind, text, nil); err != nil {
			t.Fatal(err)
		}
	}
	// The stream that has the tail may come after the page.
	testenv.Eventually(t, consolePatience, "the tail is live", func() bool {
		say("echo", "are you there")
		return p.read(`String(document.querySelectorAll(".tail li").length > 0)`) == "true"
	})
	p.goTo("#/tail?kind=echo&dir=in")
	p.holds("it begins anew", `document.querySelectorAll(".tail li").length === 0`)
	testenv.Eventually(t, consolePatience, "the filter is live", func() bool {
		say("echo", "first")
		return p.read(`String(document.querySelectorAll(".tail li").length > 0)`) == "true"
	})
	say("time", "")
	say("echo", "to be read")
	p.holds("no other kind and no answers", `![...document.querySelectorAll(".tail summary")].some((row) => !row.textContent.includes("echo") || row.querySelector(".is-out"))`)
	p.holds("the last one opens, and has its body", `(() => { const all = document.querySelectorAll(".tail details"); all[all.length - 1].open = true; return [...document.querySelectorAll(".tail .block")].some((body) => body.textContent.includes("to be read")) })()`)
	p.types("p")
	p.shows("button[aria-pressed=true]", "Go on")
	shown := p.read(`String(document.querySelectorAll(".tail li").length)`)
	say("echo", "while paused")
	p.shows("[role=status]", "Paused, 1 message waiting")
	p.holds("it stands still", `String(document.querySelectorAll(".tail li").length) === `+quoted(shown))
	p.types("p")
	p.holds("it goes on", `document.querySelectorAll(".tail li").length > `+shown)
	p.click("button", "Clear")
	p.shows(".empty", "Waiting for messages.")
}

func TestConsoleQueues(t *testing.T) {
	s := consoleServe(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		s.must("publish", "orders", `{"n":"`+id+`"}`, "--id", id, "--kind", "order.new", "--header", "shop=7")
	}
	s.kills("orders", 4)
	p := enterConsole(t, s)
	p.goTo("#/queues")
	p.shows("tbody tr", "orders")
	p.click("tbody a", "orders")
	p.holds("all dead letters", `document.querySelectorAll(".letters li").length === 4`)
	p.shows(".tile", "Dead4")
	p.click(".letters summary", "")
	p.shows(".letters .block", `"n"`)
	p.shows(".letters .facts", "no such thing as")
	p.pictures("queue")
	p.click(".letters details[open] button", "Replay")
	p.shows("#notice", "Replayed")
	p.holds("one fewer", `document.querySelectorAll(".letters li").length === 3`)
	s.awaits("orders", 1, 3)
	p.click(".letters summary", "")
	p.click(".letters details[open] button", "Discard…")
	p.shows("dialog", "Discard this dead letter?")
	p.click("dialog button", "Discard")
	p.holds("two fewer", `document.querySelectorAll(".letters li").length === 2`)
	s.awaits("orders", 1, 2)
	p.shows(".tile", "Dead2")
	p.click("button", "Discard all…")
	p.shows("dialog", "Discard 2 dead letters?")
	p.click("dialog button", "Cancel")
	p.click("button", "Replay all…")
	p.shows("dialog", "Replay 2 dead letters?")
	p.click("dialog button", "Replay")
	p.shows("#notice", "Replayed 2 dead letters.")
	p.shows(".empty", "No dead letters.")
	s.awaits("orders", 3, 0)
}

func TestConsoleWebhooks(t *testing.T) {
	s := consoleServe(t)
	s.endpoint("shop", "a shop that is closed", 503)
	s.endpoint("bank", "a bank that is open", 204)
	c := s.dial("ann")
	if err := c.Call(t.Context(), "hook.paid", map[string]int{"order": 7}, nil); err != nil {
		t.Fatal(err)
	}
	p := enterConsole(t, s)
	p.goTo("#/webhooks")
	p.shows("tbody tr", "failing")
	p.shows("tbody tr", "healthy")
	p.click("tbody a", "shop")
	p.shows("tbody tr", "503")
	p.shows(".facts", "a shop that is closed")
	p.pictures("endpoint")
	p.goTo("#/webhooks/bank")
	p.shows("tbody tr", "204")
	p.click("tbody button", "Replay")
	p.shows("dialog", "goes to bank once more")
	p.click("dialog button", "Send again")
	p.shows("#notice", "Queued 1 event.")
	p.shows("tbody tr", "replayed")
	p.click("tbody a", "") // to the event
	p.shows("tbody tr", "shop")
	p.holds("the way that an endpoint has in its URL is not shown", `!document.body.innerText.includes("path-that-is-a-secret")`)
}
