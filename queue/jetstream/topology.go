package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// makeQueue sees to it that a queue's stream is there, and as it must be.
func (d *Driver) makeQueue(ctx context.Context, l *link, name string) (jetstream.Stream, error) {
	return d.makeStream(ctx, l, jetstream.StreamConfig{
		Name:              d.names.stream(name),
		Description:       "queue " + name,
		Subjects:          []string{d.names.now(name), d.names.anyAt(name)},
		Retention:         jetstream.WorkQueuePolicy,
		Duplicates:        d.o.Dedup,
		AllowMsgSchedules: true,
	})
}

// makeDead is makeQueue for the stream of dead letters.
func (d *Driver) makeDead(ctx context.Context, l *link) (jetstream.Stream, error) {
	return d.makeStream(ctx, l, jetstream.StreamConfig{
		Name:        d.names.deadStream(),
		Description: "dead letters of all queues",
		Subjects:    []string{d.names.anyDead()},
	})
}

// makeOwn is makeQueue for the stream that says who has a queue in order.
func (d *Driver) makeOwn(ctx context.Context, l *link) (jetstream.Stream, error) {
	return d.makeStream(ctx, l, jetstream.StreamConfig{
		Name:              d.names.ownStream(),
		Description:       "who handles which queue in order",
		Subjects:          []string{d.names.anyOwn()},
		MaxMsgsPerSubject: 1,
	})
}

func (d *Driver) makeStream(ctx context.Context, l *link, c jetstream.StreamConfig) (jetstream.Stream, error) {
	c.Storage, c.Replicas = jetstream.FileStorage, d.o.Replicas
	c.MaxMsgs, c.MaxBytes, c.MaxConsumers = -1, -1, -1
	if c.MaxMsgsPerSubject == 0 {
		c.MaxMsgsPerSubject = -1
	}
	s, err := l.js.Stream(ctx, c.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if s, err = l.js.CreateStream(ctx, c); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s, err = l.js.Stream(ctx, c.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", c.Name, translate(err))
	}
	have := s.CachedInfo().Config
	if err := differs(&have, &c); err != nil {
		return nil, err
	}
	if have.Replicas < c.Replicas {
		have.Replicas = c.Replicas
		if s, err = l.js.UpdateStream(ctx, have); err != nil {
			return nil, fmt.Errorf("stream %s: %d replicas: %w", c.Name, c.Replicas, translate(err))
		}
	}
	return s, nil
}

// differs says what keeps a stream from being used.
func differs(have, want *jetstream.StreamConfig) error {
	why := ""
	switch {
	case want.AllowMsgSchedules && !have.AllowMsgSchedules:
		why = "has no message schedules: it needs a server of version 2.12 or newer, and allow_msg_schedules"
	case have.Retention != want.Retention:
		why = fmt.Sprintf("has %s retention, not %s", have.Retention, want.Retention)
	case want.MaxMsgsPerSubject < 0 && (have.MaxMsgsPerSubject > 0 || have.MaxMsgs > 0 || have.MaxBytes > 0) && have.Discard == jetstream.DiscardOld:
		why = "has a bound at which it drops its oldest messages"
	case want.MaxMsgsPerSubject < 0 && have.MaxAge > 0:
		why = fmt.Sprintf("drops messages after %v", have.MaxAge)
	}
	for _, s := range want.Subjects {
		if !slices.Contains(have.Subjects, s) {
			why = "has not the subject " + s
		}
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w: the stream %s was made otherwise: it %s", queue.ErrRefused, want.Name, why)
}

// makeConsumer sees to it that a queue has its consumer.
func (d *Driver) makeConsumer(ctx context.Context, s jetstream.Stream, name string, lease time.Duration) (jetstream.Consumer, error) {
	c, err := s.Consumer(ctx, consumer(s.CachedInfo().Created))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c, err = d.newConsumer(ctx, s, name, cmpOr(lease, d.o.Lease))
	}
	if err != nil {
		return nil, fmt.Errorf("consumer of queue %s: %w", name, translate(err))
	}
	info := c.CachedInfo()
	have := info.Config.AckWait
	want := cmpOr(lease, have)
	idle := info.NumWaiting == 0 && info.NumAckPending == 0
	if want == have || want < have && !idle { // others rely on the longer one
		return c, nil
	}
	cfg := info.Config
	cfg.AckWait = want
	if c, err = s.UpdateConsumer(ctx, cfg); err != nil {
		return nil, fmt.Errorf("consumer of queue %s: lease %v: %w", name, want, translate(err))
	}
	return c, nil
}

// remakeConsumer makes all that is unanswered come again, in its order and
// before all else; for a queue that nobody else consumes.
func (d *Driver) remakeConsumer(ctx context.Context, s jetstream.Stream, name string, c jetstream.Consumer) (jetstream.Consumer, error) {
	cfg := c.CachedInfo().Config
	if err := s.DeleteConsumer(ctx, cfg.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("consumer of queue %s: %w", name, translate(err))
	}
	c, err := s.CreateConsumer(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("consumer of queue %s: %w", name, translate(err))
	}
	return c, nil
}

func cmpOr(a, b time.Duration) time.Duration {
	if a > 0 {
		return a
	}
	return b
}

func (d *Driver) newConsumer(ctx context.Context, s jetstream.Stream, name string, lease time.Duration) (jetstream.Consumer, error) {
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable:       consumer(s.CachedInfo().Created),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       lease,
		MaxDeliver:    -1, // attempts are counted by package queue; the server would strand the message
		MaxAckPending: -1, // each program bounds itself
		FilterSubject: d.names.now(name),
	})
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != codeConsumerPerWork {
		return c, err
	}
	names := s.ConsumerNames(ctx)
	for other := range names.Name() {
		if strings.HasPrefix(other, consumerPrefix) { // the stream was restored from a copy
			return s.Consumer(ctx, other)
		}
		err = fmt.Errorf("%w: the consumer %s has the queue", err, other)
	}
	return c, err
}
