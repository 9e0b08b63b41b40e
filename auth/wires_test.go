package auth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// site is a server in memory on which every wire is spoken.
type site struct {
	t   *testing.T
	srv *polywire.Server
	at  map[string]*transporttest.Listener // by scheme
}

func everyWire() []wire.Protocol {
	return []wire.Protocol{
		native.New(), socketio.New(), drs.New(drs.WithRoomActions()), drs.New(drs.WithEncoding(drs.Msgpack), drs.WithPath("/packed")),
		goomerang.New(), sse.New(),
	}
}

func newSite(t *testing.T, opts ...polywire.Option) *site {
	t.Helper()
	srv, err := polywire.New(append(opts, polywire.WithWires(everyWire()...), polywire.WithCodecs(msgpack.Codec{}))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	s := &site{t, srv, make(map[string]*transporttest.Listener)}
	for _, scheme := range []string{"ws", "tcp", "drs+tcp", "drs-msgpack+tcp"} {
		l := transporttest.NewListener()
		s.at[scheme] = l
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l, scheme) }()
		t.Cleanup(func() {
			if err := errors.Join(srv.Close(), <-served); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

// dial is a client of a URL that shows a token, in the header of its hello or
// as the wire has it; empty: none.
func (s *site) dial(at, token string, opts ...client.Option) (*client.Client, error) {
	u, err := url.Parse(at)
	if err != nil {
		s.t.Fatal(err)
	}
	l := s.at["ws"]
	if own := s.at[u.Scheme]; own != nil {
		l = own
	}
	opts = append(opts, client.WithNetDial(l.NetDial), client.WithWires(everyWire()...), client.WithoutReconnect(),
		client.WithPeer(polywire.WithCodecs(msgpack.Codec{})))
	if token != "" {
		opts = append(opts, client.WithCredentials(func(context.Context) (map[string]string, error) {
			return map[string]string{"token": token}, nil
		}))
	}
	c, err := client.Dial(s.t.Context(), at, opts...)
	if err == nil {
		s.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// whoami is who the server takes its only connection for.
func (s *site) whoami() string {
	s.t.Helper()
	synctest.Wait()
	conns := s.srv.Conns()
	if len(conns) != 1 {
		s.t.Fatalf("%d connections are open", len(conns))
	}
	return conns[0].User()
}

// bearerHeader is an HTTP header with a token.
func bearerHeader(raw string) client.Option {
	return client.WithHTTPHeader(http.Header{"Authorization": {"Bearer " + raw}})
}

func withQuery() auth.Options {
	o := strict()
	o.Query = "access_token"
	return o
}

// Each wire lets in who has a token, in each place where it can be, and nobody else.
func TestWires(t *testing.T) {
	type place struct {
		name string
		dial func(s *site, raw string) (*client.Client, error)
	}
	var places []place
	for _, at := range []string{"ws://memory", "tcp://memory:1", "socketio+ws://memory/", "socketio+http://memory/"} {
		places = append(places, place{"hello " + at, func(s *site, raw string) (*client.Client, error) { return s.dial(at, raw) }})
	}
	for _, at := range []string{"ws://memory", "socketio+ws://memory/", "socketio+http://memory/", "drs+ws://memory", "drs-msgpack+ws://memory/packed", "goomerang+ws://memory"} {
		places = append(places,
			place{"header " + at, func(s *site, raw string) (*client.Client, error) { return s.dial(at, "", bearerHeader(raw)) }},
			place{"query " + at, func(s *site, raw string) (*client.Client, error) { return s.dial(at+"?access_token="+raw, "") }})
	}
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tokens(t, auth.Static(public("HS256")), withQuery()).Options()...)
				if _, err := p.dial(s, good("ann", time.Hour)); err != nil {
					t.Fatal(err)
				}
				if user := s.whoami(); user != "ann" {
					t.Errorf("it is %q", user)
				}
				for raw, want := range map[string]string{
					good("ann", -time.Hour): auth.ReasonExpired, "nonsense": auth.ReasonInvalid,
					sign("none", signer("none"), nil, claims(nil)): auth.ReasonInvalid,
				} {
					refused(t, want, func() (*client.Client, error) { return p.dial(s, raw) })
				}
				if n := len(s.srv.Conns()); n != 1 {
					t.Errorf("%d connections are open", n)
				}
			})
		})
	}
}

