package engineio

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport/websocket"
)

func TestDialContext(t *testing.T) {
	for name, o := range map[string]DialOptions{"polling": {}, "websocket": {NoPolling: true}} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			cause := errors.New("no time")
			ctx, cancel := context.WithCancelCause(context.Background())
			dialed := make(chan error, 1)
			opening := make(chan struct{})
			if !o.NoPolling {
				o.NetDial = func(ctx context.Context, _, _ string) (net.Conn, error) {
					close(opening)
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}
			go func() {
				_, err := Dial(ctx, s.url(), o)
				dialed <- err
			}()
			if o.NoPolling {
				s.socket() // which says nothing
			} else {
				<-opening
			}
			cancel(cause)
			if err := take(t, dialed, "end of Dial"); !errors.Is(err, cause) {
				t.Fatal(err)
			}
		})
	}
	t.Run("not afterwards", func(t *testing.T) {
		s := newScript(t)
		ctx, cancel := context.WithCancel(context.Background())
		c, err := Dial(ctx, s.url(), DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		cancel()
		s.answer("4a")
		s.answer("4b")
		receives(t, c, "text a", "text b")
	})
}

func TestDialRefused(t *testing.T) {
	const unsupported = `{"code":5,"message":"Unsupported protocol version"}`
	rows := []struct {
		name       string
		reply      reply
		webSocket  bool
		code       int
		message    string
		statusCode int
	}{
		{"version", reply{status: 400, contentType: "application/json", body: unsupported}, false, 5, "Unsupported protocol version", 400},
		{"forbidden", reply{status: 403, body: `{"code":4,"message":"go away"}`}, false, 4, "go away", 403},
		{"other server", reply{status: 404, body: "404 page not found\n"}, false, -1, "404 page not found", 404},
		{"nothing said", reply{status: 503}, false, -1, "Service Unavailable", 503},
		{"other JSON", reply{status: 400, body: `{"message":"x"}`}, false, -1, `{"message":"x"}`, 400},
		{"much said", reply{status: 500, body: strings.Repeat("é", 5000)}, false, -1, strings.Repeat("é", 100), 500},
		{"no text", reply{status: 500, body: "\xff\xfe"}, false, -1, "\ufffd", 500},
		{"redirect", reply{status: 307}, false, -1, "Temporary Redirect", 307},
		{"websocket", reply{status: 400, body: "Unsupported protocol version"}, true, -1, "Unsupported protocol version", 400},
		{"websocket in JSON", reply{status: 400, body: unsupported}, true, 5, "Unsupported protocol version", 400},
		{"no websocket", reply{body: "hello"}, true, -1, "hello", 200},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			s.handshake, s.refuse = row.reply, &row.reply
			_, err := Dial(context.Background(), s.url(), DialOptions{NoPolling: row.webSocket})
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.StatusCode != row.statusCode || refused.Code != row.code || refused.Message != row.message {
				t.Fatalf("%v, %+v", err, refused)
			}
			if (refused.Err != nil) != row.webSocket || !strings.Contains(err.Error(), row.message) {
				t.Fatalf("%v, %v", err, refused.Err)
			}
			if len(s.requests) != 1 {
				t.Fatalf("%d requests", len(s.requests))
			}
		})
	}
}

func TestDialRetryAfter(t *testing.T) {
	soon := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for said, want := range map[string]time.Duration{
		"7": 7 * time.Second, soon: time.Hour, "": 0, "-1": 0, "99999999999": 0, "x": 0, "Mon, 02 Jan 2006 15:04:05 GMT": 0,
	} {
		for _, noPolling := range []bool{true, false} {
			s := newScript(t)
			s.handshake = reply{status: 503, retryAfter: said}
			s.refuse = &s.handshake
			_, err := Dial(context.Background(), s.url(), DialOptions{NoPolling: noPolling})
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || refused.RetryAfter > want || refused.RetryAfter < want-time.Minute {
				t.Errorf("%q: %v, %+v", said, err, refused)
			}
		}
	}
}

