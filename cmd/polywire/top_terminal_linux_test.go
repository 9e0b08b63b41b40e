package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// watched keeps what a terminal was told.
type watched struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func watch(t *testing.T, screen, tty *os.File) *watched {
	t.Helper()
	w := new(watched)
	over := make(chan struct{})
	go func() {
		defer close(over)
		part := make([]byte, 4096)
		for {
			n, err := screen.Read(part)
			w.mu.Lock()
			w.all.Write(part[:n])
			w.mu.Unlock()
			if err != nil { // the other end was closed
				return
			}
		}
	}()
	t.Cleanup(func() {
		tty.Close()
		<-over
	})
	return w
}

func (w *watched) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// page is the latest that is whole.
func (w *watched) page() string {
	text := w.text()
	end := strings.LastIndex(text, "\x1b[J")
	if end < 0 {
		return ""
	}
	return text[strings.LastIndex(text[:end], "\x1b[H")+1 : end]
}

func termios(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	now, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *now
}

// In a terminal there is a page that follows the server, the size and the keys,
// and in the end the terminal is as it was.
func TestTopTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	var down atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/overview"):
			_, _ = fmt.Fprint(w, `{"node":"n","name":"one","state":"running","now":{"connections":321,"wires":[{"wire":"native","connections":321}]},"point":{}}`)
		default:
			_, _ = fmt.Fprint(w, `{"connections":[{"id":"a","user":"\u001b]0;owned\u0007\u202e\n","messages_in":7}]}`)
		}
	}))
	defer s.Close()
	for _, how := range []string{"q", "\x03"} {
		screen, tty := openTerminal(t)
		before := termios(t, tty)
		w := watch(t, screen, tty)
		root := newRoot()
		root.SetArgs([]string{"top", s.URL, "--every", "100ms"})
		root.SetIn(tty)
		root.SetOut(tty)
		ended := make(chan error, 1)
		go func() { ended <- root.ExecuteContext(t.Context()) }()
		sees := func(what string) {
			t.Helper()
			eventually(t, "the page has "+what, func() bool { return strings.Contains(w.page(), what) })
		}
		types := func(keys string) {
			t.Helper()
			if _, err := screen.WriteString(keys); err != nil {
				t.Fatal(err)
			}
		}
		sees("321")
		sees("CONNECTIONS by in")
		types("xs")
		sees("CONNECTIONS by out")
		down.Store(true)
		sees("AWAY: the server says 503")
		down.Store(false)
		eventually(t, "the server is back", func() bool { return !strings.Contains(w.page(), "AWAY") && strings.Contains(w.page(), "CONNECTIONS") })
		if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 5, Col: 44}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // as the kernel does for who was started there
			t.Fatal(err)
		}
		eventually(t, "the page fits", func() bool { return strings.Count(w.page(), "\r\n") == 4 })
		types(how)
		if err := <-ended; err != nil {
			t.Errorf("%q: %v", how, err)
		}
		eventually(t, "the terminal is given back", func() bool { return strings.HasSuffix(w.text(), "\x1b[?25h\x1b[?1049l") })
		if after := termios(t, tty); after != before {
			t.Errorf("%q: the terminal is not as it was", how)
		}
		if text := w.text(); !strings.HasPrefix(text, "\x1b[?1049h") || strings.Contains(text, "owned\x07") || strings.Contains(text, "]0;owned\x1b") || strings.Contains(text, "\x1b]0") {
			t.Errorf("%q: the terminal was told %.300q", how, text)
		}
	}
}

func TestTopColours(t *testing.T) {
	t.Setenv("TERM", "xterm")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"node":"n","state":"running","now":{"connections":5},"point":{}}`)
	}))
	defer s.Close()
	for _, none := range []string{"", "1"} {
		t.Setenv("NO_COLOR", none)
		screen, tty := openTerminal(t)
		w := watch(t, screen, tty)
		root := newRoot()
		root.SetArgs([]string{"top", s.URL, "--every", "100ms"})
		root.SetIn(tty)
		root.SetOut(tty)
		ended := make(chan error, 1)
		go func() { ended <- root.ExecuteContext(t.Context()) }()
		eventually(t, "there is a page", func() bool { return strings.Contains(w.page(), "connections") })
		if colours := strings.Contains(w.page(), "\x1b[1m"); colours != (none == "") {
			t.Errorf("with NO_COLOR=%q there are colours: %v", none, colours)
		}
		if _, err := screen.WriteString("q"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
