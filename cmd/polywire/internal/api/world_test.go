package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire/native"
)

// secretOf is the secret of a test's key of a name.
func secretOf(name string) string { return "a-secret-that-nobody-guesses-" + name }

// world is a server with clients, its API, and the description to which every
// request and answer is held.
type world struct {
	*testing.T

	srv     *polywire.Server
	url     string
	api     *Handler
	broker  *queue.Broker
	schemas *jsonschema.Compiler
	paths   map[string]map[string]described
	seen    map[string]bool // operation and status
}

type described struct {
	ID          string `json:"operationId"`
	RequestBody struct {
		Required bool                 `json:"required"`
		Content  map[string]mediaType `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]mediaType `json:"content"`
	} `json:"responses"`
}

type mediaType struct {
	Schema struct {
		Ref string `json:"$ref"`
	} `json:"schema"`
}

type worldOptions struct {
	api  func(*Options)
	opts []polywire.Option
}

// byHello lets everybody in who says a name, and nobodies.
func byHello(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	if !h.Hello {
		return nil, polywire.ErrAwaitHello
	}
	if h.Header["user"] == "" {
		return nil, nil //nolint:nilnil // nobody in particular
	}
	return &polywire.Identity{User: h.Header["user"]}, nil
}

func newServer(t *testing.T, opts ...polywire.Option) *polywire.Server {
	t.Helper()
	srv, err := polywire.New(append([]polywire.Option{
		polywire.WithWires(native.New()), polywire.WithAuth(byHello), polywire.WithHistory("kept*", polywire.History{}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// listen serves on loopback and returns the URL.
func listen(t *testing.T, srv *polywire.Server) string {
	t.Helper()
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l, scheme) }()
	return "tcp://" + l.Addr().String()
}

func testKeys(t *testing.T) []Key {
	t.Helper()
	var keys []Key
	for name, scopes := range map[string][]Scope{
		"all": {ScopeAll}, "read": {ScopeRead}, "send": {ScopeSend}, "manage": {ScopeManage}, "queues": {ScopeQueues},
		"history": {ScopeHistory}, "webhooks": {ScopeWebhooks}, "two": {ScopeAll},
	} {
		k, err := NewKey(name, secretOf(name), scopes...)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	w := &world{T: t, seen: make(map[string]bool)}
	broker, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.broker = broker
	t.Cleanup(func() { _ = broker.Close() })
	w.srv = newServer(t, o.opts...)
	options := Options{Server: w.srv, Queues: broker, Keys: testKeys(t)}
	if o.api != nil {
		o.api(&options)
	}
	if w.api, err = New(options); err != nil {
		t.Fatal(err)
	}
	w.url = listen(t, w.srv)
	w.describe()
	return w
}

// connect returns a client that takes part.
func (w *world) connect(user string, setup ...func(c *client.Client)) *client.Client {
	w.Helper()
	c, err := client.New(w.url, client.WithCredentials(func(context.Context) (map[string]string, error) {
		return map[string]string{"user": user}, nil
	}), client.WithoutReconnect())
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range setup {
		f(c)
	}
	if err := c.Connect(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = c.Close() })
	return c
}

// describe reads the description, as it is served, without a key.
func (w *world) describe() {
	w.Helper()
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1/openapi.json", nil))
	if rec.Code != http.StatusOK {
		w.Fatalf("the description: %d %s", rec.Code, rec.Body)
	}
	var d struct {
		OpenAPI string                          `json:"openapi"`
		Paths   map[string]map[string]described `json:"paths"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil || d.OpenAPI != "3.1.0" {
		w.Fatalf("the description: version %q, %v", d.OpenAPI, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(rec.Body.Bytes()))
	if err != nil {
		w.Fatal(err)
	}
	w.schemas = jsonschema.NewCompiler()
	w.schemas.DefaultDraft(jsonschema.Draft2020) // what OpenAPI 3.1 takes
	if err := w.schemas.AddResource("openapi.json", doc); err != nil {
		w.Fatal(err)
	}
	w.paths = d.Paths
}

// find returns the operation that a request is. Longer templates come first.
func (w *world) find(method, path string) (described, bool) {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, DefaultBase), "?")
	parts := strings.Split(path, "/")
	var best string
	for template, ops := range w.paths {
		if _, ok := ops[strings.ToLower(method)]; !ok {
			continue
		}
		if slices.EqualFunc(strings.Split(template, "/"), parts, func(a, b string) bool { return a == b || strings.HasPrefix(a, "{") && b != "" }) {
			if best == "" || strings.Count(template, "{") < strings.Count(best, "{") {
				best = template
			}
		}
	}
	op, ok := w.paths[best][strings.ToLower(method)]
	return op, ok
}

