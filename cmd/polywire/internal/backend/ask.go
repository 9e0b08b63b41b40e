package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/webhook"
)

// errDown is in every error about a backend that gave no answer which counts:
// it is away, too slow, overloaded or says what is not understood.
var errDown = errors.New("backend: no answer that counts")

func down(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errDown, fmt.Errorf(format, args...))
}

// envelope is the body of every request, in the form of Standard Webhooks.
type envelope struct {
	Type      Event     `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

// ask asks the backend and decodes its answer. Errors: errDown; an *Error of
// the core's if the answer was 401 or 403, which every event may get.
func (b *Backend) ask(ctx context.Context, e Event, data, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	b.counters.asked.Add(1)
	err := b.pass(ctx, func() error { return b.request(ctx, e, data, answer) })
	if errors.Is(err, errDown) {
		b.counters.failed.Add(1)
		b.log.Debug("the backend gave no answer", "event", string(e), "error", err)
	}
	return err
}

// pass lets so many requests through at a time, lets so many more wait, and
// none while most of them fail.
func (b *Backend) pass(ctx context.Context, do func() error) error {
	if b.breaker.IsOpen() && b.breaker.RemainingDelay() > 0 {
		b.counters.shed.Add(1)
		return down("it failed too often")
	}
	select {
	case b.slots <- struct{}{}:
	default:
		if b.waiting.Add(1) > int64(b.o.Queue) {
			b.waiting.Add(-1)
			b.counters.shed.Add(1)
			return down("%d requests wait for it", b.o.Queue)
		}
		defer b.waiting.Add(-1)
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			b.counters.shed.Add(1)
			return down("no turn in time: %w", ctx.Err())
		}
	}
	defer func() { <-b.slots }()
	if !b.breaker.TryAcquirePermit() {
		b.counters.shed.Add(1)
		return down("it failed too often")
	}
	err := do()
	switch {
	case !errors.Is(err, errDown), errors.Is(err, errRequest):
		b.breaker.RecordSuccess()
	case errors.Is(context.Cause(ctx), context.Canceled): // who asked has gone: that says nothing, but a probe has to end
		if !b.breaker.IsClosed() {
			b.breaker.RecordFailure()
		}
	default:
		b.breaker.RecordFailure()
	}
	return err
}

// errRequest is a request that could not be made: the backend is not to blame.
var errRequest = errors.New("the request cannot be made")

func (b *Backend) request(ctx context.Context, e Event, data, answer any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	now := time.Now()
	if err := enc.Encode(envelope{e, now.UTC(), data}); err != nil {
		return down("%w: %w", errRequest, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url.String(), &body)
	if err != nil {
		return down("%w: %w", errRequest, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "Polywire-Backend")
	if err := b.signer.SetHeaders(r.Header, webhook.NewID(), now, body.Bytes()); err != nil {
		return down("%w: %w", errRequest, err)
	}
	return b.exchange(r, e, answer)
}

// tracerName is that of the instrumentation.
const tracerName = "github.com/polywire/polywire/cmd/polywire/internal/backend"

// exchange asks, as a part of the trace that the request's context has; without
// one the span is none.
func (b *Backend) exchange(r *http.Request, e Event, answer any) (err error) {
	ctx, span := trace.SpanFromContext(r.Context()).TracerProvider().Tracer(tracerName).Start(r.Context(), "backend "+string(e),
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("server.address", b.url.Hostname())))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, string(polywire.CodeOf(err)))
		}
		span.End()
	}()
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	resp, err := b.client.Do(r)
	if err != nil {
		return down("%w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	return b.read(resp, answer)
}

// read reads an answer.
func (b *Backend) read(resp *http.Response, answer any) error {
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return polywire.Errorf(polywire.CodeUnauthorized, "not accepted")
	case http.StatusForbidden:
		return polywire.Errorf(polywire.CodeForbidden, "not allowed")
	case http.StatusOK, http.StatusNoContent:
	default:
		return down("status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, b.o.MaxAnswerBytes+1))
	switch {
	case err != nil:
		return down("the answer broke off: %w", err)
	case int64(len(text)) > b.o.MaxAnswerBytes:
		return down("the answer has more than %d bytes", b.o.MaxAnswerBytes)
	case len(text) == 0:
		return nil
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return down("the answer is %.100q, not application/json", resp.Header.Get("Content-Type"))
	}
	return decode(text, answer)
}

// decode takes what is known only: a name that is spelt wrong is not passed over.
func decode(text []byte, answer any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(answer); err != nil {
		return down("the answer does not decode: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return down("there is something behind the answer")
	}
	return nil
}
