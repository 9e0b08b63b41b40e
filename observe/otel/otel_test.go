package otel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/observe/otel"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/wire/native"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

const patience = 30 * time.Second

// recorder keeps the spans.
func recorder(t *testing.T) (*otel.Tracing, *tracetest.InMemoryExporter) {
	t.Helper()
	e := tracetest.NewInMemoryExporter()
	p := sdk.NewTracerProvider(sdk.WithSyncer(e))
	t.Cleanup(func() { p.Shutdown(context.Background()) })
	return otel.New(otel.Options{Provider: p}), e
}

func serve(t *testing.T, setup func(*polywire.Server), opts ...polywire.Option) (srv *polywire.Server, url string) {
	t.Helper()
	srv, err := polywire.New(append([]polywire.Option{polywire.WithWires(native.New()), polywire.WithLogger(slog.New(slog.DiscardHandler)),
		polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return nil })}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	if setup != nil {
		setup(srv)
	}
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, scheme) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return srv, "tcp://" + l.Addr().String()
}

func dial(t *testing.T, url string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// webhooks is a dispatcher with one endpoint that answers.
func webhooks(t *testing.T, tr *otel.Tracing, b *queue.Broker) *dispatch.Dispatcher {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(receiver.Close)
	sender, err := webhook.NewClient(webhook.ClientOptions{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	store := dispatch.NewMemory(dispatch.MemoryOptions{})
	d, err := dispatch.New(t.Context(), dispatch.Options{
		Broker: b, Client: sender, Endpoints: store.Endpoints, Events: store.Events, Attempts: store.Attempts,
		Hooks: []dispatch.Hooks{tr.WebhookHooks()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Shutdown(context.Background()) })
	if _, _, err := d.Add(t.Context(), webhook.Endpoint{URL: receiver.URL, Types: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	return d
}

// A call of a client on one node goes to a room, whose member is on another
// node, to a queue, and from its handler to a webhook: all of it is one trace,
// and each span's parent is the one that caused it.
func TestOneTrace(t *testing.T) {
	tr, spans := recorder(t)
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := webhooks(t, tr, b)
	hub := cluster.NewMemory()
	first, url := serve(t, func(s *polywire.Server) {
		s.Handle("order", func(ctx context.Context, m *polywire.Message) (any, error) {
			return nil, errors.Join(s.Room("desk").Send(ctx, "news", 1),
				tr.Publisher(b).Publish(ctx, queue.Message{Queue: "orders", Kind: "order.new"}))
		})
		s.HandleQueue("orders", func(ctx context.Context, m *polywire.Message) (any, error) {
			_, err := d.Publish(ctx, tr.Event(ctx, webhook.Event{Type: "order.paid", Data: 1}))
			return nil, err
		}, queue.HandleOptions{})
	}, polywire.WithCluster(hub), polywire.WithPlugins(tr.Server()), polywire.WithQueues(b))
	second, url2 := serve(t, nil, polywire.WithCluster(hub), polywire.WithPlugins(tr.Server()))
	testenv.Eventually(t, patience, "the nodes know each other", func() bool { return len(first.Nodes().List()) == 2 && len(second.Nodes().List()) == 2 })
	desk := dial(t, url2, tr.Client())
	desk.Handle("news", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	if err := desk.Subscribe(t.Context(), "desk"); err != nil {
		t.Fatal(err)
	}
	if err := dial(t, url, tr.Client()).Call(t.Context(), "order", "tea", nil); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"call order < ", "deliver order.paid < process orders", "handle news < publish news", "handle order < call order",
		"hop news < publish news", "process orders < send orders", "publish news < handle order", "send orders < handle order",
	}
	testenv.Eventually(t, patience, "all spans are there", func() bool { return len(spans.GetSpans()) >= len(want) })
	if got := tree(t, spans.GetSpans()); !slices.Equal(got, want) {
		t.Errorf(" got %q\nwant %q", got, want)
	}
}

// tree says of each span which its parent is, and that all are of one trace.
func tree(t *testing.T, all tracetest.SpanStubs) []string {
	t.Helper()
	names := make(map[trace.SpanID]string)
	for _, s := range all {
		names[s.SpanContext.SpanID()] = s.Name
	}
	var lines []string
	for _, s := range all {
		if s.SpanContext.TraceID() != all[0].SpanContext.TraceID() {
			t.Errorf("%s is of another trace", s.Name)
		}
		if s.EndTime.Before(s.StartTime) {
			t.Errorf("%s ends before it begins", s.Name)
		}
		lines = append(lines, s.Name+" < "+names[s.Parent.SpanID()])
	}
	slices.Sort(lines)
	return lines
}

// What a peer publishes to a room keeps the peer's trace.
func TestPeerPublishes(t *testing.T) {
	tr, spans := recorder(t)
	_, url := serve(t, nil, polywire.WithPlugins(tr.Server()))
	one, two := dial(t, url, tr.Client()), dial(t, url, tr.Client())
	two.Handle("said", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	if err := errors.Join(two.Subscribe(t.Context(), "room"), one.Publish(t.Context(), "room", "said", 1)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "all spans are there", func() bool { return len(spans.GetSpans()) >= 3 })
	want := []string{"call said < ", "handle said < publish said", "publish said < call said"}
	if got := tree(t, spans.GetSpans()); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestOutcomes(t *testing.T) {
	tr, spans := recorder(t)
	_, url := serve(t, func(s *polywire.Server) {
		s.Handle("conflict", func(context.Context, *polywire.Message) (any, error) {
			return nil, polywire.Errorf(polywire.CodeConflict, "taken")
		})
		s.Handle("panics", func(context.Context, *polywire.Message) (any, error) { panic("ouch") })
		s.Handle("fine", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	}, polywire.WithPlugins(tr.Server()))
	c := dial(t, url)
	for _, kind := range []string{"conflict", "panics", "fine", "unheard"} {
		_ = c.Call(t.Context(), kind, nil, nil)
	}
	testenv.Eventually(t, patience, "all spans are there", func() bool { return len(spans.GetSpans()) >= 4 })
	var got []string
	for _, s := range spans.GetSpans() {
		kind := ""
		for _, a := range s.Attributes {
			if a.Key == "error.type" {
				kind = a.Value.AsString()
			}
		}
		got = append(got, fmt.Sprint(s.Name, " ", s.Status.Code, " ", kind, " ", s.SpanKind))
	}
	slices.Sort(got)
	want := []string{"handle conflict Error conflict server", "handle fine Unset  server", "handle panics Error other server", "handle unheard Error not_found server"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Without the server a queue's publisher and handler share a trace, too.
func TestQueueAlone(t *testing.T) {
	tr, spans := recorder(t)
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	err = b.Handle("q", tr.QueueHandler(func(ctx context.Context, d *queue.Delivery) error {
		if d.Attempt == 1 {
			return errors.New("not yet")
		}
		if !trace.SpanContextFromContext(ctx).IsValid() || d.Header["own"] != "kept" {
			t.Errorf("%v", d.Header)
		}
		return nil
	}), queue.HandleOptions{Backoff: queue.Backoff{Min: time.Millisecond, Max: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"own": "kept"}
	if err := tr.Publisher(b).PublishBatch(t.Context(), []queue.Message{{Queue: "q", Header: own}}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "all spans are there", func() bool { return len(spans.GetSpans()) >= 3 })
	if got, want := tree(t, spans.GetSpans()), []string{"process q < send q", "process q < send q", "send q < "}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if len(own) != 1 {
		t.Errorf("the caller's header was changed: %v", own)
	}
}

// Headers that are no trace, or a hostile one, make a trace of their own, and
// without a provider all is passed on as it came.
func TestBadHeaders(t *testing.T) {
	tr, spans := recorder(t)
	got := make(chan string, 10)
	setup := func(s *polywire.Server) {
		s.Handle("k", func(_ context.Context, m *polywire.Message) (any, error) {
			got <- m.Header("traceparent")
			return nil, nil
		})
	}
	_, url := serve(t, setup, polywire.WithPlugins(tr.Server()))
	_, untraced := serve(t, setup, polywire.WithPlugins(otel.New(otel.Options{}).Server()))
	for _, text := range []string{"", "00-0-0-00", "\x00\xff", "00-00000000000000000000000000000000-0000000000000000-01"} {
		for _, to := range []string{url, untraced} {
			if err := dial(t, to).Send(t.Context(), "k", nil, polywire.WithHeader("traceparent", text)); err != nil {
				continue // the wire cannot say it
			}
			if text := <-got; text != "" && len(text) > 60 {
				t.Errorf("%q", text)
			}
		}
	}
	testenv.Eventually(t, patience, "spans are there", func() bool { return len(spans.GetSpans()) >= 3 })
	for _, s := range spans.GetSpans() {
		if s.Parent.IsValid() || !s.SpanContext.IsValid() {
			t.Errorf("%+v", s)
		}
	}
}
