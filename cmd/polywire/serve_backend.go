package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/backend"
	"github.com/polywire/polywire/webhook"
)

// backendRules say what a program in any language decides and answers.
type backendRules struct {
	url, secret string
	events      []string
	kinds       []string
	allowDown   []string
	headers     []string
	timeout     time.Duration
	concurrency int
	queue       int
	maxAnswer   int
}

// check takes the rules apart; others have kinds of messages, too.
func (f *backendRules) check(queues *queueRules, hooks *webhookRules) error {
	if f.url == "" {
		if f.secret != "" || len(f.events)+len(f.kinds)+len(f.allowDown)+len(f.headers) > 0 {
			return errors.New("--backend-event, --backend-kind, --backend-secret and so on are for a backend: --backend-url says where it is")
		}
		return nil
	}
	switch {
	case f.secret == "":
		return errors.New("--backend-url needs --backend-secret: requests are signed with it, so that the backend knows whose they are")
	case len(f.events)+len(f.kinds) == 0:
		return errors.New("--backend-url needs --backend-event or --backend-kind, which say what it is asked")
	}
	kinds := polywire.NewMux()
	for _, own := range ownKinds() {
		kinds.Handle(own, echo)
	}
	for _, r := range queues.takes {
		kinds.Handle(r.pattern, echo)
	}
	for _, pattern := range hooks.out {
		kinds.Handle(pattern, echo)
	}
	for _, pattern := range f.kinds {
		if kinds.Handle(pattern, echo); kinds.Err() != nil {
			return fmt.Errorf("--backend-kind %q: %w", pattern, kinds.Err())
		}
	}
	b, err := f.open(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return b.close(time.Second) // it was for the check
}

// backing is the running half; nil: there is none.
type backing struct {
	*backend.Backend

	kinds     []string
	timeout   time.Duration
	hooks     polywire.Hooks
	subscribe func(ctx context.Context, c *polywire.Conn, room string) error
	publish   func(ctx context.Context, c *polywire.Conn, room, kind string) error
	broadcast func(ctx context.Context, c *polywire.Conn, kind string) error
}

func (f *backendRules) open(logger *slog.Logger) (*backing, error) {
	if f.url == "" {
		return nil, nil //nolint:nilnil // there need not be one
	}
	secret, err := webhook.ParseSecret(f.secret)
	if err != nil {
		return nil, fmt.Errorf("--backend-secret: %w", err)
	}
	o := backend.Options{
		URL: f.url, Secrets: []webhook.Secret{secret}, Timeout: f.timeout, Concurrency: f.concurrency, Queue: f.queue, MaxAnswerBytes: int64(f.maxAnswer),
		Logger: logger,
	}
	if len(f.headers) > 0 {
		o.Headers = f.headers
	}
	for _, e := range f.events {
		o.Events = append(o.Events, backend.Event(e))
	}
	for _, e := range f.allowDown {
		o.AllowDown = append(o.AllowDown, backend.Event(e))
	}
	b, err := backend.New(o)
	if err != nil {
		return nil, fmt.Errorf("--backend-url and what belongs to it: %s", strings.TrimPrefix(err.Error(), "backend: "))
	}
	return &backing{
		Backend: b, kinds: f.kinds, timeout: f.timeout, hooks: b.Hooks(),
		subscribe: b.SubscribePolicy(), publish: b.PublishPolicy(), broadcast: b.BroadcastPolicy(),
	}, nil
}

func (b *backing) close(within time.Duration) error {
	if b == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if b.Close(ctx) != nil {
		return errors.New("backend: there was no time to tell of all disconnects")
	}
	return nil
}

// end is close, where nobody waits for its error.
func (b *backing) end(within time.Duration, logger *slog.Logger) {
	if err := b.close(within); err != nil {
		logger.Warn("at the end", "error", err)
	}
}
