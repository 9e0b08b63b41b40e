package polywire_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
)

// Links are told of a shutdown although an HTTP request takes its time.
func TestShutdownBesideHTTP(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(srv *polywire.Server) {
		srv.HandleHTTP("/slow", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			w.WriteHeader(http.StatusTeapot)
		}))
	})
	defer s.close()
	c, slow := s.open(languages()[0]), s.connect(languages()[0])
	slow.write([]byte("GET /slow HTTP/1.1\r\nHost: example.com\r\n\r\n"))
	<-entered
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() { done <- s.srv.Shutdown(ctx) }()
	c.closes(polywire.CloseShutdown)
	close(release)
	if resp, err := http.ReadResponse(slow.r, nil); err != nil || resp.StatusCode != http.StatusTeapot {
		t.Errorf("the request ended with %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Close cuts off what is still opening: it does not go on for its own time.
func TestCloseCutsOpenings(t *testing.T) {
	for _, l := range languages() {
		s := newSite(t, nil, polywire.WithHandshakeTimeout(time.Hour))
		half := s.connect(l)
		half.write([]byte{opText})
		s.open(l).echo() // accepted after the other one
		if err := s.srv.Close(); err != nil {
			t.Error(err)
		}
		half.drains()
		s.close()
	}
}

// Connections that never sleep have their heartbeats all the same.
func TestHeartbeatWithoutSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithSleepAfter(time.Hour))
		p := connect(t, srv)
		defer p.end()
		start := time.Now()
		if f, err := p.next(); err != nil || f.Type != transport.Ping {
			t.Fatalf("got %v %v", f.Type, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("the first ping came after %v", took)
		}
	})
}

// A peer that is to fetch the close frame and is not there does not hold up a
// shutdown.
func TestShutdownOfAbsentPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := polywire.New(polywire.WithCloseTimeout(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		p, shut := attachPaced(t, srv, transport.Heartbeat{Interval: time.Hour, Timeout: time.Hour})
		defer p.end()
		shut.Store(true)
		start := time.Now()
		if err := srv.Shutdown(t.Context()); err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
