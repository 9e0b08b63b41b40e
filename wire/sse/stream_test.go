package sse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire/sse"
)

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New())
		nc := stream(t, l, "/events?room=a&room=b&room=a")
		send(t, srv.Room("a"), "news", map[string]any{"text": "line\nbreak"})
		expect(t, nc, "event: news\nroom: \"a\"\ndata: {\"text\":\"line\\nbreak\"}\n\n")
		send(t, srv.Room("c"), "news", 1)
		send(t, srv.Room("b"), "bytes", []byte("\x00\xff"))
		send(t, srv.All(), "all", nil)
		expect(t, nc, "event: bytes\nroom: \"b\"\ntype: application/octet-stream\ndata: \"AP8=\"\n\n", "event: all\ndata:\n\n")
		err := srv.Room("b").Send(context.Background(), "with", "headers", polywire.WithHeader("b", "2\r\n"), polywire.WithHeader("a", "1"))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, nc, "event: with\nroom: \"b\"\nheaders: {\"a\":\"1\",\"b\":\"2\\r\\n\"}\ndata: \"headers\"\n\n")
		conns := srv.All().Conns()
		if len(conns) != 1 || conns[0].Wire() != "sse" || fmt.Sprint(conns[0].Rooms()) != "[a b]" || conns[0].RemoteAddr() == nil {
			t.Errorf("connections: %v", conns)
		}
		nc.Close()
		synctest.Wait()
		if n := srv.Stats().Connections; n != 0 {
			t.Errorf("%d connections after the client has gone", n)
		}
	})
}

// What breaks lines stays in its place, whoever sends it.
func TestNothingIsInjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped []string
		srv, l := server(t, sse.New(), polywire.WithHooks(polywire.Hooks{
			Dropped: func(_ *polywire.Conn, kind string, why polywire.DropReason) {
				dropped = append(dropped, fmt.Sprint(kind, " ", why))
			},
		}))
		room := "a\r\n\r\nevent: evil"
		nc := stream(t, l, "/events?room="+url.QueryEscape(room))
		payload := polywire.Payload{Type: "application/json", Data: []byte("{\r\n\"a\":\r1,\n\n\"b\": 2}\n")}
		send(t, srv.Room(room), "news", payload)
		expect(t, nc, `event: news`+"\n"+`room: "a\r\n\r\nevent: evil"`+"\n"+
			"data: {\ndata: \"a\":\ndata: 1,\ndata: \ndata: \"b\": 2}\ndata: \n\n")
		for _, kind := range []string{"a\nb", "a\rb", "a\x00b", "$close", "\xff"} {
			if err := srv.All().Send(context.Background(), kind, 1); err == nil {
				t.Errorf("kind %q was sent", kind)
			}
		}
		send(t, srv.All(), " still there", 1)
		expect(t, nc, "event:  still there\ndata: 1\n\n")
		if len(dropped) != 5 {
			t.Errorf("dropped: %q", dropped)
		}
	})
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New(), polywire.WithHeartbeat(10*time.Second, 5*time.Second))
		nc := stream(t, l, "/events?room=a")
		for range 3 {
			time.Sleep(10500 * time.Millisecond)
			expect(t, nc, ": ping\n\n")
		}
		time.Sleep(time.Hour)
		got, end := come(t, nc)
		if n := strings.Count(got, ": ping\n\n"); n < 350 || n > 361 || end {
			t.Errorf("%d pings in an hour, ended: %v", n, end)
		}
		send(t, srv.Room("a"), "k", 1)
		expect(t, nc, "event: k\nroom: \"a\"\ndata: 1\n\n")
	})
}

func TestRetryHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := server(t, sse.New(sse.WithRetry(1500*time.Millisecond), sse.WithPath("/live")))
		nc := dial(t, l)
		get(t, nc, "/live")
		if got, _ := come(t, nc); got != streamHead+"d\r\nretry: 1500\n\n\r\n" {
			t.Errorf("%q", got)
		}
	})
}

