package prometheus_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/observe/prometheus"
)

const flight = "sent-at"

// expectation is a series and its value.
type expectation struct {
	name   string
	labels []string
	want   float64
	more   bool // at least so much
}

// expected is what exercise leaves behind. Of what comes with its first
// observation nothing is left out: dashboards ask for it.
func expected() []expectation {
	return append(expectedOfServers(), expectedOfOthers()...)
}

func expectedOfServers() []expectation {
	return []expectation{
		{"polywire_server_state", []string{"state", "running"}, 2, false},
		{"polywire_server_connections", []string{"wire", "native"}, 3, false},
		{"polywire_server_connections_opened_total", []string{"wire", "native"}, 4, true},
		{"polywire_server_connections_refused_total", []string{"wire", "native", "reason", "limit"}, 1, true},
		{"polywire_server_connections_closed_total", []string{"wire", "native", "code", "3011", "by", "here"}, 1, false},
		{"polywire_server_messages_received_total", []string{"wire", "native"}, 10, true},
		{"polywire_server_messages_sent_total", []string{"wire", "native"}, 10, true},
		{"polywire_server_received_bytes_total", []string{"wire", "native"}, 100, true},
		{"polywire_server_sent_bytes_total", []string{"wire", "native"}, 100, true},
		{"polywire_server_messages_handled_total", []string{"kind", "echo", "result", "ok"}, 2, false},
		{"polywire_server_messages_handled_total", []string{"kind", "fails", "result", "error"}, 1, false},
		{"polywire_server_messages_handled_total", []string{"kind", "breaks", "result", "exception"}, 1, false},
		{"polywire_server_messages_handled_total", []string{"kind", "other", "result", "exception"}, 1, false},
		{"polywire_server_handler_duration_seconds", []string{"kind", "echo"}, 2, false},
		{"polywire_server_message_received_bytes", []string{"kind", "echo"}, 2, false},
		{"polywire_server_message_sent_bytes", []string{"kind", "echo"}, 1, false},
		{"polywire_server_message_sent_bytes", []string{"kind", "other"}, 3, true}, // errors
		{"polywire_server_message_flight_seconds", []string{"kind", "echo"}, 2, false},
		{"polywire_server_broadcast_duration_seconds", []string{"kind", "news"}, 2, false},
		{"polywire_server_broadcast_receivers", nil, 2, false},
		{"polywire_server_send_duration_seconds", []string{"kind", "news", "operation", "send"}, 2, true},
		{"polywire_server_rooms", nil, 2, false},
		{"polywire_server_room_memberships", nil, 2, false},
		{"polywire_server_subscribes_total", []string{"result", "ok"}, 5, false},
		{"polywire_server_unsubscribes_total", nil, 1, false},
		{"polywire_server_publishes_total", []string{"result", "ok"}, 2, false},
		{"polywire_server_recoveries_total", []string{"of", "room", "result", "hit"}, 1, false},
		{"polywire_server_concurrency_limit", nil, 1, false},
		{"polywire_server_errors_total", nil, 1, true},
		{"polywire_cluster_nodes", nil, 2, false},
		{"polywire_cluster_available", nil, 1, false},
		{"polywire_cluster_published_total", nil, 2, true},
		{"polywire_cluster_questions_total", nil, 1, true},
		{"polywire_cluster_hop_duration_seconds", nil, 2, false},
		{"polywire_cluster_node_changes_total", []string{"change", "joined"}, 2, true},
	}
}

