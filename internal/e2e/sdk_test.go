package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/wire/native"
)

// sdkServer is what the scenarios of sdk/js/test-server talk to: a server
// behind a bad network, which can be restarted and keeps the rooms' history.
type sdkServer struct {
	t     *testing.T
	logs  *cluster.Memory
	proxy *badnet.Proxy

	mu     sync.Mutex // for what a restart changes
	srv    *polywire.Server
	served chan error
	ends   *ends
}

// open starts a server, and sends what comes to the proxy there.
func (s *sdkServer) open() error {
	s.ends = newEnds()
	srv, err := polywire.New(polywire.WithWires(native.New()), polywire.WithCluster(s.logs),
		polywire.WithHistory("log*", polywire.History{Size: 10_000}), polywire.WithPresence("chat*"),
		polywire.WithOrigins("*"), polywire.WithOutboxBytes(256<<10), polywire.WithCloseTimeout(time.Second), polywire.WithConcurrency(16),
		polywire.WithLogger(slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))),
		polywire.WithHooks(polywire.Hooks{Disconnect: s.ends.add}))
	if err != nil {
		return err
	}
	handleSDK(srv)
	if err := srv.Start(); err != nil { // what is sent next finds it in its cluster
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.proxy.Target(l.Addr().String())
	served := make(chan error, 1)
	s.srv, s.served = srv, served
	go func() { served <- srv.Serve(l, "http") }()
	return nil
}

func handleSDK(srv *polywire.Server) {
	handler := func(f func(ctx context.Context, m *polywire.Message) (any, error)) polywire.Handler {
		return f
	}
	srv.Handle("echo", handler(func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }))
	srv.Handle("never", handler(func(ctx context.Context, _ *polywire.Message) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	srv.Handle("fail", handler(func(context.Context, *polywire.Message) (any, error) {
		return nil, &polywire.Error{Code: "shop.sold_out", Message: "none left", Details: map[string]int{"left": 0}}
	}))
	// It asks its caller the same before it answers.
	srv.Handle("twice", handler(func(ctx context.Context, m *polywire.Message) (any, error) {
		var out any
		err := m.Conn().Call(ctx, "double", m.Payload(), &out)
		return out, err
	}))
	srv.Handle("presence", handler(func(ctx context.Context, m *polywire.Message) (any, error) {
		var room string
		if err := m.Bind(&room); err != nil {
			return nil, err
		}
		return srv.Room(room).Presence(ctx)
	}))
	srv.Handle("presence.set", handler(func(_ context.Context, m *polywire.Message) (any, error) {
		var value json.RawMessage
		if err := m.Bind(&value); err != nil {
			return nil, err
		}
		if string(value) == "null" {
			return nil, m.Conn().SetPresence(nil)
		}
		return nil, m.Conn().SetPresence(value)
	}))
}

func (s *sdkServer) now() (*polywire.Server, *ends) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv, s.ends
}

// restart shuts the server down and starts another one.
func (s *sdkServer) restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := errors.Join(s.srv.Shutdown(limited), <-s.served)
	return errors.Join(err, s.open())
}

// send puts numbers into a room, each with so much text beside it.
func (s *sdkServer) send(ctx context.Context, room string, from, to, size int) error {
	srv, _ := s.now()
	text := strings.Repeat("x", size)
	for n := from; n < to; n++ {
		if err := srv.Room(room).Send(ctx, "n", map[string]any{"n": n, "text": text}); err != nil {
			return err
		}
	}
	return nil
}

// control does what a scenario asks for.
func (s *sdkServer) control(w http.ResponseWriter, r *http.Request) {
	q, ctx := r.URL.Query(), r.Context()
	number := func(name string) int {
		n, err := strconv.Atoi(cmp.Or(q.Get(name), "0"))
		if err != nil {
			s.t.Errorf("%s: %v", r.URL, err)
		}
		return n
	}
	srv, ends := s.now()
	answer := map[string]string{}
	var err error
	switch r.PathValue("verb") {
	case "url":
		answer["url"] = "ws://" + s.proxy.Addr() + native.DefaultPath
	case "restart":
		err = s.restart(ctx)
	case "cut":
		s.proxy.Cut()
	case "hole":
		s.proxy.BlackHole()
	case "resume":
		s.proxy.Resume()
	case "send":
		err = s.send(ctx, q.Get("room"), number("from"), number("to"), number("size"))
	case "kick":
		err = srv.To(q.Get("id")).Disconnect(ctx, polywire.CloseCode(number("code")), "kicked")
	case "reason":
		answer["reason"], err = ends.wait(ctx, q.Get("id"))
	default:
		err = fmt.Errorf("no %s here", r.URL)
	}
	if err != nil {
		s.t.Errorf("%s: %v", r.URL, err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // or the scenario has ended
}

// serveSDK returns the URL of the control routes, and of the client's files for pages.
func serveSDK(t *testing.T) string {
	t.Helper()
	proxy, err := badnet.New("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	s := &sdkServer{t: t, logs: cluster.NewMemory(), proxy: proxy}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := errors.Join(s.srv.Close(), <-s.served); err != nil {
			t.Error(err)
		}
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /control/{verb}", s.control)
	mux.Handle("GET /sdk/", http.StripPrefix("/sdk/", http.FileServerFS(os.DirFS("../../sdk/js"))))
	mux.Handle("GET /browser/", http.FileServerFS(os.DirFS(".")))
	control := httptest.NewServer(mux)
	t.Cleanup(func() {
		control.CloseClientConnections()
		control.Close()
	})
	return control.URL
}

// The JavaScript client against a server that goes away, comes back and loses
// patience with it, over a network that breaks.
func TestSDKInNode(t *testing.T) {
	testenv.Need(t, "node")
	if _, err := os.Stat("../../sdk/js/node_modules/ws/package.json"); err != nil {
		testenv.Missing(t, "the npm packages of sdk/js (make test installs them)")
	}
	t.Parallel()
	node(t, "../../sdk/js/test-server/run.test.js", "POLYWIRE_SDK_CONTROL="+serveSDK(t)+"/control/")
}

func TestSDKInBrowser(t *testing.T) {
	testenv.Need(t, "chromium")
	t.Parallel()
	control := serveSDK(t)
	ctx := browser(t)
	visit(ctx, t, control+"/browser/sdk.html")
	results := evaluate[[]result](ctx, t, "runScenarios(%q)", control+"/control/")
	for _, r := range results {
		r.check(t)
	}
	if len(results) == 0 {
		t.Error("no scenario was run")
	}
}
