package dispatch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/webhook"
)

// DefaultGrace is for how long a secret that was rotated out still signs.
const DefaultGrace = 24 * time.Hour

// maxGrace is the longest.
const maxGrace = 30 * 24 * time.Hour

// Add adds an endpoint. One without an ID gets one, one without secrets a new
// symmetric one, which is returned for showing it once: [webhook.Secret.Reveal] has its
// text. The zero Secret: the endpoint came with its own. Errors wrap ErrConflict if
// there is one with this id, or what [webhook.Client.Prepare] says.
func (d *Dispatcher) Add(ctx context.Context, e webhook.Endpoint) (Record, webhook.Secret, error) {
	e = cloneEndpoint(e)
	if e.ID == "" {
		e.ID = "ep_" + strings.ToLower(rand.Text())
	}
	var made webhook.Secret
	if len(e.Secrets) == 0 {
		made = webhook.GenerateSecret()
		e.Secrets = []webhook.Secret{made}
	}
	now := time.Now()
	r := Record{Endpoint: e, Created: now, Updated: now}
	if _, err := d.o.Client.Prepare(e); err != nil {
		return Record{}, webhook.Secret{}, err
	}
	seen := d.removals()
	revision, err := d.o.Endpoints.Save(ctx, r)
	if err != nil {
		return Record{}, webhook.Secret{}, err
	}
	r.Revision = revision
	d.apply(r, seen)
	return r, made, nil
}

// Endpoint returns an endpoint, as the store has it, or ErrNotFound.
func (d *Dispatcher) Endpoint(ctx context.Context, id string) (Record, error) {
	r, err := d.o.Endpoints.Load(ctx, id)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: endpoint %.300q", ErrNotFound, id)
	}
	return r, err
}

// Endpoints returns all endpoints as they are known here, sorted by id.
func (d *Dispatcher) Endpoints() []Record {
	d.mu.RLock()
	ts := make([]*target, 0, len(d.targets))
	for _, t := range d.targets {
		ts = append(ts, t)
	}
	d.mu.RUnlock()
	rs := make([]Record, len(ts))
	for i, t := range ts {
		rs[i] = t.record()
	}
	slices.SortFunc(rs, func(a, b Record) int { return cmp.Compare(a.Endpoint.ID, b.Endpoint.ID) })
	return rs
}

// Update changes an endpoint by f, which may be called more than once when others
// change it too. Its ID and Ordered stay as they are: deliveries are queued by them.
// Secrets that f leaves in keep their time to retire; see Rotate. It returns what was
// saved. Errors: f's, as it is; [ErrNotFound], [ErrInvalid]; those of
// [webhook.Client.Prepare] for an endpoint that cannot be used; the store's.
func (d *Dispatcher) Update(ctx context.Context, id string, f func(e *webhook.Endpoint) error) (Record, error) {
	return d.change(ctx, id, func(r *Record) error {
		before := *r
		before.Endpoint = cloneEndpoint(r.Endpoint)
		if err := f(&r.Endpoint); err != nil {
			return err
		}
		if r.Endpoint.ID != id || r.Endpoint.Ordered != before.Endpoint.Ordered {
			return fmt.Errorf("%w: the id and the order of an endpoint cannot be changed", ErrInvalid)
		}
		r.Retire = retired(before, r.Endpoint.Secrets)
		r.Updated = time.Now()
		return nil
	})
}

// retired returns the times of secrets, which those of the record before keep.
func retired(before Record, secrets []webhook.Secret) []time.Time {
	times := make([]time.Time, len(secrets))
	for i, s := range secrets {
		for j, old := range before.Endpoint.Secrets {
			if j < len(before.Retire) && s.Equal(old) {
				times[i] = before.Retire[j]
			}
		}
	}
	return times
}

// change changes a record, as often as it takes. A record that is to be enabled, or
// whose URL has changed, must be one that the client can use.
func (d *Dispatcher) change(ctx context.Context, id string, f func(r *Record) error) (Record, error) {
	for {
		r, err := d.Endpoint(ctx, id)
		if err != nil {
			return Record{}, err
		}
		url := r.Endpoint.URL
		if err := f(&r); err != nil {
			return Record{}, err
		}
		r = r.pruned(time.Now())
		if !r.Endpoint.Disabled || r.Endpoint.URL != url {
			if _, err := d.o.Client.Prepare(r.Endpoint); err != nil {
				return Record{}, err
			}
		}
		seen := d.removals()
		revision, err := d.o.Endpoints.Save(ctx, r)
		switch {
		case err == nil:
			r.Revision = revision
			d.apply(r, seen)
			return r, nil
		case !errors.Is(err, ErrConflict):
			return Record{}, err
		}
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
	}
}