func expectedOfOthers() []expectation {
	return []expectation{
		{"polywire_client_state", []string{"state", "running"}, 3, false},
		{"polywire_client_connections", []string{"wire", "native"}, 3, false},
		{"polywire_client_connections_closed_total", []string{"code", "3011", "by", "peer"}, 1, false},
		{"polywire_client_retries_total", nil, 1, true},
		{"polywire_client_outage_duration_seconds", nil, 1, true},
		{"polywire_client_recoveries_total", []string{"result", "hit"}, 1, true},
		{"polywire_client_send_duration_seconds", []string{"kind", "echo", "operation", "call"}, 1, false},
		{"polywire_client_send_duration_seconds", []string{"kind", "echo", "operation", "send"}, 1, false},
		{"polywire_client_messages_handled_total", []string{"kind", "news", "result", "ok"}, 2, false},
		{"polywire_client_handler_duration_seconds", []string{"kind", "news"}, 2, false},
		{"polywire_client_message_received_bytes", []string{"kind", "news"}, 2, false},
		{"polywire_client_message_sent_bytes", []string{"kind", "echo"}, 2, false},
		{"polywire_client_message_flight_seconds", []string{"kind", "news"}, 2, false},
		{"polywire_queue_brokers", []string{"state", "connected"}, 1, false},
		{"polywire_queue_publish_duration_seconds", []string{"queue", "orders"}, 2, false},
		{"polywire_queue_published_total", []string{"queue", "orders", "result", "ok"}, 2, false},
		{"polywire_queue_attempts_total", []string{"queue", "orders", "result", "error"}, 2, false},
		{"polywire_queue_attempts_total", []string{"queue", "orders", "result", "ok"}, 1, false},
		{"polywire_queue_handler_duration_seconds", []string{"queue", "orders"}, 3, false},
		{"polywire_queue_wait_seconds", []string{"queue", "orders"}, 2, false},
		{"polywire_queue_retries_total", []string{"queue", "orders"}, 1, false},
		{"polywire_queue_dead_letters_total", []string{"queue", "orders", "reason", "attempts"}, 1, false},
		{"polywire_queue_messages_dead", []string{"queue", "orders"}, 1, false},
		{"polywire_queue_messages_waiting", []string{"queue", "waiting"}, 1, false},
		{"polywire_queue_messages_delayed", []string{"queue", "waiting"}, 1, false},
		{"polywire_queue_paused", []string{"queue", "orders"}, 0, false},
		{"polywire_queue_paused", []string{"queue", "waiting"}, -1, false}, // nobody here consumes it
		{"polywire_queue_unreadable", nil, 0, false},
		{"polywire_webhook_events_total", []string{"result", "accepted"}, 1, false},
		{"polywire_webhook_publish_duration_seconds", nil, 1, false},
		{"polywire_webhook_attempt_duration_seconds", []string{"endpoint", "good"}, 1, false},
		{"polywire_webhook_attempts_total", []string{"endpoint", "good", "result", "delivered"}, 1, false},
		{"polywire_webhook_attempts_total", []string{"endpoint", "bad", "result", "retried"}, 1, true},
		{"polywire_webhook_attempt_classes_total", []string{"class", "status"}, 1, true},
		{"polywire_webhook_delivery_seconds", nil, 1, false},
		{"polywire_webhook_endpoints", []string{"state", "enabled"}, 2, false},
		{"polywire_webhook_endpoints_failing", nil, 1, false},
	}
}

func TestEverything(t *testing.T) {
	newWorld(t, prometheus.Options{FlightHeader: flight, SendDurations: true}).exercise()
}

