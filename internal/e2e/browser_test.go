package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/polywire/polywire/internal/chrometest"
	"github.com/polywire/polywire/internal/testenv"
)

// chromium is that of all tests.
var chromium chrometest.Shared

// browser returns a context for a page with a profile of this test's own.
func browser(t *testing.T) context.Context {
	t.Helper()
	return chromium.Page(t, 8*time.Minute)
}

// evaluate runs an expression in the page and waits for its promise.
func evaluate[T any](ctx context.Context, t *testing.T, format string, args ...any) T {
	t.Helper()
	expression := fmt.Sprintf(format, args...)
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// visit opens a page of the folder browser and waits until it is ready.
func visit(ctx context.Context, t *testing.T, url string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS(`html[data-ready="yes"]`))); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

// The clients' own bundles in a page of another origin than the server's. A 2.x
// client is there for its binary form of polling, which it has in browsers only.
func TestScenariosInBrowser(t *testing.T) {
	needNode(t) // for the packages
	testenv.Need(t, "chromium")
	t.Parallel()
	for _, c := range []struct{ client, mode string }{
		{"4", "polling"}, {"4", "websocket"}, {"4", "upgrade"}, {"2", "polling"}, {"2", "upgrade"},
	} {
		t.Run(clients[c.client]+" "+c.mode, func(t *testing.T) {
			t.Parallel()
			control := serve(t)
			ctx := browser(t)
			visit(ctx, t, control+"/e2e/browser/page.html")
			results := evaluate[[]result](ctx, t, "runScenarios(%s, %q)", c.client, c.mode)
			for _, r := range results {
				r.check(t)
			}
			if len(results) == 0 {
				t.Error("no scenario was run")
			}
		})
	}
}
