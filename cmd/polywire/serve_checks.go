package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/polywire/polywire/observe/health"
	"github.com/polywire/polywire/webhook/dispatch"
)

// checkTokens looks whether tokens can be verified.
func (r *running) checkTokens() error {
	o := r.f.auth.opened
	if o == nil {
		return nil
	}
	return r.checks.Add("auth", func(ctx context.Context) error {
		if err := o.Tokens.Ready(ctx); err != nil {
			return err
		}
		return health.Degraded(o.Tokens.Stale())
	})
}

// checkDeliveries looks whether webhooks get on, beside the queue that they are in.
func (r *running) checkDeliveries() error {
	if r.sender == nil {
		return nil
	}
	d, w := r.sender.Dispatcher, new(deliveryWatch)
	return r.checks.Add("deliveries", func(context.Context) error { return w.look(d.Stats(), time.Now()) })
}

// Times of deliveryWatch.
const (
	deliveryStuck = 10 * time.Minute // far longer than any attempt
	deliveryNews  = time.Minute      // for which a failure is told
	wayOut        = 3                // endpoints that fail together are not to blame
)

// deliveryWatch tells by a dispatcher's figures whether it gets on.
type deliveryWatch struct {
	mu        sync.Mutex
	busy      bool      // something was in hand
	moved     int64     // what was done by then
	since     time.Time // when both were first seen
	logFailed int64
	failedAt  time.Time
}

func (w *deliveryWatch) look(s dispatch.Stats, now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var inHand, enabled, failing int
	for _, e := range s.Endpoints {
		inHand += e.Running + e.Waiting
		if e.Enabled && (!e.LastSuccess.IsZero() || !e.FailingSince.IsZero()) {
			enabled++
			if !e.FailingSince.IsZero() {
				failing++
			}
		}
	}
	if moved := s.Attempts + s.Parked + s.Dropped + s.Removed; inHand == 0 || !w.busy || moved != w.moved {
		w.busy, w.moved, w.since = inHand > 0, moved, now
	}
	if s.LogFailed > w.logFailed {
		w.logFailed, w.failedAt = s.LogFailed, now
	}
	switch {
	case w.busy && now.Sub(w.since) >= deliveryStuck:
		return fmt.Errorf("%d deliveries are in hand, and none has moved since %s", inHand, w.since.UTC().Format(time.RFC3339))
	case s.Watching != "":
		return health.Degraded(errors.New("changes of endpoints are not seen: " + s.Watching))
	case !w.failedAt.IsZero() && now.Sub(w.failedAt) < deliveryNews:
		return health.Degraded(errors.New("attempts cannot be kept"))
	case enabled >= wayOut && failing == enabled:
		return health.Degraded(fmt.Errorf("all %d endpoints fail: is there a way out of here?", enabled))
	}
	return nil
}