// refused expects a client to be refused; where a wire does not answer to an
// opening, that comes after it.
func refused(t *testing.T, want string, dial func() (*client.Client, error)) {
	t.Helper()
	c, err := dial()
	if err == nil {
		synctest.Wait()
		err = c.Err()
	}
	if err == nil {
		t.Error("let in")
		return
	}
	closed := (*polywire.CloseError)(nil)
	if !errors.As(err, &closed) || closed.Code != polywire.CloseUnauthorized || closed.Reason != want {
		t.Errorf("refused with %v, want %s", err, want)
	}
}

func TestWithoutToken(t *testing.T) {
	for _, at := range []string{"ws://memory", "tcp://memory:1", "socketio+ws://memory/"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tokens(t, auth.Static(public("HS256")), strict()).Options()...)
				refused(t, auth.ReasonMissing, func() (*client.Client, error) { return s.dial(at, "") })
				// A query parameter is none where none is named.
				refused(t, auth.ReasonMissing, func() (*client.Client, error) { return s.dial(at+"?token="+good("ann", time.Hour), "") })
			})
		})
	}
}

func TestOptional(t *testing.T) {
	o := withQuery()
	o.Optional = true
	for _, at := range []string{"ws://memory", "tcp://memory:1", "socketio+ws://memory/", "drs+ws://memory", "drs+tcp://memory:1", "goomerang+ws://memory"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tokens(t, auth.Static(public("HS256")), o).Options()...)
				if _, err := s.dial(at, ""); err != nil {
					t.Fatal(err)
				}
				if user := s.whoami(); user != "" {
					t.Errorf("it is %q", user)
				}
			})
		})
	}
}

// write sends text to a listener, and returns what comes back.
func (s *site) write(scheme, text string) string {
	nc, err := s.at[scheme].Dial(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	got := make(chan string, 1)
	r := bufio.NewReader(nc)
	go func() {
		line, _ := r.ReadString('\n')
		got <- line
	}()
	if _, err := io.WriteString(nc, text); err != nil {
		s.t.Fatal(err)
	}
	return <-got
}

// A stream of DRS has a message for its hello.
func TestHelloOfDRS(t *testing.T) {
	hello := func(body string) string { return `{"key":"k","action":"polywire.hello","body":` + body + `}` }
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, tokens(t, auth.Static(public("HS256")), strict()).Options()...)
		got := s.write("drs+tcp", hello(`{"token":"`+good("ann", time.Hour)+`"}`))
		conns := s.srv.Conns()
		if len(conns) != 1 || conns[0].User() != "ann" {
			t.Fatalf("answered with %s", got)
		}
		if want := `{"key":"k","action":"drs.response","body":{"id":"` + conns[0].ID() + `"}}` + "\n"; got != want {
			t.Errorf("answered with %s, want %s", got, want)
		}
		for body, want := range map[string]string{
			`{"token":"nonsense"}`: auth.ReasonInvalid, `{"token":7}`: auth.ReasonMissing, `{}`: auth.ReasonMissing, `null`: auth.ReasonMissing,
			`"` + good("ann", time.Hour) + `"`: auth.ReasonMissing,
		} {
			if got := s.write("drs+tcp", hello(body)); !strings.Contains(got, `"message":"`+want+`"`) || !strings.Contains(got, `"drs.error"`) {
				t.Errorf("%s: answered with %s", body, got)
			}
		}
		if got := s.write("drs+tcp", `{"key":"k","action":"whoami"}`); got != "" {
			t.Errorf("without a hello: %s", got)
		}
	})
}

