package sse_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/wire/sse"
)

// site is a server behind net/http's own, on loopback.
func site(t *testing.T, start func(*httptest.Server), opts ...polywire.Option) (*polywire.Server, *httptest.Server) {
	t.Helper()
	srv, err := polywire.New(append([]polywire.Option{polywire.WithWires(sse.New())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(srv)
	start(h)
	t.Cleanup(func() {
		srv.Close()
		h.CloseClientConnections()
		h.Close()
	})
	return srv, h
}

func http2(h *httptest.Server) {
	h.EnableHTTP2 = true
	h.StartTLS()
}

// answerTime is what net/http gives to requests and responses, not to streams.
// TLS' handshake has it as well.
const answerTime = 3 * time.Second

func hurried(h *httptest.Server) {
	h.Config.ReadTimeout, h.Config.WriteTimeout = answerTime, answerTime
	http2(h)
}

// until waits for something that others bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, what, ok)
}

// over opens a stream and returns its lines.
func over(t *testing.T, h *httptest.Server, query string) (*http.Response, *bufio.Reader, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+"/events?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp, bufio.NewReader(resp.Body), cancel
}

func readEvent(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
	}
}

func TestHTTP(t *testing.T) {
	for name, row := range map[string]struct {
		start func(*httptest.Server)
		major int
	}{
		"1.1":     {(*httptest.Server).Start, 1},
		"1.1 TLS": {(*httptest.Server).StartTLS, 1},
		"2":       {hurried, 2},
	} {
		t.Run(name, func(t *testing.T) {
			srv, h := site(t, row.start)
			resp, r, cancel := over(t, h, "room=a") //nolint:bodyclose // closed with the test
			if resp.ProtoMajor != row.major || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatalf("%s %s %v", resp.Proto, resp.Status, resp.Header)
			}
			if got := readEvent(t, r); got != ": polywire\n\n" {
				t.Errorf("%q", got)
			}
			conns := srv.Room("a").Conns()
			if len(conns) != 1 || (conns[0].TLS() != nil) != strings.Contains(h.URL, "https") || !strings.HasPrefix(conns[0].RemoteAddr().String(), "127.0.0.1:") {
				t.Fatalf("%v", conns)
			}
			if row.major == 2 {
				<-time.After(answerTime + 500*time.Millisecond) // real: net/http times the answer out, or does not
			}
			big := strings.Repeat("x", 200_000)
			for _, v := range []string{"1", big, "3"} {
				send(t, srv.Room("a"), "k", v)
				if got, want := readEvent(t, r), "event: k\nroom: \"a\"\ndata: \""+v+"\"\n\n"; got != want {
					t.Fatalf("%.100q, want %.100q", got, want)
				}
			}
			cancel()
			until(t, "the server sees that the client has gone", func() bool { return srv.Stats().Connections == 0 })

			_, r, _ = over(t, h, "room=b") //nolint:bodyclose // closed with the test
			readEvent(t, r)
			if err := srv.Room("b").Conns()[0].Close(4000, "bye"); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(r)
			if want := "event: $close\ndata: {\"code\":4000,\"reason\":\"bye\"}\n\n"; err != nil || string(rest) != want {
				t.Errorf("the end: %q, %v", rest, err)
			}
			until(t, "the link has ended", func() bool { return srv.Stats().Connections == 0 })
		})
	}
}

// What net/http carries is cut when the core has enough of a client that does
// not read.
func TestSlowClientOfHTTP2(t *testing.T) {
	ended := make(chan *polywire.CloseError, 1)
	srv, h := site(t, http2, polywire.WithWriteTimeout(2*time.Second), polywire.WithHeartbeat(4*time.Second, 10*time.Second),
		polywire.WithHooks(polywire.Hooks{Disconnect: func(_ *polywire.Conn, why *polywire.CloseError) { ended <- why }}))
	_, r, _ := over(t, h, "room=a") //nolint:bodyclose // closed with the test
	readEvent(t, r)
	big := strings.Repeat("x", 500_000)
	for range 50 {
		if err := srv.Room("a").Send(context.Background(), "k", big); err != nil && !errors.Is(err, polywire.ErrSlowConsumer) {
			t.Fatal(err)
		}
	}
	if why := <-ended; why.Code != polywire.CloseSlow && why.Code != polywire.CloseWriteError {
		t.Errorf("%v", why)
	}
}

// plainWriter can be flushed, no more, and tells what it has got.
type plainWriter struct {
	header http.Header
	mu     sync.Mutex
	body   strings.Builder
}

func (w *plainWriter) Header() http.Header { return w.header }

func (*plainWriter) WriteHeader(int) {}

func (*plainWriter) Flush() {}

func (w *plainWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.Write(p)
}

func (w *plainWriter) got() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.String()
}

// A ResponseWriter that can neither be hijacked nor given deadlines is enough.
func TestPlainResponseWriter(t *testing.T) {
	srv, _ := site(t, (*httptest.Server).Start)
	ctx, cancel := context.WithCancel(t.Context())
	w := &plainWriter{header: make(http.Header)}
	done := make(chan struct{})
	go func() {
		srv.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events?room=a", nil))
		close(done)
	}()
	until(t, "it is there", func() bool { return len(srv.Room("a").Conns()) == 1 })
	send(t, srv.Room("a"), "k", 1)
	want := ": polywire\n\nevent: k\nroom: \"a\"\ndata: 1\n\n"
	until(t, "it has been written", func() bool { return len(w.got()) >= len(want) })
	cancel()
	<-done
	if got := w.got(); got != want {
		t.Errorf("%q", got)
	}
	until(t, "the link has ended", func() bool { return srv.Stats().Connections == 0 })
}
