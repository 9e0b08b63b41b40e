package polywire_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

// doorWire makes a link in memory of each request.
type doorWire struct {
	t     *testing.T
	peers []*peer
}

func (*doorWire) Name() string { return "plain" }

func (d *doorWire) Doors() []wire.Door {
	return []wire.Door{{Path: "/door", HTTP: func(h wire.Host, w http.ResponseWriter, r *http.Request) {
		a, b := transporttest.Pipe(transporttest.PipeOptions{})
		d.peers = append(d.peers, &peer{t: d.t, link: b})
		if err := h.Attach(wire.Link{Transport: a, Session: plainSession{}, Request: r}); err != nil {
			w.WriteHeader(http.StatusTeapot)
		}
	}}}
}

func (d *doorWire) end() {
	for _, p := range d.peers {
		p.end()
	}
}

// knock asks at the door from an address, and returns the status.
func knock(srv *polywire.Server, from string, forwarded ...string) int {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/door", nil)
	r.RemoteAddr = from
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	return w.Code
}

// atDoor starts a server, and returns what it answers at the door.
func atDoor(t *testing.T, opt polywire.Option) func(addr string) int {
	t.Helper()
	srv := newServer(t, nil, polywire.WithWires(&answering{}), opt)
	r := httptest.NewRequest(http.MethodGet, "http://example.com/door", nil)
	return func(addr string) int {
		status := status{200, http.Header{}}
		r.RemoteAddr = addr
		srv.ServeHTTP(&status, r)
		return status.code
	}
}

func TestAcceptRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := atDoor(t, polywire.WithAcceptRate(2, 3))
		for i, want := range []int{200, 200, 200, 503, 503} {
			if got := at(fmt.Sprintf("192.0.2.%d:1", i)); got != want {
				t.Errorf("connection %d: %d", i, got)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		for i, want := range []int{200, 200, 503} {
			if got := at("192.0.2.1:1"); got != want {
				t.Errorf("a second later, connection %d: %d", i, got)
			}
		}
	})
}

func TestAcceptRatePerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := atDoor(t, polywire.WithAcceptRatePerAddress(1, 2))
		for _, step := range []struct {
			addr string
			want int
		}{
			{"192.0.2.1:1", 200}, {"192.0.2.1:2", 200}, {"192.0.2.1:3", 503}, {"192.0.2.2:1", 200},
			{"[::ffff:192.0.2.1]:9", 503},
			{"[2001:db8::1]:1", 200}, {"[2001:db8::2]:1", 200}, {"[2001:db8::3:4]:1", 503},
			{"[2001:db8:0:1::1]:1", 200}, {"[fe80::1%eth0]:1", 200}, {"@", 200},
		} {
			if got := at(step.addr); got != step.want {
				t.Errorf("%s: %d", step.addr, got)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		if at("192.0.2.1:4") != 200 || at("192.0.2.1:5") != 503 {
			t.Error("a second later there is not one place")
		}
	})
}

// What is remembered of addresses is bounded; beyond that they count as one.
func TestAcceptRateOfVeryMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := atDoor(t, polywire.WithAcceptRatePerAddress(0.001, 1))
		many := func(net int) (refused int) {
			for i := range 1 << 16 {
				if at(fmt.Sprintf("10.%d.%d.%d:1", net, i>>8, i&255)) != 200 {
					refused++
				}
			}
			return refused
		}
		if n := many(1); n != 0 {
			t.Errorf("%d of the first were refused", n)
		}
		if n := many(2); n != 1<<16-1 {
			t.Errorf("%d of those beyond the bound were refused", n)
		}
		time.Sleep(time.Hour)
		if n := many(3); n != 0 {
			t.Errorf("%d were refused when all were forgotten", n)
		}
	})
}

// status is the least of a response.
type status struct {
	code   int
	header http.Header
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) Write(b []byte) (int, error) { return len(b), nil }
func (s *status) WriteHeader(code int)        { s.code = code }

// answering is a wire that makes no links.
type answering struct{ doorWire }

func (*answering) Doors() []wire.Door {
	return []wire.Door{{Path: "/door", HTTP: func(wire.Host, http.ResponseWriter, *http.Request) {}}}
}

func TestConnectionsPerNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &doorWire{t: t}
		srv := newServer(t, nil, polywire.WithWires(w), polywire.WithMaxConnections(0, 1, 0), polywire.WithTrustedProxies("10.0.0.0/8"))
		defer w.end()
		for _, step := range []struct {
			addr string
			want int
		}{
			{"2001:db8::1", 200}, {"2001:db8::ffff:1", 503}, {"2001:db8:1::1", 200}, {"192.0.2.1", 200}, {"192.0.2.1", 503},
		} {
			if got := knock(srv, "10.0.0.1:1", step.addr); got != step.want {
				t.Errorf("%s: %d", step.addr, got)
			}
		}
		w.end() // the places are free again
		synctest.Wait()
		if got := knock(srv, "10.0.0.1:1", "2001:db8::2"); got != 200 {
			t.Errorf("when all had gone: %d", got)
		}
	})
}

