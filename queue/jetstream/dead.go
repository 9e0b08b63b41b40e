package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// countDead counts the dead letters of a queue.
func (d *Driver) countDead(ctx context.Context, l *link, name string) (int64, error) {
	str, err := l.js.Stream(ctx, d.names.deadStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, translate(err)
	}
	info, err := str.Info(ctx, jetstream.WithSubjectFilter(d.names.dead(name)))
	if err != nil {
		return 0, translate(err)
	}
	return int64(info.State.Subjects[d.names.dead(name)]), nil
}

// WalkDead implements queue.Driver. Several walks see the same letters.
func (d *Driver) WalkDead(ctx context.Context, name, after string, visit queue.Visit) error {
	seq, err := parseCursor(after)
	if err != nil {
		return err
	}
	l, err := d.connected(ctx)
	if err != nil {
		return err
	}
	str, err := l.js.Stream(ctx, d.names.deadStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return d.exists(ctx, l, name)
	}
	if err != nil {
		return translate(err)
	}
	last, found := str.CachedInfo().State.LastSeq, false
	for {
		m, err := str.GetMsg(ctx, seq+1, jetstream.WithGetMsgSubject(d.names.dead(name)))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound), err == nil && m.Sequence > last:
			if found || after != "" {
				return nil
			}
			return d.exists(ctx, l, name)
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return translate(err)
		}
		found, seq = true, m.Sequence
		letter := received(name, m.Header, m.Data)
		letter.Cursor = itoa(seq)
		replay := letter.Envelope
		v, next := visit(&letter)
		if err := d.judge(ctx, str, m, &replay, v); err != nil {
			return err
		}
		if !next {
			return nil
		}
	}
}

// exists returns an error if there is no such queue.
func (d *Driver) exists(ctx context.Context, l *link, name string) error {
	if _, err := l.js.Stream(ctx, d.names.stream(name)); err != nil {
		return fmt.Errorf("queue %q: %w", name, translate(err))
	}
	return nil
}

// judge does to a letter what the visitor said.
func (d *Driver) judge(ctx context.Context, str jetstream.Stream, m *jetstream.RawStreamMsg, e *queue.Envelope, v queue.Verdict) error {
	if v == queue.Keep {
		return nil
	}
	if v == queue.Replay {
		e.Attempts, e.At = 0, time.Time{}
		again := d.again(e, fmt.Sprintf("replay %d %d", m.Sequence, m.Time.UnixNano()))
		if err := d.publish(ctx, e.Queue, again).Wait(ctx); err != nil {
			return err
		}
	}
	err := str.DeleteMsg(ctx, m.Sequence)
	if err == nil {
		return nil
	}
	if _, gone := str.GetMsg(ctx, m.Sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil // by somebody else
	}
	return translate(err)
}

func parseCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%w: cursor %.100q", queue.ErrInvalid, s)
	}
	return n, nil
}
