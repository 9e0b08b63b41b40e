package debug_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/plugin/debug"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/drs"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// lines is a log in memory, one JSON object a line.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) all(t *testing.T) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := json.NewDecoder(bytes.NewReader(l.b.Bytes())); d.More(); {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	return all
}

func newServer(t *testing.T, p polywire.Plugin) *polywire.Server {
	t.Helper()
	srv, err := polywire.New(polywire.WithWires(drs.New()), polywire.WithLogger(slog.New(slog.DiscardHandler)), polywire.WithPlugins(p))
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]func() (any, error){
		"value":   func() (any, error) { return 1, nil },
		"error":   func() (any, error) { return nil, polywire.Errorf(polywire.CodeConflict, "taken") },
		"fails":   func() (any, error) { return nil, errors.New("secret") },
		"panics":  func() (any, error) { panic("ouch") },
		"missing": func() (any, error) { return nil, polywire.Errorf(polywire.CodeNotFound, "no such user") },
		"slow": func() (any, error) {
			<-time.After(3 * time.Second) // virtual
			return []byte("four"), nil
		},
		"many.*": func() (any, error) { return nil, nil },
	}
	for pattern, answer := range answers {
		srv.Handle(pattern, func(context.Context, *polywire.Message) (any, error) { return answer() })
	}
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	return srv
}

// connect serves in memory and returns a client.
func connect(t *testing.T, srv *polywire.Server) *client.Client {
	t.Helper()
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, "drs+tcp") }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	c, err := client.Dial(t.Context(), "drs+tcp://server:1", client.WithWires(drs.New()), client.WithNetDial(l.NetDial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ask(c *client.Client, kinds ...string) {
	for _, kind := range kinds {
		_ = c.Call(context.Background(), kind, "body", nil) // what it answers is counted
	}
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		p := debug.New(debug.Options{Logger: slog.New(slog.NewJSONHandler(log, nil)), MaxKinds: 9})
		c := connect(t, newServer(t, p))
		long := strings.Repeat("x", 300)
		ask(c, "value", "echo", "error", "fails", "panics", "missing", "slow", "unheard", "many."+long, "many.1", "value")
		ask(c, "many.2", "many.3", "many.4", "many.1")
		got := p.Counts()
		if got.Connections != 1 || got.Accepted != 1 || got.Handled != 15 || got.Errors != 2 || got.Exceptions != 3 || got.Bytes != 15*6 {
			t.Errorf("%+v", got.KindCounts)
		}
		want := map[string]debug.KindCounts{
			"value":   {Handled: 2, Bytes: 12},
			"echo":    {Handled: 1, Bytes: 6},
			"error":   {Handled: 1, Errors: 1, Bytes: 6},
			"fails":   {Handled: 1, Exceptions: 1, Bytes: 6},
			"panics":  {Handled: 1, Exceptions: 1, Bytes: 6},
			"missing": {Handled: 1, Errors: 1, Bytes: 6},
			"slow":    {Handled: 1, Bytes: 6, Time: 3 * time.Second},
			"many.1":  {Handled: 2, Bytes: 12},
			"many.2":  {Handled: 1, Bytes: 6},
		}
		if fmt.Sprint(got.Kinds) != fmt.Sprint(want) {
			t.Errorf(" got %v\nwant %v", got.Kinds, want)
		}
		if want := (debug.KindCounts{Handled: 4, Exceptions: 1, Bytes: 24}); got.Others != want {
			t.Errorf("others: %v", got.Others)
		}
		checkLines(t, log.all(t))
	})
}

