package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/polywire/polywire/internal/testenv"
)

// openTerminal returns both ends of a terminal: what a program writes to tty is read
// from screen.
func openTerminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		testenv.Missing(t, "a pseudo-terminal (/dev/ptmx)")
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

// Whoever looks at a replay sees how far it is, and in the end only the result.
func TestWebhookReplayBar(t *testing.T) {
	at := []string{"--data-dir", t.TempDir()}
	must := func(args ...string) {
		t.Helper()
		if _, _, err := run(t, "", append(append([]string{"webhook"}, args...), at...)...); err != nil {
			t.Fatal(err)
		}
	}
	must("endpoints", "add", "https://a.example/", "--type", "*")
	for range 6 {
		must("send", "order.paid", "1")
	}
	for _, limit := range []string{"0", "6"} {
		screen, tty := openTerminal(t)
		shown := make(chan string)
		go func() {
			var all bytes.Buffer
			part := make([]byte, 4096)
			for {
				n, err := screen.Read(part)
				all.Write(part[:n])
				if err != nil { // the other end was closed
					shown <- all.String()
					return
				}
			}
		}()
		root := newRoot()
		var out bytes.Buffer
		root.SetArgs(append([]string{"webhook", "replay", "--types", "*", "--rate", "10", "--limit", limit}, at...))
		root.SetOut(&out)
		root.SetErr(tty)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Error(err)
		}
		tty.Close()
		text := <-shown
		// Not each step is drawn: some may follow the one before too closely.
		if !strings.Contains(text, "replaying") || !regexp.MustCompile(map[string]string{"0": `[1-6]`, "6": `[1-6]/6`}[limit]).MatchString(text) {
			t.Errorf("with the limit %s the terminal shows %q", limit, text)
		}
		if end := text[strings.LastIndexAny(text, "\r\x1b")+1:]; strings.Contains(end, "replaying") {
			t.Errorf("the bar stays: %q", text)
		}
		if out.String() != "6 deliveries queued\n" {
			t.Errorf("the result is %q", out.String())
		}
	}
}