// Enable lets an endpoint get events again, from now on, and forgets its failures.
// What was dropped meanwhile is delivered by ReplayFailed.
func (d *Dispatcher) Enable(ctx context.Context, id string) error {
	_, err := d.change(ctx, id, func(r *Record) error {
		r.Endpoint.Disabled, r.Endpoint.DisabledReason = false, ""
		r.FailingSince, r.LastFailure = time.Time{}, time.Time{}
		r.Updated = time.Now()
		return nil
	})
	return err
}

// Disable keeps events from an endpoint. Deliveries that wait are dropped when their
// time comes, and noted as StateDropped. The reason is for people. Errors:
// [ErrNotFound], the store's.
func (d *Dispatcher) Disable(ctx context.Context, id, reason string) error {
	_, err := d.change(ctx, id, func(r *Record) error {
		r.Endpoint.Disabled, r.Endpoint.DisabledReason = true, reason
		r.Updated = time.Now()
		return nil
	})
	return err
}

// RotateOptions say how a secret is replaced. The zero value is good.
type RotateOptions struct {
	// Secret is the new one. Zero: one is made, of the kind that the endpoint has.
	Secret webhook.Secret
	// Grace is for how long the old ones still sign, beside the new one. Zero: 24 h;
	// negative: they end at once; at most 30 days.
	Grace time.Duration
}

// Rotate gives an endpoint a new secret and returns it, for showing it once. Receivers
// of the Gost format have to know the new one before: the format has one signature.
// Errors: as of Update.
func (d *Dispatcher) Rotate(ctx context.Context, id string, o RotateOptions) (webhook.Secret, error) {
	grace := cmp.Or(o.Grace, DefaultGrace)
	if grace > maxGrace {
		return webhook.Secret{}, fmt.Errorf("%w: a grace of more than 30 days", ErrInvalid)
	}
	secret := o.Secret
	_, err := d.change(ctx, id, func(r *Record) error {
		if secret.IsZero() {
			var err error
			if secret, err = another(r.Endpoint.Secrets[0]); err != nil {
				return err
			}
		}
		now := time.Now()
		secrets, retire := []webhook.Secret{secret}, []time.Time{{}}
		for i, s := range r.Endpoint.Secrets {
			at := now.Add(grace)
			if i < len(r.Retire) && !r.Retire[i].IsZero() && r.Retire[i].Before(at) {
				at = r.Retire[i]
			}
			if !s.Equal(secret) {
				secrets, retire = append(secrets, s), append(retire, at)
			}
		}
		r.Endpoint.Secrets, r.Retire = secrets, retire
		r.Updated = now
		return nil
	})
	if err != nil {
		return webhook.Secret{}, err
	}
	return secret, nil
}

// another returns a new secret of the same kind.
func another(s webhook.Secret) (webhook.Secret, error) {
	if _, asymmetric := s.Public(); asymmetric {
		return webhook.GenerateSigningKey()
	}
	return webhook.GenerateSecret(), nil
}

// Remove removes an endpoint. Deliveries that wait end without a trace when their
// time comes; attempts stay for as long as others. Errors: [ErrNotFound], the store's.
func (d *Dispatcher) Remove(ctx context.Context, id string) error {
	for {
		r, err := d.Endpoint(ctx, id)
		if err != nil {
			return err
		}
		err = d.o.Endpoints.Delete(ctx, id, r.Revision)
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			d.remove(id)
			if r.Endpoint.Ordered {
				_, _ = d.o.Broker.Purge(ctx, d.queueName(orderedPart(id))) // what stays is never delivered
			}
		}
		return err
	}
}

// Attempts returns up to limit attempts of an endpoint, newest first, older than those
// of the page whose Next is before; empty: from the newest. Errors are the store's.
func (d *Dispatcher) Attempts(ctx context.Context, endpoint, before string, limit int) (Page, error) {
	return d.o.Attempts.Newest(ctx, endpoint, before, limit)
}

// AttemptsOf returns the attempts at an event by all endpoints, oldest first. Errors
// are the store's.
func (d *Dispatcher) AttemptsOf(ctx context.Context, event string) ([]Entry, error) {
	return d.o.Attempts.Of(ctx, event, time.Time{})
}
