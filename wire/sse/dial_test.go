package sse_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/sse"
)

// scripted answers requests with what a script says, and notes them.
type scripted struct {
	t        *testing.T
	l        *transporttest.Listener
	requests chan *http.Request
	answer   func(n int, w http.ResponseWriter, r *http.Request)
}

// script serves answers in memory until the test is over.
func script(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *scripted {
	t.Helper()
	s := &scripted{t: t, l: transporttest.NewListener(), requests: make(chan *http.Request, 100), answer: answer}
	var n atomic.Int64
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests <- r
		answer(int(n.Add(1)), w, r)
	})}
	served := make(chan error, 1)
	go func() { served <- h.Serve(s.l) }()
	t.Cleanup(func() {
		h.Close()
		<-served
	})
	return s
}

func netDial(l *transporttest.Listener) client.Option {
	return client.WithNetDial(func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) })
}

// event is what a client's handler was given.
type event struct{ room, kind, payload string }

// listen makes a client that notes what comes.
func listen(t *testing.T, l *transporttest.Listener, url string, opts ...client.Option) (*client.Client, chan event) {
	t.Helper()
	c, err := client.New(url, append([]client.Option{client.WithWires(sse.New()), netDial(l)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan event, 100)
	c.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
		events <- event{m.Room(), m.Kind(), string(m.Payload().Data)}
		return nil, nil
	})
	t.Cleanup(func() { c.Close() })
	return c, events
}

func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New(), polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			return &polywire.Identity{User: h.Request.Header.Get("Authorization") + " " + h.Request.Header.Get("Tenant")}, nil
		}))
		c, events := listen(t, l, "sse+http://server?room=a&room=b",
			client.WithCredentials(func(context.Context) (map[string]string, error) {
				return map[string]string{"authorization": "Bearer x", "tenant": "acme"}, nil
			}))
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if conns := srv.Room("b").Conns(); len(conns) != 1 || conns[0].User() != "Bearer x acme" {
			t.Errorf("%v", conns)
		}
		send(t, srv.Room("a"), "k", map[string]any{"n": 1})
		send(t, srv.Room("b"), "bytes", []byte("\x00\xff"))
		send(t, srv.All(), "empty", nil)
		for _, want := range []event{{"a", "k", `{"n":1}`}, {"b", "bytes", "\x00\xff"}, {"", "empty", ""}} {
			if got := <-events; got != want {
				t.Errorf("%v, want %v", got, want)
			}
		}
		ctx := t.Context()
		for what, err := range map[string]error{
			"Send":      c.Send(ctx, "k", 1),
			"Call":      c.Call(ctx, "k", 1, nil),
			"Subscribe": c.Subscribe(ctx, "c"),
			"Publish":   c.Publish(ctx, "a", "k", 1),
			"Broadcast": c.Broadcast(ctx, "k", 1),
		} {
			if !errors.Is(err, sse.ErrOneWay) {
				t.Errorf("%s: %v", what, err)
			}
		}
		time.Sleep(time.Hour) // with heartbeats it stays
		send(t, srv.Room("a"), "k", 2)
		if got := <-events; got.payload != "2" {
			t.Errorf("after an hour: %v", got)
		}
		if n := srv.Stats().Accepted; n != 1 {
			t.Errorf("%d connections in an hour", n)
		}
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 0 { // nobody would answer
			t.Errorf("closing took %v", d)
		}
		time.Sleep(time.Minute)
		if n := srv.Stats().Connections; n != 0 {
			t.Errorf("%d connections after Close", n)
		}
	})
}

// The server's close codes reach the client, and say whether it comes back.
func TestCloseCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New())
		c, _ := listen(t, l, "sse+http://server/events?room=a")
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		end := func(code polywire.CloseCode) {
			for _, conn := range srv.All().Conns() {
				if err := conn.Close(code, "because"); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Minute)
		}
		end(polywire.CloseShutdown)
		if !c.Connected() || srv.Stats().Accepted != 2 {
			t.Errorf("connected: %v, after %d connections", c.Connected(), srv.Stats().Accepted)
		}
		end(polywire.CloseForceDisconnect)
		var why *polywire.CloseError
		if !errors.As(c.Err(), &why) || why.Code != polywire.CloseForceDisconnect || why.Reason != "because" || !why.Remote {
			t.Errorf("ended by %v", c.Err())
		}
	})
}

func TestClientIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := server(t, sse.New(), polywire.WithMaxSubscriptions(1))
		c, _ := listen(t, l, "sse+http://server/events?room=a&room=b")
		err := c.Connect(t.Context())
		var refused *sse.RefusedError
		if !errors.As(err, &refused) || refused.StatusCode != http.StatusTooManyRequests || refused.Room != "b" || refused.Code != "too_many_requests" ||
			refused.RetryAfter != 5*time.Second || refused.Final() {
			t.Errorf("%v", err)
		}
		for _, bad := range []string{"sse+http:///events", "sse+ftp://server"} {
			if c, err := client.New(bad, client.WithWires(sse.New())); err == nil && c.Connect(t.Context()) == nil {
				t.Errorf("%s was dialled", bad)
			}
		}
	})
}

// A client begins where it was, for as long as the server tells of places.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 3:
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			case 6:
				w.WriteHeader(http.StatusNoContent)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			text := "id: " + strings.Repeat("7", n) + "\ndata: 1\n\n"
			if n == 4 {
				text = "data: without a place\n\nid: only a place\n\n"
			}
			if n == 5 {
				text = "id\ndata: 5\n\n"
			}
			_, _ = w.Write([]byte(text))
		})
		c, events := listen(t, s.l, "sse+http://user:pass@server/elsewhere?x=1")
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		close(s.requests)
		var places []string
		for r := range s.requests {
			places = append(places, r.Header.Get("Last-Event-ID"))
			user, password, _ := r.BasicAuth()
			if r.URL.String() != "/elsewhere?x=1" || user != "user" || password != "pass" || r.Header.Get("Accept") != "text/event-stream" {
				t.Errorf("%s with %v", r.URL, r.Header)
			}
		}
		if got := strings.Join(places, ","); got != ",7,77,77,only a place," {
			t.Errorf("places: %s", got)
		}
		if len(events) != 4 {
			t.Errorf("%d events", len(events))
		}
		var refused *sse.RefusedError
		if !errors.As(c.Err(), &refused) || refused.StatusCode != http.StatusNoContent {
			t.Errorf("ended by %v", c.Err())
		}
	})
}

func TestAnswersThatAreNoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []struct {
			status    int
			kind      string
			body      string
			want      string
			final     bool
			hasToWait time.Duration
		}{
			{200, "text/html", "<html>", `sse: server answered 200: the answer is "text/html", not text/event-stream`, true, 0},
			{302, "text/html", "", "sse: server answered 302", true, 0},
			{404, "text/plain", " not here\n", "sse: server answered 404: not here", true, 0},
			{403, "application/json", `{"code":"forbidden","message":"no","room":"a"}`, `sse: server answered 403: forbidden: no (room "a")`, true, 0},
			{500, "text/plain", strings.Repeat("x", 5000), "sse: server answered 500: " + strings.Repeat("x", 200), false, 0},
			{503, "text/plain", "", "sse: server answered 503", false, 7 * time.Second},
		}
		s := script(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			a := answers[n-1]
			w.Header().Set("Content-Type", a.kind)
			if a.hasToWait > 0 {
				w.Header().Set("Retry-After", "7")
			}
			w.WriteHeader(a.status)
			_, _ = w.Write([]byte(a.body))
		})
		for _, a := range answers {
			c, _ := listen(t, s.l, "sse+http://server/events")
			var refused *sse.RefusedError
			if err := c.Connect(t.Context()); !errors.As(err, &refused) {
				t.Fatal(err)
			}
			if refused.Error() != a.want || refused.Final() != a.final || refused.RetryAfter != a.hasToWait {
				t.Errorf("%q, final %v, wait %v; want %+v", refused, refused.Final(), refused.RetryAfter, a)
			}
		}
	})
}

// A server that says nothing does not hold a client for ever.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		c, _ := listen(t, s.l, "sse+http://server/events")
		began := time.Now()
		if err := c.Connect(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, _ = listen(t, s.l, "sse+http://server/events")
		if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
