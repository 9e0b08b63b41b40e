package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the program on any port until the test is over.
func start(t *testing.T, at times, args ...string) site {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	out := &output{more: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, append([]string{"--port", "0", "--ping-interval", at.interval.String(),
			"--ping-timeout", at.timeout.String(), "--connect-timeout", at.connect.String()}, args...), out)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	select {
	case <-out.more:
	case err := <-done:
		done <- err
		t.Fatalf("the program ended: %v", err)
	}
	_, url, ok := strings.Cut(strings.TrimSpace(out.String()), "listening on ")
	if !ok {
		t.Fatalf("it printed %q", out)
	}
	return site{times: at, base: url}
}

// TestBothLoopbacks: clients look for localhost by either protocol.
func TestBothLoopbacks(t *testing.T) {
	at := start(t, calm())
	_, port, _ := strings.Cut(at.base, "localhost:")
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		at.base = "http://" + host + ":" + port
		p := newPeer(t, at, "/engine.io/", "4")
		if host == "[::1]" && !hasIPv6() {
			t.Log("NOT TESTED HERE: this machine has no IPv6")
			continue
		}
		p.poll()
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	return err == nil && l.Close() == nil
}

func TestElsewhere(t *testing.T) {
	p := newPeer(t, start(t, calm()), "", "4")
	for _, path := range []string{"/", "/socket.io", "/other/socket.io/"} {
		if a := p.on(path).do(http.MethodGet, p.query("polling"), nil); a.err != nil || a.status != http.StatusNotFound {
			t.Errorf("%s: %v, want status 404", path, a)
		}
	}
	p.on("/socket.io/below/").poll()
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--port", "many"}, {"--port", "70000"}, {"--address", "nowhere.invalid"}, {"--what"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q is no mistake", args)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &out); err != nil || !strings.Contains(out.String(), "-eio3") {
		t.Errorf("help: %v, %q", err, out.String())
	}
}