// Everything goes through a proxy, WebSockets by a tunnel.
func TestDialProxy(t *testing.T) {
	s := newScript(t)
	o := DialOptions{Proxy: func(*http.Request) (*url.URL, error) { return s.url(), nil }}
	c, err := Dial(context.Background(), &url.URL{Scheme: "http", Host: "polywire.invalid"}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.answer("4a")
	receives(t, c, "text a")
	if host := s.first().URL.Host; host != "polywire.invalid" {
		t.Fatal(host)
	}
	o.NoPolling = true
	_, err = Dial(context.Background(), &url.URL{Scheme: "http", Host: "polywire.invalid"}, o)
	refused, ok := errors.AsType[*websocket.HandshakeError](err)
	if !ok || !refused.Proxy {
		t.Fatal(err)
	}
}

func TestDialMalformed(t *testing.T) {
	rows := map[string]string{
		"empty":          "",
		"no packet":      "hello",
		"another packet": "4hello",
		"no JSON":        "0{",
		"null":           "0null",
		"no sid":         `0{"upgrades":[],"pingInterval":1,"pingTimeout":1}`,
		"long sid":       `0{"sid":"` + strings.Repeat("x", 513) + `","pingInterval":1,"pingTimeout":1}`,
		"no interval":    `0{"sid":"a","pingTimeout":1}`,
		"no timeout":     `0{"sid":"a","pingInterval":1}`,
		"negative":       `0{"sid":"a","pingInterval":-1,"pingTimeout":1}`,
		"enormous":       `0{"sid":"a","pingInterval":1,"pingTimeout":9007199254740993}`,
		"wrong type":     `0{"sid":1,"pingInterval":1,"pingTimeout":1}`,
		"wrong upgrades": `0{"sid":"a","upgrades":"websocket","pingInterval":1,"pingTimeout":1}`,
		"version 3":      "1:0",
	}
	for name, open := range rows {
		t.Run(name, func(t *testing.T) {
			for _, noPolling := range []bool{true, false} {
				s := newScript(t)
				s.handshake.body = open
				if noPolling {
					go func() { s.socket().say(open) }()
				}
				c, err := Dial(context.Background(), s.url(), DialOptions{NoPolling: noPolling})
				if err == nil {
					t.Fatal("opened", c.ID())
				}
			}
		})
	}
}

func TestDialConfiguration(t *testing.T) {
	rows := map[string]struct {
		url string
		o   DialOptions
	}{
		"scheme":  {"tcp://example.org", DialOptions{}},
		"host":    {"http:///x", DialOptions{}},
		"version": {"http://example.org", DialOptions{Version: 2}},
	}
	for name, row := range rows {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Dial(context.Background(), u, row.o); err == nil {
			t.Error(name)
		}
	}
}

func TestDialUnreachable(t *testing.T) {
	refused := errors.New("refused")
	o := DialOptions{NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, refused }}
	for _, o.NoPolling = range []bool{true, false} {
		if _, err := Dial(context.Background(), &url.URL{Scheme: "ws", Host: "example.org"}, o); !errors.Is(err, refused) {
			t.Error(err)
		}
	}
}

func TestDialUser(t *testing.T) {
	s := newScript(t)
	u := s.url()
	u.Scheme, u.User, u.Path = "ws", url.UserPassword("me", "secret"), "/ignored"
	c, err := Dial(context.Background(), u, DialOptions{Path: "/chat/"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	name, password, _ := s.first().BasicAuth()
	if name != "me" || password != "secret" || s.first().URL.Path != "/chat/" {
		t.Fatal(name, password, s.first().URL)
	}
}

func TestDialTLS(t *testing.T) {
	secure := newScriptTLS(t)
	if _, err := Dial(context.Background(), secure.url(), DialOptions{}); err == nil {
		t.Fatal("an unknown certificate was taken")
	}
	config := secure.Client().Transport.(*http.Transport).TLSClientConfig
	config = &tls.Config{RootCAs: config.RootCAs, MinVersion: tls.VersionTLS12}
	secure.handshake.body = openText("websocket")
	c := secure.dial(DialOptions{TLS: config})
	secure.upgrade(t)
	write(t, c, "text a")
	if _, ok := c.NetConn().(*tls.Conn); !ok {
		t.Fatalf("%T", c.NetConn())
	}
}