// A client of HTTP/1.0 gets no chunks.
func TestOldHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New())
		nc := dial(t, l)
		say(t, nc, "GET /events?room=a HTTP/1.0\r\n\r\n")
		head := strings.Replace(strings.Replace(streamHead, "1.1", "1.0", 1), "Transfer-Encoding: chunked\r\n", "", 1)
		if got, _ := come(t, nc); got != head+": polywire\n\n" {
			t.Errorf("%q", got)
		}
		send(t, srv.Room("a"), "k", 1)
		if got, _ := come(t, nc); got != "event: k\nroom: \"a\"\ndata: 1\n\n" {
			t.Errorf("%q", got)
		}
	})
}

// The server's word at the end is an event, and then the response is whole.
func TestEnd(t *testing.T) {
	for name, end := range map[string]func(*polywire.Server) string{
		"closed": func(srv *polywire.Server) string {
			for _, c := range srv.All().Conns() {
				_ = c.Close(4001, "go \"away\"\n")
			}
			return `{"code":4001,"reason":"go \"away\"\n"}`
		},
		"shutdown": func(srv *polywire.Server) string {
			go func() { _ = srv.Shutdown(context.Background()) }()
			return `{"code":3001,"reason":"server shutting down"}`
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, l := server(t, sse.New())
				nc := stream(t, l, "/events?room=a")
				want := end(srv)
				got, _ := come(t, nc)
				body, isEnd := strings.CutSuffix(got, "0\r\n\r\n")
				if !isEnd || unchunk(t, body) != "event: $close\ndata: "+want+"\n\n" {
					t.Errorf("the last is %q", got)
				}
				nc.Close()
				synctest.Wait()
				if n := srv.Stats().Connections; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// The answer waits for authentication and all subscriptions.
func TestAnswerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan error)
		srv, l := server(t, sse.New(), polywire.WithSubscribePolicy(func(ctx context.Context, _ *polywire.Conn, room string) error {
			if room == "slow" {
				return <-decide
			}
			return nil
		}))
		nc := dial(t, l)
		get(t, nc, "/events?room=fast&room=slow")
		if got, _ := come(t, nc); got != "" {
			t.Fatalf("before the answer: %q", got)
		}
		for i := range 3 { // what is sent meanwhile waits, too
			send(t, srv.Room("fast"), "early", i)
			time.Sleep(time.Second)
		}
		if got, _ := come(t, nc); got != "" {
			t.Fatalf("before the answer: %q", got)
		}
		decide <- nil
		var early strings.Builder
		for i := range 3 {
			fmt.Fprintf(&early, "event: early\nroom: \"fast\"\ndata: %d\n\n", i)
		}
		got, _ := come(t, nc)
		if head, body, _ := strings.Cut(got, "\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") || unchunk(t, body) != ": polywire\n\n"+early.String() {
			t.Errorf("%q", got)
		}
		send(t, srv.Room("slow"), "late", nil)
		expect(t, nc, "event: late\nroom: \"slow\"\ndata:\n\n")
	})
}

func TestClientGoesWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New(), polywire.WithSubscribePolicy(func(ctx context.Context, _ *polywire.Conn, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		nc := dial(t, l)
		get(t, nc, "/events?room=a")
		synctest.Wait()
		if n := srv.Stats().Connections; n != 1 {
			t.Fatalf("%d connections", n)
		}
		nc.Close()
		time.Sleep(time.Second) // the policy is not waited for
		if n := srv.Stats().Connections; n != 0 {
			t.Errorf("%d connections after the client has gone", n)
		}
	})
}

// A policy that takes too long is answered for.
func TestSlowPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := server(t, sse.New(), polywire.WithHandlerTimeout(3*time.Second),
			polywire.WithSubscribePolicy(func(ctx context.Context, _ *polywire.Conn, _ string) error {
				<-ctx.Done()
				<-time.After(time.Minute)
				return nil
			}))
		nc := dial(t, l)
		get(t, nc, "/events?room=a")
		time.Sleep(4 * time.Second)
		if got, _ := come(t, nc); !strings.HasPrefix(got, "HTTP/1.1 504 ") {
			t.Errorf("%q", got)
		}
		time.Sleep(2 * time.Minute)
	})
}

