package console

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

func newDispatcher(t *testing.T) *dispatch.Dispatcher {
	t.Helper()
	sends, err := webhook.NewClient(webhook.ClientOptions{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sends.Close() })
	broker, mem := newBroker(t), dispatch.NewMemory(dispatch.MemoryOptions{})
	d, err := dispatch.New(t.Context(), dispatch.Options{Broker: broker, Client: sends, Endpoints: mem.Endpoints, Events: mem.Events, Attempts: mem.Attempts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestWebhooks(t *testing.T) {
	var status atomic.Int32
	status.Store(500)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer receiver.Close()
	d := newDispatcher(t)
	w := newWorld(t, worldOptions{token: token, webhooks: d})
	rec, secret, err := d.Add(t.Context(), webhook.Endpoint{
		ID: "shop", URL: receiver.URL + "/hooks/a-path-that-is-secret?key=value-that-is-secret", Types: []string{"order.*"}, Description: "<b>shop</b>",
		Headers: webhook.Headers{"X-Key": "header-that-is-secret"}, Schedule: webhook.GostSchedule(),
	})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := d.Publish(t.Context(), webhook.Event{Type: "order.paid", Data: 1})
	if err != nil || receipt.Endpoints != 1 {
		t.Fatal(receipt, err)
	}
	var list webhooksAnswer
	w.eventually("an attempt that failed", func() bool {
		list = webhooksAnswer{}
		w.get("webhooks", &list)
		return len(list.Endpoints) == 1 && list.Endpoints[0].Attempts > 0
	})
	e := list.Endpoints[0]
	if !list.Available || list.Accepted != 1 || e.ID != "shop" || e.Host != rec.Endpoint.Host() || e.Types[0] != "order.*" || e.Breaker != "closed" || e.Created.IsZero() {
		t.Errorf("%+v", list)
	}
	var attempts webhookapi.Attempts
	w.eventually("the attempt's note", func() bool {
		w.get("webhooks/attempts?endpoint=shop&limit=1", &attempts)
		return len(attempts.Attempts) == 1
	})
	if a := attempts.Attempts[0]; a.Status != 500 || a.Event != receipt.ID || a.State != dispatch.StateScheduled {
		t.Errorf("%+v", a)
	}
	status.Store(200)
	w.eventually("a delivery", func() bool {
		w.get("webhooks/attempts?event="+receipt.ID, &attempts)
		return len(attempts.Attempts) > 1 && attempts.Attempts[len(attempts.Attempts)-1].Status == 200
	})
	var again replayed
	w.post("webhooks/replay", replayRequest{Endpoint: "shop", Event: receipt.ID}, &again)
	if again != (replayed{Queued: 1}) {
		t.Errorf("%+v", again)
	}
	w.eventually("the delivery of the replay", func() bool {
		w.get("webhooks/attempts?endpoint=shop", &attempts)
		return attempts.Attempts[0].Replay != "" && attempts.Attempts[0].Status == 200
	})
	w.post("webhooks/replay", replayRequest{Endpoint: "shop", FailedSince: time.Now().Add(-time.Hour)}, &again)
	if again.Queued != 0 {
		t.Errorf("nothing was given up: %+v", again)
	}
	if resp, _ := w.ask("POST", apiPath+"webhooks/replay", `{"endpoint":"shop","event":"unknown"}`, bearer); resp.Code != 404 {
		t.Error(resp.Status)
	}
	if err := errors.Join(d.Disable(t.Context(), "shop", "<i>why</i>")); err != nil {
		t.Fatal(err)
	}
	w.eventually("the endpoint to be disabled", func() bool {
		w.get("webhooks", &list)
		return list.Endpoints[0].Disabled && list.Endpoints[0].DisabledReason == "<i>why</i>"
	})
	if resp, body := w.ask("POST", apiPath+"webhooks/replay", `{"endpoint":"shop","event":"`+receipt.ID+`"}`, bearer); resp.Code != 400 {
		t.Errorf("%s %s", resp.Status, body)
	}
	for _, path := range []string{"webhooks", "webhooks/attempts?endpoint=shop", "webhooks/attempts?event=" + receipt.ID} {
		_, body := w.ask("GET", apiPath+path, "", bearer)
		if strings.Contains(body, "that-is-secret") || strings.Contains(body, secret.Reveal()) || strings.Contains(body, "whsec_") {
			t.Errorf("%s tells a secret: %s", path, body)
		}
	}
}
