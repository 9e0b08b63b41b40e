package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookstore"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// apiKeyVariable is for what should not be seen in lists of processes.
const apiKeyVariable = "POLYWIRE_API_KEY" //nolint:gosec // its name

// webhookAPIPath is where the API is.
const webhookAPIPath = "/api/webhooks"

// publishWait is how long a message may wait for a broker that is away.
const publishWait = 10 * time.Second

// webhookRules make a server a sender and a receiver of webhooks.
type webhookRules struct {
	on      bool
	out     []string // kinds
	hooks   []inRule // that come in
	apiKey  string
	keep    webhookstore.Bounds
	reach   cli.Reach
	metrics *metrics // nil: none
	tracer  *tracer  // nil: none
}

// check says what does not go together.
func (f *webhookRules) check(c *clusterFlags, queues *queueRules) error {
	switch {
	case !f.on && (f.apiKey != "" || len(f.out) > 0 || f.keep != (webhookstore.Bounds{}) || f.reach.Given()):
		return errors.New("--api-key, --webhook-out, --webhook-replicas, --webhook-allow-..., and what says how much is kept, are for outgoing webhooks: add --webhooks")
	case f.on && c.nats == "" && c.dataDir == "":
		return errors.New("--webhooks needs a place for what was accepted and is not delivered yet: --data-dir, or --nats")
	case f.keep.AttemptAge > 0 && f.keep.AttemptAge < time.Minute, f.keep.EventAge > 0 && f.keep.EventAge < time.Minute:
		return errors.New("--webhook-attempt-age and --webhook-event-age: at least 1m")
	}
	if f.keep.Replicas == 0 && len(c.peers) >= 3 {
		f.keep.Replicas = 3
	}
	if f.apiKey != "" {
		if err := webhookapi.CheckKey(f.apiKey); err != nil {
			return fmt.Errorf("--api-key: %w", err)
		}
	}
	client, err := f.reach.Client()
	if err != nil {
		return err
	}
	_ = client.Close() // it was for the check
	if err := f.checkOut(queues); err != nil {
		return err
	}
	return checkInRules(f.hooks, f.on || queues.used(), c.nats != "" || c.dataDir != "")
}

// checkOut wants kinds that can be types, and that no other rule takes.
func (f *webhookRules) checkOut(queues *queueRules) error {
	kinds := polywire.NewMux()
	for _, own := range ownKinds() {
		kinds.Handle(own, echo)
	}
	for _, r := range queues.takes {
		kinds.Handle(r.pattern, echo)
	}
	for _, pattern := range f.out {
		if kinds.Handle(pattern, echo); kinds.Err() != nil {
			return fmt.Errorf("--webhook-out %q: %w", pattern, kinds.Err())
		}
	}
	return nil
}

// sender is the running half that sends; nil: there is none.
type sender struct {
	*dispatch.Dispatcher

	broker *queue.Broker
	conn   *nats.Conn
	client *webhook.Client
	api    *webhookapi.Handler // nil: no key
}

// start begins to deliver.
func (f *webhookRules) start(ctx context.Context, e *engine, logger *slog.Logger) (*sender, error) {
	if !f.on {
		return nil, nil //nolint:nilnil // there need not be one
	}
	s := new(sender)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.start(ctx, f, e, logger); err != nil {
		return nil, fmt.Errorf("webhooks: %w", errors.Join(err, s.close(time.Second)))
	}
	return s, nil
}

