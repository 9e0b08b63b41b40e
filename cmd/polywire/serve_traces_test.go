package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/webhook"
)

// tracesCollector is one that takes spans by OTLP over HTTP.
type tracesCollector struct {
	*httptest.Server

	mu       sync.Mutex
	away     bool
	names    map[string][]string // of spans, by trace
	resource map[string]string
}

func newTracesCollector(t *testing.T) *tracesCollector {
	c := &tracesCollector{names: make(map[string][]string), resource: make(map[string]string)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collector.ExportTraceServiceRequest
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.away:
			w.WriteHeader(http.StatusTeapot) // which nobody tries again
			return
		case err != nil || proto.Unmarshal(body, &in) != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Tenant") != "ours":
			t.Errorf("%s with %v: %v", r.URL.Path, r.Header, err)
		}
		for _, of := range in.GetResourceSpans() {
			for _, a := range of.GetResource().GetAttributes() {
				c.resource[a.GetKey()] = a.GetValue().GetStringValue()
			}
			for _, scope := range of.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					id := hex.EncodeToString(s.GetTraceId())
					c.names[id] = append(c.names[id], s.GetName())
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// of returns the names of the spans of a trace, sorted.
func (c *tracesCollector) of(trace string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.names[trace]))
}

// tracedServer is a server with all that can be part of a trace.
type tracedServer struct {
	*testing.T
	*program

	url   string
	spans *tracesCollector
	told  chan string         // the traces that backend and receiver were told
	want  map[string][]string // spans, by trace
}

