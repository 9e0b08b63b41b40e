package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// asked is a request as the backend of a test gets it.
type asked struct {
	Type Event
	Data struct {
		Connection connection
		Claims     map[string]any
		URL        string
		Header     map[string]any
		Hello      *hello
		Room       string
		Kind       string
		Call       bool
		Payload    *payload
		Args       []*payload
		Code       int
		Reason     string
		Remote     bool
	}
}

// world is a server with a backend, which answers as answer says.
type world struct {
	*testing.T

	b    *Backend
	srv  *polywire.Server
	urls map[string]string // by wire

	mu     sync.Mutex
	asked  []asked
	answer func(w http.ResponseWriter, q asked)
}

func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(text))
}

// allowAll is an answer.
func allowAll(w http.ResponseWriter, q asked) {
	if q.Type == Message {
		say(w, `{}`)
		return
	}
	say(w, `{"allow":true}`)
}

func (w *world) answers(f func(rw http.ResponseWriter, q asked)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// find returns what was asked of a type.
func (w *world) find(e Event) (found []asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.asked {
		if q.Type == e {
			found = append(found, q)
		}
	}
	return found
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	m, ok := webhook.FromContext(r.Context())
	var q asked
	if err := json.Unmarshal(m.Body, &q); err != nil || !ok {
		w.Errorf("the backend got %s: %v", m.Body, err)
	}
	w.mu.Lock()
	w.asked = append(w.asked, q)
	answer := w.answer
	w.mu.Unlock()
	answer(rw, q)
}

func newWorld(t *testing.T, change func(*Options), opts ...polywire.Option) *world {
	t.Helper()
	w := &world{T: t, answer: allowAll, urls: make(map[string]string)}
	secret := webhook.GenerateSecret()
	v, err := webhook.NewVerifier(webhook.VerifierOptions{}, secret)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(webhook.Middleware(v, webhook.ReceiverOptions{Refused: func(_ *http.Request, err error) {
		t.Errorf("a request is not signed: %v", err)
	}})(http.HandlerFunc(w.serve)))
	t.Cleanup(s.Close)
	o := Options{URL: s.URL + "/hook?x=y", Secrets: []webhook.Secret{secret}, Events: Events(), Timeout: 30 * time.Second}
	if change != nil {
		change(&o)
	}
	if w.b, err = New(o); err != nil {
		t.Fatal(err)
	}
	w.srv, err = polywire.New(append([]polywire.Option{
		polywire.WithWires(native.New(), socketio.New(socketio.WithRoomEvents()), drs.New(drs.WithRoomActions())),
		polywire.WithAuth(w.b.Authenticator(nil)), polywire.WithSubscribePolicy(w.b.SubscribePolicy()), polywire.WithPublishPolicy(w.b.PublishPolicy()),
		polywire.WithBroadcastPolicy(w.b.BroadcastPolicy()), polywire.WithHooks(w.b.Hooks()), polywire.WithAuthTimeout(2 * time.Minute),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Handle("ask.*", w.b.Handle)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(w.srv.Shutdown(ctx), w.b.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	for wire, u := range map[string]string{"native": "ws://127.0.0.1:0", "drs": "drs+tcp://127.0.0.1:0"} {
		l, scheme, err := w.srv.Listen(u)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = w.srv.Serve(l, scheme) }()
		w.urls[wire] = scheme + "://" + l.Addr().String()
	}
	w.urls["socketio"] = strings.Replace(w.urls["native"], "ws://", "socketio+http://", 1)
	return w
}

func (w *world) client(wire string) *client.Client {
	w.Helper()
	c, err := client.New(w.urls[wire], client.WithoutReconnect(), client.WithHTTPHeader(http.Header{"Cookie": {"session=42"}, "X-Other": {"z"}}),
		client.WithCredentials(func(context.Context) (map[string]string, error) { return map[string]string{"token": "t"}, nil }))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) connect(wire string) *client.Client {
	w.Helper()
	c := w.client(wire)
	if err := c.Connect(w.Context()); err != nil {
		w.Fatal(err)
	}
	return c
}

// conn returns the only connection.
func (w *world) conn() (c *polywire.Conn) {
	w.Helper()
	testenv.Eventually(w.T, 20*time.Second, "a connection is there", func() bool {
		for _, c = range w.srv.All().Conns() {
			return true
		}
		return false
	})
	return c
}

// onWires runs a test on three wires.
func onWires(t *testing.T, test func(t *testing.T, wire string)) {
	t.Helper()
	for _, wire := range []string{"native", "socketio", "drs"} {
		t.Run(wire, func(t *testing.T) { test(t, wire) })
	}
}

func TestEvents(t *testing.T) {
	onWires(t, func(t *testing.T, wire string) {
		w := newWorld(t, nil)
		w.answers(func(rw http.ResponseWriter, q asked) {
			switch q.Type {
			case Connect:
				say(rw, `{"allow":true,"user":"ada","claims":{"team":"red"},"join":["lobby","team-red"],"values":{"plan":"gold","n":12345678901234567890}}`)
			case Message:
				say(rw, fmt.Sprintf(`{"reply":{"kind":%q,"you":%q,"plan":%s,"got":%s},"join":["game"],"leave":["lobby"],"values":{"plan":null}}`,
					q.Data.Kind, q.Data.Connection.User, q.Data.Connection.Values["plan"], q.Data.Payload.JSON))
			case Disconnect:
				rw.WriteHeader(http.StatusNoContent)
			default:
				say(rw, fmt.Sprintf(`{"allow":%v,"code":"payment_required","message":"not %s"}`, q.Data.Room == "open" || q.Data.Kind == "open", q.Data.Room))
			}
		})
		c := w.connect(wire)
		conn := w.conn()
		testenv.Eventually(t, 20*time.Second, "it is in its rooms", func() bool { return conn.In("team-red") })
		if conn.User() != "ada" || conn.Identity().Claims["team"] != "red" || !conn.In("lobby") || !conn.In("team-red") {
			t.Errorf("user %q, rooms %v", conn.User(), conn.Rooms())
		}
		var got struct{ Kind, You, Plan string }
		if err := c.Call(t.Context(), "ask.it", map[string]int{"n": 1}, &got); err != nil || got.Kind != "ask.it" || got.You != "ada" || got.Plan != "gold" {
			t.Errorf("%+v, %v", got, err)
		}
		if !conn.In("game") || conn.In("lobby") {
			t.Errorf("rooms %v", conn.Rooms())
		}
		w.tryPolicies(c)
		q := w.find(Message)[0].Data
		if !q.Call || q.Connection.ID != conn.ID() || q.Connection.Wire != wire || string(q.Connection.Values["n"]) != "12345678901234567890" || string(q.Payload.JSON) != `{"n":1}` {
			t.Errorf("a message was told as %+v", q)
		}
		_ = c.Close()
		testenv.Eventually(t, 20*time.Second, "the disconnect is told", func() bool { return len(w.find(Disconnect)) == 1 })
		if q := w.find(Disconnect)[0].Data; q.Connection.ID != conn.ID() || q.Connection.User != "ada" || q.Code == 0 || q.Connection.Values["plan"] != nil {
			t.Errorf("a disconnect was told as %+v", q)
		}
	})
}

// tryPolicies does what the backend allows, and what not.
func (w *world) tryPolicies(c *client.Client) {
	w.Helper()
	ctx := w.Context()
	for what, err := range map[string]error{
		"subscribe": c.Subscribe(ctx, "open"), "publish": c.Publish(ctx, "open", "kind", 1), "broadcast": c.Broadcast(ctx, "open", 1),
	} {
		if err != nil {
			w.Errorf("%s: %v", what, err)
		}
	}
	testenv.Eventually(w.T, 20*time.Second, "all is asked", func() bool {
		return len(w.find(Subscribe)) > 0 && len(w.find(Publish)) > 0 && len(w.find(Broadcast)) > 0
	})
	if q := w.find(Publish)[0].Data; q.Room != "open" || q.Kind != "kind" || q.Connection.User != "ada" {
		w.Errorf("publishing was asked as %+v", q)
	}
	if wire := w.find(Connect)[0].Data.Connection.Wire; wire == "drs" { // has no answers to wishes
		return
	}
	for what, err := range map[string]error{
		"subscribe": c.Subscribe(ctx, "shut"), "publish": c.Publish(ctx, "shut", "kind", 1), "broadcast": c.Broadcast(ctx, "shut", 1),
	} {
		if !errors.Is(err, &polywire.Error{Code: "payment_required"}) {
			w.Errorf("%s: %v", what, err)
		}
	}
}

func TestRefusedConnections(t *testing.T) {
	onWires(t, func(t *testing.T, wire string) {
		w := newWorld(t, nil)
		for _, answer := range []func(rw http.ResponseWriter, q asked){
			func(rw http.ResponseWriter, _ asked) { say(rw, `{"allow":false}`) },
			func(rw http.ResponseWriter, _ asked) {
				say(rw, `{"allow":false,"code":"unauthorized","message":"who?"}`)
			},
			func(rw http.ResponseWriter, _ asked) { rw.WriteHeader(http.StatusForbidden) },
			func(rw http.ResponseWriter, _ asked) { rw.WriteHeader(http.StatusUnauthorized) },
			func(rw http.ResponseWriter, _ asked) { rw.WriteHeader(http.StatusInternalServerError) },
		} {
			w.answers(answer)
			c := w.client(wire)
			err := c.Connect(t.Context())
			if err == nil { // a wire without a welcome
				select {
				case <-c.Done():
				case <-time.After(20 * time.Second):
					t.Error("somebody was let in who is not allowed")
				}
			}
		}
		if n := len(w.find(Connect)); n != 5 {
			t.Errorf("asked %d times", n)
		}
		testenv.Eventually(t, 20*time.Second, "nobody is there", func() bool { return w.srv.Len() == 0 })
	})
}

func TestWaitForHello(t *testing.T) {
	w := newWorld(t, nil)
	w.answers(func(rw http.ResponseWriter, q asked) {
		switch {
		case q.Data.Hello == nil:
			say(rw, `{"wait_for_hello":true}`)
		case q.Data.Hello.Header["token"] == "t":
			say(rw, `{"allow":true,"user":"ada"}`)
		default:
			say(rw, `{"wait_for_hello":true}`) // which does not help
		}
	})
	w.connect("native")
	q := w.find(Connect)
	if len(q) != 2 || q[0].Data.Hello != nil || q[1].Data.Hello.Header["token"] != "t" {
		t.Fatalf("asked %+v", q)
	}
	if h := q[0].Data.Header; fmt.Sprint(h["Cookie"]) != "[session=42]" || h["X-Other"] != nil || q[0].Data.URL == "" || q[0].Data.Connection.Address == "" {
		t.Errorf("asked %+v", q[0])
	}
	c, err := client.New(w.urls["native"], client.WithoutReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(t.Context()); err == nil {
		t.Error("let in without a token")
	}
}

// TestAuthenticatorBefore has a token's identity, which the backend extends.
func TestAuthenticatorBefore(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AllowDown = []Event{Connect} })
	before := func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
		return &polywire.Identity{User: "token", Claims: map[string]any{"a": 1.0}}, nil
	}
	ask := w.b.Authenticator(before)
	h := &polywire.Handshake{Wire: "native", Namespace: "/"}
	w.connect("native")
	h.Conn = w.conn()
	w.answers(func(rw http.ResponseWriter, q asked) {
		if q.Data.Connection.User != "token" || q.Data.Claims["a"] != 1.0 {
			t.Errorf("asked %+v", q)
		}
		say(rw, `{"allow":true,"expires":"2100-01-01T00:00:00Z"}`)
	})
	if id, err := ask(t.Context(), h); err != nil || id.User != "token" || id.Expires.Year() != 2100 || id.Claims["a"] != 1.0 {
		t.Errorf("%+v, %v", id, err)
	}
	w.answers(func(rw http.ResponseWriter, _ asked) { say(rw, `{"allow":true,"leave":["x"]}`) }) // makes no sense
	if id, err := ask(t.Context(), h); err != nil || id.User != "token" {
		t.Errorf("allowed when it is down: %+v, %v", id, err)
	}
	none := w.b.Authenticator(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) { return nil, errors.New("no") })
	if _, err := none(t.Context(), h); err == nil || len(w.find(Connect)) != 3 {
		t.Errorf("asked about somebody who is refused already: %v", err)
	}
}

func TestOptions(t *testing.T) {
	secret := webhook.GenerateSecret()
	good := Options{URL: "https://backend.internal/x", Secrets: []webhook.Secret{secret}}
	for name, change := range map[string]func(o *Options){
		"no URL": func(o *Options) { o.URL = "" }, "another scheme": func(o *Options) { o.URL = "ftp://x" }, "no host": func(o *Options) { o.URL = "http:///x" },
		"a password": func(o *Options) { o.URL = "http://u:geheim@x/" }, "port 0": func(o *Options) { o.URL = "http://x:0/" }, "no secret": func(o *Options) { o.Secrets = nil },
		"an event": func(o *Options) { o.Events = []Event{"x"} }, "message": func(o *Options) { o.Events = []Event{Message} },
		"not asked": func(o *Options) { o.AllowDown = []Event{Subscribe} },
		"disconnect": func(o *Options) {
			o.Events, o.AllowDown = []Event{Disconnect}, []Event{Disconnect}
		},
		"timeout": func(o *Options) { o.Timeout = -1 },
	} {
		o := good
		change(&o)
		if b, err := New(o); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
			if b != nil {
				_ = b.Close(t.Context())
			}
		}
	}
	b, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if b.SubscribePolicy() != nil || b.PublishPolicy() != nil || b.BroadcastPolicy() != nil || b.Authenticator(nil) != nil || b.Hooks().Disconnect != nil || b.Host() != "backend.internal" {
		t.Error("asks about more than it is told to")
	}
	if err := errors.Join(b.Close(t.Context()), b.Close(t.Context())); err != nil {
		t.Error(err)
	}
}
