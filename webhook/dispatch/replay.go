package dispatch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/polywire/polywire/webhook"
)

// ReplayOptions say how deliveries are replayed. The zero value is good.
type ReplayOptions struct {
	// Rate is how many a second at most. Zero: 100; negative: no bound of its own,
	// the endpoint's remains.
	Rate float64
	// Limit is how many at most. Zero: no bound.
	Limit int
	// Done is called after each with how many have been queued.
	Done func(n int)
}

// maxFailed is how many failed deliveries one call of ReplayFailed looks at.
const maxFailed = 1_000_000

// Replay delivers an event to an endpoint once more: with the same id, a new
// timestamp, and all tries of the schedule. It returns when that is durable.
// ErrNotFound: there is no such endpoint, or the event is no longer kept.
func (d *Dispatcher) Replay(ctx context.Context, endpoint, event string) error {
	t, err := d.replayable(ctx, endpoint)
	if err != nil {
		return err
	}
	s, err := d.o.Events.Load(ctx, event, time.Time{})
	if err != nil {
		return err
	}
	return d.publish(ctx, s, []*target{t}, replayID(), false)
}

// replayID tells the deliveries of a replay from those before.
func replayID() string { return rand.Text() }

// replayable returns an endpoint that can be delivered to.
func (d *Dispatcher) replayable(ctx context.Context, endpoint string) (*target, error) {
	if d.isClosed() {
		return nil, ErrClosed
	}
	t, err := d.find(ctx, endpoint)
	switch {
	case err != nil:
		return nil, err
	case t == nil:
		return nil, fmt.Errorf("%w: endpoint %.255q", ErrNotFound, endpoint)
	case t.disabled():
		return nil, fmt.Errorf("%w: endpoint %.255q is disabled", ErrInvalid, endpoint)
	}
	return t, nil
}

// ReplayFailed replays the deliveries to an endpoint that were given up since a time,
// failed and dropped ones, except those that were delivered by a replay since. It
// returns how many, with the error that ended it, if any.
func (d *Dispatcher) ReplayFailed(ctx context.Context, endpoint string, since time.Time, o ReplayOptions) (int, error) {
	t, err := d.replayable(ctx, endpoint)
	if err != nil {
		return 0, err
	}
	failed := make(map[string]time.Time) // event: accepted
	full := false
	err = d.o.Attempts.Scan(ctx, endpoint, since, time.Time{}, func(e Entry) bool {
		switch e.State {
		case StateFailed, StateDropped:
			full = len(failed) >= maxFailed
			if !full {
				failed[e.Attempt.ID] = e.Accepted
			}
		case StateDelivered, StateScheduled:
			delete(failed, e.Attempt.ID)
		}
		return !full
	})
	if err != nil {
		return 0, err
	}
	p := d.newReplay(o)
	for _, id := range sortedByTime(failed) {
		s, err := d.o.Events.Load(ctx, id, failed[id])
		if errors.Is(err, ErrNotFound) {
			continue // too old
		}
		if err != nil {
			return p.n, err
		}
		if more, err := p.one(ctx, s, []*target{t}); err != nil || !more {
			return p.n, err
		}
	}
	if full {
		return p.n, fmt.Errorf("%w: more than %d have failed since; go on from a later time", ErrInvalid, maxFailed)
	}
	return p.n, nil
}

// Range picks events that were published.
type Range struct {
	// Pattern has their types, as "payment.*". Empty: all.
	Pattern string
	// Since and Until bound when they were accepted. Zero: no bound.
	Since, Until time.Time
	// Endpoint gets them. Empty: all that want the type now.
	Endpoint string
}

// ReplayEvents replays the events of a range, oldest first, whatever became of them
// before. It returns how many deliveries that made, with the error that ended it, if any.
func (d *Dispatcher) ReplayEvents(ctx context.Context, r Range, o ReplayOptions) (int, error) {
	r.Pattern = cmp.Or(r.Pattern, "*")
	if !webhook.ValidPattern(r.Pattern) {
		return 0, fmt.Errorf("%w: %w: pattern %.150q", ErrInvalid, webhook.ErrType, r.Pattern)
	}
	if r.Until.IsZero() {
		r.Until = time.Now() // events that are published meanwhile are delivered anyway
	}
	var only []*target
	if r.Endpoint != "" {
		t, err := d.replayable(ctx, r.Endpoint)
		if err != nil {
			return 0, err
		}
		only = []*target{t}
	}
	p := d.newReplay(o)
	var failed error
	err := d.o.Events.Scan(ctx, r.Pattern, r.Since, r.Until, func(s Stored) bool {
		ts := only
		if ts == nil {
			ts = d.wanting(s.Type)
		}
		var more bool
		more, failed = p.one(ctx, s, ts)
		return more && failed == nil
	})
	return p.n, errors.Join(failed, err)
}

// replay is one that is under way.
type replay struct {
	d    *Dispatcher
	o    ReplayOptions
	id   string
	n    int
	next time.Time
}

func (d *Dispatcher) newReplay(o ReplayOptions) *replay {
	o.Rate = cmp.Or(o.Rate, 100)
	return &replay{d: d, o: o, id: replayID(), next: time.Now()}
}

// one queues an event for some endpoints, at the replay's rate; false: that was the
// last one.
func (p *replay) one(ctx context.Context, s Stored, ts []*target) (more bool, err error) {
	for _, t := range ts {
		if p.o.Limit > 0 && p.n >= p.o.Limit {
			return false, nil
		}
		if p.d.isClosed() {
			return false, ErrClosed
		}
		if p.o.Rate > 0 {
			if !sleep(ctx, time.Until(p.next)) {
				return false, ctx.Err()
			}
			p.next = maxTime(p.next, time.Now().Add(-time.Second)).Add(time.Duration(float64(time.Second) / p.o.Rate))
		}
		if err := p.d.publish(ctx, s, []*target{t}, p.id, false); err != nil {
			return false, err
		}
		p.n++
		if p.o.Done != nil {
			p.o.Done(p.n)
		}
	}
	return p.o.Limit <= 0 || p.n < p.o.Limit, nil
}

// sortedByTime returns the ids, that of the earliest time first.
func sortedByTime(times map[string]time.Time) []string {
	return slices.SortedFunc(maps.Keys(times), func(a, b string) int {
		return cmp.Or(times[a].Compare(times[b]), cmp.Compare(a, b))
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
