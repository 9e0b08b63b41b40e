package drs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/drs"
)

// handle registers what the scripts ask for.
func handle(srv polywire.Registrar) {
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	srv.Handle("nothing", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	srv.Handle("taken", func(context.Context, *polywire.Message) (any, error) {
		return nil, &polywire.Error{Code: polywire.CodeConflict, Message: "taken", Details: map[string]int{"by": 7}}
	})
	srv.Handle("fails", func(context.Context, *polywire.Message) (any, error) {
		return nil, errors.New("a secret of the server's")
	})
	srv.Handle("panics", func(context.Context, *polywire.Message) (any, error) { panic("ouch") })
	set := func(_ context.Context, m *polywire.Message) (any, error) {
		m.SetValue("n", 20)
		return "not the last", nil
	}
	get := func(_ context.Context, m *polywire.Message) (any, error) { return m.Value("n").(int) + 1, nil }
	srv.Handle("chain", polywire.Chain(set, get))
	srv.Handle("arguments", func(context.Context, *polywire.Message) (any, error) {
		return polywire.Args{1, "two", nil}, nil
	})
}

// server serves DRS in memory until the test is over.
func server(t *testing.T, scheme string, opts ...polywire.Option) (*polywire.Server, *transporttest.Listener) {
	t.Helper()
	quiet := []polywire.Option{polywire.WithWires(drs.New(drs.WithKeys("s"), drs.WithRoomActions())), polywire.WithLogger(discard())}
	srv, err := polywire.New(append(quiet, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	handle(srv)
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
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

// readAll returns what has come when everybody has come to rest.
func readAll(t *testing.T, nc net.Conn) string {
	t.Helper()
	text, _ := conntest.Rest(t, nc)
	return text
}

func say(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
}

// exchanges are commands and the server's answers, byte for byte.
var exchanges = []struct{ ask, answer string }{
	{`{"key":"1","action":"echo","body":{"n": 1.50, "s":"\u00e9"},"version":1}`, `{"key":"1","action":"drs.response","body":{"n": 1.50, "s":"\u00e9"}}`},
	{`{"action":"echo","body":"no key"}`, `{"action":"drs.response","body":"no key"}`},
	{`{"key":"2","action":"nothing"}`, `{"key":"2","action":"drs.response"}`},
	{`{"key":"3","action":"taken","body":{}}`, `{"key":"3","action":"drs.error","body":{"message":"taken","kind":"error","code":"conflict","details":{"by":7}}}`},
	{`{"key":"4","action":"fails","body":{}}`, `{"key":"4","action":"drs.exception","body":{"message":"internal error"}}`},
	{`{"key":"5","action":"panics","body":{}}`, `{"key":"5","action":"drs.exception","body":{"message":"internal error"}}`},
	{`{"key":"6","action":"unheard","body":{}}`, `{"key":"6","action":"drs.exception","body":{"message":"No handlers for this action"}}`},
	{`{"key":"7","action":"drs.unheard"}`, `{"key":"7","action":"drs.exception","body":{"message":"No handlers for this action"}}`},
	{`{"key":"8","action":"chain","body":{}}`, `{"key":"8","action":"drs.response","body":21}`},
	{`{"key":"9","action":"arguments"}`, `{"key":"9","action":"drs.response","body":[1,"two",null]}`},
	{`{"key":"10","action":"drs.ping"}`, `{"key":"10","action":"drs.response","body":946684800000}`},
	{`{"key":"same","action":"echo","body":1}`, `{"key":"same","action":"drs.response","body":1}`},
	{`{"key":"same","action":"echo","body":2}`, `{"key":"same","action":"drs.response","body":2}`},
	{`{"key":"unknown","action":"drs.response","body":2}`, ``},
	{`{"key":"unknown","action":"drs.error","body":{"message":"no"}}`, ``},
	{`{"key":"unknown","action":"drs.exception","body":{"message":"no"}}`, ``},
	{`{"key":"s-000000000001-ff","action":"drs.response","body":"nobody waits"}`, ``},
	{`{"key":"sub","action":"drs.subscribe","body":{"room":"r"}}`, `{"key":"sub","action":"drs.response"}`},
	{`{"key":"sub","action":"drs.subscribe","body":{"room":"$r"}}`, `{"key":"sub","action":"drs.error","body":{"message":"rooms that begin with \"$\" are reserved","kind":"error","code":"forbidden"}}`},
}

// The other side of the wire is played by hand: every form of an answer, in one
// write and split at every byte, with newlines between commands and without.
func TestRawClient(t *testing.T) {
	asked := func(between string) (all string) {
		for _, e := range exchanges {
			all += e.ask + between
		}
		return all
	}
	want := ""
	for _, e := range exchanges {
		if e.answer != "" {
			want += e.answer + "\n"
		}
	}
	for name, between := range map[string]string{"newlines": "\n", "nothing": "", "white space": " \r\n\t "} {
		script := asked(between)
		for _, step := range []int{len(script), 1, 7} {
			t.Run(fmt.Sprint(name, step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, l := server(t, "drs+tcp")
					nc := dial(t, l)
					for rest := script; rest != ""; {
						n := min(step, len(rest))
						say(t, nc, rest[:n])
						rest = rest[n:]
						if n == 1 {
							synctest.Wait()
						}
					}
					if got := readAll(t, nc); got != want {
						t.Errorf(" got %s\nwant %s", got, want)
					}
				})
			})
		}
	}
	script := exchanges[0].ask + exchanges[1].ask
	want = exchanges[0].answer + "\n" + exchanges[1].answer + "\n"
	for i := range script {
		synctest.Test(t, func(t *testing.T) {
			_, l := server(t, "drs+unix")
			nc := dial(t, l)
			say(t, nc, script[:i])
			synctest.Wait()
			say(t, nc, script[i:])
			if got := readAll(t, nc); got != want {
				t.Errorf("split at %d: %s", i, got)
			}
		})
	}
}

// The server fires and calls; the client is played by hand.
func TestServerAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, "drs+tcp", polywire.WithHooks(polywire.Hooks{}))
		a, b := dial(t, l), dial(t, l)
		synctest.Wait()
		if err := srv.All().Send(t.Context(), "news", map[string]int{"n": 1}); err != nil {
			t.Fatal(err)
		}
		fired := `{"key":"s-000000000001","action":"news","body":{"n":1}}` + "\n"
		for _, nc := range []net.Conn{a, b} {
			if got := readAll(t, nc); got != fired {
				t.Errorf("got %s", got)
			}
			say(t, nc, `{"key":"s-000000000001","action":"drs.exception","body":{"message":"No handlers for this action"}}`)
		}
		if n := srv.Stats().Dropped; n != 0 {
			t.Errorf("%d messages dropped", n)
		}
		b.Close()
		synctest.Wait()
		for script, want := range map[string]string{
			`"action":"drs.response","body":42`:                                                       "42 <nil>",
			`"action":"drs.response"`:                                                                 "0 <nil>",
			`"action":"drs.error","body":{"message":"no"}`:                                            "0 drs_error: no",
			`"action":"drs.error","body":{"message":"no","kind":"error","code":"forbidden"}`:          "0 forbidden: no",
			`"action":"drs.exception","body":{"message":"boom"}`:                                      "0 internal: boom",
			`"action":"drs.exception","body":{"message":"No handlers for this action"},"version":"x"`: "0 not_found: No handlers for this action",
		} {
			var answers []polywire.Answer[int]
			done := make(chan error, 1)
			go func() { done <- srv.All().Call(t.Context(), "ask", nil, polywire.Collect(&answers)) }()
			asked := readAll(t, a)
			key, ok := strings.CutPrefix(asked, `{"key":"`)
			key, ok2 := strings.CutSuffix(key, "\",\"action\":\"ask\"}\n")
			if !ok || !ok2 {
				t.Fatalf("asked %s", asked)
			}
			say(t, a, `{"key":"foreign",`+script+`}{"key":"`+key+`",`+script+"}\n")
			if err := <-done; err != nil || len(answers) != 1 {
				t.Fatal(err, answers)
			}
			if got := fmt.Sprint(answers[0].Value, " ", answers[0].Err); got != want {
				t.Errorf("%s: %s, want %s", script, got, want)
			}
		}
	})
}