func (w *world) valid(c mediaType, text []byte) error {
	w.Helper()
	if c.Schema.Ref == "" {
		w.Fatalf("no schema for %s", text)
	}
	s, err := w.schemas.Compile("openapi.json" + c.Schema.Ref)
	if err != nil {
		w.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

type change func(r *http.Request)

func as(name string) change {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secretOf(name)) }
}

func with(name, value string) change {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// do makes a request, and holds it and its answer to the description.
func (w *world) do(method, path, body string, changes ...change) *httptest.ResponseRecorder {
	w.Helper()
	if !strings.HasPrefix(path, DefaultBase) {
		path = DefaultBase + path
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+secretOf("all"))
	r.Header.Set("Content-Type", "application/json")
	for _, c := range changes {
		if c != nil {
			c(r)
		}
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	op, ok := w.find(method, path)
	if !ok {
		return rec
	}
	w.hold(op, method+" "+path, body, rec)
	return rec
}

func (w *world) hold(op described, what, body string, rec *httptest.ResponseRecorder) {
	w.Helper()
	response, declared := op.Responses[strconv.Itoa(rec.Code)]
	if !declared {
		w.Errorf("%s: status %d is not in the description: %s", what, rec.Code, rec.Body)
		return
	}
	w.seen[op.ID+" "+strconv.Itoa(rec.Code)] = true
	t := rec.Header().Get("Content-Type")
	schema, ok := response.Content[t]
	if !ok {
		w.Errorf("%s: status %d came as %q", what, rec.Code, t)
		return
	}
	if err := w.valid(schema, rec.Body.Bytes()); err != nil {
		w.Errorf("%s: the answer is not as described: %v\n%s", what, err, rec.Body)
	}
	if rec.Header().Get("X-Content-Type-Options") != "nosniff" || rec.Header().Get("Cache-Control") != "no-store" {
		w.Errorf("%s: headers %v", what, rec.Header())
	}
	if rec.Code == http.StatusOK && len(op.RequestBody.Content) > 0 && (body != "" || op.RequestBody.Required) {
		if err := w.valid(op.RequestBody.Content["application/json"], []byte(body)); err != nil {
			w.Errorf("%s: taken, but not as described: %v\n%s", what, err, body)
		}
	}
	if rec.Code == http.StatusBadRequest && body != "" {
		if err := w.valid(op.RequestBody.Content["application/json"], []byte(body)); err == nil {
			w.Errorf("%s: refused, but as described: %s\n%s", what, body, rec.Body)
		}
	}
}

// ok makes a request that has to succeed, and decodes the answer.
func (w *world) ok(method, path, body string, into any, changes ...change) {
	w.Helper()
	rec := w.do(method, path, body, changes...)
	if rec.Code != http.StatusOK {
		w.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		w.Fatal(err)
	}
}

// refused makes a request that has to fail.
func (w *world) refused(code problemCode, method, path, body string, changes ...change) *httptest.ResponseRecorder {
	w.Helper()
	rec := w.do(method, path, body, changes...)
	var p problemJSON
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
		w.Errorf("%s %s %.200s: %v in %s", method, path, body, err, rec.Body)
	}
	if p.Code != code || rec.Code != code.class().status || p.Status != rec.Code || p.Detail == "" || p.Type != "about:blank" {
		w.Errorf("%s %s %.200s: %d %s, want %s", method, path, body, rec.Code, rec.Body, code)
	}
	return rec
}

// messages are what a client gets, as kind and payload.
type messages chan string

func (m messages) handle(c *client.Client) {
	c.Handle("*", func(_ context.Context, msg *polywire.Message) (any, error) {
		m <- fmt.Sprintf("%s %s %s", msg.Kind(), msg.Payload().Data, msg.Header("h"))
		return nil, nil
	})
}

func (m messages) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-m:
		if strings.TrimSpace(got) != want {
			t.Errorf("a message: %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no message %q", want)
	}
}

func (m messages) none(t *testing.T) {
	t.Helper()
	select {
	case got := <-m:
		t.Errorf("a message to nobody: %q", got)
	default:
	}
}

// twoNodes are servers of a cluster, the first with the API.
func twoNodes(t *testing.T, engine *cluster.Memory) (w *world, other *polywire.Server, otherURL string) {
	t.Helper()
	w = newWorld(t, worldOptions{opts: []polywire.Option{polywire.WithCluster(engine)}})
	other = newServer(t, polywire.WithCluster(engine))
	if _, err := newService(other, nil); err != nil {
		t.Fatal(err)
	}
	return w, other, listen(t, other)
}
