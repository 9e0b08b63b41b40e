package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire/socketio"
)

// instance is one of the servers that the scenarios connect to. It can be
// restarted on its port.
type instance struct {
	t       *testing.T
	name    string
	address string
	ends    *ends
	mu      sync.Mutex // for what a restart changes
	srv     *polywire.Server
	served  chan error // closed after its error
}

// ends notes why connections have ended, by their IDs.
type ends struct {
	mu      sync.Mutex
	reasons map[string]string
	changed chan struct{} // closed and replaced at each end
}

func newEnds() *ends {
	return &ends{reasons: make(map[string]string), changed: make(chan struct{})}
}

func (e *ends) add(c *polywire.Conn, why *polywire.CloseError) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reasons[c.ID()] = why.Reason
	close(e.changed)
	e.changed = make(chan struct{})
}

// wait returns why a connection has ended.
func (e *ends) wait(ctx context.Context, id string) (string, error) {
	for {
		e.mu.Lock()
		reason, ok := e.reasons[id]
		changed := e.changed
		e.mu.Unlock()
		if ok {
			return reason, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// options are those of the table in README.md.
func (i *instance) options() []polywire.Option {
	// A 2.x client in a browser sends cookies, always.
	engine := engineio.Options{CORS: &engineio.CORS{Credentials: true}, JSONP: true}
	wireOptions := []socketio.Option{socketio.WithEngine(engine)}
	options := []polywire.Option{
		polywire.WithOrigins("*"),
		polywire.WithMaxMessageBytes(4 << 20),
		polywire.WithOutboxBytes(16 << 20),
		// A client that polls cannot fetch its close from a listener that is closed.
		polywire.WithCodecs(msgpack.Codec{}),
		polywire.WithLogger(slog.New(slog.NewTextHandler(i.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))),
		polywire.WithHooks(polywire.Hooks{
			Connect: func(c *polywire.Conn) {
				if c.Namespace().Name() == "/chat" {
					_ = c.Send(context.Background(), "hello", polywire.Args{c.ID(), "from the server"}) // or it has gone already
				}
			},
			Disconnect: i.ends.add,
			Error:      func(_ *polywire.Conn, err error) { i.t.Logf("%s: %v", i.name, err) },
		}),
	}
	switch i.name {
	case "recovery":
		options = append(options, polywire.WithSessions(polywire.Sessions{Window: time.Minute}))
	case "msgpack":
		wireOptions = append(wireOptions, socketio.WithParser(socketio.Msgpack))
	case "small":
		options = append(options, polywire.WithMaxMessageBytes(20_000),
			polywire.WithHeartbeat(400*time.Millisecond, 3*time.Second))
	case "quick":
		options = append(options, polywire.WithHeartbeat(400*time.Millisecond, 3*time.Second))
	}
	return append(options, polywire.WithWires(socketio.New(wireOptions...)))
}

// open starts a server.
func (i *instance) open() error {
	srv, err := polywire.New(i.options()...)
	if err != nil {
		return err
	}
	dynamic := regexp.MustCompile(`^/room-\d+$`)
	all := []*polywire.Namespace{
		srv.Namespace("/"), srv.Namespace("/chat"), srv.Namespace("/auth"),
		srv.NamespaceFunc(func(name string, _ *polywire.Handshake) bool { return dynamic.MatchString(name) }),
	}
	for _, n := range all {
		handle(n)
		if n.Name() != "/" || i.name == "main" { // the others' doors have no keeper
			n.Admit(see)
		}
	}
	srv.Namespace("/auth").Admit(admit)
	l, err := net.Listen("tcp", i.address)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	i.srv, i.served = srv, served
	go func() {
		defer close(served)
		served <- srv.Serve(l, "http")
	}()
	return nil
}

// restart shuts the server down and starts another one after a pause. That
// one is there, too, when the shutdown failed: other scenarios need it.
func (i *instance) restart(ctx context.Context, pause time.Duration) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := i.srv.Shutdown(limited)
	if err != nil {
		err = fmt.Errorf("shutdown of %s: %w", i.name, err)
	}
	err = errors.Join(err, <-i.served)
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	return errors.Join(err, i.open())
}

// authOf returns the auth object, empty where there is none.
func authOf(h *polywire.Handshake) (map[string]any, error) {
	auth := map[string]any{}
	if h.Payload.Empty() {
		return auth, nil
	}
	return auth, unmarshal(h.Payload, &auth)
}

// see keeps with the connection what the event handshake is asked for.
func see(_ context.Context, h *polywire.Handshake) error {
	auth, err := authOf(h)
	if err != nil {
		return err
	}
	h.Conn.SetValue(seenKey, map[string]any{
		"auth": auth, "tag": h.Request.URL.Query().Get("tag"), "header": h.Request.Header.Get("X-Test"),
	})
	return nil
}

// admit is the doorkeeper of /auth.
func admit(_ context.Context, h *polywire.Handshake) error {
	auth, err := authOf(h)
	if err != nil {
		return err
	}
	if auth["token"] == "secret" {
		return nil
	}
	return &polywire.Error{
		Code: polywire.CodeUnauthorized, Message: "not authorized",
		Details: map[string]any{"why": "token", "given": auth["token"]},
	}
}

// serverNames are the servers of README.md's table.
func serverNames() []string { return []string{"main", "recovery", "msgpack", "small", "quick"} }

// serve starts all servers and the control routes, whose URL it returns. Below
// /e2e/ the routes serve the folder of this package, for browsers.
func serve(t *testing.T) string {
	t.Helper()
	all := map[string]*instance{}
	for _, name := range serverNames() {
		i := &instance{t: t, name: name, address: conntest.HoldPort(t), ends: newEnds()}
		if err := i.open(); err != nil {
			t.Fatal(err)
		}
		all[name] = i
		t.Cleanup(func() {
			i.mu.Lock()
			defer i.mu.Unlock()
			if err := i.srv.Close(); err != nil {
				t.Errorf("close of %s: %v", name, err)
			}
			if err := <-i.served; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	control := httptest.NewServer(routes(all))
	t.Cleanup(func() {
		control.CloseClientConnections()
		control.Close()
	})
	return control.URL
}

// routes are the control routes of README.md.
func routes(all map[string]*instance) http.Handler {
	mux := http.NewServeMux()
	answer := func(path string, f func(r *http.Request, i *instance) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			i := all[r.URL.Query().Get("server")]
			if i == nil && path != "/servers" {
				http.Error(w, "no such server", http.StatusNotFound)
				return
			}
			v, err := f(r, i)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v) // or the client has gone
		})
	}
	answer("/servers", func(*http.Request, *instance) (any, error) {
		urls := map[string]string{}
		for name, i := range all {
			urls[name] = "http://" + i.address
		}
		return urls, nil
	})
	answer("/restart", func(r *http.Request, i *instance) (any, error) {
		millis, err := strconv.Atoi(r.URL.Query().Get("millis"))
		if err != nil {
			return nil, err
		}
		return map[string]bool{"done": true}, i.restart(r.Context(), time.Duration(millis)*time.Millisecond)
	})
	answer("/reason", func(r *http.Request, i *instance) (any, error) {
		reason, err := i.ends.wait(r.Context(), r.URL.Query().Get("id"))
		return map[string]string{"reason": reason}, err
	})
	mux.Handle("GET /e2e/", http.StripPrefix("/e2e", http.FileServer(http.Dir("."))))
	return mux
}
