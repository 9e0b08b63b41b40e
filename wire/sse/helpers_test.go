package sse_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/sse"
)

// server serves the wire in memory until the test is over.
func server(t *testing.T, p *sse.Protocol, opts ...polywire.Option) (*polywire.Server, *transporttest.Listener) {
	t.Helper()
	opts = append([]polywire.Option{polywire.WithWires(p), polywire.WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	srv, err := polywire.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, "http") }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return srv, l
}

func dial(t *testing.T, l *transporttest.Listener) net.Conn {
	t.Helper()
	nc, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// come returns what has come when everybody has come to rest, and whether that
// was all there will ever be.
func come(t *testing.T, nc net.Conn) (text string, end bool) {
	t.Helper()
	return conntest.Rest(t, nc)
}

// get sends a request of HTTP/1.1 with further lines of its head.
func get(t *testing.T, nc net.Conn, target string, lines ...string) {
	t.Helper()
	say(t, nc, "GET "+target+" HTTP/1.1\r\nHost: server\r\n"+strings.Join(append(lines, "", ""), "\r\n"))
}

func say(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
}

// streamHead is what a stream begins with on HTTP/1.1, in virtual time.
const streamHead = "HTTP/1.1 200 OK\r\n" +
	"Cache-Control: no-store, no-transform\r\n" +
	"Connection: close\r\n" +
	"Content-Type: text/event-stream\r\n" +
	"Date: Sat, 01 Jan 2000 00:00:00 GMT\r\n" +
	"Transfer-Encoding: chunked\r\n" +
	"Vary: Origin\r\n" +
	"X-Accel-Buffering: no\r\n" +
	"\r\n"

// stream opens one and checks its beginning.
func stream(t *testing.T, l *transporttest.Listener, target string, lines ...string) net.Conn {
	t.Helper()
	nc := dial(t, l)
	get(t, nc, target, lines...)
	if got, _ := come(t, nc); got != streamHead+"c\r\n: polywire\n\n\r\n" {
		t.Fatalf("the stream begins with %q", got)
	}
	return nc
}

func send(t *testing.T, target polywire.Target, kind string, v any) {
	t.Helper()
	if err := target.Send(context.Background(), kind, v); err != nil {
		t.Fatal(err)
	}
}

// expect checks the next chunks, given without their frames.
func expect(t *testing.T, nc net.Conn, want ...string) {
	t.Helper()
	got, _ := come(t, nc)
	if got := unchunk(t, got); got != strings.Join(want, "") {
		t.Fatalf("came %q, want %q", got, want)
	}
}

func unchunk(t *testing.T, text string) string {
	t.Helper()
	var all strings.Builder
	for text != "" {
		size, rest, _ := strings.Cut(text, "\r\n")
		n := 0
		for _, c := range size {
			n = n<<4 | strings.IndexRune("0123456789abcdef", c)
		}
		if n < 0 || len(rest) < n+2 || rest[n:n+2] != "\r\n" {
			t.Fatalf("not chunks: %.200q", text)
		}
		all.WriteString(rest[:n])
		text = rest[n+2:]
	}
	return all.String()
}
