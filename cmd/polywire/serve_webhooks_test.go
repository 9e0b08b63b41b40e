package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook"
)

const testAPIKey = "a-key-that-nobody-guesses"

// postAs makes a request to a server's HTTP side.
func postAs(t *testing.T, url, path, body string, change func(r *http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.Replace(url, "ws://", "http://", 1)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	change(r)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// Messages of a kind go out to an endpoint that was added by the API.
func TestServeWebhookOut(t *testing.T) {
	type hook struct {
		header http.Header
		body   []byte
	}
	got := make(chan hook, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- hook{r.Header, body}
	}))
	t.Cleanup(receiver.Close)
	t.Setenv(apiKeyVariable, testAPIKey)
	url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--webhooks", "--webhook-out", "order.*",
		"--webhook-allow-http", "--webhook-allow-network", "127.0.0.1/32")[0])

	with := func(key string) func(r *http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
	}
	body := `{"id":"shop","url":"` + receiver.URL + `","types":["order.paid"]}`
	if code, text := postAs(t, url, webhookAPIPath+"/endpoints", body, with("another-key-of-somebody")); code != http.StatusUnauthorized {
		t.Errorf("with another key: %d %s", code, text)
	}
	code, text := postAs(t, url, webhookAPIPath+"/endpoints", body, with(testAPIKey))
	var created webhookapi.Created
	if err := json.Unmarshal([]byte(text), &created); code != http.StatusCreated || err != nil || created.Secret == "" {
		t.Fatalf("adding an endpoint: %d %s", code, text)
	}
	secret, err := webhook.ParseSecret(created.Secret)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := webhook.NewVerifier(webhook.VerifierOptions{}, secret)
	if err != nil {
		t.Fatal(err)
	}

	out, _, err := run(t, "", "call", "order.paid", `{"order": 7}`, "--url", url)
	var a webhookapi.Accepted
	if err != nil || json.Unmarshal([]byte(out), &a) != nil || a.Endpoints != 1 {
		t.Fatalf("call: %s, %v", out, err)
	}
	select {
	case h := <-got:
		m, err := verifier.Verify(h.header, h.body)
		var content struct{ Data struct{ Order int } }
		if err != nil || m.ID != a.ID || m.Type != "order.paid" || json.Unmarshal(h.body, &content) != nil || content.Data.Order != 7 {
			t.Errorf("the receiver has %s: %+v, %v", h.body, m, err)
		}
	case <-time.After(patience):
		t.Fatal("nothing arrives")
	}
	if out, _, err := run(t, "", "call", "order.sent", `1`, "--url", url); err != nil || !strings.Contains(out, `"endpoints":0`) && !strings.Contains(out, `"endpoints": 0`) {
		t.Errorf("a type that nobody wants: %s, %v", out, err)
	}
	for kind, want := range map[string]string{"order.": "type: want", "order..a": "type: want", "order.a b": "type: want", "orders.a": "no handler"} {
		if _, _, err := run(t, "", "call", kind, `1`, "--url", url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("call %q: %v, want %s", kind, err, want)
		}
	}
}

// What comes in verified goes to a room and to a queue, once.
func TestServeWebhookIn(t *testing.T) {
	secret := webhook.GenerateSecret()
	t.Setenv("HOOK_SECRET", secret.Reveal())
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--webhooks", "--queue-out", "work=jobs",
		"--webhook-in", "/hooks/pay=room:payments,secret=env:HOOK_SECRET",
		"--webhook-in", "/hooks/work=queue:work,secret=env:HOOK_SECRET,kind=job,tolerance=1m")[0])
	payments, jobs := listener(t, url, "payments"), listener(t, url, "jobs")
	signed := func(id string, at time.Time, body string) func(r *http.Request) {
		return func(r *http.Request) {
			if err := signer.SetHeaders(r.Header, id, at, []byte(body)); err != nil {
				t.Error(err)
			}
		}
	}
	now := time.Now()
	const body = `{"type":"payment.approved","data":{"order":7}}`
	for i, c := range []struct {
		path, body string
		change     func(r *http.Request)
		want       int
	}{
		{"/hooks/pay", body, func(*http.Request) {}, http.StatusBadRequest},
		{"/hooks/pay", body, signed("msg_0", now, body+" "), http.StatusUnauthorized},
		{"/hooks/pay", body, signed("msg_0", now.Add(-time.Hour), body), http.StatusUnauthorized},
		{"/hooks/work", body, signed("msg_0", now.Add(-2*time.Minute), body), http.StatusUnauthorized},
		{"/hooks/pay", body, signed("msg_1", now, body), http.StatusNoContent},
		{"/hooks/pay", body, signed("msg_1", now, body), http.StatusOK}, // replayed
		{"/hooks/pay", "2", signed("msg_2", now, "2"), http.StatusNoContent},
		{"/hooks/work", body, signed("msg_1", now, body), http.StatusNoContent}, // another path, another sender
		{"/hooks/work", body, signed("msg_1", now, body), http.StatusOK},
		{"/hooks/work", "3", signed("msg_3", now, "3"), http.StatusNoContent},
		{"/hooks/other", body, signed("msg_1", now, body), http.StatusNotFound},
		{webhookAPIPath + "/endpoints", "{}", func(*http.Request) {}, http.StatusNotFound}, // no key, no API
	} {
		if code, text := postAs(t, url, c.path, c.body, c.change); code != c.want {
			t.Errorf("request %d: %d %s, want %d", i+1, code, text, c.want)
		}
	}
	for _, c := range []struct {
		from            *process
		room, kind, sub string
	}{
		{payments, "payments", "payment.approved", `"order":7`},
		{payments, "payments", "webhook", "2"},
		{jobs, "jobs", "job", `"order":7`},
		{jobs, "jobs", "job", "3"},
	} {
		if m := heard(t, c.from); m.Room != c.room || m.Kind != c.kind || !strings.Contains(string(m.Payload), c.sub) {
			t.Errorf("room %s got %+v, want %s %s", c.room, m, c.kind, c.sub)
		}
	}
}

