package chrometest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/polywire/polywire/internal/chrometest"
	"github.com/polywire/polywire/internal/testenv"
)

var chromium chrometest.Shared

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(chromium.Main(m)) }

// Pages of one browser know nothing of each other, and each has the focus.
func TestPagesAreApart(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!DOCTYPE html><title>a page</title>"))
	}))
	t.Cleanup(site.Close)
	for range 2 {
		page := chromium.Page(t, 5*time.Minute)
		if err := chromedp.Do(page, chromedp.Navigate(site.URL)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // when all are open
			got, err := chromedp.Run(page, chromedp.Evaluate[string](`[innerWidth, document.hasFocus(), document.visibilityState, document.cookie, localStorage.length].join()`))
			if err != nil || got != "1200,true,visible,name=value,1" {
				t.Errorf("the page says %s, %v", got, err)
			}
		})
		got, err := chromedp.Run(page, chromedp.Evaluate[string](`[document.cookie, localStorage.length].join()`))
		if err != nil || got != ",0" {
			t.Errorf("a page that is new says %s, %v", got, err)
		}
		if _, err := chromedp.Run(page, chromedp.Evaluate[string](`document.cookie = "name=value", localStorage.setItem("a", "b"), ""`)); err != nil {
			t.Fatal(err)
		}
	}
}
