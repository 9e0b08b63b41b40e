package webhookapi

import (
	"context"
	"errors"

	"github.com/polywire/polywire/cmd/polywire/internal/traces"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Add adds an endpoint and returns it, with its secret if that was made here.
func Add(ctx context.Context, d *dispatch.Dispatcher, n NewEndpoint) (Created, error) {
	e, err := n.Endpoint()
	if err != nil {
		return Created{}, err
	}
	rec, made, err := d.Add(ctx, e)
	if errors.Is(err, dispatch.ErrConflict) {
		return Created{}, taken{err}
	}
	if err != nil {
		return Created{}, err
	}
	c := Created{Endpoint: View(rec)}
	switch {
	case !made.IsZero():
		c.NewSecret = Show(made)
	case n.Key == KeyEd25519:
		c.NewSecret = Show(e.Secrets[0])
	}
	return c, nil
}

// Rotate replaces the secret of an endpoint and returns the new one, if it was
// made here.
func Rotate(ctx context.Context, d *dispatch.Dispatcher, id string, r Rotation) (NewSecret, error) {
	rec, err := d.Endpoint(ctx, id)
	if err != nil {
		return NewSecret{}, err
	}
	o, err := r.Options(rec.Endpoint.WithDefaults().Format)
	if err != nil {
		return NewSecret{}, err
	}
	s, err := d.Rotate(ctx, id, o)
	if err != nil {
		return NewSecret{}, err
	}
	if _, asymmetric := s.Public(); r.Secret != "" && !asymmetric {
		return NewSecret{}, nil // who gave it has it
	}
	return Show(s), nil
}

// Publish publishes an event, in the trace of ctx. It returns when every delivery is durable.
func Publish(ctx context.Context, d *dispatch.Dispatcher, e Event) (Accepted, error) {
	event, err := e.event()
	if err != nil {
		return Accepted{}, err
	}
	event.Trace = traces.Header(ctx, nil)
	receipt, err := d.Publish(ctx, event)
	if err != nil {
		return Accepted{}, err
	}
	return Accepted{receipt.ID, receipt.Endpoints}, nil
}

// taken is a conflict about an endpoint that was to be new.
type taken struct{ error }

// Error says so.
func (taken) Error() string { return "webhook: there is an endpoint with this id already" }

// Unwrap returns the conflict.
func (t taken) Unwrap() error { return t.error }
