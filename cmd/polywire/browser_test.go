package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/polywire/polywire/internal/chrometest"
)

// chromium is that of all tests.
var chromium chrometest.Shared

// browser returns a context for a page with a profile of this test's own.
func browser(t *testing.T) context.Context {
	t.Helper()
	return browserFor(t, 5*time.Minute)
}

// browserFor is browser for a test that may take longer.
func browserFor(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	return chromium.Page(t, limit)
}

// text returns what a person can read in an element.
func text(ctx context.Context, t *testing.T, selector chromedp.CSS) string {
	t.Helper()
	s, err := chromedp.Run(ctx, chromedp.Text(selector))
	if err != nil {
		t.Fatalf("text of %s: %v", selector, err)
	}
	return s
}

// The demo as a visitor has it: the page connects, the bot is there and
// answers, somebody on another wire is heard, and the latency of a call is shown.
func TestDemoInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	line := start(t, 1, "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")[0]
	page := strings.Fields(line)[4]
	err := chromedp.Do(ctx,
		chromedp.Navigate(page),
		chromedp.WaitVisible(chromedp.CSS(`#status[data-status="running"]`)),
		chromedp.WaitEnabled(chromedp.CSS(`#send`)),
		chromedp.WaitVisible(chromedp.CSS(`#members .chip`)),
		chromedp.SendKeys(chromedp.CSS(`#text`), "hello <b>bot</b>"),
		chromedp.Click(chromedp.CSS(`#send`)),
		chromedp.WaitVisible(chromedp.CSS(`#lines li.line.mine[data-state="sent"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#lines li.line.theirs`)),
		chromedp.WaitReady(chromedp.CSS(`#sparkline .stroke`)),
	)
	if err != nil {
		t.Fatal(err)
	}
	if members := text(ctx, t, "#members"); !strings.Contains(members, "Wiry") {
		t.Errorf("members: %q", members)
	}
	lines := text(ctx, t, "#lines")
	if !strings.Contains(lines, "hello <b>bot</b>") || !strings.Contains(lines, "Nice to have you on the wire") {
		t.Errorf("lines: %q", lines)
	}
	ws := strings.Replace(strings.TrimSuffix(page, "/"), "http://", "ws://", 1)
	if _, _, err := run(t, "", "call", "chat.say", `{"room":"lobby","text":"from a terminal"}`, "--url", ws); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.Search(`//li[contains(., "from a terminal")]`))); err != nil {
		t.Fatal(err)
	}
	if latency := text(ctx, t, "#latency"); !regexp.MustCompile(`^[0-9.]+ m?s$`).MatchString(latency) {
		t.Errorf("latency: %q", latency)
	}
	screenshot(ctx, t, "demo.png")
}

// screenshot writes a picture where POLYWIRE_SCREENSHOTS says, for a person to look at.
func screenshot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("POLYWIRE_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(dir+"/"+name, png, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}
