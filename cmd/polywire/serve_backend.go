package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
		kinds.Handle(own, polywire.HandlerFunc(echo))
	}
	for _, r := range queues.takes {
		kinds.Handle(r.pattern, polywire.HandlerFunc(echo))
	}
	for _, pattern := range hooks.out {
		kinds.Handle(pattern, polywire.HandlerFunc(echo))
	}
	for _, pattern := range f.kinds {
		if kinds.Handle(pattern, polywire.HandlerFunc(echo)); kinds.Err() != nil {
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

	kinds []string
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
	return &backing{b, f.kinds}, nil
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

// gate is who decides before the backend does; nil: nobody.
type gate struct {
	auth      polywire.Authenticator
	subscribe func(ctx context.Context, c *polywire.Conn, room string) error
	publish   func(ctx context.Context, c *polywire.Conn, room, kind string) error
}

// gate returns what other settings decide. What --allow opens to everybody the
// backend narrows.
func (f *serveFlags) gate() (g gate) {
	if f.auth.opened == nil {
		return g
	}
	g.auth = f.auth.opened.Tokens.Authenticate
	if rooms := f.auth.rooms(); rooms != nil {
		g.subscribe, g.publish = rooms.Subscribe, rooms.Publish
	}
	return g
}

// options let the backend decide, after those before it.
func (b *backing) options(before gate) []polywire.Option {
	if b == nil {
		return nil
	}
	opts := []polywire.Option{polywire.WithHooks(b.Hooks())}
	if a := b.Authenticator(before.auth); a != nil {
		opts = append(opts, polywire.WithAuth(a))
	}
	if p := b.SubscribePolicy(); p != nil {
		opts = append(opts, polywire.WithSubscribePolicy(func(ctx context.Context, c *polywire.Conn, room string) error {
			if before.subscribe != nil {
				if err := before.subscribe(ctx, c, room); err != nil {
					return err
				}
			}
			return p(ctx, c, room)
		}))
	}
	if p := b.PublishPolicy(); p != nil {
		opts = append(opts, polywire.WithPublishPolicy(func(ctx context.Context, c *polywire.Conn, room, kind string) error {
			if before.publish != nil {
				if err := before.publish(ctx, c, room, kind); err != nil {
					return err
				}
			}
			return p(ctx, c, room, kind)
		}))
	}
	if p := b.BroadcastPolicy(); p != nil {
		opts = append(opts, polywire.WithBroadcastPolicy(p))
	}
	return opts
}

// presence says who may ask who is in a room: whoever could subscribe to it.
func (b *backing) presence() func(ctx context.Context, c *polywire.Conn, room string) error {
	if b == nil {
		return nil
	}
	return b.SubscribePolicy()
}

// handle lets the backend answer messages.
func (b *backing) handle(srv *polywire.Server) {
	if b == nil {
		return
	}
	for _, pattern := range slices.Sorted(slices.Values(b.kinds)) {
		srv.Handle(pattern, polywire.HandlerFunc(b.Handle))
	}
	if allowed := b.presence(); allowed != nil {
		srv.Use(func(next polywire.Handler) polywire.Handler {
			return polywire.HandlerFunc(func(ctx context.Context, m *polywire.Message) (any, error) {
				var room string
				if m.Kind() == kindPresence && m.Conn() != nil && m.Bind(&room) == nil {
					if err := allowed(ctx, m.Conn(), room); err != nil {
						return nil, err
					}
				}
				return next.Handle(ctx, m)
			})
		})
	}
}
