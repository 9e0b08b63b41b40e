package prometheus_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/observe/prometheus"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/wire/native"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// patience is generous: the machine may be busy.
const patience = 30 * time.Second

// world has everything that metrics can watch.
type world struct {
	t   *testing.T
	m   *prometheus.Metrics
	reg *prom.Registry
	hub *cluster.Memory
}

func newWorld(t *testing.T, o prometheus.Options) *world {
	t.Helper()
	w := &world{t: t, m: prometheus.New(o), reg: prom.NewPedanticRegistry(), hub: cluster.NewMemory()}
	err := errors.Join(w.reg.Register(w.m), w.reg.Register(collectors.NewGoCollector()),
		w.reg.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

type handlerFunc = func(context.Context, *polywire.Message) (any, error)

// serve starts a server of the cluster and returns its address.
func (w *world) serve(handlers map[string]handlerFunc, opts ...polywire.Option) (srv *polywire.Server, url string) {
	w.t.Helper()
	opts = append([]polywire.Option{polywire.WithWires(native.New()), polywire.WithLogger(quiet()), polywire.WithPlugins(w.m.Server()),
		polywire.WithPublishPolicy(polywire.AllowPublish), polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return nil })}, opts...)
	srv, err := polywire.New(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	for kind, h := range handlers {
		srv.Handle(kind, h)
	}
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, scheme) }()
	w.t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			w.t.Error(err)
		}
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return srv, "tcp://" + l.Addr().String()
}

func (w *world) dial(url string, opts ...client.Option) *client.Client {
	w.t.Helper()
	opts = append(w.m.Client(), append(opts, client.WithPeer(polywire.WithLogger(quiet())), client.WithBackoff(time.Millisecond, 10*time.Millisecond),
		client.WithPositionCheck(-1))...)
	c, err := client.Dial(w.t.Context(), url, opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func echo(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }

// exercise lets everything happen that has a figure, and waits for the figures.
func (w *world) exercise() {
	w.t.Helper()
	t, ctx := w.t, w.t.Context()
	handlers := map[string]handlerFunc{
		"echo": echo,
		"fails": func(context.Context, *polywire.Message) (any, error) {
			return nil, polywire.Errorf(polywire.CodeConflict, "no")
		},
		"breaks": func(context.Context, *polywire.Message) (any, error) { return nil, errors.New("no") },
		"leave": func(_ context.Context, m *polywire.Message) (any, error) {
			return nil, m.Conn().Close(polywire.CloseForceReconnect, "come back")
		},
	}
	in := []polywire.Option{polywire.WithCluster(w.hub), polywire.WithHistory("kept", polywire.History{}), polywire.WithMaxConnections(2, 0, 0)}
	first, url := w.serve(handlers, in...)
	second, url2 := w.serve(handlers, in...)
	c, c2 := w.dial(url), w.dial(url2)
	got := make(chan string, 100)
	c2.Handle("news", func(_ context.Context, m *polywire.Message) (any, error) { got <- m.Kind(); return nil, nil })
	testenv.Eventually(t, patience, "the nodes know each other", func() bool { return len(first.Nodes().List()) == 2 && len(second.Nodes().List()) == 2 })
	for _, kind := range []string{"echo", "fails", "breaks", "unheard"} {
		_ = c.Call(ctx, kind, "hello", nil) // what comes of it is counted
	}
	err := errors.Join(c2.Subscribe(ctx, "room"), c2.Subscribe(ctx, "kept"), c.Publish(ctx, "room", "news", 1), c.Publish(ctx, "kept", "news", 2),
		c.Subscribe(ctx, "left"), c.Unsubscribe(ctx, "left"), c.Send(ctx, "echo", "one way"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Room("room").Count(ctx); n != 1 || err != nil {
		t.Errorf("%d members: %v", n, err)
	}
	<-got
	<-got
	before := c2.Conn()
	_ = c2.Send(ctx, "leave", nil) // the client comes back to its rooms
	testenv.Eventually(t, patience, "the client is back", func() bool { return c2.Connected() && c2.Conn() != before && len(second.Rooms()) == 2 })
	w.dial(url)
	if _, err := client.Dial(ctx, url, client.WithoutReconnect()); err == nil {
		t.Error("a third connection was let in")
	}
	w.queues()
	w.webhooks()
	for _, e := range expected() {
		testenv.Eventually(t, patience, fmt.Sprintf("%s %v is %v", e.name, e.labels, e.want), func() bool {
			got := w.value(e.name, e.labels...)
			return got == e.want || e.more && got > e.want
		})
	}
}

func (w *world) queues() {
	w.t.Helper()
	t, ctx := w.t, w.t.Context()
	q := w.m.Queues()
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{Hooks: []queue.Hooks{q.Hooks()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	q.Watch(b)
	err = b.Handle("orders", func(_ context.Context, d *queue.Delivery) error {
		if d.Kind == "bad" {
			return errors.New("no")
		}
		return nil
	}, queue.HandleOptions{MaxAttempts: 2, Backoff: queue.Backoff{Min: time.Millisecond, Max: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []queue.Message{{Queue: "orders"}, {Queue: "orders", Kind: "bad"}, {Queue: "waiting"}, {Queue: "waiting", Delay: time.Hour}} {
		if err := b.Publish(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, patience, "a dead letter", func() bool { return b.Stats().Queues["orders"].Dead == 1 })
}

func (w *world) webhooks() {
	w.t.Helper()
	t, ctx := w.t, w.t.Context()
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/bad" {
			rw.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(receiver.Close)
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	sender, err := webhook.NewClient(webhook.ClientOptions{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	hooks := w.m.Webhooks()
	store := dispatch.NewMemory(dispatch.MemoryOptions{})
	d, err := dispatch.New(ctx, dispatch.Options{
		Broker: b, Client: sender, Endpoints: store.Endpoints, Events: store.Events, Attempts: store.Attempts,
		Hooks: []dispatch.Hooks{hooks.Hooks()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Shutdown(context.Background()) })
	hooks.Watch(d)
	for id, path := range map[string]string{"good": "/good", "bad": "/bad"} {
		if _, _, err := d.Add(ctx, webhook.Endpoint{ID: id, URL: receiver.URL + path, Types: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Publish(ctx, webhook.Event{Type: "order.paid", Data: 1}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "two attempts", func() bool { return d.Stats().Attempts >= 2 })
}

// gathered are the families by name.
func (w *world) gathered() map[string]*dto.MetricFamily {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	all := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// value returns one series' value, or its number of observations; -1: there is
// none. Labels are names and values in turn.
func (w *world) value(name string, labels ...string) float64 {
	w.t.Helper()
	f := w.gathered()[name]
	for _, m := range f.GetMetric() {
		has := make(map[string]string)
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && has[labels[i]] == labels[i+1]
		}
		switch {
		case !fits:
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		default:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	return -1
}
