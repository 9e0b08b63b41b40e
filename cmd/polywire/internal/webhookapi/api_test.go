package webhookapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

const key = "a-key-that-nobody-guesses"

// world is an API over a dispatcher in memory, a receiver, and the description
// to which every answer is held.
type world struct {
	*testing.T

	api      *webhookapi.Handler
	d        *dispatch.Dispatcher
	receiver *httptest.Server
	schemas  *jsonschema.Compiler
	paths    map[string]map[string]operation
	seen     map[string]bool // operation and status

	mu     sync.Mutex
	status int
	got    []*http.Request
	bodies []string
}

type operation struct {
	ID          string `json:"operationId"`
	RequestBody struct {
		Required bool               `json:"required"`
		Content  map[string]content `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]content `json:"content"`
	} `json:"responses"`
}

type content struct {
	Schema struct {
		Ref string `json:"$ref"`
	} `json:"schema"`
}

func newWorld(t *testing.T, endpoints dispatch.Endpoints) *world {
	t.Helper()
	w := &world{T: t, status: http.StatusOK, seen: make(map[string]bool)}
	w.receiver = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.got, w.bodies = append(w.got, r), append(w.bodies, string(body))
		status := w.status
		w.mu.Unlock()
		rw.Header().Set("X-Receiver", "here")
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte("thanks"))
	}))
	t.Cleanup(w.receiver.Close)
	client, err := webhook.NewClient(webhook.ClientOptions{
		AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	broker, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mem := dispatch.NewMemory(dispatch.MemoryOptions{})
	if endpoints == nil {
		endpoints = mem.Endpoints
	}
	w.d, err = dispatch.New(t.Context(), dispatch.Options{
		Broker: broker, Client: client, Endpoints: endpoints, Events: mem.Events, Attempts: mem.Attempts,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := broker.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	w.api, err = webhookapi.New(webhookapi.Options{Dispatcher: w.d, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.api.Close)
	w.describe()
	return w
}

// describe reads the description, as it is served, without a key.
func (w *world) describe() {
	w.Helper()
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if rec.Code != http.StatusOK {
		w.Fatalf("the description: %d %s", rec.Code, rec.Body)
	}
	text := rec.Body.Bytes()
	var d struct {
		OpenAPI string                          `json:"openapi"`
		Paths   map[string]map[string]operation `json:"paths"`
	}
	if err := json.Unmarshal(text, &d); err != nil || d.OpenAPI != "3.1.0" {
		w.Fatalf("the description: version %q, %v", d.OpenAPI, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		w.Fatal(err)
	}
	w.schemas = jsonschema.NewCompiler()
	w.schemas.DefaultDraft(jsonschema.Draft2020) // what OpenAPI 3.1 takes
	w.schemas.AssertFormat()
	if err := w.schemas.AddResource("openapi.json", doc); err != nil {
		w.Fatal(err)
	}
	w.paths = d.Paths
}

// find returns the operation that a request is.
func (w *world) find(method, path string) (operation, bool) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for template, ops := range w.paths {
		want := strings.Split(template, "/")
		if slices.EqualFunc(want, parts, func(a, b string) bool { return a == b || a == "{id}" && b != "" }) {
			op, ok := ops[strings.ToLower(method)]
			return op, ok
		}
	}
	return operation{}, false
}

func (w *world) valid(c map[string]content, contentType string, text []byte) error {
	w.Helper()
	ref := c[contentType].Schema.Ref
	if ref == "" {
		w.Fatalf("no schema of %s for %s", contentType, text)
	}
	s, err := w.schemas.Compile("openapi.json" + ref)
	if err != nil {
		w.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// do makes a request, and holds it and its answer to the description.
func (w *world) do(method, path, body string, change ...func(r *http.Request)) *httptest.ResponseRecorder {
	w.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	op, ok := w.find(method, path)
	if !ok {
		return rec
	}
	response, declared := op.Responses[itoa(rec.Code)]
	if !declared {
		w.Errorf("%s %s: status %d is not in the description: %s", method, path, rec.Code, rec.Body)
		return rec
	}
	w.seen[op.ID+" "+itoa(rec.Code)] = true
	if len(response.Content) == 0 {
		if rec.Body.Len() > 0 {
			w.Errorf("%s %s: a body that is not in the description: %s", method, path, rec.Body)
		}
	} else if err := w.valid(response.Content, rec.Header().Get("Content-Type"), rec.Body.Bytes()); err != nil {
		w.Errorf("%s %s: the answer is not as described: %v\n%s", method, path, err, rec.Body)
	}
	if rec.Code < 300 && body != "" {
		if err := w.valid(op.RequestBody.Content, "application/json", []byte(body)); err != nil {
			w.Errorf("%s %s: was accepted and is not as described: %v\n%s", method, path, err, body)
		}
	}
	return rec
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// must is do with a status, and decodes the answer.
func must[T any](w *world, status int, method, path, body string) (v T) {
	w.Helper()
	rec := w.do(method, path, body)
	if rec.Code != status {
		w.Fatalf("%s %s: %d %s, want %d", method, path, rec.Code, rec.Body, status)
	}
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
			w.Fatal(err)
		}
	}
	return v
}

// patience is for what happens at once on a machine that is not busy.
const patience = 2 * time.Minute

// until waits for a condition.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			w.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

func (w *world) add(id, more string) webhookapi.Created {
	w.Helper()
	return must[webhookapi.Created](w, http.StatusCreated, "POST", "/endpoints",
		`{"id":"`+id+`","url":"`+w.receiver.URL+`/hook?token=in-the-url","types":["order.*"]`+more+`}`)
}

func TestLifeOfAnEndpoint(t *testing.T) {
	w := newWorld(t, nil)
	c := w.add("shop", `,"headers":{"X-Token":"hidden-value"},"rate":50,"schedule":{"delays":["0s"],"jitter":0}`)
	secret, err := webhook.ParseSecret(c.Secret)
	if err != nil {
		t.Fatalf("the secret of the new endpoint: %q, %v", c.Secret, err)
	}
	list := w.do("GET", "/endpoints", "")
	if text := list.Body.String(); strings.Contains(text, c.Secret) || strings.Contains(text, "hidden-value") || !strings.Contains(text, `"X-Token":"***"`) {
		t.Errorf("the listing shows a secret, or no mask: %s", text)
	}
	e := must[webhookapi.Endpoint](w, 200, "PATCH", "/endpoints/shop", `{"types":["*"],"rate":0,"headers":{"X-Token":"","X-Other":"v"},"timeout":"5s","description":"d"}`)
	if e.Rate != 0 || e.Burst != 0 || e.Timeout != "5s" || e.Description != "d" || len(e.Headers) != 1 || e.Headers["X-Other"] == "" {
		t.Errorf("after the change: %+v", e)
	}

	a := must[webhookapi.Accepted](w, http.StatusAccepted, "POST", "/events", `{"type":"order.paid","data":{"n":1}}`)
	if a.Endpoints != 1 || a.ID == "" {
		t.Errorf("accepted: %+v", a)
	}
	w.until("delivered", func() bool { return len(w.attempts("shop")) == 1 })
	w.mu.Lock()
	r, body := w.got[0], w.bodies[0]
	w.mu.Unlock()
	v, err := webhook.NewVerifier(webhook.VerifierOptions{}, secret)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := v.Verify(r.Header, []byte(body)); err != nil || m.ID != a.ID || m.Type != "order.paid" {
		t.Errorf("what the receiver has: %+v, %v", m, err)
	}
	full := must[webhookapi.Attempts](w, 200, "GET", "/events/"+a.ID+"/attempts?full=true", "").Attempts
	if len(full) != 1 || full[0].Body != "thanks" || full[0].State != dispatch.StateDelivered || full[0].Header["X-Receiver"] == nil {
		t.Errorf("the attempt in full: %+v", full)
	}

	n := must[webhookapi.NewSecret](w, 200, "POST", "/endpoints/shop/rotate", `{"grace":"1h"}`)
	if n.Secret == "" || n.Secret == c.Secret {
		t.Errorf("the new secret: %q", n.Secret)
	}
	e = must[webhookapi.Endpoint](w, 200, "GET", "/endpoints/shop", "")
	if len(e.Secrets) != 2 || !e.Secrets[0].Retires.IsZero() || e.Secrets[1].Retires.IsZero() {
		t.Errorf("secrets after the rotation: %+v", e.Secrets)
	}
	e = must[webhookapi.Endpoint](w, 200, "POST", "/endpoints/shop/disable", `{"reason":"a test"}`)
	if !e.Disabled || e.DisabledReason != "a test" {
		t.Errorf("disabled: %+v", e)
	}
	e = must[webhookapi.Endpoint](w, 200, "POST", "/endpoints/shop/enable", "")
	if e.Disabled {
		t.Errorf("enabled: %+v", e)
	}
	must[any](w, http.StatusNoContent, "DELETE", "/endpoints/shop", "")
	if l := must[webhookapi.Endpoints](w, 200, "GET", "/endpoints", ""); len(l.Endpoints) != 0 {
		t.Errorf("endpoints: %+v", l)
	}
}

func (w *world) attempts(endpoint string) []webhookapi.Attempt {
	w.Helper()
	return must[webhookapi.Attempts](w, 200, "GET", "/endpoints/"+endpoint+"/attempts?limit=100", "").Attempts
}

func TestAsymmetricAndOwnSecrets(t *testing.T) {
	w := newWorld(t, nil)
	c := w.add("pair", `,"key":"ed25519"`)
	if c.Secret != "" || !strings.HasPrefix(c.PublicKey, "whpk_") || c.Endpoint.Secrets[0].PublicKey != c.PublicKey {
		t.Errorf("of an asymmetric key: %+v", c)
	}
	own := webhook.GenerateSecret().Reveal()
	if c := w.add("own", `,"secret":"`+own+`"`); c.Secret != "" {
		t.Errorf("a secret that was given is in the answer: %q", c.Secret)
	}
	w.add("gost", `,"format":"gost","secret":"any text"`)
	w.add("ep%2Fwith%20", `,"format":"gost"`)
	must[webhookapi.Endpoint](w, 200, "GET", "/endpoints/ep%252Fwith%2520", "")
}

func TestReplays(t *testing.T) {
	w := newWorld(t, nil)
	w.add("shop", `,"schedule":{"delays":["0s"],"jitter":0}`)
	w.mu.Lock()
	w.status = http.StatusInternalServerError
	w.mu.Unlock()
	since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	a := must[webhookapi.Accepted](w, 202, "POST", "/events", `{"type":"order.paid"}`)
	must[webhookapi.Accepted](w, 202, "POST", "/events", `{"type":"order.sent","data":null}`)
	w.until("failed", func() bool { return len(w.attempts("shop")) == 2 })
	w.mu.Lock()
	w.status = http.StatusOK
	w.mu.Unlock()
	for i, body := range []string{
		`{"endpoint":"shop","failed_since":"` + since + `"}`,
		`{"endpoint":"shop","event":"` + a.ID + `"}`,
		`{"types":"order.sent","since":"` + since + `"}`,
	} {
		r := must[webhookapi.Replay](w, 202, "POST", "/replays", body)
		w.until("the replay", func() bool {
			r = must[webhookapi.Replay](w, 200, "GET", "/replays/"+r.ID, "")
			return r.State != webhookapi.ReplayRunning
		})
		if want := []int{2, 1, 1}[i]; r.State != webhookapi.ReplayDone || r.Queued != want {
			t.Errorf("%s: %+v, want %d queued", body, r, want)
		}
	}
	w.until("delivered", func() bool { return len(w.attempts("shop")) == 6 })

	// One that is slow is ended.
	r := must[webhookapi.Replay](w, 202, "POST", "/replays", `{"types":"*","rate":0.01}`)
	if r.State != webhookapi.ReplayRunning {
		t.Errorf("a slow replay: %+v", r)
	}
	for range 7 {
		must[webhookapi.Replay](w, 202, "POST", "/replays", `{"types":"*","rate":0.01}`)
	}
	if rec := w.do("POST", "/replays", `{"types":"*"}`); rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") == "" {
		t.Errorf("a ninth replay: %d %s", rec.Code, rec.Body)
	}
	w.until("the first of a slow replay", func() bool {
		return must[webhookapi.Replay](w, 200, "GET", "/replays/"+r.ID, "").Queued == 1
	})
	if r = must[webhookapi.Replay](w, 200, "DELETE", "/replays/"+r.ID, ""); r.State != webhookapi.ReplayCanceled || r.Queued != 1 {
		t.Errorf("after its end: %+v", r)
	}
}
