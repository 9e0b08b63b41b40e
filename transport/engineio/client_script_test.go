package engineio

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

const scriptTime = 10 * time.Second // until a test says that it hangs

// reply is an answer to a request of a client.
type reply struct {
	status      int // 0: 200
	contentType string
	body        string
	retryAfter  string
	cut         bool // the connection is cut in place of an answer
}

// script is a server that does what a test says.
type script struct {
	*httptest.Server
	t         testing.TB
	handshake reply
	cookie    string
	polls     chan reply           // answers to polls
	asked     chan struct{}        // a poll has come
	posts     chan string          // what was posted: type and body
	answers   chan reply           // to posts; nil: ok at once
	sockets   chan *websocket.Conn // what was opened
	refuse    *reply               // of WebSockets

	mu       sync.Mutex
	requests []*http.Request
	ended    chan struct{}
}

func openText(upgrades ...string) string {
	quoted := make([]string, 0, len(upgrades))
	for _, u := range upgrades {
		quoted = append(quoted, fmt.Sprintf("%q", u))
	}
	return `0{"sid":"abc+/=","upgrades":[` + strings.Join(quoted, ",") + `],"pingInterval":300,"pingTimeout":200,"maxPayload":1000}`
}

func newScript(t testing.TB) *script {
	s := &script{
		t: t, handshake: reply{body: openText()},
		polls: make(chan reply), asked: make(chan struct{}, 1000), posts: make(chan string, 1000),
		sockets: make(chan *websocket.Conn, 10), ended: make(chan struct{}),
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(func() {
		close(s.ended)
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(context.Background()))
	s.mu.Unlock()
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodConnect:
		send(w, reply{status: http.StatusBadGateway})
	case q.Get("transport") == transportWebSocket:
		s.serveSocket(w, r)
	case r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.posts <- r.Header.Get("Content-Type") + " " + string(body)
		if s.answers == nil {
			send(w, reply{body: "ok"})
			return
		}
		s.wait(w, r, s.answers)
	case q.Get("sid") == "":
		if s.cookie != "" {
			w.Header().Set("Set-Cookie", s.cookie)
		}
		send(w, s.handshake)
	default:
		s.asked <- struct{}{}
		s.wait(w, r, s.polls)
	}
}

// wait gives the answer that the test has.
func (s *script) wait(w http.ResponseWriter, r *http.Request, from chan reply) {
	select {
	case a := <-from:
		send(w, a)
	case <-r.Context().Done():
	case <-s.ended:
	}
}

func send(w http.ResponseWriter, a reply) {
	if a.cut {
		panic(http.ErrAbortHandler)
	}
	if a.contentType == "" {
		a.contentType = "text/plain; charset=UTF-8"
	}
	w.Header().Set("Content-Type", a.contentType)
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.status/100 == 3 {
		w.Header().Set("Location", "/elsewhere/")
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func (s *script) serveSocket(w http.ResponseWriter, r *http.Request) {
	if s.refuse != nil {
		send(w, *s.refuse)
		return
	}
	conn, err := websocket.Accept(w, r, websocket.AcceptOptions{})
	if err != nil {
		s.t.Error(err)
		return
	}
	s.t.Cleanup(func() { conn.Close() })
	s.sockets <- conn
}

// first returns the first request.
func (s *script) first() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[0]
}

// answer answers the next poll.
func (s *script) answer(body string) { s.reply(reply{body: body}) }

func (s *script) reply(a reply) {
	s.t.Helper()
	select {
	case s.polls <- a:
	case <-time.After(scriptTime):
		s.t.Error("no poll comes")
	}
}

// take returns what comes from a channel.
func take[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(scriptTime):
		t.Fatalf("no %s comes", what)
	}
	panic("unreachable")
}

func (s *script) dial(o DialOptions) *ClientConn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	c, err := Dial(ctx, s.url(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *script) url() *url.URL {
	u, err := url.Parse(s.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// socket is the server's side of a WebSocket, in words.
type socket struct {
	t    testing.TB
	conn *websocket.Conn
	next chan string // see heard
}

func (s *script) socket() *socket { return &socket{t: s.t, conn: take(s.t, s.sockets, "WebSocket")} }

// say writes text packets.
func (s *socket) say(packets ...string) {
	s.t.Helper()
	for _, p := range packets {
		s.write(transport.Text, p)
	}
}

func (s *socket) write(typ transport.FrameType, payload string) {
	s.t.Helper()
	w := transport.NewWriter(s.conn.Framer(), nil)
	if err := w.Frame(typ, []byte(payload)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.conn.Write(w.Bytes()); err != nil {
		s.t.Error(err)
	}
}

// hears reads exactly these frames: their type's first letter, a space, the payload.
func (s *socket) hears(frames ...string) {
	s.t.Helper()
	for _, want := range frames {
		if got := next(s.t, s.conn); got != want {
			s.t.Fatalf("the server received %.80q, want %q", got, want)
		}
	}
}

// next returns the next frame, or the error, in words.
func next(t testing.TB, c transport.Conn) string {
	t.Helper()
	got := make(chan string, 1)
	go func() {
		for {
			f, ok, err := c.Next()
			if err == nil && !ok {
				err = c.Wait()
			}
			switch {
			case err != nil:
				got <- "error " + err.Error()
				return
			case ok:
				got <- f.Type.String() + " " + string(f.Data)
				return
			}
		}
	}()
	select {
	case s := <-got:
		return s
	case <-time.After(scriptTime):
		t.Error("no frame comes")
		c.Close()
		return <-got
	}
}

func receives(t testing.TB, c *ClientConn, frames ...string) {
	t.Helper()
	for _, want := range frames {
		if got := next(t, c); got != want {
			t.Fatalf("received %.80q, want %q", got, want)
		}
	}
}

// write sends frames: the type's name, a space, the payload.
func write(t testing.TB, c transport.Conn, frames ...string) {
	t.Helper()
	if err := tryWrite(c, frames...); err != nil {
		t.Fatal(err)
	}
}

func tryWrite(c transport.Conn, frames ...string) error {
	w := transport.NewWriter(c.Framer(), nil)
	for _, f := range frames {
		name, payload, _ := strings.Cut(f, " ")
		var typ transport.FrameType
		for _, t := range []transport.FrameType{transport.Text, transport.Binary, transport.Ping, transport.Pong, transport.Close} {
			if t.String() == name {
				typ = t
			}
		}
		if err := w.Frame(typ, []byte(payload)); err != nil {
			return err
		}
	}
	return c.Write(w.Bytes())
}