// A browser's WebSocket has no headers; it offers the token as a subprotocol.
func TestSubprotocol(t *testing.T) {
	upgrade := func(protocols string) string {
		return "GET /polywire HTTP/1.1\r\nHost: memory\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + protocols + "\r\n\r\n"
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, tokens(t, auth.Static(public("HS256")), strict()).Options()...)
		raw := good("ann", time.Hour)
		nc, err := s.at["ws"].Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		go io.WriteString(nc, upgrade("polywire.v1.json, polywire.token."+raw))
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if p := resp.Header.Values("Sec-WebSocket-Protocol"); resp.StatusCode != http.StatusSwitchingProtocols || len(p) != 1 || p[0] != "polywire.v1.json" {
			t.Errorf("answered with %s, subprotocol %q", resp.Status, p)
		}
		synctest.Wait()
		if conns := s.srv.Conns(); len(conns) != 1 || conns[0].User() != "ann" {
			t.Errorf("open: %v", conns)
		}
		// The token alone is no language.
		if got := s.write("ws", upgrade("polywire.token."+raw)); !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("answered with %s", got)
		}
	})
}

func TestServerSentEvents(t *testing.T) {
	get := func(query, header string) string {
		if header != "" {
			header = "Authorization: " + header + "\r\n"
		}
		return "GET /events?room=news" + query + " HTTP/1.1\r\nHost: memory\r\n" + header + "\r\n"
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, tokens(t, auth.Static(public("HS256")), withQuery()).Options()...)
		raw := good("ann", time.Hour)
		for name, tc := range map[string]struct {
			request string
			status  int
		}{
			"header":                 {get("", "Bearer "+raw), 200},
			"query":                  {get("&access_token="+raw, ""), 200},
			"another parameter":      {get("&token="+raw, ""), 401},
			"none":                   {get("", ""), 401},
			"another scheme":         {get("", "Basic "+raw), 401},
			"malformed":              {get("", "Bearer x"), 401},
			"two in the query":       {get("&access_token="+raw+"&access_token="+raw, ""), 401},
			"two headers":            {strings.Replace(get("", "Bearer "+raw), "\r\n\r\n", "\r\nAuthorization: Bearer "+raw+"\r\n\r\n", 1), 401},
			"header before anything": {get("&access_token="+raw, "Bearer x"), 401},
		} {
			if got := s.write("ws", tc.request); !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tc.status)) {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

// What the log has of refusals and refreshes never has the token.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		logger := toLog(&log)
		o := withQuery()
		o.Logger = logger
		s := newSite(t, append(tokens(t, auth.Static(public("HS256")), o).Options(), polywire.WithLogger(logger))...)
		old, other, fine := good("ann", -time.Hour), good("bob", time.Hour), good("ann", time.Hour)
		_, _ = s.dial("ws://memory", old)
		_, _ = s.dial("ws://memory?access_token="+old, "")
		_, _ = s.dial("socketio+ws://memory/?access_token="+old, old)
		s.write("drs+tcp", `{"key":"k","action":"polywire.hello","body":{"token":"`+old+`"}}`)
		c, err := s.dial("ws://memory", fine)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), auth.KindRefresh, other, nil); polywire.CodeOf(err) != polywire.CodeForbidden {
			t.Error(err)
		}
		c.Close()
		synctest.Wait()
		said := log.String()
		if strings.Count(said, auth.ReasonExpired) < 4 || !strings.Contains(said, auth.ReasonOther) {
			t.Errorf("the log has not all of it:\n%s", said)
		}
		for _, raw := range []string{old, other, fine} {
			for _, part := range strings.Split(raw, ".")[1:] {
				if strings.Contains(said, part) {
					t.Errorf("the log has a part of a token:\n%s", said)
				}
			}
		}
	})
}