func newTracedServer(t *testing.T) *tracedServer {
	s := &tracedServer{T: t, spans: newTracesCollector(t), told: make(chan string, 10), want: make(map[string][]string)}
	secret := webhook.GenerateSecret()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.told <- r.Header.Get("Traceparent")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"reply":"yes"}`))
	}))
	t.Cleanup(backend.Close)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.told <- "a webhook" + r.Header.Get("Traceparent")
	}))
	t.Cleanup(receiver.Close)
	s.program = startProgram(t, []string{
		"TRACES_HEADER=X-Tenant=ours", "API_SECRET=" + testAPIKey, "BACKEND_SECRET=" + secret.Reveal(), "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test",
	}, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--no-sync",
		"--traces-url", s.spans.URL, "--traces-header", "env:TRACES_HEADER", "--api-access", "ops=env:API_SECRET,all",
		"--queue-in", "order.*=orders", "--queue-out", "orders=feed,reach",
		"--webhooks", "--webhook-out", "paid.*", "--webhook-allow-http", "--webhook-allow-network", "127.0.0.0/8",
		"--backend-url", backend.URL, "--backend-secret", "env:BACKEND_SECRET", "--backend-kind", "ask")
	s.url = last(s.line())
	if code, text := postAs(t, s.url, "/api/v1/webhooks/endpoints", `{"url":"`+receiver.URL+`","types":["*"]}`, bearer(testAPIKey)); code != http.StatusCreated {
		t.Fatalf("an endpoint: %d %s", code, text)
	}
	return s
}

// trace begins one elsewhere, which is to have these spans here, sorted.
func (s *tracedServer) trace(digit string, spans ...string) (header string) {
	id := strings.Repeat(digit, 32)
	s.want[id] = spans
	return "00-" + id + "-" + strings.Repeat(digit, 16) + "-01"
}

// post asks the API, as a part of a trace.
func (s *tracedServer) post(path, body, trace string) {
	s.Helper()
	if code, text := postAs(s.T, s.url, path, body, func(r *http.Request) {
		bearer(testAPIKey)(r)
		r.Header.Set("Traceparent", trace)
	}); code != http.StatusOK {
		s.Errorf("%s: %d %s", path, code, text)
	}
}

// A trace that somebody else began goes on through all that serve does, and a
// backend gets it, too.
func TestServeTraces(t *testing.T) {
	t.Parallel()
	s := newTracedServer(t)
	c, got := participant(t, s.url, "feed")
	call := func(kind, trace string) {
		t.Helper()
		if err := c.Call(t.Context(), kind, 1, nil, polywire.WithHeader("traceparent", trace)); err != nil {
			t.Error(err)
		}
	}
	s.post("/api/v1/rooms/feed/send", `{"kind":"k","json":1}`, s.trace("a", "POST /api/v1/rooms/{room}/send", "publish k"))
	hear(t, got, "k 1")
	call("order.place", s.trace("b", "handle order.place", "process orders", "publish order.place", "send orders"))
	hear(t, got, "order.place 1")
	asked := s.trace("c", "backend message", "handle ask")
	call("ask", asked)
	if parent := <-s.told; !strings.Contains(parent, strings.Repeat("c", 32)) || parent == asked {
		t.Errorf("the backend got %q of %q", parent, asked)
	}
	call("paid.now", s.trace("d", "deliver paid.now", "handle paid.now"))
	if parent := <-s.told; parent != "a webhook" { // those outside have their own
		t.Errorf("the receiver got %q", parent)
	}
	s.post("/api/v1/queues/orders/messages", `{"kind":"k","json":5}`, s.trace("e", "POST /api/v1/queues/{queue}/messages", "process orders", "publish k"))
	hear(t, got, "k 5")
	_ = c.Close()
	s.signal(syscall.SIGTERM)
	if err := s.ends(); err != nil {
		t.Fatal(err)
	}
	for id, names := range s.want {
		if found := s.spans.of(id); !slices.Equal(found, names) {
			t.Errorf("trace %.1s: %q, want %q", id, found, names)
		}
	}
	if r := s.spans.resource; r["service.name"] != "polywire" || r["service.version"] == "" || r["deployment.environment.name"] != "test" {
		t.Errorf("the resource: %v", r)
	}
	if strings.Contains(s.said(), "traces") {
		t.Error("something is said of traces")
	}
}

// A collector that is away costs the traces, and nothing else.
func TestServeTracesCollectorAway(t *testing.T) {
	t.Parallel()
	spans := newTracesCollector(t)
	spans.away = true
	p := startProgram(t, []string{"OTEL_BSP_SCHEDULE_DELAY=10", "SECRET_HEADER=X-Tenant=ours"}, "serve", "--listen", "127.0.0.1:0", "--traces-url", spans.URL, "--traces-header", "env:SECRET_HEADER")
	c, _ := participant(t, last(p.line()), "room")
	for range 3 {
		if err := c.Call(t.Context(), "echo", 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	p.logs("cannot be sent to their collector.*418")
	spans.mu.Lock()
	spans.away = false
	spans.mu.Unlock()
	if err := c.Call(t.Context(), "echo", 1, nil); err != nil {
		t.Fatal(err)
	}
	p.logs("can be sent to their collector again.*lost=")
	_ = c.Close()
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(p.said(), "cannot be sent"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

func TestServeTracesSettings(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--traces-url", "127.0.0.1:4318"}, "want the collector's URL"},
		{[]string{"--traces-url", "ftp://127.0.0.1"}, "want the collector's URL"},
		{[]string{"--traces-url", "http://ann:geheim@127.0.0.1"}, "credentials are headers"},
		{[]string{"--traces-url", "http://127.0.0.1?key=geheim"}, "credentials are headers"},
		{[]string{"--traces-header", "A=geheim"}, "is for a collector"},
		{[]string{"--traces-url", "http://127.0.0.1", "--traces-header", "geheim"}, "want name=value"},
		{[]string{"--traces-url", "http://127.0.0.1", "--traces-header", "A=geheim\r\nB: c"}, "want name=value"},
		{[]string{"--traces-url", "http://127.0.0.1", "--traces-sample", "1.5"}, "want"},
	} {
		_, errOut, err := run(t, "", append([]string{"config", "check"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error()+errOut, "geheim") {
			t.Errorf("%v: %v, want %s", c.args, err, c.want)
		}
	}
}
