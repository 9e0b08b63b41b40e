// Package otel makes spans of OpenTelemetry of what messages go through:
// handlers, calls, rooms, hops between the nodes of a cluster, queues and
// webhooks. Who sends and who receives share a trace by the headers of the W3C
// Trace Context ("traceparent" and "tracestate"), on each wire that carries
// headers.
//
// It needs the API of OpenTelemetry only; the program chooses the SDK.
package otel

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

// Options are what [New] may be told.
type Options struct {
	// Provider makes the spans. Nil: none are made, and what comes is passed on.
	Provider trace.TracerProvider
	// Propagator reads and writes headers. Nil: W3C Trace Context.
	Propagator propagation.TextMapPropagator
}

// Tracing makes spans. Methods may be called from many goroutines at once.
type Tracing struct {
	tracer trace.Tracer
	prop   propagation.TextMapPropagator
}

// name is that of the instrumentation.
const name = "github.com/polywire/polywire/observe/otel"

// New returns a Tracing.
func New(o Options) *Tracing {
	if o.Provider == nil {
		o.Provider = noop.NewTracerProvider()
	}
	if o.Propagator == nil {
		o.Propagator = propagation.TraceContext{}
	}
	return &Tracing{tracer: o.Provider.Tracer(name), prop: o.Propagator}
}

// Server returns a plugin for a server: spans of handling, of calls to peers,
// of messages to rooms and of hops from other nodes. Each server takes one of
// its own.
func (t *Tracing) Server() polywire.Plugin { return &plugin{t: t} }

// Client returns an option for a client: spans of its calls and messages, and
// of what it handles. Each client takes one of its own.
func (t *Tracing) Client() client.Option {
	return client.WithPeer(polywire.WithPlugins(&plugin{t: t}))
}

// ErrActive is returned when a plugin that a server has is given to another.
var ErrActive = errors.New("otel: the plugin is active on another server")

type plugin struct {
	t *Tracing

	mu     sync.Mutex
	active bool
}

// Activate implements [polywire.Plugin].
func (p *plugin) Activate(s *polywire.Server) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active {
		return ErrActive
	}
	p.active = true
	s.Pipe(p.t)
	s.Hook(polywire.Hooks{Hop: p.t.hop})
	return nil
}

// Deactivate implements [polywire.Plugin].
func (p *plugin) Deactivate(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = false
	return nil
}

// The attributes' names, of OpenTelemetry's semantic conventions where those
// have one.
const (
	attrSystem      = attribute.Key("messaging.system")
	attrOperation   = attribute.Key("messaging.operation.type")
	attrDestination = attribute.Key("messaging.destination.name")
	attrMessageID   = attribute.Key("messaging.message.id")
	attrSize        = attribute.Key("messaging.message.body.size")
	attrRPCSystem   = attribute.Key("rpc.system")
	attrRPCMethod   = attribute.Key("rpc.method")
	attrErrorType   = attribute.Key("error.type")
	attrWire        = attribute.Key("polywire.wire")
	attrConn        = attribute.Key("polywire.conn")
	attrKind        = attribute.Key("polywire.kind")
	attrNode        = attribute.Key("polywire.node")
	attrAttempt     = attribute.Key("polywire.attempt")
)

const system = "polywire"

// maxNameBytes is how much of a kind, which a peer may have chosen, is kept.
const maxNameBytes = 255

func short(s string) string { return s[:min(len(s), maxNameBytes)] }

// parent returns ctx with the trace that a header names, unless ctx has one.
func (t *Tracing) parent(ctx context.Context, header map[string]string) context.Context {
	if len(header) == 0 || trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return t.prop.Extract(ctx, propagation.MapCarrier(header))
}

// inject returns a copy of a header with the trace of ctx in it.
func (t *Tracing) inject(ctx context.Context, header map[string]string) map[string]string {
	header = maps.Clone(header)
	if header == nil {
		header = make(map[string]string, 2)
	}
	t.prop.Inject(ctx, propagation.MapCarrier(header))
	return header
}

