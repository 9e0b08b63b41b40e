// Package traces sends the spans of polywire serve to a collector: OTLP over
// HTTP, in protobuf (OpenTelemetry Protocol 1, section "OTLP/HTTP").
package traces

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/polywire/polywire/observe/otel"
)

// defaultPath is where a collector takes spans, unless its URL has a path.
const defaultPath = "/v1/traces"

// Options configure [New]. URL is needed.
type Options struct {
	// URL is the collector's: http or https, with a host. Without a path it is
	// that of OTLP, /v1/traces. No user, query or fragment.
	URL string
	// Headers go with each request to the collector.
	Headers map[string]string
	// Sample is the share of traces that are kept, from 0 to 1, of those that
	// begin here. What comes with a trace keeps that one's decision.
	Sample float64
	// Version is that of the program.
	Version string
	// Logger is told when spans cannot be sent, and when they can again.
	Logger *slog.Logger
}

// CheckURL says what is wrong with a collector's URL.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("want the collector's URL, as http://127.0.0.1:4318")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the URL of a collector has no user, query or fragment; credentials are headers")
	}
	return nil
}

// Traces makes spans and sends them. It is safe for concurrent use.
type Traces struct {
	*otel.Tracing

	provider *sdktrace.TracerProvider
}

// New returns what makes spans. Nothing is sent, and nobody is asked, before
// there are some. What Options do not say is read from the variables of the
// exporter and the SDK, as their specification has them: OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES, time limits, compression, certificates.
func New(ctx context.Context, o Options) (*Traces, error) {
	if err := CheckURL(o.URL); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = defaultPath
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithHeaders(o.Headers))
	if err != nil {
		return nil, err
	}
	// Later ones hold: who runs the program knows better than we do.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		attribute.String("service.name", "polywire"), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", rand.Text())), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&told{SpanExporter: exporter, log: o.Logger}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Sample))),
		sdktrace.WithResource(about))
	return &Traces{otel.New(otel.Options{Provider: provider}), provider}, nil
}

// Handler returns next with a span of that name for each request.
func (t *Traces) Handler(name string, next http.Handler) http.Handler {
	return otelhttp.NewHandler(next, name, otelhttp.WithSpanNameFormatter(func(name string, _ *http.Request) string { return name }),
		otelhttp.WithTracerProvider(t.provider), otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}))
}

// Header returns a copy of a header with the trace of ctx in it, for what goes on
// later; the header itself where ctx has none.
func Header(ctx context.Context, header map[string]string) map[string]string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return header
	}
	header = maps.Clone(header)
	if header == nil {
		header = make(map[string]string, 2)
	}
	propagation.TraceContext{}.Inject(ctx, propagation.MapCarrier(header))
	return header
}

// Close sends what is left, until ctx ends.
func (t *Traces) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// told is an exporter whose trouble is told once, and its end.
type told struct {
	sdktrace.SpanExporter

	log  *slog.Logger
	lost int // since the trouble began; used by the one goroutine that exports
}

// ExportSpans implements [sdktrace.SpanExporter].
func (t *told) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && t.lost == 0:
		t.log.Warn("traces cannot be sent to their collector", "spans", len(spans), "error", err)
	case err == nil && t.lost > 0:
		t.log.Info("traces can be sent to their collector again", "lost", t.lost)
		t.lost = 0
	}
	if err != nil {
		t.lost += len(spans)
	}
	return nil
}