// A client that does not read is closed, and nobody waits for it.
func TestSlowClient(t *testing.T) {
	for name, opts := range map[string][]polywire.Option{
		"too much queued": {polywire.WithOutboxBytes(64 << 10)},
		"write too long":  {polywire.WithWriteTimeout(2 * time.Second), polywire.WithOutboxBytes(1 << 30)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var why *polywire.CloseError
				opts = append(opts, polywire.WithHooks(polywire.Hooks{
					Disconnect: func(_ *polywire.Conn, err *polywire.CloseError) { why = err },
				}))
				srv, l := server(t, sse.New(), opts...)
				stream(t, l, "/events?room=a")
				for range 100 {
					send(t, srv.Room("a"), "k", strings.Repeat("x", 4000))
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if why == nil || why.Code != polywire.CloseSlow && why.Code != polywire.CloseWriteError {
					t.Errorf("ended by %v", why)
				}
				if n := srv.Stats().Connections; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// A volatile message is not for a stream whose opening is not answered.
func TestVolatile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan error)
		srv, l := server(t, sse.New(), polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return <-decide }))
		nc := dial(t, l)
		get(t, nc, "/events?room=a")
		synctest.Wait()
		volatile := func(n int) {
			if err := srv.All().Send(context.Background(), "k", n, polywire.Volatile()); err != nil {
				t.Fatal(err)
			}
		}
		volatile(1)
		decide <- nil
		synctest.Wait()
		volatile(2)
		got, _ := come(t, nc)
		if strings.Contains(got, "data: 1") || !strings.Contains(got, "data: 2") {
			t.Errorf("%q", got)
		}
	})
}

// What a client sends after its request is for nobody, and not for ever.
func TestStrayBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New())
		nc := stream(t, l, "/events?room=a")
		say(t, nc, "GET / HTTP/1.1\r\n\r\n")
		send(t, srv.Room("a"), "k", 1)
		expect(t, nc, "event: k\nroom: \"a\"\ndata: 1\n\n")
		for range 100 {
			if _, err := nc.Write(make([]byte, 1000)); err != nil {
				break
			}
			synctest.Wait()
		}
		if n := srv.Stats().Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// The server has no way to ask, and says so.
func TestNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New())
		nc := stream(t, l, "/events")
		err := srv.All().Conns()[0].Call(context.Background(), "k", nil, nil)
		if !errors.Is(err, sse.ErrOneWay) {
			t.Errorf("Call: %v", err)
		}
		send(t, srv.All(), "k", 1)
		expect(t, nc, "event: k\ndata: 1\n\n")
	})
}

// The authenticator sees the request, and the hello that is made of it.
func TestAuth(t *testing.T) {
	for name, await := range map[string]bool{"request": false, "hello": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				auth := func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
					if await && !h.Hello {
						return nil, polywire.ErrAwaitHello
					}
					token := h.Header["token"]
					if !await {
						token = h.Request.URL.Query().Get("token")
					}
					switch token {
					case "good":
						return &polywire.Identity{User: "ann"}, nil
					case "busy":
						return nil, polywire.Errorf(polywire.CodeUnavailable, "come back")
					case "bad":
						return nil, polywire.Errorf(polywire.CodeForbidden, "not \"you\"")
					}
					return nil, errors.New("a secret")
				}
				srv, l := server(t, sse.New(), polywire.WithAuth(auth), polywire.WithMaxConnections(0, 0, 1))
				nc := dial(t, l)
				get(t, nc, "/events?room=a&token=good")
				if got, _ := come(t, nc); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
					t.Fatalf("%q", got)
				}
				if conns := srv.Room("a").Conns(); len(conns) != 1 || conns[0].User() != "ann" {
					t.Errorf("%v", conns)
				}
				for token, want := range map[string]string{
					"":     `401 {"code":"unauthorized","message":"unauthorized"}`,
					"bad":  `403 {"code":"forbidden","message":"not \"you\""}`,
					"busy": `503 {"code":"unavailable","message":"come back"}`,
					"good": `429 {"code":"too_many_requests","message":"too many connections of this user"}`,
				} {
					nc := dial(t, l)
					get(t, nc, "/events?room=a&token="+token, "Connection: close")
					expectRefusal(t, nc, want)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if n := srv.Stats().Connections; n != 1 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// An EventSource that was there before comes again after what is a matter of
// time: it would not after a status of 503.
func TestComeAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses polywire.Option
		options []sse.Option
		want    string
	}{
		{"the room", polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error {
			return polywire.Errorf(polywire.CodeUnavailable, "not now")
		}), nil, "retry: 5000\n\nevent: $close\ndata: {\"code\":3011,\"reason\":\"not now\"}\n\n"},
		{"the door", polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
			return nil, polywire.Errorf(polywire.CodeUnavailable, "later")
		}), []sse.Option{sse.WithRetry(time.Second)}, "retry: 1000\n\nevent: $close\ndata: {\"code\":3004,\"reason\":\"later\"}\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := server(t, sse.New(c.options...), c.refuses)
				b := &browser{t: t, l: l, target: "/events?room=a", last: "e.1"}
				head, body, _ := strings.Cut(b.ask(), "\r\n\r\n")
				if !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.Contains(head, "\r\nContent-Type: text/event-stream\r\n") || body != c.want {
					t.Errorf("%q, %q", head, body)
				}
				b.leave()
				b.last = ""
				if got := b.ask(); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "\r\nRetry-After: 5\r\n") {
					t.Errorf("for the first time: %q", got)
				}
				b.leave()
			})
		})
	}
}