func TestServeWebhookRules(t *testing.T) {
	t.Setenv("HOOK_SECRET", webhook.GenerateSecret().Reveal())
	t.Setenv("BAD_SECRET", "text-that-is-hidden")
	t.Setenv(cli.EnvNATS, "")
	at := " --data-dir " + t.TempDir()
	for _, c := range []struct{ args, want string }{
		{"--webhooks", "--data-dir, or --nats"},
		{"--webhook-out a.*", "add --webhooks"},
		{"--api-key 0123456789abcdef", "add --webhooks"},
		{"--webhook-allow-http", "add --webhooks"},
		{"--webhooks --api-key short-one-hid" + at, "16 to 512"},
		{"--webhooks --webhook-replicas 2" + at, "1, 3 or 5"},
		{"--webhooks --webhook-allow-network here" + at, "--webhook-allow-network"},
		{"--webhooks --webhook-out a*" + at, "order.*"},
		{"--webhooks --webhook-out echo" + at, "twice"},
		{"--webhooks --webhook-out a.* --webhook-out a.*" + at, "twice"},
		{"--webhooks --webhook-out a.* --queue-in a.*=q" + at, "twice"},
		{"--webhook-in /a", "want /path=room:name"},
		{"--webhook-in a=room:b,secret=env:HOOK_SECRET", "begins with a slash"},
		{"--webhook-in /{a}=room:b,secret=env:HOOK_SECRET", "begins with a slash"},
		{"--webhook-in /a=topic:b,secret=env:HOOK_SECRET", "room:name or queue:name"},
		{"--webhook-in /a=room:,secret=env:HOOK_SECRET", "1 to 255"},
		{"--webhook-in /a=room:$b,secret=env:HOOK_SECRET", "begin with $"},
		{"--webhook-in /a=queue:,secret=env:HOOK_SECRET" + at, "name"},
		{"--webhook-in /a=queue:b,secret=env:HOOK_SECRET" + at, "needs --webhooks, or a rule"},
		{"--webhook-in /a=queue:b,secret=env:HOOK_SECRET", "needs --webhooks, and --data-dir"},
		{"--webhook-in /a=room:b", "secret=env:NAME says"},
		{"--webhook-in /a=room:b,secret=text-that-is-hidden", "list of processes"},
		{"--webhook-in /a=room:b,secret=env:NOT_SET_HERE", "NOT_SET_HERE"},
		{"--webhook-in /a=room:b,secret=env:BAD_SECRET", "whsec_"},
		{"--webhook-in /a=room:b,secret=env:HOOK_SECRET,kind=", "kind"},
		{"--webhook-in /a=room:b,secret=env:HOOK_SECRET,format=xml", "standard or gost"},
		{"--webhook-in /a=room:b,secret=env:HOOK_SECRET,tolerance=5", "unit"},
		{"--webhook-in /a=room:b,secret=env:HOOK_SECRET,else=1", "kind=, format="},
		{"--webhook-in /a=room:b,secret=env:HOOK_SECRET --webhook-in /a=room:c,secret=env:HOOK_SECRET", "twice"},
		{"--webhook-in /api/webhooks/x=room:b,secret=env:HOOK_SECRET", "the API's"},
	} {
		_, _, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "short-one-hid") {
			t.Errorf("polywire serve %s: %v, want %q", c.args, err, c.want)
		}
	}
}