func checkLines(t *testing.T, all []map[string]any) {
	t.Helper()
	if len(all) != 15 {
		t.Fatalf("%d lines", len(all))
	}
	byKind := map[string]map[string]any{}
	for _, line := range all {
		kind, _ := line["kind"].(string)
		byKind[kind] = line
		if line["wire"] != "drs" || line["call"] != true || line["bytes"] != 6.0 || line["conn"] == "" {
			t.Errorf("%v", line)
		}
		if len(kind) > 255 {
			t.Errorf("a kind of %d bytes", len(kind))
		}
	}
	for kind, want := range map[string]string{
		"echo":    "ok 6 <nil> 0",
		"value":   "ok <nil> <nil> 0",
		"error":   "error <nil> conflict: taken 0",
		"fails":   "exception <nil> secret 0",
		"panics":  "exception <nil> <nil> 0",
		"unheard": `exception <nil> not_found: no handler for kind "unheard" 0`,
		"slow":    "ok 4 <nil> 3e+09",
	} {
		line := byKind[kind]
		if got := fmt.Sprint(line["outcome"], " ", line["answer_bytes"], " ", line["error"], " ", line["took"]); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

// request asks the server's HTTP side.
func request(srv http.Handler, from string, header http.Header) (int, string) {
	r := httptest.NewRequest(http.MethodGet, "/debug/polywire", nil)
	r.RemoteAddr = from
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	return w.Code, string(body)
}

func TestRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := debug.New(debug.Options{Logger: slog.New(slog.DiscardHandler)})
		srv := newServer(t, p)
		c := connect(t, srv)
		ask(c, "echo", "error")
		code, body := request(srv, "127.0.0.1:1234", nil)
		want := `{"since":"2000-01-01T00:00:00Z","connections":1,"accepted":1,"handled":2,"errors":1,"exceptions":0,"bytes":12,"time_ns":0,` +
			`"kinds":{"echo":{"handled":1,"errors":0,"exceptions":0,"bytes":6,"time_ns":0},"error":{"handled":1,"errors":1,"exceptions":0,"bytes":6,"time_ns":0}},` +
			`"others":{"handled":0,"errors":0,"exceptions":0,"bytes":0,"time_ns":0}}` + "\n"
		if code != http.StatusOK || body != want {
			t.Errorf("%d %s\nwant %s", code, body, want)
		}
		for from, want := range map[string]int{"[::1]:1": 200, "[::ffff:127.0.0.1]:1": 200, "@": 200, "192.0.2.7:1": 403, "[2001:db8::1]:1": 403, "strange": 403} {
			if code, _ := request(srv, from, nil); code != want {
				t.Errorf("from %s: %d", from, code)
			}
		}
		if code, _ := request(srv, "127.0.0.1:1", http.Header{"X-Forwarded-For": {"192.0.2.7"}}); code != http.StatusForbidden {
			t.Errorf("through a proxy: %d", code)
		}
		if err := newServer(t, p).Start(); !errors.Is(err, debug.ErrActive) {
			t.Errorf("on a second server: %v", err)
		}
		if err := p.Deactivate(t.Context()); err != nil {
			t.Error(err)
		}
		if code, _ := request(srv, "127.0.0.1:1", nil); code != http.StatusNotFound {
			t.Errorf("after Deactivate: %d", code)
		}
		if err := p.Activate(newServer(t, debug.New(debug.Options{}))); err != nil || p.Counts().Handled != 2 {
			t.Errorf("again: %v", err)
		}
	})
}

// Nothing is there unless it was asked for, and what Allow says holds.
func TestOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, debug.New(debug.Options{Path: "/elsewhere"}))
		defer srv.Close()
		if code, _ := request(srv, "127.0.0.1:1", nil); code != http.StatusNotFound {
			t.Errorf("at the default path: %d", code)
		}
		open := newServer(t, debug.New(debug.Options{Allow: func(*http.Request) bool { return true }}))
		defer open.Close()
		if code, _ := request(open, "192.0.2.7:1", nil); code != http.StatusOK {
			t.Errorf("allowed: %d", code)
		}
		log := &lines{}
		p := debug.New(debug.Options{Logger: slog.New(slog.NewJSONHandler(log, nil)), Level: slog.LevelDebug})
		ask(connect(t, newServer(t, p)), "echo")
		if n := len(log.all(t)); n != 0 || p.Counts().Handled != 1 {
			t.Errorf("%d lines below the logger's level", n)
		}
	})
}