// A quiet peer is asked the time; any answer is a sign of life, none is its end.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, "drs+tcp", polywire.WithHeartbeat(10*time.Second, 5*time.Second))
		nc := dial(t, l)
		ping := `{"key":"heartbeat","action":"drs.ping"}` + "\n"
		time.Sleep(4 * time.Second)
		for _, answer := range []string{
			`{"key":"heartbeat","action":"drs.response","body":1}`,
			`{"key":"heartbeat","action":"drs.exception","body":{"message":"No handlers for this action"}}` + "\n",
			" ",
		} {
			time.Sleep(8 * time.Second)
			if got := readAll(t, nc); got != ping {
				t.Fatalf("after a quiet time: %q", got)
			}
			say(t, nc, answer)
			time.Sleep(4 * time.Second)
			if got := readAll(t, nc); got != "" || srv.Stats().Connections != 1 {
				t.Fatalf("after %s: %q, %d connections", answer, got, srv.Stats().Connections)
			}
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got, err := io.ReadAll(nc); string(got) != ping || err != nil || srv.Stats().Connections != 0 {
			t.Errorf("without an answer: %q, %v, %d connections", got, err, srv.Stats().Connections)
		}
	})
}

// What is against the protocol ends the link, and nobody else's.
func TestBadInput(t *testing.T) {
	for name, in := range map[string]string{
		"no JSON":        "GET / HTTP/1.1\r\n\r\n",
		"no command":     `[]`,
		"no action":      `{"key":"k"}`,
		"broken":         `{"action":"echo",}`,
		"too deep":       strings.Repeat("[", 129),
		"too long":       `{"action":"echo","body":"` + strings.Repeat("x", 2000) + `"}`,
		"without an end": `{"action":"` + strings.Repeat("x", 2000),
		"not UTF-8":      "{\"action\":\"\xff\"}",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := server(t, "drs+tcp", polywire.WithMaxMessageBytes(1000))
				bad, good := dial(t, l), dial(t, l)
				say(t, bad, exchanges[0].ask+in)
				if got, err := io.ReadAll(bad); string(got) != exchanges[0].answer+"\n" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				say(t, good, exchanges[0].ask)
				if got := readAll(t, good); got != exchanges[0].answer+"\n" {
					t.Errorf("the other one got %q", got)
				}
			})
		})
	}
}

func TestShutdownEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, "drs+tcp")
		nc := dial(t, l)
		say(t, nc, exchanges[0].ask)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(t.Context()) }()
		if got, err := io.ReadAll(nc); string(got) != exchanges[0].answer+"\n" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		nc.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// rawServer is what a client dials; each connection is given to play.
func rawServer(t *testing.T, play func(nc net.Conn)) *transporttest.Listener {
	t.Helper()
	l := transporttest.NewListener()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go play(nc)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l
}

// The server is played by hand: calls end with what it answers, and with an
// error when it goes; the client comes back.
func TestRawServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan net.Conn, 10)
		l := rawServer(t, func(nc net.Conn) { conns <- nc })
		c, err := client.New("drs+tcp://server:1", client.WithWires(drs.New(drs.WithKeys("c"))), client.WithNetDial(l.NetDial),
			client.WithPeer(polywire.WithLogger(discard())), client.WithBackoff(time.Second, time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		handle(c)
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		nc := <-conns

		if err := c.Send(t.Context(), "fired", []int{1}); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, nc); got != `{"key":"c-000000000001","action":"fired","body":[1]}`+"\n" {
			t.Errorf("fired %s", got)
		}
		say(t, nc, `{"key":"c-000000000001","action":"drs.response"}`)

		called := make(chan error, 1)
		var out map[string]int
		go func() { called <- c.Call(t.Context(), "ask", "me", &out) }()
		if got := readAll(t, nc); got != `{"key":"c-000000000002-1","action":"ask","body":"me"}`+"\n" {
			t.Errorf("called %s", got)
		}
		say(t, nc, `{"key":"c-000000000002-1","action":"drs.response","body":{"n":5}}`+"\n")
		if err := <-called; err != nil || out["n"] != 5 {
			t.Errorf("%v, %v", out, err)
		}

		say(t, nc, exchanges[0].ask+exchanges[6].ask+exchanges[10].ask)
		if got, want := readAll(t, nc), exchanges[0].answer+"\n"+exchanges[6].answer+"\n"+exchanges[10].answer+"\n"; got != want {
			t.Errorf("the client answered %s", got)
		}

		go func() { called <- c.Call(t.Context(), "ask", nil, nil) }()
		if got := readAll(t, nc); got != `{"key":"c-000000000003-2","action":"ask"}`+"\n" {
			t.Errorf("called %s", got)
		}
		nc.Close()
		if err := <-called; !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("a call whose connection is gone: %v", err)
		}
		nc = <-conns // it has come back
		synctest.Wait()
		if err := c.Send(t.Context(), "again", nil); err != nil {
			t.Error(err)
		}
		if got := readAll(t, nc); got != `{"key":"c-000000000004","action":"again"}`+"\n" {
			t.Errorf("after coming back: %s", got)
		}
		nc.Close()
	})
}

// Rooms, both ways, between a client and a server of ours.
func TestRooms(t *testing.T) {
	for _, encoding := range []drs.Encoding{drs.JSON, drs.Msgpack} {
		synctest.Test(t, func(t *testing.T) {
			w := drs.New(drs.WithRoomActions(), drs.WithEncoding(encoding))
			_, l := server(t, w.Name()+"+tcp", polywire.WithWires(drs.New(drs.WithRoomActions(), drs.WithEncoding(drs.Msgpack), drs.WithPath("/m"))),
				codecs(),
				polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return nil }),
				polywire.WithPublishPolicy(func(context.Context, *polywire.Conn, string, string) error { return nil }),
				polywire.WithBroadcastPolicy(func(context.Context, *polywire.Conn, string) error { return nil }))
			c, err := client.Dial(t.Context(), w.Name()+"+tcp://server:1", client.WithWires(w), client.WithNetDial(l.NetDial), client.WithPeer(codecs()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got := make(chan string, 10)
			c.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
				var s string
				err := m.Bind(&s)
				got <- m.Kind() + " " + s
				return nil, err
			})
			for _, do := range []func() error{
				func() error { return c.Subscribe(t.Context(), "r") },
				func() error { return c.Publish(t.Context(), "r", "published", "p") },
				func() error { return c.Unsubscribe(t.Context(), "r") },
				func() error { return c.Publish(t.Context(), "r", "published", "not for us") },
				func() error { return c.Broadcast(t.Context(), "broadcast", "b") },
			} {
				if err := do(); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if a, b := <-got, <-got; a != "published p" || b != "broadcast b" || len(got) > 0 {
				t.Errorf("%s: %s, %s", encoding, a, b)
			}
		})
	}
}

func codecs() polywire.Option {
	return polywire.WithCodecs(codec.JSON{}, msgpack.Codec{})
}
