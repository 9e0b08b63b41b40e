package polywire_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

// askHost asks for a page of the server, by a host.
func askHost(srv *polywire.Server, host string) int {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = host
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	return w.Code
}

func allows(srv *polywire.Server, origin string) bool {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Origin", origin)
	return srv.Host("native").AllowOrigin(r)
}

func TestReconfigureOriginsAndHosts(t *testing.T) {
	srv := newServer(t, nil, polywire.WithWires(native.New()), polywire.WithOrigins("https://a.example"))
	if askHost(srv, "any.example") != http.StatusNotFound || !allows(srv, "https://a.example") || allows(srv, "https://b.example") {
		t.Error("it begins wrong")
	}
	err := srv.Reconfigure(polywire.WithOrigins("https://b.example"), polywire.WithOrigins("https://c.example"), polywire.WithHostnames("mine.example"))
	if err != nil {
		t.Fatal(err)
	}
	if askHost(srv, "any.example") != http.StatusMisdirectedRequest || askHost(srv, "mine.example") != http.StatusNotFound {
		t.Error("the hosts are not the new ones")
	}
	if allows(srv, "https://a.example") || !allows(srv, "https://b.example") || !allows(srv, "https://c.example") {
		t.Error("the origins are not the new ones")
	}
	// What is wrong changes nothing, what is not given stays.
	for _, bad := range [][]polywire.LiveOption{
		{polywire.WithOrigins("https://d.example"), polywire.WithHostnames("no name")},
		{polywire.WithOrigins("d.example")},
		{polywire.WithHostnames()}, // there are no certificates
		{polywire.WithMaxConnections(-1, 0, 0)},
		{polywire.WithMessageRate(1, 0)},
		{polywire.WithMessageRate(-1, 1)},
		{polywire.WithMaxOpening(-1)},
	} {
		if err := srv.Reconfigure(bad...); !errors.Is(err, polywire.ErrConfig) {
			t.Errorf("%v", err)
		}
	}
	if err := srv.Reconfigure(polywire.WithRetryAfter(9 * time.Second)); err != nil {
		t.Error(err)
	}
	if askHost(srv, "any.example") != http.StatusMisdirectedRequest || allows(srv, "https://a.example") || !allows(srv, "https://c.example") {
		t.Error("something else has changed")
	}
	if err := srv.Reconfigure(polywire.WithAnyHostname()); err != nil || askHost(srv, "any.example") != http.StatusNotFound {
		t.Errorf("not any host: %v", err)
	}
	if c := srv.Configuration(); c.RetryAfter != 9*time.Second || c.MaxOpening != 10_000 {
		t.Errorf("%+v", c)
	}
}

// comes reports whether one more connection is let in.
func comes(t *testing.T, srv *polywire.Server) (p *peer, ok bool) {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{})
	if srv.Host("plain").Attach(wire.Link{Transport: a, Session: plainSession{}}) != nil {
		return nil, false
	}
	return &peer{t: t, link: b}, true
}

// A limit that comes later counts those that come from then on, and does not
// count those before when they go.
func TestReconfigureLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		var early []*peer
		for range 3 {
			early = append(early, connect(t, srv))
		}
		if err := srv.Reconfigure(polywire.WithMaxConnections(0, 2, 0)); err != nil {
			t.Fatal(err)
		}
		first, second := connect(t, srv), connect(t, srv)
		if _, ok := comes(t, srv); ok {
			t.Error("a third of an address was let in")
		}
		for _, p := range early {
			p.end()
		}
		synctest.Wait()
		if _, ok := comes(t, srv); ok {
			t.Error("those before the limit have made room")
		}
		first.end()
		synctest.Wait()
		third, ok := comes(t, srv)
		if !ok {
			t.Error("there is no room although one has gone")
		}
		if err := srv.Reconfigure(polywire.WithMaxConnections(2, 0, 0)); err != nil {
			t.Fatal(err)
		}
		if _, ok := comes(t, srv); ok {
			t.Error("one more than in all")
		}
		second.end()
		third.end()
	})
}

func TestReconfigureRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) { s.Handle("echo", echo) }, polywire.WithMessageRate(1, 100))
		speak := func(p *peer, n int) {
			for i := range n {
				p.send(wire.Packet{Type: wire.Call, ID: uint64(i + 1), Kind: "echo", Payload: text("x")})
			}
		}
		p := connect(t, srv)
		if err := srv.Reconfigure(polywire.WithMessageRate(0, 0)); err != nil {
			t.Fatal(err)
		}
		speak(p, 300)
		for range 300 {
			p.receive()
		}
		if err := srv.Reconfigure(polywire.WithMessageRate(1, 2)); err != nil {
			t.Fatal(err)
		}
		q := connect(t, srv)
		speak(q, 3)
		if code := q.closed(); code != polywire.CloseTooManyRequests {
			t.Errorf("closed with %d", code)
		}
		p.end()
	})
}

// It is changed and read by many at once.
func TestReconfigureAtOnce(t *testing.T) {
	srv := newServer(t, nil, polywire.WithWires(native.New()))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				if err := srv.Reconfigure(polywire.WithOrigins("https://a.example"), polywire.WithHostnames("a.example"), polywire.WithMaxConnections(1, 1, 1)); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 100 {
				askHost(srv, "a.example")
				allows(srv, "https://a.example")
				srv.Configuration()
			}
		})
	}
	all.Wait()
}
