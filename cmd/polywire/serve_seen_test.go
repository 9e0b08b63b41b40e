package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/webhook"
)

func TestSeenHooks(t *testing.T) {
	conn, err := nats.Connect(natsForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s, err := openSeen(t.Context(), conn, 1)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openSeen(t.Context(), conn, 3) // a server with another flag
	if err != nil {
		t.Fatal(err)
	}
	a, b, other := s.of("/a"), again.of("/a"), s.of("/b")
	lapsed := &seenPath{s.kv, "/a", 0}
	claim := func(what string, store webhook.ReplayStore, id string, want webhook.Claim) {
		t.Helper()
		if got, err := store.Claim(t.Context(), id, time.Hour); err != nil || got != want {
			t.Errorf("%s: claim %v, %v, want %v", what, got, err, want)
		}
	}
	finish := func(store webhook.ReplayStore, id string, handled bool) {
		t.Helper()
		if err := store.Finish(t.Context(), id, handled, time.Hour); err != nil {
			t.Error(err)
		}
	}
	const id = "msg 1.*>\x00" // whatever a sender chose
	claim("the first", a, id, webhook.ClaimNew)
	claim("another server", b, id, webhook.ClaimBusy)
	claim("another path", other, id, webhook.ClaimNew)
	finish(a, id, false)
	claim("after it failed", b, id, webhook.ClaimNew)
	claim("whose claim has lapsed", lapsed, id, webhook.ClaimNew)
	finish(b, id, true)
	claim("after it was handled", a, id, webhook.ClaimHandled)
	claim("what is handled does not lapse", lapsed, id, webhook.ClaimHandled)
	claim("another path is busy still", other, id, webhook.ClaimBusy)

	conn.Close()
	if _, err := a.Claim(t.Context(), id, time.Hour); err == nil {
		t.Error("NATS is away, and a claim was made")
	}
	if (*seenHooks)(nil).of("/a") != nil {
		t.Error("nobody remembers, and there is a store")
	}
}

// What was handled before a restart is known after it.
func TestServeWebhookInAgain(t *testing.T) {
	secret := webhook.GenerateSecret()
	t.Setenv("HOOK_SECRET", secret.Reveal())
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir, at := t.TempDir(), time.Now()
	for _, c := range []struct {
		name string
		want int
	}{{"first", http.StatusNoContent}, {"again", http.StatusOK}} {
		t.Run(c.name, func(t *testing.T) {
			url := last(start(t, 1, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--webhook-in", "/hook=room:a,secret=env:HOOK_SECRET")[0])
			code, text := postAs(t, url, "/hook", `{}`, func(r *http.Request) {
				if err := signer.SetHeaders(r.Header, "msg_1", at, []byte(`{}`)); err != nil {
					t.Error(err)
				}
			})
			if code != c.want {
				t.Errorf("%d %s, want %d", code, text, c.want)
			}
		})
	}
}