// expectRefusal checks a response's status and its body.
func expectRefusal(t *testing.T, r interface {
	Read(p []byte) (int, error)
}, want string) {
	t.Helper()
	synctest.Wait()
	buf := make([]byte, 8<<10)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
	status, _, _ := strings.Cut(strings.TrimPrefix(head, "HTTP/1.1 "), " ")
	if got := status + " " + strings.TrimSpace(body); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !strings.Contains(head, "\r\nCache-Control: no-store\r\n") {
		t.Errorf("head %q", head)
	}
}

func TestRefusedRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []string
		srv, l := server(t, sse.New(), polywire.WithMaxSubscriptions(8),
			polywire.WithHooks(polywire.Hooks{Disconnect: func(_ *polywire.Conn, why *polywire.CloseError) { ends = append(ends, fmt.Sprint(why.Code)) }}),
			polywire.WithSubscribePolicy(func(_ context.Context, _ *polywire.Conn, room string) error {
				switch room {
				case "own":
					return &polywire.Error{Code: "app.full", Message: "full"}
				case "secret":
					return errors.New("a secret")
				}
				return nil
			}))
		many := func(n int) string {
			var q strings.Builder
			for i := range n {
				fmt.Fprintf(&q, "&room=r%d", i)
			}
			return q.String()
		}
		rows := []struct{ query, want, end string }{
			{"room=a&room=secret&room=b", `403 {"code":"forbidden","message":"not allowed","room":"secret"}`, "3507"},
			{"room=own", `403 {"code":"app.full","message":"full","room":"own"}`, "3507"},
			{"room=" + strings.Repeat("x", 256), `400 {"code":"bad_request","message":"a room's name has 1 to 255 bytes","room":"` + strings.Repeat("x", 256) + `"}`, "3501"},
			{"room=$x", `403 {"code":"forbidden","message":"rooms that begin with \"$\" are reserved","room":"$x"}`, "3507"},
			{"x" + many(9), `429 {"code":"too_many_requests","message":"at most 8 rooms by subscription","room":"r8"}`, "3505"},
			{"x" + many(1000), `429 {"code":"too_many_requests","message":"at most 8 rooms by subscription","room":"r8"}`, "3505"},
		}
		for _, row := range rows {
			nc := dial(t, l)
			get(t, nc, "/events?"+row.query, "Connection: close")
			expectRefusal(t, nc, row.want)
			synctest.Wait()
			if got := strings.Join(ends, " "); got != row.end {
				t.Errorf("%.40s: ended with %q, want %s", row.query, got, row.end)
			}
			ends = nil
		}
		if n, rooms := srv.Stats().Connections, srv.Rooms(); n != 0 || len(rooms) != 0 {
			t.Errorf("%d connections and rooms %v are left", n, rooms)
		}
	})
}

