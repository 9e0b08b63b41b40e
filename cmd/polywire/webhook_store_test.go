package main

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// What is said about how webhooks are kept holds, and what is not said stays.
func TestServeWebhookBounds(t *testing.T) {
	dir := t.TempDir()
	serve := func(args ...string) (attempts, events string) {
		t.Helper()
		t.Run("a server", func(t *testing.T) {
			at := freeAddress(t)
			start(t, 1, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--no-sync", "--nats-listen", at, "--webhooks"}, args...)...)
			nc, err := nats.Connect("nats://" + at)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			js, err := natsjs.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			for name, to := range map[string]*string{"polywire-webhook-attempts": &attempts, "polywire-webhook-events": &events} {
				s, err := js.Stream(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				c := s.CachedInfo().Config
				*to = fmt.Sprint(c.MaxAge, " ", c.MaxBytes)
			}
		})
		return attempts, events
	}
	for _, c := range []struct {
		args             []string
		attempts, events string
	}{
		{nil, "168h0m0s -1", "168h0m0s -1"},
		{[]string{"--webhook-attempt-age", "48h", "--webhook-event-bytes", "64MiB"}, "48h0m0s -1", "168h0m0s 67108864"},
		{nil, "48h0m0s -1", "168h0m0s 67108864"},
		{[]string{"--webhook-event-age", "72h", "--webhook-attempt-bytes", "1MiB"}, "48h0m0s 1048576", "72h0m0s 67108864"},
	} {
		if attempts, events := serve(c.args...); attempts != c.attempts || events != c.events {
			t.Errorf("%v: attempts %s, want %s; events %s, want %s", c.args, attempts, c.attempts, events, c.events)
		}
	}
}
