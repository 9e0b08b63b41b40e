package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook/dispatch"
)

// keptBy says how the streams of webhooks are configured that a server has, with three
// replicas each.
func keptBy(t *testing.T, address string) (all string) {
	t.Helper()
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"KV_polywire-webhook-endpoints", "polywire-webhook-events", "polywire-webhook-attempts"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		if c.Replicas != 3 {
			t.Errorf("%s is on %d servers", name, c.Replicas)
		}
		all += strings.Join([]string{c.Name, c.MaxAge.String(), c.Discard.String(), c.Retention.String()}, " ")
	}
	return all
}

// Three servers with what is inside of them deliver webhooks together: the command
// reaches them by any, changes nothing of how they keep what they keep, and when one has
// ended the others deliver what it had accepted.
func TestWebhookCluster(t *testing.T) {
	t.Parallel() // it waits
	var mu sync.Mutex
	got := make(map[string]bool)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get("Webhook-Id")] = true
	}))
	t.Cleanup(receiver.Close)
	routes := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	clients := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	var servers []*process
	for i, own := range routes {
		servers = append(servers, background(t, "serve", "--listen", "127.0.0.1:0", "--webhooks",
			"--webhook-allow-http", "--webhook-allow-network", "127.0.0.1/32", "--data-dir", t.TempDir(), "--no-sync",
			"--nats-listen", clients[i], "--cluster-listen", own, "--cluster-peers", strings.Join(routes, ","), "--cluster-secret", "only ours"))
	}
	for _, p := range servers {
		p.line() // it serves
	}
	before := keptBy(t, clients[1])
	at := func(i int, args ...string) []string { return append(args, "--nats", "nats://"+clients[i]) }
	webhookTool[webhookapi.Created](t, at(0, "endpoints", "add", receiver.URL, "--id", "shop", "--type", "order.*", "--allow-http", "--allow-network", "127.0.0.1/32")...)
	for i := range clients {
		eventually(t, "every server knows the endpoint", func() bool {
			return len(webhookTool[webhookapi.Endpoints](t, at(i, "endpoints", "ls")...).Endpoints) == 1
		})
	}
	send := func(from int) string {
		t.Helper()
		a := webhookTool[webhookapi.Accepted](t, at(from, "send", "order.paid", `{"order":7}`)...)
		if a.Endpoints != 1 {
			t.Errorf("accepted: %+v", a)
		}
		return a.ID
	}
	arrive := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			eventually(t, "the receiver has "+id, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return got[id]
			})
		}
	}
	first := send(0)
	arrive(first, send(1), send(2))
	servers[0].end()
	arrive(send(1), send(2))
	eventually(t, "the attempt is seen by another server", func() bool {
		a := webhookTool[webhookapi.Attempts](t, at(2, "attempts", "--event", first)...).Attempts
		return len(a) > 0 && a[len(a)-1].State == dispatch.StateDelivered
	})
	if n := webhookTool[map[string]int](t, at(1, "replay", "shop", first)...); n["queued"] != 1 {
		t.Errorf("replay: %v", n)
	}
	if after := keptBy(t, clients[1]); after != before {
		t.Errorf("it was %s, and is %s", before, after)
	}
}
