package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire/webhook"
)

// health is what this program has seen of an endpoint, guarded by its target's mutex.
// Changes of it are saved soon, not at once: an endpoint that fails now and then is
// not to cost a write each time.
type health struct {
	since       time.Time // of the first failure after a success; zero: all is well
	lastFailure time.Time
	lastSuccess time.Time
	disable     string // why it is to be disabled, where the store does not know it yet
	tell        string // why it was disabled, where Options.Operations was not told yet
	dirty       bool   // the store is to be told
	disabled    bool   // what the store said last
}

// forgetAfter is how long nothing may fail before an old failure is forgotten, at
// least: an endpoint that gets an event a month is not to be disabled by two.
const forgetAfter = 48 * time.Hour

// follow takes what the store says.
func (h *health) follow(r Record) {
	enabled := h.disabled && !r.Endpoint.Disabled
	h.disabled = r.Endpoint.Disabled
	switch {
	case enabled:
		*h = health{lastSuccess: h.lastSuccess}
	case !h.dirty:
		h.since = r.FailingSince
	}
	if h.lastFailure.Before(r.LastFailure) {
		h.lastFailure = r.LastFailure
	}
	if h.disabled {
		h.disable = ""
	}
}

// failed notes a failure, and says whether the endpoint is to be disabled for it.
func (h *health) failed(now, stored time.Time, gone bool, after time.Duration) (disable string) {
	if h.since.IsZero() || now.Sub(h.lastFailure) > max(after, forgetAfter) {
		h.since = now
		h.dirty = true
	}
	if now.Sub(stored) > time.Hour {
		h.dirty = true
	}
	h.lastFailure = now
	switch {
	case h.disabled || h.disable != "":
		return ""
	case gone:
		return "the receiver answered 410 Gone"
	case after > 0 && now.Sub(h.since) >= after:
		return "no success since " + h.since.UTC().Format(time.RFC3339)
	}
	return ""
}

// judge draws conclusions about an endpoint from an attempt.
func (d *Dispatcher) judge(ctx context.Context, t *target, e Entry) {
	if e.State == StateDropped {
		return
	}
	now := time.Now()
	t.mu.Lock()
	h := &t.health
	if e.State == StateDelivered {
		h.lastSuccess = now
		if !h.since.IsZero() {
			h.since = time.Time{}
			h.dirty = true
		}
		t.mu.Unlock()
		return
	}
	reason := h.failed(now, t.rec.LastFailure, e.Attempt.Verdict() == webhook.Gone, d.o.DisableAfter)
	if reason != "" {
		h.disable, h.tell, h.dirty = reason, reason, true
		t.wake()
	}
	t.mu.Unlock()
	if reason == "" {
		return
	}
	d.stats.disabled.Add(1)
	d.hooks.Disabled(t.id, reason)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	d.save(ctx, t)
}

// keepHealth saves what has changed, now and then.
func (d *Dispatcher) keepHealth() {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.flushHealth(d.ctx)
		case <-d.ctx.Done():
			return
		}
	}
}

func (d *Dispatcher) flushHealth(ctx context.Context) {
	d.mu.RLock()
	var dirty []*target
	for _, t := range d.targets {
		t.mu.Lock()
		if t.health.dirty || t.health.tell != "" {
			dirty = append(dirty, t)
		}
		t.mu.Unlock()
	}
	d.mu.RUnlock()
	for _, t := range dirty {
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		d.save(one, t)
		cancel()
	}
}

// save tells the store what this program knows of an endpoint, and the operations'
// endpoint that it was disabled. What fails is tried again by keepHealth.
func (d *Dispatcher) save(ctx context.Context, t *target) {
	t.mu.Lock()
	h := t.health
	t.health.dirty, t.health.tell = false, "" // nobody else is to tell it too
	t.mu.Unlock()
	var err error
	if h.dirty {
		_, err = d.change(ctx, t.id, func(r *Record) error {
			if h.disable != "" && !r.Endpoint.Disabled {
				r.Endpoint.Disabled, r.Endpoint.DisabledReason = true, h.disable
				r.Updated = time.Now()
			}
			if h.since.IsZero() || r.FailingSince.IsZero() || h.since.Before(r.FailingSince) {
				r.FailingSince = h.since
			}
			r.LastFailure = h.lastFailure
			return nil
		})
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
	}
	if err == nil && h.tell != "" {
		err = d.tellOperations(ctx, t.id, h)
	}
	if err != nil {
		t.mu.Lock()
		t.health.dirty = t.health.dirty || h.dirty
		t.health.tell = cmp.Or(t.health.tell, h.tell)
		t.mu.Unlock()
		d.hooks.Trouble(fmt.Errorf("dispatch: the state of endpoint %q could not be saved: %w", t.id, err))
	}
}

// tellOperations publishes the event that an endpoint was disabled.
func (d *Dispatcher) tellOperations(ctx context.Context, id string, h health) error {
	if d.o.Operations == "" || d.o.Operations == id || d.isClosed() {
		return nil
	}
	ops, err := d.find(ctx, d.o.Operations)
	if err != nil || ops == nil || ops.disabled() {
		return err
	}
	data := map[string]any{"endpoint": id, "reason": h.tell}
	if !h.since.IsZero() {
		data["failing_since"] = h.since.UTC()
	}
	now := time.Now()
	s, err := d.stored(webhook.Event{ID: webhook.NewID(), Type: TypeDisabled, Time: now, Data: data}, now)
	if err != nil {
		return err
	}
	return d.publish(ctx, s, []*target{ops}, "", true)
}
