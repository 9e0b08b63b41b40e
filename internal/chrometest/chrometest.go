// Package chrometest runs a real Chromium for tests: one for all tests of a
// package, since to start one takes seconds of a processor, in which each test
// has pages with a profile of its own.
package chrometest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/polywire/polywire/internal/testenv"
)

// Width and Height are of a page's window, in pixels.
const (
	Width  = 1200
	Height = 800
)

// startTimeout is for a browser to start on a machine that has much else to do.
const startTimeout = 3 * time.Minute

// Shared is a headless browser. The zero value is ready. It may be asked by
// several tests at a time.
type Shared struct {
	mu   sync.Mutex
	ctx  context.Context //nolint:containedctx // it is the browser
	ends []func()        // what ends it, in this order
	err  error
}

// Page returns a context for an empty page that ends with the test, or after
// the limit. The first call starts the browser; where Chromium is not
// installed the test is skipped, or fails in a full run.
func (s *Shared) Page(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	browser, err := s.start(testenv.Program(t, "chromium"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // opens it, without the limit of what follows
		t.Fatal(err)
	}
	// Each page has the focus, whichever was opened last.
	_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, limit)
	t.Cleanup(cancel)
	return ctx
}

func (s *Shared) start(path string) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx != nil || s.err != nil {
		return s.ctx, s.err
	}
	dir, err := os.MkdirTemp("", "polywire-chromium-")
	if err != nil {
		s.err = err
		return nil, err
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(Width, Height),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(dir),
		chromedp.WSURLReadTimeout(startTimeout))
	alloc, end := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	s.ends = []func(){cancel, end, func() { _ = os.RemoveAll(dir) }} // it is one for temporary files
	if s.err = chromedp.Do(ctx); s.err != nil {
		return nil, s.err
	}
	s.ctx = ctx
	return ctx, nil
}

// Main wraps a package's tests so that the browser ends before goroutines are counted:
//
//	func TestMain(m *testing.M) { testenv.VerifyNoLeaks(browser.Main(m)) }
func (s *Shared) Main(m Runner) *Main { return &Main{m, s} }

// Runner is a [testing.M], or another package's Main.
type Runner interface{ Run() int }

// Main is what [Shared.Main] returns.
type Main struct {
	m      Runner
	shared *Shared
}

// Run runs the tests and ends the browser.
func (m *Main) Run() int {
	code := m.m.Run()
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	for _, end := range m.shared.ends {
		end()
	}
	return code
}
