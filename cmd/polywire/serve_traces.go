package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/traces"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook/dispatch"
)

// traceFlags are the collector of traces, and what it gets.
type traceFlags struct {
	url     string // empty: none
	headers []string
	sample  float64
}

// check says what cannot be.
func (f *traceFlags) check() error {
	_, err := f.header()
	if err == nil && f.url == "" && len(f.headers) > 0 {
		return errors.New("--traces-header is for a collector: --traces-url")
	}
	return err
}

// header returns what goes with each request. Errors do not show values.
func (f *traceFlags) header() (map[string]string, error) {
	header := make(map[string]string, len(f.headers))
	for i, line := range f.headers {
		name, value, ok := strings.Cut(line, "=")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("--traces-header: the %d. is none: want name=value, as Authorization=Bearer ... in a variable or a file", i+1)
		}
		header[http.CanonicalHeaderKey(name)] = value
	}
	return header, nil
}

// tracer makes the spans; nil: none are made.
type tracer struct{ *traces.Traces }

func (f *traceFlags) open(ctx context.Context, logger *slog.Logger) (*tracer, error) {
	if f.url == "" {
		return nil, nil //nolint:nilnil // there need not be one
	}
	header, err := f.header()
	if err != nil {
		return nil, err
	}
	t, err := traces.New(ctx, traces.Options{URL: f.url, Headers: header, Sample: f.sample, Version: buildVersion(), Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return &tracer{t}, nil
}

// close sends what is left. A collector that is away keeps nobody waiting for long.
func (t *tracer) close(within time.Duration, logger *slog.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(within, 5*time.Second))
	defer cancel()
	if err := t.Close(ctx); err != nil {
		logger.Warn("the last traces were not sent", "error", err)
	}
}

// options make a server's messages part of traces.
func (t *tracer) options() []polywire.Option {
	if t == nil {
		return nil
	}
	return []polywire.Option{polywire.WithPlugins(t.Server())}
}

// publisher is b, with spans.
func (t *tracer) publisher(b *queue.Broker) queue.Publisher {
	if t == nil {
		return b
	}
	return t.Publisher(b)
}

// webhookHooks are for a dispatcher.
func (t *tracer) webhookHooks(more []dispatch.Hooks) []dispatch.Hooks {
	if t == nil {
		return more
	}
	return append(more, t.WebhookHooks())
}

// handler is next, with a span of that name for each request.
func (t *tracer) handler(name string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return t.Handler(name, next)
}
