package cli

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Terminal reports whether people look at what is written there.
func Terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Counter shows how far long work has come. Nil shows nothing.
type Counter struct{ bar *progressbar.ProgressBar }

// StartCounter shows the progress to total messages, -1 where that is not known, if
// there is somebody to see it.
func StartCounter(w io.Writer, visible bool, total int64, what string) *Counter {
	if !visible || total == 0 {
		return nil
	}
	return &Counter{progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription(what), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("messages"), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0))} // no goroutine
}

// At says how many are done. An error of the terminal is not the work's.
func (c *Counter) At(n int) {
	if c != nil {
		_ = c.bar.Set(n)
	}
}

// Clear takes it away.
func (c *Counter) Clear() {
	if c != nil {
		_ = c.bar.Exit()
		_ = c.bar.Clear()
	}
}