func (s *sender) start(ctx context.Context, f *webhookRules, e *engine, logger *slog.Logger) (err error) {
	if s.client, err = f.reach.Client(); err != nil {
		return err
	}
	if s.conn, err = e.connect(nats.Name("polywire webhooks"), nats.MaxReconnects(-1)); err != nil {
		return err
	}
	store, err := webhookstore.Open(ctx, s.conn, f.keep, true)
	if err != nil {
		return err
	}
	d, err := jetstream.New(ctx, jetstream.Options{Connect: e.connect, Replicas: f.keep.Replicas, Logger: logger})
	if err != nil {
		return err
	}
	if s.broker, err = queue.New(d, queue.Options{PublishTimeout: publishWait, Hooks: f.metrics.queueHooks()}); err != nil {
		return errors.Join(err, d.Shutdown(ctx))
	}
	s.Dispatcher, err = dispatch.New(ctx, dispatch.Options{
		Broker: s.broker, Client: s.client, Endpoints: store.Endpoints, Events: store.Events, Attempts: store.Attempts,
		Hooks: f.tracer.webhookHooks(f.metrics.webhookHooks(webhookLog(logger))),
	})
	if err != nil {
		return err
	}
	f.metrics.watch(s.broker)
	f.metrics.watchWebhooks(s.Dispatcher)
	api := "none, without a key (" + apiKeyVariable + ")"
	if f.apiKey != "" {
		api = webhookAPIPath
	}
	logger.Info("webhooks are delivered", "endpoints", len(s.Endpoints()), "api", api)
	if f.apiKey == "" {
		return nil
	}
	s.api, err = webhookapi.New(webhookapi.Options{Dispatcher: s.Dispatcher, Key: f.apiKey, Base: webhookAPIPath, Version: buildVersion(), Logger: logger})
	return err
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

// webhookLog tells an operator what he should know.
func webhookLog(logger *slog.Logger) dispatch.Hooks {
	return dispatch.Hooks{
		Attempted: func(e dispatch.Entry) {
			level := slog.LevelDebug
			if e.State == dispatch.StateFailed {
				level = slog.LevelWarn
			}
			logger.Log(context.Background(), level, "a webhook was tried", "endpoint", e.Endpoint, "event", e.Attempt.ID, "type", e.Type,
				"try", e.Attempt.Try, "state", string(e.State), "status", e.Attempt.Status, "error", e.Attempt.Error)
		},
		BreakerChanged: func(endpoint string, from, to dispatch.BreakerState) {
			logger.Info("a webhook endpoint's breaker has changed", "endpoint", endpoint, "from", from, "to", to)
		},
		Disabled: func(endpoint, reason string) {
			logger.Warn("a webhook endpoint was disabled", "endpoint", endpoint, "reason", reason)
		},
		LogFailed: func(e dispatch.Entry, err error) {
			logger.Warn("an attempt at a webhook could not be kept", "endpoint", e.Endpoint, "error", err)
		},
		Trouble: func(err error) { logger.Warn("webhooks", "error", err) },
	}
}

// close ends it; what waits stays where it is kept.
func (s *sender) close(within time.Duration) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if s.api != nil {
		s.api.Close()
	}
	var errs []error
	if s.Dispatcher != nil {
		errs = append(errs, s.Dispatcher.Shutdown(ctx))
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Shutdown(ctx))
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	return errors.Join(errs...)
}

// handle puts the rules into effect.
func (f *webhookRules) handle(srv *polywire.Server, s *sender) {
	for _, pattern := range f.out {
		srv.Handle(pattern, func(ctx context.Context, m *polywire.Message) (any, error) {
			return s.publish(ctx, m)
		})
	}
	if s != nil && s.api != nil {
		srv.HandleHTTP(webhookAPIPath+"/", http.StripPrefix(webhookAPIPath, s.api))
	}
}

// publish answers when every delivery of a message is durable.
func (s *sender) publish(ctx context.Context, m *polywire.Message) (any, error) {
	if n := len(m.Args()); n > 1 {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "a webhook event has one argument, not %d", n)
	}
	data, err := eventData(m.Payload())
	if err != nil {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "the payload cannot be said in JSON")
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	a, err := webhookapi.Publish(ctx, s.Dispatcher, webhookapi.Event{Type: m.Kind(), Data: data})
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, dispatch.ErrInvalid), errors.Is(err, webhook.ErrType), errors.Is(err, queue.ErrInvalid):
		return nil, polywire.Errorf(polywire.CodeBadRequest, "%s", strings.TrimPrefix(err.Error(), "webhook: "))
	case errors.Is(err, dispatch.ErrFull):
		return nil, polywire.Errorf(polywire.CodeUnavailable, "there is no room for more events")
	case errors.Is(err, queue.ErrTooLarge):
		return nil, polywire.Errorf(polywire.CodeTooLarge, "larger than the broker of the webhooks takes")
	}
	told := polywire.Errorf(polywire.CodeUnavailable, "the event may be accepted or not; ask again")
	return nil, fmt.Errorf("%w: %w", told, err) // the peer is told the first, the log has both
}

// eventData is a payload in JSON. Bytes without a meaning are none.
func eventData(p polywire.Payload) (json.RawMessage, error) {
	switch {
	case p.Empty():
		return json.RawMessage("null"), nil
	case p.Type == codec.TypeJSON:
		if !json.Valid(p.Data) {
			return nil, errors.New("not JSON")
		}
		return p.Data, nil
	}
	return cli.PayloadJSON(p)
}