// A refused request does not cost its client the connection.
func TestRefusalKeepsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := server(t, sse.New(), polywire.WithMaxSubscriptions(1))
		nc := dial(t, l)
		get(t, nc, "/events?room=a&room=b")
		expectRefusal(t, nc, `429 {"code":"too_many_requests","message":"at most 1 rooms by subscription","room":"b"}`)
		get(t, nc, "/events?room=a")
		if got, _ := come(t, nc); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("%q", got)
		}
	})
}

func TestMalformedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t, sse.New(), polywire.WithOrigins("https://app.example"))
		get := func(target string, lines ...string) string {
			return "GET " + target + " HTTP/1.1\r\nHost: server\r\n" + strings.Join(append(lines, "Connection: close", "", ""), "\r\n")
		}
		for name, row := range map[string]struct{ ask, want string }{
			"method":            {strings.Replace(get("/events"), "GET", "POST", 1), "405"},
			"head":              {strings.Replace(get("/events"), "GET", "HEAD", 1), "405"},
			"body":              {get("/events", "Content-Length: 1") + "x", "400"},
			"chunked body":      {get("/events", "Transfer-Encoding: chunked") + "0\r\n\r\n", "400"},
			"query":             {get("/events?room=%zz"), "400"},
			"semicolon":         {get("/events?room=a;room=b"), "400"},
			"room without name": {get("/events?room="), "400"},
			"accept":            {get("/events", "Accept: text/html, application/json;q=0.9"), "406"},
			"long place":        {get("/events", "Last-Event-ID: "+strings.Repeat("x", 4097)), "400"},
			"two places":        {get("/events", "Last-Event-ID: 1", "Last-Event-ID: 2"), "400"},
			"foreign origin":    {get("/events", "Origin: https://evil.example"), "403"},
			"two origins":       {get("/events", "Origin: https://app.example", "Origin: https://evil.example"), "403"},
			"foreign preflight": {strings.Replace(get("/events", "Origin: https://evil.example"), "GET", "OPTIONS", 1), "403"},
			"long head":         {get("/events?room=" + strings.Repeat("x", 80<<10)), "431"},
			"long place fits":   {get("/events", "Last-Event-ID: "+strings.Repeat("x", 4096)), "200"},
			"accept all":        {get("/events", "Accept: text/html, */*;q=0.1"), "200"},
			"own origin":        {get("/events", "Origin: http://server"), "200"},
		} {
			nc := dial(t, l)
			go func() { _, _ = nc.Write([]byte(row.ask)) }()
			synctest.Wait()
			buf := make([]byte, 1000)
			n, err := nc.Read(buf)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := string(buf[:n]); !strings.HasPrefix(got, "HTTP/1.1 "+row.want+" ") {
				t.Errorf("%s: %q, want %s", name, got, row.want)
			}
			nc.Close()
		}
		time.Sleep(time.Second)
		if n := srv.Stats().Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestCORS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, o := range map[string][]sse.Option{"": nil, "true": {sse.WithCredentials()}} {
			_, l := server(t, sse.New(o...), polywire.WithOrigins("https://app.example"))
			for method, status := range map[string]int{http.MethodGet: 200, http.MethodOptions: 204} {
				nc := dial(t, l)
				say(t, nc, method+" /events HTTP/1.1\r\nHost: server\r\nOrigin: https://app.example\r\n"+
					"Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n")
				got, _ := come(t, nc)
				if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", status)) ||
					!strings.Contains(got, "\r\nAccess-Control-Allow-Origin: https://app.example\r\n") ||
					strings.Contains(got, "\r\nAccess-Control-Allow-Credentials: true\r\n") != (name != "") ||
					method == http.MethodOptions && !strings.Contains(got, "\r\nAccess-Control-Allow-Headers: authorization\r\n") {
					t.Errorf("%s %s: %q", method, name, got)
				}
			}
		}
	})
}

func TestCheck(t *testing.T) {
	for _, p := range []*sse.Protocol{sse.New(sse.WithPath("events")), sse.New(sse.WithRetry(-1)), sse.New(sse.WithRetry(time.Microsecond))} {
		if _, err := polywire.New(polywire.WithWires(p)); err != nil {
			t.Fatal(err)
		}
		if p.Check() == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
	if err := sse.New(sse.WithRetry(time.Second)).Check(); err != nil {
		t.Error(err)
	}
}
