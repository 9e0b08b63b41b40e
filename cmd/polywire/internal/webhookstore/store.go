// Package webhookstore opens what keeps webhooks in a NATS, for polywire serve
// and for polywire webhook.
package webhookstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/webhook/natsstore"
)

// Wait bounds what a tool waits for a NATS server.
const Wait = 15 * time.Second

// Bounds are how webhooks are kept. What is zero is as it is there, and as
// natsstore has it where nothing is there yet.
type Bounds struct {
	Replicas                 int
	AttemptAge, EventAge     time.Duration
	AttemptBytes, EventBytes int
}

// Open opens the stores as they are, but for the bounds that are given.
// What is not there is made if that is asked for.
func Open(ctx context.Context, conn *nats.Conn, b Bounds, missing bool) (*natsstore.Store, error) {
	if b == (Bounds{}) {
		store, err := natsstore.Open(ctx, natsstore.Options{Conn: conn, AsIs: true})
		switch {
		case errors.Is(err, natsjs.ErrJetStreamNotEnabled):
			return nil, errors.New("the NATS server keeps nothing: it has no JetStream")
		case !errors.Is(err, natsstore.ErrMissing) || !missing:
			return store, err
		}
	}
	js, err := natsjs.New(conn)
	if err != nil {
		return nil, err
	}
	for { // a cluster that is just starting may answer nothing
		try, cancel := context.WithTimeout(ctx, Wait/3)
		o, err := b.options(try, js)
		cancel()
		switch {
		case err == nil:
			o.Conn = conn
			return natsstore.Open(ctx, o)
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
	}
}

// options are those bounds, and else what the streams have.
func (b Bounds) options(ctx context.Context, js natsjs.JetStream) (o natsstore.Options, err error) {
	attempts, err := kept(ctx, js, "polywire-webhook-attempts")
	if err != nil {
		return o, err
	}
	events, err := kept(ctx, js, "polywire-webhook-events")
	if err != nil {
		return o, err
	}
	o.Replicas = b.Replicas
	if o.Replicas == 0 {
		o.Replicas = max(attempts.replicas, events.replicas)
	}
	o.Age, o.EventAge, o.MaxBytes, o.EventMaxBytes = attempts.age, events.age, attempts.size, events.size
	if b.AttemptAge > 0 {
		o.Age = b.AttemptAge
	}
	if b.EventAge > 0 {
		o.EventAge = b.EventAge
	}
	if b.AttemptBytes > 0 {
		o.MaxBytes = int64(b.AttemptBytes)
	}
	if b.EventBytes > 0 {
		o.EventMaxBytes = int64(b.EventBytes)
	}
	return o, nil
}

// streamBounds are those that a stream has; zero: there is none.
type streamBounds struct {
	age      time.Duration
	size     int64
	replicas int
}

func kept(ctx context.Context, js natsjs.JetStream, name string) (streamBounds, error) {
	s, err := js.Stream(ctx, name)
	switch {
	case err == nil:
		c := s.CachedInfo().Config
		return streamBounds{c.MaxAge, max(c.MaxBytes, 0), c.Replicas}, nil
	case errors.Is(err, natsjs.ErrStreamNotFound):
		return streamBounds{}, nil
	case errors.Is(err, natsjs.ErrJetStreamNotEnabled):
		return streamBounds{}, errors.New("the NATS server keeps nothing: it has no JetStream")
	}
	return streamBounds{}, fmt.Errorf("webhooks: %w", err)
}