func TestLint(t *testing.T) {
	w := newWorld(t, prometheus.Options{FlightHeader: flight, SendDurations: true})
	w.exercise()
	h, err := w.m.Handler()
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	text := rec.Body.String()
	for _, name := range []string{"polywire_server_connections{", "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no %s", name)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "polywire_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// What is registered and not used shows nothing.
func TestUnused(t *testing.T) {
	w := newWorld(t, prometheus.Options{})
	for name := range w.gathered() {
		if strings.HasPrefix(name, "polywire_") {
			t.Errorf("%s", name)
		}
	}
	w.serve(map[string]handlerFunc{"echo": echo})
	for name := range w.gathered() {
		if strings.HasPrefix(name, "polywire_") && !strings.HasPrefix(name, "polywire_server_") {
			t.Errorf("%s, of a server alone", name)
		}
	}
}

// Kinds and rooms without number do not make series without number.
func TestBoundedLabels(t *testing.T) {
	w := newWorld(t, prometheus.Options{MaxKinds: 20, Kinds: []string{"important"}})
	srv, url := w.serve(map[string]handlerFunc{"*": echo})
	c := w.dial(url)
	ctx := t.Context()
	const many = 10_000
	for i := range many {
		kind := fmt.Sprintf("kind-%d", i)
		if i%100 == 0 {
			if err := c.Subscribe(ctx, fmt.Sprintf("room-%d", i)); err != nil {
				t.Fatal(err)
			}
			if err := c.Publish(ctx, fmt.Sprintf("room-%d", i), kind, 1); err != nil {
				t.Fatal(err)
			}
			if err := c.Unsubscribe(ctx, fmt.Sprintf("room-%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Send(ctx, kind, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"\xff\xfe", strings.Repeat("x", 300), "other", "important"} {
		_ = c.Call(ctx, kind, nil, nil) // some wires cannot say some of these
	}
	testenv.Eventually(t, patience, "all are handled", func() bool { return srv.Stats().MessagesIn >= many })
	series := 0
	for name, f := range w.gathered() {
		if !strings.HasPrefix(name, "polywire_") {
			continue
		}
		series += len(f.GetMetric())
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if strings.HasPrefix(l.GetValue(), "room-") || len(l.GetValue()) > 255 {
					t.Errorf("%s has %s=%.40q", name, l.GetName(), l.GetValue())
				}
			}
		}
		if n := len(f.GetMetric()); n > 3*21 {
			t.Errorf("%s has %d series", name, n)
		}
	}
	if series > 500 {
		t.Errorf("%d series", series)
	}
	testenv.Eventually(t, patience, "the important kind counts by itself", func() bool {
		return w.value("polywire_server_messages_handled_total", "kind", "important", "result", "ok") == 1
	})
	testenv.Eventually(t, patience, "so do all others together", func() bool {
		return w.value("polywire_server_messages_handled_total", "kind", "other", "result", "ok") >= many-200
	})
}

// Unknown kinds and close codes of a peer's own invention get no labels at all.
func TestInventions(t *testing.T) {
	w := newWorld(t, prometheus.Options{})
	_, url := w.serve(map[string]handlerFunc{"echo": echo})
	for i := range 20 {
		c := w.dial(url)
		_ = c.Call(t.Context(), fmt.Sprintf("unheard-%d", i), nil, nil)
		if err := c.Conn().Close(polywire.CloseCode(4000+i), "mine"); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	testenv.Eventually(t, patience, "all have gone", func() bool { return w.value("polywire_server_connections", "wire", "native") == 0 })
	all := w.gathered()
	for _, name := range []string{"polywire_server_messages_handled_total", "polywire_server_connections_closed_total", "polywire_server_message_sent_bytes"} {
		if n := len(all[name].GetMetric()); n > 4 {
			t.Errorf("%s has %d series", name, n)
		}
	}
}

// Servers that end leave what they have counted; and who reads all the time
// disturbs nobody.
func TestConcurrentScrapes(t *testing.T) {
	w := newWorld(t, prometheus.Options{})
	h, err := w.m.Handler()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var scrapes sync.WaitGroup
	for range 4 {
		scrapes.Go(func() {
			for ctx.Err() == nil {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				if rec.Code != http.StatusOK {
					body, _ := io.ReadAll(rec.Body)
					t.Errorf("%d %s", rec.Code, body)
					return
				}
			}
		})
	}
	for range 5 {
		srv, url := w.serve(map[string]handlerFunc{"echo": echo})
		c := w.dial(url)
		for i := range 50 {
			if err := c.Call(ctx, "echo", i, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}
	stop()
	scrapes.Wait()
	for name, want := range map[string]float64{
		"polywire_server_messages_received_total": 250, "polywire_client_messages_sent_total": 250,
		"polywire_server_connections_opened_total": 5,
	} {
		testenv.Eventually(t, patience, name, func() bool { return w.value(name, "wire", "native") >= want })
	}
	testenv.Eventually(t, patience, "all handled", func() bool { return w.value("polywire_server_handler_duration_seconds", "kind", "echo") == 250 })
	testenv.Eventually(t, patience, "all closed", func() bool { return w.value("polywire_server_state", "state", "closed") == 5 })
}

func TestPluginServesOne(t *testing.T) {
	w := newWorld(t, prometheus.Options{})
	p := w.m.Server()
	for i, want := range []bool{true, false} {
		srv, err := polywire.New(polywire.WithLogger(quiet()), polywire.WithPlugins(p))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		if err := srv.Start(); (err == nil) != want {
			t.Errorf("server %d: %v", i, err)
		}
	}
}
