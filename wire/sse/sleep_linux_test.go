package sse_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/polywire/polywire"
)

// Quiet streams have no goroutine: neither the server's, nor net/http's.
func TestQuietStreamsSleep(t *testing.T) {
	const n = 100
	srv, h := site(t, (*httptest.Server).Start, polywire.WithHeartbeat(time.Second, time.Second))
	before := runtime.NumGoroutine()
	all := make([]net.Conn, n)
	for i := range all {
		nc, err := net.Dial("tcp", h.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := fmt.Fprintf(nc, "GET /events?room=a HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		all[i] = nc
	}
	until(t, "all sleep", func() bool { return srv.Stats().Asleep == n })
	until(t, "their goroutines have ended", func() bool { return runtime.NumGoroutine() < before+20 })
	send(t, srv.Room("a"), "k", 1)
	for _, nc := range all {
		r := bufio.NewReader(nc)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "\r\n" {
				break
			}
		}
		for readEvent(t, r) != "event: k\nroom: \"a\"\ndata: 1\n\n" {
		}
		if got := readEvent(t, r); got != ": ping\n\n" {
			t.Errorf("%q", got)
		}
	}
	if got := srv.Stats().Asleep; got != n {
		t.Errorf("%d of %d sleep after a message and a heartbeat", got, n)
	}
	for _, nc := range all[:n/2] {
		nc.Close()
	}
	until(t, "half of them have ended", func() bool { return srv.Stats().Connections == n/2 })
	for _, c := range srv.All().Conns() {
		_ = c.Close(4000, "bye")
	}
	for _, nc := range all[n/2:] {
		if _, err := io.Copy(io.Discard, nc); err != nil {
			t.Error(err)
		}
		nc.Close()
	}
	until(t, "all have ended", func() bool { return srv.Stats().Connections == 0 })
}
