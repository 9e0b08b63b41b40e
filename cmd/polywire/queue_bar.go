package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal reports whether people look at what is written there.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// counter shows how far long work has come. Nil shows nothing.
type counter struct{ bar *progressbar.ProgressBar }

// startCounter shows the progress to total messages, -1 where that is not known, if
// there is somebody to see it.
func startCounter(w io.Writer, visible bool, total int64, what string) *counter {
	if !visible || total == 0 {
		return nil
	}
	return &counter{progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription(what), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("messages"), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0))} // no goroutine
}

// at says how many are done. An error of the terminal is not the work's.
func (c *counter) at(n int) {
	if c != nil {
		_ = c.bar.Set(n)
	}
}

func (c *counter) clear() {
	if c != nil {
		_ = c.bar.Exit()
		_ = c.bar.Clear()
	}
}
