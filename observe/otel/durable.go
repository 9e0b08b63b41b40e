package otel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Publisher returns p with a span for each publish, and the trace in what is
// published: the handler of the queue is a part of it, however late.
func (t *Tracing) Publisher(p queue.Publisher) queue.Publisher { return publisher{t, p} }

type publisher struct {
	t *Tracing
	p queue.Publisher
}

// start begins a span, which the caller ends.
func (p publisher) start(ctx context.Context, m *queue.Message) (context.Context, trace.Span) {
	ctx, span := p.t.tracer.Start(p.t.parent(ctx, m.Header), "send "+m.Queue, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes( //nolint:spancheck // Publish and PublishBatch end it
		attrSystem.String(system), attrOperation.String("send"), attrDestination.String(m.Queue), attrMessageID.String(m.ID),
		attrKind.String(short(m.Kind)), attrSize.Int(len(m.Payload.Data))))
	m.Header = p.t.inject(ctx, m.Header)
	return ctx, span //nolint:spancheck // as above
}

// Publish implements [queue.Publisher].
func (p publisher) Publish(ctx context.Context, m queue.Message) error {
	ctx, span := p.start(ctx, &m)
	defer span.End()
	err := p.p.Publish(ctx, m)
	note(span, err)
	return err
}

// PublishBatch implements [queue.Publisher]. Each message has a span of its own.
func (p publisher) PublishBatch(ctx context.Context, ms []queue.Message) error {
	traced := make([]queue.Message, len(ms))
	spans := make([]trace.Span, len(ms))
	for i, m := range ms {
		_, spans[i] = p.start(ctx, &m)
		traced[i] = m
	}
	err := p.p.PublishBatch(ctx, traced)
	for _, span := range spans {
		note(span, err)
		span.End()
	}
	return err
}

// QueueHandler returns h with a span for each attempt, in the trace of who
// published. Handlers of [polywire.Server.HandleQueue] have theirs from the
// server's plugin.
func (t *Tracing) QueueHandler(h queue.Handler) queue.Handler {
	return func(ctx context.Context, d *queue.Delivery) (err error) {
		ctx, span := t.tracer.Start(t.parent(ctx, d.Header), "process "+d.Queue, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attrSystem.String(system), attrOperation.String("process"), attrDestination.String(d.Queue), attrMessageID.String(d.ID),
			attrKind.String(short(d.Kind)), attrSize.Int(len(d.Payload.Data)), attrAttempt.Int(d.Attempt)))
		defer span.End()
		done := false
		defer func() {
			if !done {
				err = errPanicked
			}
			note(span, err)
		}()
		err = h(ctx, d)
		done = true
		return err
	}
}

// Event returns an event with the trace of ctx in it, for
// [dispatch.Dispatcher.Publish].
func (t *Tracing) Event(ctx context.Context, e webhook.Event) webhook.Event {
	e.Trace = t.inject(ctx, e.Trace)
	return e
}

// WebhookHooks returns hooks for a dispatcher: a span for each attempt, in the
// trace of who published the event.
func (t *Tracing) WebhookHooks() dispatch.Hooks { return dispatch.Hooks{Attempted: t.attempted} }

func (t *Tracing) attempted(e dispatch.Entry) {
	a := &e.Attempt
	ctx := t.prop.Extract(context.Background(), propagation.MapCarrier(e.Trace))
	attrs := []attribute.KeyValue{
		attribute.String("webhook.endpoint", e.Endpoint), attribute.String("webhook.event", e.Type),
		attribute.String("webhook.state", string(e.State)), attrMessageID.String(a.ID), attrAttempt.Int(a.Try),
	}
	if a.Status != 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", a.Status))
	}
	began := a.Start
	if began.IsZero() {
		began = time.Now()
	}
	_, span := t.tracer.Start(ctx, "deliver "+short(e.Type), trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	if e.State != dispatch.StateDelivered {
		span.SetAttributes(attrErrorType.String(a.Class.String()))
		span.SetStatus(codes.Error, short(a.Error))
	}
	span.End(trace.WithTimestamp(began.Add(a.Duration)))
}