// note puts what came of it into a span.
func note(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		kind := "other"
		var coded *polywire.Error
		switch {
		case errors.As(err, &coded):
			kind = string(coded.Code)
		case errors.Is(err, context.DeadlineExceeded):
			kind = "timeout"
		case errors.Is(err, context.Canceled):
			kind = "canceled"
		}
		span.SetAttributes(attrErrorType.String(short(kind)))
		span.SetStatus(codes.Error, short(err.Error()))
	}
}

var _ polywire.Pipe = (*Tracing)(nil)

// Handler implements [polywire.Pipe]: a span for each message that is handled.
func (t *Tracing) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (result any, err error) {
		ctx, span := t.tracer.Start(t.parent(ctx, m.Headers()), received(m), trace.WithSpanKind(kindOf(m)), trace.WithAttributes(about(m)...))
		defer span.End()
		done := false
		defer func() {
			if !done { // it panicked, which goes on
				err = errPanicked
			}
			note(span, err)
		}()
		result, err = next(ctx, m)
		done = true
		return result, err
	}
}

var errPanicked = errors.New("the handler panicked")

// received is the name of the span of a message that is handled.
func received(m *polywire.Message) string {
	if d := m.Delivery(); d != nil {
		return "process " + d.Queue
	}
	return "handle " + short(m.Kind())
}

func kindOf(m *polywire.Message) trace.SpanKind {
	if m.IsCall() {
		return trace.SpanKindServer
	}
	return trace.SpanKindConsumer
}

// about are the attributes of a message that is handled.
func about(m *polywire.Message) []attribute.KeyValue {
	kind := short(m.Kind())
	attrs := []attribute.KeyValue{attrKind.String(kind), attrWire.String(m.Wire()), attrSize.Int(m.Size())}
	switch d := m.Delivery(); {
	case d != nil:
		return append(attrs, attrSystem.String(system), attrOperation.String("process"), attrDestination.String(d.Queue),
			attrMessageID.String(d.ID), attrAttempt.Int(d.Attempt))
	case m.IsCall():
		return append(attrs, attrRPCSystem.String(system), attrRPCMethod.String(kind), attrConn.String(m.From()))
	}
	return append(attrs, attrSystem.String(system), attrOperation.String("process"), attrConn.String(m.From()))
}

// Sender implements [polywire.Pipe]: a span for each call, message to a peer,
// and message to rooms or everybody. What it sends has the trace in its headers.
func (t *Tracing) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		if o.IsReply() { // it is a part of the handling
			return next(ctx, o)
		}
		kind := short(o.Kind)
		verb, as := "send ", trace.SpanKindProducer
		attrs := []attribute.KeyValue{attrKind.String(kind)}
		switch {
		case o.IsCall():
			verb, as = "call ", trace.SpanKindClient
			attrs = append(attrs, attrRPCSystem.String(system), attrRPCMethod.String(kind))
		case o.Conn() == nil:
			verb = "publish "
			fallthrough
		default:
			attrs = append(attrs, attrSystem.String(system), attrOperation.String("send"))
		}
		if c := o.Conn(); c != nil {
			attrs = append(attrs, attrWire.String(c.Wire()), attrConn.String(c.ID()))
		}
		// What a peer has published is sent on with the peer's own headers.
		ctx, span := t.tracer.Start(t.parent(ctx, o.Header), verb+kind, trace.WithSpanKind(as), trace.WithAttributes(attrs...))
		defer span.End()
		o.Header = t.inject(ctx, o.Header)
		err := next(ctx, o)
		note(span, err)
		return err
	}
}

// hop makes a span of a message's way from another node. It begins at that
// node's time and ends at this one's: clocks that differ are seen in it.
func (t *Tracing) hop(h polywire.Hop) {
	ctx := t.prop.Extract(context.Background(), propagation.MapCarrier(h.Header))
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return // a trace of its own would tell nothing
	}
	began := h.Sent
	if now := time.Now(); began.IsZero() || began.After(now) {
		began = now
	}
	_, span := t.tracer.Start(ctx, "hop "+short(h.Kind), trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attrSystem.String(system), attrOperation.String("receive"), attrKind.String(short(h.Kind)), attrNode.String(h.From)))
	span.End()
}