func TestTrustedProxies(t *testing.T) {
	trusted := polywire.WithTrustedProxies("10.0.0.0/8", "2001:db8::7", "unix")
	for _, tc := range []struct {
		name, from string
		forwarded  []string
		want       string // empty: as it came
	}{
		{"nobody in between", "192.0.2.1:5", nil, ""},
		{"a stranger's word", "192.0.2.1:5", []string{"198.51.100.1"}, ""},
		{"a proxy", "10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"a proxy that says nothing", "10.0.0.1:5", nil, ""},
		{"what the client said before", "10.0.0.1:5", []string{"1.2.3.4, 198.51.100.1"}, "198.51.100.1:0"},
		{"two proxies", "10.0.0.1:5", []string{"1.2.3.4, 198.51.100.1, 10.9.9.9"}, "198.51.100.1:0"},
		{"two lines", "10.0.0.1:5", []string{"1.2.3.4, 198.51.100.1", " 10.9.9.9 "}, "198.51.100.1:0"},
		{"proxies only", "10.0.0.1:5", []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1:0"},
		{"nonsense", "10.0.0.1:5", []string{"<script>"}, ""},
		{"nonsense before the last proxy", "10.0.0.1:5", []string{"nonsense, 10.2.2.2"}, "10.2.2.2:0"},
		{"empty", "10.0.0.1:5", []string{""}, ""},
		{"port", "10.0.0.1:5", []string{"198.51.100.1:99"}, "198.51.100.1:0"},
		{"IPv6", "[2001:db8::7]:5", []string{"2001:db8::99"}, "[2001:db8::99]:0"},
		{"IPv6 with a port", "[2001:db8::7]:5", []string{"[2001:db8::99]:1"}, "[2001:db8::99]:0"},
		{"IPv6 in brackets", "[2001:db8::7]:5", []string{"[2001:db8::99]"}, "[2001:db8::99]:0"},
		{"another IPv6", "[2001:db8::8]:5", []string{"2001:db8::99"}, ""},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1:0"},
		{"a unix socket", "@", []string{"198.51.100.1"}, "198.51.100.1:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen net.Addr
				w := &doorWire{t: t}
				srv := newServer(t, nil, polywire.WithWires(w), trusted,
					polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
						seen = h.RemoteAddr
						return nil, nil
					}))
				defer w.end()
				if got := knock(srv, tc.from, tc.forwarded...); got != 200 {
					t.Fatal(got)
				}
				conn := srv.Conns()[0]
				if tc.want == "" {
					if strings.HasSuffix(conn.RemoteAddr().String(), ":0") {
						t.Errorf("it comes from %v", conn.RemoteAddr())
					}
					return
				}
				if got := conn.RemoteAddr().String(); got != tc.want || seen.String() != tc.want {
					t.Errorf("it comes from %s, for the authenticator from %s", got, seen)
				}
			})
		})
	}
	for _, bad := range []string{"", "example.com", "10.0.0.0/33", "::ffff:10.0.0.1", "fe80::1%eth0"} {
		if _, err := polywire.New(polywire.WithTrustedProxies(bad)); err == nil {
			t.Errorf("%q is a proxy", bad)
		}
	}
}

func TestUserMessageRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) { s.Handle("echo", echo) },
			lasting(0), polywire.WithUserMessageRate(2, 4))
		as := func(user string) *peer {
			p := connect(t, srv)
			p.send(wire.Packet{Type: wire.Hello, Header: map[string]string{"user": user}})
			p.receive()
			return p
		}
		echoes := func(p *peer, n int) {
			t.Helper()
			for range n {
				p.send(call(1, "echo", "x"))
				p.receive()
			}
		}
		one, two, other, nobody := as("ann"), as("ann"), as("bob"), as("")
		defer one.end()
		defer two.end()
		defer other.end()
		defer nobody.end()
		echoes(one, 2)
		echoes(two, 2)
		echoes(other, 4)
		echoes(nobody, 20)
		two.send(wire.Packet{Type: wire.Subscribe, ID: 1, Room: "news"})
		if code := two.closed(); code != polywire.CloseTooManyRequests {
			t.Errorf("closed with %d", code)
		}
		time.Sleep(1100 * time.Millisecond)
		echoes(one, 2)
		one.send(call(1, "echo", "x"))
		if code := one.closed(); code != polywire.CloseTooManyRequests {
			t.Errorf("closed with %d", code)
		}
		echoes(other, 2)
	})
}

// Who is refused by a doorkeeper takes no place of the user's, and gives none back.
func TestUserIsNotCountedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Namespace("/").Admit(func(_ context.Context, h *polywire.Handshake) error {
				if h.Header["bad"] != "" {
					return polywire.Errorf(polywire.CodeForbidden, "bad")
				}
				return nil
			})
		}, lasting(0), polywire.WithMaxConnections(0, 0, 1))
		try := func(header map[string]string) *peer {
			p := connect(t, srv)
			p.send(wire.Packet{Type: wire.Hello, Header: header})
			return p
		}
		first := try(map[string]string{"user": "ann"})
		defer first.end()
		first.receive()
		for range 3 {
			p := try(map[string]string{"user": "ann", "bad": "yes"})
			p.closed()
			p.end()
			synctest.Wait()
			p = try(map[string]string{"user": "ann"})
			if code := p.closed(); code != polywire.CloseConnectionLimit {
				t.Errorf("closed with %d", code)
			}
			p.end()
			synctest.Wait()
		}
	})
}
