package goomerang_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/wiretest"
)

// A client and a server of ours, with TLS and without, compressed and not: they
// find each other out, and can do all that Polywire can.
func TestRoundTrips(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil) // for its certificate alone
	certificate.StartTLS()
	defer certificate.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	compressed := func() *goomerang.Protocol {
		return goomerang.New(goomerang.WithCompression(&websocket.Compression{MinBytes: 1}))
	}
	for _, w := range []func() *goomerang.Protocol{func() *goomerang.Protocol { return goomerang.New() }, compressed} {
		srv, err := polywire.New(append(free(), polywire.WithWires(w()), polywire.WithLogger(discard()), codecs(),
			polywire.WithTLS(&tls.Config{Certificates: certificate.TLS.Certificates}))...)
		if err != nil {
			t.Fatal(err)
		}
		handle(srv)
		srv.Handle("google.protobuf.Empty", func(ctx context.Context, m *polywire.Message) (any, error) {
			var n wrapperspb.StringValue
			err := m.Conn().Call(ctx, kindNumber, wrapperspb.Int32(21), &n)
			return &n, err
		})
		for _, scheme := range []string{"ws", "wss"} {
			l, _, err := srv.Listen(scheme + "://127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- srv.Serve(l, scheme) }()
			defer func() {
				srv.Close()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}()
			roundTrips(t, "goomerang+"+scheme+"://"+l.Addr().String(), w(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
		}
	}
}

func roundTrips(t *testing.T, url string, w wire.Protocol, config *tls.Config) {
	t.Helper()
	c, err := client.Dial(t.Context(), url, client.WithPeer(codecs(), polywire.WithLogger(discard())), client.WithWires(w), client.WithTLS(config))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	handle(c)
	got := make(chan string, 10)
	c.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
		got <- m.Kind() + " " + m.Header("k")
		return nil, nil
	})
	long := wrapperspb.String(strings.Repeat("žluťoučký 馬\n\"", 5000))
	var out wrapperspb.StringValue
	if err := c.Call(t.Context(), kindText, long, &out); err != nil || out.GetValue() != long.GetValue() {
		t.Errorf("%s: echo: %v", url, err)
	}
	var headers map[string]string
	if err := c.Call(t.Context(), kindNumber, wrapperspb.Int32(3), &out, polywire.ReplyHeaders(&headers)); err != nil ||
		out.GetValue() != "xxx" || headers["status"] != "OK" {
		t.Errorf("%s: %v, %v, %v", url, &out, headers, err)
	}
	var any polywire.Payload
	if err := c.Call(t.Context(), kindNumber, wrapperspb.Int32(1), &any); err != nil || any.Name != kindText {
		t.Errorf("%s: the reply is a %q, %v", url, any.Name, err)
	}
	if err := c.Call(t.Context(), kindNothing, nil, &out); err != nil {
		t.Errorf("%s: nothing: %v", url, err)
	}
	if err := c.Call(t.Context(), "google.protobuf.Empty", &emptypb.Empty{}, &out); err != nil || len(out.GetValue()) != 21 {
		t.Errorf("%s: asked back: %v", url, err)
	}
	var failed *polywire.Error
	if err := c.Call(t.Context(), kindTaken, nil, nil); !errors.As(err, &failed) || !failed.Remote() || failed.Error() != "conflict: taken" {
		t.Errorf("%s: an error: %v", url, err)
	}
	if err := c.Call(t.Context(), kindUnheard, nil, nil); polywire.CodeOf(err) != polywire.CodeNotFound {
		t.Errorf("%s: no handler: %v", url, err)
	}
	// Room operations are answered.
	if err := c.Subscribe(t.Context(), "$reserved"); polywire.CodeOf(err) != polywire.CodeForbidden {
		t.Errorf("%s: a reserved room: %v", url, err)
	}
	for _, do := range []func() error{
		func() error { return c.Subscribe(t.Context(), "r") },
		func() error {
			return c.Publish(t.Context(), "r", kindUnheard, wrapperspb.UInt32(1), polywire.WithHeader("k", "v"))
		},
		func() error { return c.Unsubscribe(t.Context(), "r") },
		func() error { return c.Publish(t.Context(), "r", kindUnheard, wrapperspb.UInt32(2)) },
		func() error { return c.Broadcast(t.Context(), kindUnheard, wrapperspb.UInt32(3)) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if a, b := <-got, <-got; a != kindUnheard+" v" || b != kindUnheard+" " || len(got) > 0 {
		t.Errorf("%s: %q, %q", url, a, b)
	}
}

// One room with a client of Goomerang and one that speaks JSON: each gets what
// the other says in its own form, and what cannot be said is counted.
func TestRoomOfTwoWires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped []string
		_, l := server(t, polywire.WithWires(native.New()), polywire.WithHooks(polywire.Hooks{
			Dropped: func(c *polywire.Conn, kind string, why polywire.DropReason) {
				dropped = append(dropped, c.Wire()+" "+kind+" "+string(why))
			},
		}))
		c, err := client.Dial(t.Context(), "ws://server", client.WithNetDial(l.NetDial), client.WithWires(native.New(native.WithForm(native.JSON))))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := make(chan string, 10)
		c.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
			got <- m.Kind() + " " + string(m.Payload().Data)
			return nil, nil
		})
		if err := c.Subscribe(t.Context(), "topic.a"); err != nil {
			t.Fatal(err)
		}
		r := rawClient(t, l)
		r.write(masked(2, "\x12\x1fgoomerang.protocol.SubscribeCmd\x3a\x09\x0a\x07topic.a"))
		r.write(masked(2, "\x12\x1dgoomerang.protocol.PublishCmd\x3a\x2c\x0a\x07topic.a\x12\x1b"+kindText+"\x1a\x04"+hi))
		delivery := message(2, "\x12\x1b"+kindText+"\x18\x04"+created+"\x3a\x04"+hi)
		if got := r.readAll(); got != delivery {
			t.Errorf("to the publisher: %q", got)
		}
		if v := <-got; v != kindText+` "hi"` {
			t.Errorf("in JSON: %s", v)
		}
		if err := c.Publish(t.Context(), "topic.a", kindText, "hi"); err != nil {
			t.Error(err)
		}
		if got := r.readAll(); got != delivery {
			t.Errorf("from JSON: %q", got)
		}
		if v := <-got; v != kindText+` "hi"` {
			t.Errorf("in JSON: %s", v)
		}
		_ = c.Publish(t.Context(), "topic.a", "chat", "not for everybody") // whether that is an error is the core's to say
		if got := r.readAll(); got != "" {
			t.Errorf("what is no message: %q", got)
		}
		if !slices.Equal(dropped, []string{"goomerang chat untranslated"}) {
			t.Errorf("dropped %q", dropped)
		}
	})
}

func TestDoors(t *testing.T) {
	paths := func(p *goomerang.Protocol) (all []string) {
		for _, d := range p.Doors() {
			all = append(all, d.Path)
		}
		return all
	}
	if got := paths(goomerang.New()); !slices.Equal(got, []string{"/ws", "/wss"}) {
		t.Error(got)
	}
	if got := paths(goomerang.New(goomerang.WithPath("/own"))); !slices.Equal(got, []string{"/own"}) {
		t.Error(got)
	}
	s := goomerang.New().NewSession(wiretest.NewHost(), goomerang.Side{})
	if got := s.ContentTypes(); !slices.Equal(got, []string{codec.TypeProtobuf}) {
		t.Error(got)
	}
}

func TestDialFails(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	for raw, want := range map[string]string{
		"goomerang+ws://h:1":      "refused",
		"goomerang+wss://h:1/x?y": "refused",
		"goomerang+tcp://h:1":     "none of goomerang+ws, goomerang+wss",
		"ws://h:1":                "none of goomerang+ws, goomerang+wss",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := goomerang.New().Dial(t.Context(), wiretest.NewHost(), u, wire.DialOptions{NetDial: refuse}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
}
