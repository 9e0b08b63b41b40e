package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cmd/polywire/internal/admin"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/observe/health"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/wire/native"
)

const token = "a-token-that-nobody-guesses"

// patience is for what happens soon on a machine that is not busy.
const patience = 2 * time.Minute

// world is a server with its console.
type world struct {
	*testing.T

	console *Console
	admin   *admin.Server
	srv     *polywire.Server
	url     string // of the console
	ws      string // of the server
	http    *http.Client
	log     *logged
}

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type worldOptions struct {
	token     string
	settings  func() []config.Effective
	queues    *queue.Broker
	webhooks  *dispatch.Dispatcher
	options   []polywire.Option
	prepare   func(srv *polywire.Server)
	unstarted bool // the server is not shown yet
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	w := &world{T: t, log: new(logged)}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	if w.admin, err = admin.New(admin.Options{Address: "127.0.0.1:0", Token: o.token, Checks: health.New(health.Options{}), Logger: logger}); err != nil {
		t.Fatal(err)
	}
	if w.console, err = New(Options{Admin: w.admin, Settings: o.settings, Version: "test", Logger: logger}); err != nil {
		t.Fatal(err)
	}
	w.console.tail.encoding.most = time.Hour // however slow the machine is
	w.serveAdmin()
	opts := []polywire.Option{
		polywire.WithWires(native.New()), polywire.WithHooks(w.console.Hooks()), polywire.WithLogger(slog.New(slog.DiscardHandler)),
		polywire.WithPublishPolicy(polywire.AllowPublish), polywire.WithBroadcastPolicy(polywire.AllowBroadcast),
	}
	if w.srv, err = polywire.New(append(opts, o.options...)...); err != nil {
		t.Fatal(err)
	}
	w.srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	w.srv.Handle("fail", func(context.Context, *polywire.Message) (any, error) {
		return nil, polywire.Errorf(polywire.CodeForbidden, "not for you")
	})
	if o.prepare != nil {
		o.prepare(w.srv)
	}
	Answer(w.srv)
	if !o.unstarted {
		if err := w.console.Attach(Parts{Server: w.srv, Queues: o.queues, Webhooks: o.webhooks}); err != nil {
			t.Fatal(err)
		}
	}
	w.serve()
	return w
}

// serveAdmin serves the console until the test's end.
func (w *world) serveAdmin() {
	l, err := w.admin.Listen()
	if err != nil {
		w.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.admin.Serve(l) }()
	w.url = "http://" + l.Addr().String()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.Fatal(err)
	}
	transport := &http.Transport{}
	w.http = &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.Cleanup(func() {
		w.console.Close()
		transport.CloseIdleConnections()
		if err := errors.Join(w.admin.Shutdown(context.Background()), <-served); err != nil {
			w.Error(err)
		}
	})
}

// serve serves the server until the test's end.
func (w *world) serve() {
	l, scheme, err := w.srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	served := make(chan error, 1)
	if err := w.srv.Start(); err != nil {
		w.Fatal(err)
	}
	go func() { served <- w.srv.Serve(l, scheme) }()
	w.ws = "tcp://" + l.Addr().String()
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(w.srv.Shutdown(ctx), <-served); err != nil {
			w.Error(err)
		}
	})
}

// peer is a client.
type peer struct {
	*client.Client

	id string // of its first connection, at the server
}

// ID is that of its connection at the server.
func (p peer) ID() string { return p.id }

// dial returns a client.
func (w *world) dial(opts ...client.Option) peer {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	c, err := client.Dial(ctx, w.ws, opts...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	return peer{c, c.Conn().RemoteID()}
}

// reply is an answer without its body.
type reply struct {
	Status  string
	Code    int
	Header  http.Header
	cookies []*http.Cookie
}

// Cookies returns the cookies that it sets.
func (r *reply) Cookies() []*http.Cookie { return r.cookies }

// ask makes a request and returns the answer and its body.
func (w *world) ask(method, path, body string, header ...string) (*reply, string) {
	w.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, from)
	if err != nil {
		w.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := w.http.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return &reply{resp.Status, resp.StatusCode, resp.Header, resp.Cookies()}, string(b)
}

// bearer shows the token.
const bearer = "Authorization: Bearer " + token

// get reads a path below the API into v.
func (w *world) get(path string, v any) {
	w.Helper()
	resp, body := w.ask(http.MethodGet, apiPath+path, "", bearer)
	if resp.Code != http.StatusOK {
		w.Fatalf("%s: %s %s", path, resp.Status, body)
	}
	reflect.ValueOf(v).Elem().SetZero() // what is absent is not that of before
	if err := json.Unmarshal([]byte(body), v); err != nil {
		w.Fatalf("%s: %v", path, err)
	}
}

// post changes something.
func (w *world) post(path string, in, out any) {
	w.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		w.Fatal(err)
	}
	resp, body := w.ask(http.MethodPost, apiPath+path, string(b), bearer)
	if resp.Code != http.StatusOK {
		w.Fatalf("%s %s: %s %s", path, b, resp.Status, body)
	}
	reflect.ValueOf(out).Elem().SetZero()
	if err := json.Unmarshal([]byte(body), out); err != nil {
		w.Fatalf("%s: %v", path, err)
	}
}

// eventually waits for a condition.
func (w *world) eventually(what string, f func() bool) {
	w.Helper()
	testenv.Eventually(w.T, patience, what, f)
}

// events is a stream of events that is open.
type events struct {
	w     *world
	resp  *http.Response
	lines *bufio.Scanner
	stop  context.CancelFunc
}

// open opens a stream.
func (w *world) open(query string, header ...string) *events {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*patience)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+apiPath+"events"+query, nil)
	if err != nil {
		w.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := w.http.Do(r) //nolint:bodyclose // see events.close
	if err != nil {
		cancel()
		w.Fatal(err)
	}
	e := &events{w: w, resp: resp, stop: cancel, lines: bufio.NewScanner(resp.Body)}
	e.lines.Buffer(nil, 1<<20)
	w.Cleanup(e.close)
	return e
}

func (e *events) close() {
	e.stop()
	e.resp.Body.Close()
}

// next returns the next event; an empty name: the stream has ended.
func (e *events) next() (name, data string) {
	for e.lines.Scan() {
		line := e.lines.Text()
		switch {
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		case line == "" && name != "":
			return name, data
		}
	}
	return "", ""
}

// until returns the data of the next event of a name.
func (e *events) until(want string) string {
	e.w.Helper()
	for {
		switch name, data := e.next(); name {
		case want:
			return data
		case "":
			e.w.Fatalf("the stream ended before %q: %v", want, e.lines.Err())
		}
	}
}
