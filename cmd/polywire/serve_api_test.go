package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
	"github.com/polywire/polywire/cmd/polywire/apiv1/apiv1connect"
	"github.com/polywire/polywire/webhook"
)

// bearer shows a key.
func bearer(key string) func(r *http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
}

// getAs reads a path of a server's HTTP side.
func getAs(t *testing.T, url, path, key string) (int, string) {
	t.Helper()
	return postAs(t, url, path, "", func(r *http.Request) {
		r.Method, r.Body = http.MethodGet, http.NoBody
		bearer(key)(r)
	})
}

// participant is a client that hears of all messages.
func participant(t *testing.T, url, room string) (*client.Client, <-chan string) {
	t.Helper()
	got := make(chan string, 100)
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	c.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
		got <- m.Kind() + " " + string(m.Payload().Data)
		return nil, nil
	})
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if room != "" {
		if err := c.Subscribe(t.Context(), room); err != nil {
			t.Fatal(err)
		}
	}
	return c, got
}

func hear(t *testing.T, got <-chan string, want string) {
	t.Helper()
	select {
	case m := <-got:
		if m != want {
			t.Errorf("heard %q, want %q", m, want)
		}
	case <-time.After(patience):
		t.Fatalf("never heard %q", want)
	}
}

// A program without Go uses the API by plain requests.
func TestServeAPI(t *testing.T) {
	t.Setenv("API_SECRET", testAPIKey)
	reader := sha256.Sum256([]byte("another-key-of-a-reader"))
	url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--webhooks", "--history", "news",
		"--api-access", "ops=env:API_SECRET,all", "--api-access", "reader=sha256:"+hex.EncodeToString(reader[:])+",read")[0])
	_, got := participant(t, url, "news")
	once := func(r *http.Request) {
		bearer(testAPIKey)(r)
		r.Header.Set("Idempotency-Key", "once")
	}
	for range 2 {
		if code, text := postAs(t, url, "/api/v1/rooms/news/send", `{"kind":"hello","json":{"n":1}}`, once); code != http.StatusOK {
			t.Fatalf("%d %s", code, text)
		}
	}
	hear(t, got, `hello {"n":1}`)
	if code, text := postAs(t, url, "/api/v1/all/send", `{"kind":"end","text":"x"}`, bearer(testAPIKey)); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	hear(t, got, `end "x"`) // and no second hello
	for _, c := range []struct {
		path, key string
		want      int
		text      string
	}{
		{"/api/v1/stats", "another-key-of-a-reader", http.StatusOK, `"connections":1`},
		{"/api/v1/rooms/news/history", "another-key-of-a-reader", http.StatusForbidden, `"code":"forbidden"`},
		{"/api/v1/rooms/news/history", testAPIKey, http.StatusOK, `"kind":"hello"`},
		{"/api/v1/stats", "nobody-has-this-key", http.StatusUnauthorized, `"code":"unauthorized"`},
		{"/api/v1/queues/nothing", testAPIKey, http.StatusNotFound, `"code":"not_found"`},
		{"/api/v1/webhooks/endpoints", testAPIKey, http.StatusOK, `"endpoints":[]`},
		{"/api/v1/webhooks/endpoints", "another-key-of-a-reader", http.StatusForbidden, `"code":"forbidden"`},
		{"/api/v1/openapi.json", "", http.StatusOK, `"/webhooks/endpoints"`},
	} {
		if code, text := getAs(t, url, c.path, c.key); code != c.want || !strings.Contains(text, c.text) {
			t.Errorf("%s: %d %s", c.path, code, text)
		}
	}
	code, text := postAs(t, url, "/api/v1/queues/jobs/messages", `{"id":"one","json":[1]}`, bearer(testAPIKey))
	if code != http.StatusOK || !strings.Contains(text, `"id":"one"`) {
		t.Errorf("%d %s", code, text)
	}
	var depth struct{ Waiting int }
	code, text = getAs(t, url, "/api/v1/queues/jobs", testAPIKey)
	if err := json.Unmarshal([]byte(text), &depth); code != http.StatusOK || err != nil || depth.Waiting != 1 {
		t.Errorf("%d %s", code, text)
	}
	code, text = postAs(t, url, "/api/v1/webhooks/events", `{"type":"order.paid","data":1}`, bearer(testAPIKey))
	if code != http.StatusAccepted {
		t.Errorf("%d %s", code, text)
	}
}

// The API has an address of its own, with HTTP/2.
func TestServeAPIListen(t *testing.T) {
	t.Setenv("API_SECRET", testAPIKey)
	lines := start(t, 2, "serve", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--api-access", "ops=env:API_SECRET,send,read")
	own, url := strings.TrimSuffix(last(lines[0]), "/api/v1"), last(lines[1])
	if code, text := getAs(t, url, "/api/v1/stats", testAPIKey); code != http.StatusNotFound {
		t.Errorf("the API is at the public address: %d %s", code, text)
	}
	_, got := participant(t, url, "news")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	c := apiv1connect.NewMessagesClient(&http.Client{Transport: transport}, own, connect.WithGRPC(),
		connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
				r.Header().Set("Authorization", "Bearer "+testAPIKey)
				return next(ctx, r)
			}
		})))
	if _, err := c.Send(t.Context(), &v1.SendRequest{Target: &v1.Target{Rooms: []string{"news"}}, Kind: "k", Payload: &v1.SendRequest_Text{Text: "hi"}}); err != nil {
		t.Fatal(err)
	}
	hear(t, got, `k "hi"`)
}

func TestServeAPISettings(t *testing.T) {
	t.Setenv("API_SECRET", testAPIKey)
	t.Setenv("SHORT", "short")
	t.Setenv("HOOK", webhook.GenerateSecret().Reveal())
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--api-listen", "127.0.0.1:0"}, "needs a key"},
		{[]string{"--api-access", "ops=env:API_SECRET"}, "scopes"},
		{[]string{"--api-access", "ops=env:API_SECRET,root"}, "want some of"},
		{[]string{"--api-access", "ops=" + testAPIKey + ",all"}, "want env:NAME or file:PATH"},
		{[]string{"--api-access", "ops=env:SHORT,all"}, "want 16 to 512"},
		{[]string{"--api-access", "ops=env:NOBODY_SET_THIS,all"}, "is not set"},
		{[]string{"--api-access", "a=env:API_SECRET,all", "--api-access", "b=env:API_SECRET,read"}, "the same secret"},
		{[]string{"--api-access", "a=env:API_SECRET,all", "--api-listen", "nowhere"}, "want host:port"},
		{[]string{"--api-access", "a=env:API_SECRET,all", "--webhook-in", "/api/v1/x=room:r,secret=env:HOOK"}, "this path is the API's"},
	} {
		_, errOut, err := run(t, "", append([]string{"config", "check"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error()+errOut, testAPIKey) {
			t.Errorf("%v: %v %s, want %s", c.args, err, errOut, c.want)
		}
	}
	out, _, err := run(t, "", "config", "show", "--api-access", "ops=env:API_SECRET,all")
	if err != nil || strings.Contains(out, testAPIKey) || !strings.Contains(out, "api:") {
		t.Errorf("%v %s", err, out)
	}
	if _, _, err := run(t, "", "config", "check", settingsFile(t, "api:\n  keys:\n    - name: ops\n      secret: env:API_SECRET\n      scopes: [send, read]\n")); err != nil {
		t.Error(err)
	}
}

func readAll(r io.Reader) string {
	b, _ := io.ReadAll(r) // of a request in memory
	return string(b)
}
