package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// Figures are what JetStream knows about a queue, beyond its depth.
type Figures struct {
	queue.Depth

	Bytes       uint64 // on the disk of each replica: messages that wait, are delayed or in hand
	Redelivered int    // unanswered messages that were given out more than once
	Programs    int    // requests for messages that wait at the server: about one for each consumer
	Replicas    int
	Leader      string // the server that leads the stream; empty: not in a cluster
}

// Inspect implements queue.Driver.
func (d *Driver) Inspect(ctx context.Context, name string) (queue.Depth, error) {
	f, err := d.Figures(ctx, name)
	return f.Depth, err
}

// Figures returns the figures of a queue; queue.ErrNotFound if there is none.
func (d *Driver) Figures(ctx context.Context, name string) (Figures, error) {
	l, err := d.connected(ctx)
	if err != nil {
		return Figures{}, err
	}
	str, info, c, err := d.look(ctx, l, name)
	if err != nil {
		return Figures{}, err
	}
	now := int64(info.State.Subjects[d.names.now(name)])
	f := Figures{Bytes: info.State.Bytes, Replicas: info.Config.Replicas}
	f.Delayed = max(int64(info.State.Msgs)-now, 0)
	if info.Cluster != nil {
		f.Leader = info.Cluster.Leader
	}
	if c != nil {
		f.Unacked = min(int64(c.NumAckPending), now)
		f.Redelivered, f.Programs = c.NumRedelivered, c.NumWaiting
	}
	f.Waiting = now - f.Unacked
	if f.Waiting > 0 {
		if f.Oldest, err = d.oldest(ctx, str, name, c); err != nil {
			return f, err
		}
	}
	f.Dead, err = d.countDead(ctx, l, name)
	return f, err
}

// look reads what there is of a queue. The consumer may be nil: there was none yet.
func (d *Driver) look(ctx context.Context, l *link, name string) (jetstream.Stream, *jetstream.StreamInfo, *jetstream.ConsumerInfo, error) {
	str, err := l.js.Stream(ctx, d.names.stream(name))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("queue %q: %w", name, translate(err))
	}
	info, err := str.Info(ctx, jetstream.WithSubjectFilter(d.names.now(name)))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("queue %q: %w", name, translate(err))
	}
	c, err := str.Consumer(ctx, consumer(info.Created))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return str, info, nil, nil
	case err != nil:
		return nil, nil, nil, fmt.Errorf("queue %q: %w", name, translate(err))
	}
	return str, info, c.CachedInfo(), nil
}

// fresh is the first sequence that was never delivered.
func fresh(c *jetstream.ConsumerInfo) uint64 {
	if c == nil {
		return 1
	}
	return c.Delivered.Stream + 1
}

// oldest returns when the first message that was never delivered was published.
func (d *Driver) oldest(ctx context.Context, str jetstream.Stream, name string, c *jetstream.ConsumerInfo) (time.Time, error) {
	m, err := str.GetMsg(ctx, fresh(c), jetstream.WithGetMsgSubject(d.names.now(name)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil // it went meanwhile
	}
	if err != nil {
		return time.Time{}, translate(err)
	}
	dead := received(name, m.Header, nil)
	if dead.Published.IsZero() {
		return m.Time, nil
	}
	return dead.Published, nil
}

// Queues implements queue.Lister.
func (d *Driver) Queues(ctx context.Context) ([]string, error) {
	l, err := d.connected(ctx)
	if err != nil {
		return nil, err
	}
	list := l.js.StreamNames(ctx, jetstream.WithStreamListSubject(d.names.prefix+".q.>"))
	var found []string
	for s := range list.Name() {
		if name, ok := d.names.queue(s); ok {
			found = append(found, name)
		}
	}
	if err := list.Err(); err != nil {
		return nil, translate(err)
	}
	slices.Sort(found)
	return found, nil
}

// Purge implements queue.Purger. What is in hand stays: while there is
// something, messages are deleted one by one.
func (d *Driver) Purge(ctx context.Context, name string) (int64, error) {
	l, err := d.connected(ctx)
	if err != nil {
		return 0, err
	}
	str, info, c, err := d.look(ctx, l, name)
	if err != nil {
		return 0, err
	}
	before := info.State.Msgs
	if err := str.Purge(ctx, jetstream.WithPurgeSubject(d.names.anyAt(name))); err != nil {
		return 0, translate(err)
	}
	if c == nil || c.NumAckPending == 0 {
		if err := str.Purge(ctx, jetstream.WithPurgeSubject(d.names.now(name))); err != nil {
			return 0, translate(err)
		}
		return int64(before), nil
	}
	n := int64(before) - int64(info.State.Subjects[d.names.now(name)])
	for seq := fresh(c); ; seq++ {
		m, err := str.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(d.names.now(name)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return n, nil
		}
		if err == nil {
			err = str.DeleteMsg(ctx, m.Sequence)
		}
		if err != nil {
			return n, translate(err)
		}
		n++
		seq = m.Sequence
	}
}

// Browse implements queue.Browser. It shows what was never given out.
func (d *Driver) Browse(ctx context.Context, name string, limit int, visit func(e *queue.Envelope) bool) error {
	l, err := d.connected(ctx)
	if err != nil {
		return err
	}
	str, _, c, err := d.look(ctx, l, name)
	if err != nil {
		return err
	}
	seq := fresh(c)
	for range max(limit, 0) {
		m, err := str.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(d.names.now(name)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return translate(err)
		}
		dead := received(name, m.Header, m.Data)
		if !visit(&dead.Envelope) {
			return nil
		}
		seq = m.Sequence + 1
	}
	return nil
}
