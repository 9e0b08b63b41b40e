package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/webhook"
)

// A program without Go decides, and answers: here it looks at the text of the
// requests, as a script would.
func TestServeBackend(t *testing.T) {
	secret := webhook.GenerateSecret()
	t.Setenv("BACKEND_SECRET", secret.Reveal())
	v, err := webhook.NewVerifier(webhook.VerifierOptions{}, secret)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := readAll(r.Body)
		if _, err := v.Verify(r.Header, []byte(body)); err != nil {
			t.Errorf("a request: %v", err)
		}
		var q struct{ Type string }
		if err := json.Unmarshal([]byte(body), &q); err != nil {
			t.Error(err)
		}
		mu.Lock()
		seen[q.Type]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case q.Type == "connect":
			_, _ = w.Write([]byte(`{"allow":true,"user":"ada","join":["lobby"]}`))
		case q.Type == "message":
			_, _ = w.Write([]byte(`{"reply":{"total":12.5}}`))
		case strings.Contains(body, `"secret-room"`):
			_, _ = w.Write([]byte(`{"allow":false,"code":"forbidden","message":"not yours"}`))
		default:
			_, _ = w.Write([]byte(`{"allow":true}`))
		}
	}))
	defer s.Close()
	url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--backend-url", s.URL, "--backend-secret", "env:BACKEND_SECRET",
		"--backend-event", "connect,disconnect,subscribe,publish", "--backend-kind", "order.*", "--backend-timeout", "1m",
		"--api-access", "ops=env:BACKEND_SECRET,all")[0])
	c, got := participant(t, url, "open-room")
	if code, text := postAs(t, url, "/api/v1/users/ada/send", `{"kind":"k","json":1}`, bearer(secret.Reveal())); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
	hear(t, got, "k 1")
	if code, text := postAs(t, url, "/api/v1/rooms/lobby/send", `{"kind":"k","json":2}`, bearer(secret.Reveal())); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
	hear(t, got, "k 2")
	var reply struct{ Total float64 }
	if err := c.Call(t.Context(), "order.place", map[string]int{"n": 1}, &reply); err != nil || reply.Total != 12.5 {
		t.Errorf("%+v, %v", reply, err)
	}
	if err := c.Publish(t.Context(), "open-room", "said", 3); err != nil {
		t.Error(err)
	}
	hear(t, got, "said 3")
	for what, err := range map[string]error{
		"subscribe": c.Subscribe(t.Context(), "secret-room"), "publish": c.Publish(t.Context(), "secret-room", "k", 1),
		"presence": c.Call(t.Context(), "presence", "secret-room", nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "not yours") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_ = c.Close()
	testenv.Eventually(t, patience, "the disconnect is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen["disconnect"] == 1
	})
}

func TestServeBackendSettings(t *testing.T) {
	secret := webhook.GenerateSecret()
	t.Setenv("BACKEND_SECRET", secret.Reveal())
	good := []string{"--backend-url", "http://user-service.internal/hook", "--backend-secret", "env:BACKEND_SECRET", "--backend-event", "connect"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--backend-event", "connect"}, "--backend-url says where it is"},
		{good[:2], "needs --backend-secret"},
		{good[:4], "which say what it is asked"},
		{append(good[2:], "--backend-url", "ftp://x"), "want a URL with http or https"},
		{append(good[:2:2], "--backend-secret", "geheim", "--backend-event", "connect"), "secret"},
		{append(slices.Clip(good), "--backend-event", "message"), "want connect"},
		{append(slices.Clip(good), "--backend-kind", "echo"), "registered twice"},
		{append(slices.Clip(good), "--backend-allow-when-down", "publish"), "cannot be allowed"},
		{append(slices.Clip(good), "--backend-timeout", "2m"), "want"},
	} {
		_, errOut, err := run(t, "", append([]string{"config", "check"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error()+errOut, "geheim") {
			t.Errorf("%v: %v, want %s", c.args, err, c.want)
		}
	}
	if _, _, err := run(t, "", append([]string{"config", "check"}, good...)...); err != nil {
		t.Error(err)
	}
}
