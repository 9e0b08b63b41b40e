package natscluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
)

const (
	// answerTimeout is how long a log may take in all, a little less than the
	// 5 s of the port.
	answerTimeout = 4800 * time.Millisecond
	// tryTimeout is how long one try waits: after that a new leader may be there.
	tryTimeout = time.Second
	// awayGrace is how long an outage may have lasted for a call to wait for its end.
	awayGrace = 2 * time.Second
)

// errAgain says that another try may go well.
var errAgain = errors.New("natscluster: not now")

// ack is what a stream answers.
type ack struct {
	Error *jetstream.APIError `json:"error"`
	Seq   uint64              `json:"seq"`
	Dup   bool                `json:"duplicate"`
}

// Append implements [cluster.Log]. A try that fails is repeated for up to 5 s,
// so that the loss of a leader is not seen; the stream stores a message that
// it got twice only once. During an outage of the connection it waits for up
// to 2 s since its begin, and fails at once then.
func (l *Log) Append(ctx context.Context, topic string, data []byte) (cluster.Position, error) {
	b := l.b
	if !validTopic(topic) {
		return cluster.Position{}, fmt.Errorf("natscluster: topic of %d bytes: 1 to %d", len(topic), cluster.MaxTopicBytes)
	}
	if err := b.usable(ctx); err != nil && !errors.Is(err, cluster.ErrUnavailable) {
		return cluster.Position{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errors.New("the stream did not answer in time"))
	defer cancel()
	buf := b.buffer()
	defer b.release(buf)
	*buf = append(appendFrame((*buf)[:0], b.id, 0), data...)
	p, err := l.append(ctx, topic, *buf)
	if err != nil {
		b.counters.appendErrors.Add(1)
		return cluster.Position{}, err
	}
	b.counters.appends.Add(1)
	return p, nil
}

// append tries until ctx ends.
func (l *Log) append(ctx context.Context, topic string, text []byte) (cluster.Position, error) {
	id := l.b.messageID()
	for first := true; ; first = false {
		if !first {
			l.b.counters.appendRetries.Add(1)
		}
		began, now := time.Now(), l.now.Load()
		if err := l.b.present(ctx); err != nil {
			return cluster.Position{}, err
		}
		before := now.top.Load()
		a, err := l.try(ctx, l.appended(now.epoch)+token(topic), id, text)
		switch {
		case err == nil && a.Seq <= before && !a.Dup:
			// It has given this sequence before: all it had is lost. What it
			// has now will be, with the epoch.
			now.lost.Store(true)
			id = l.b.messageID()
			err = l.renew(ctx, began)
		case err == nil:
			now.heard(a.Seq)
			return cluster.Position{Epoch: now.epoch, Offset: a.Seq}, nil
		case errors.Is(err, nats.ErrNoResponders):
			// No leader at the moment, or no stream of this epoch.
			if err = l.renew(ctx, began); err == nil && l.now.Load() == now {
				err = pause(ctx)
			}
		case errors.Is(err, errAgain):
			err = pause(ctx)
		}
		if err != nil {
			return cluster.Position{}, err
		}
	}
}

// try appends once.
func (l *Log) try(ctx context.Context, subject, id string, text []byte) (ack, error) {
	s := l.b.sess.Load()
	p, err := s.replies.ask(subject, nats.Header{jetstream.MsgIDHeader: {id}}, text, nil)
	if err != nil {
		return ack{}, l.b.askError(s.nc, err, len(text))
	}
	m, err := p.first(ctx)
	if err != nil {
		return ack{}, err
	}
	var a ack
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return ack{}, fmt.Errorf("%w: an answer that is none: %w", cluster.ErrUnavailable, err)
	}
	switch {
	case a.Error == nil && a.Seq > 0:
		return a, nil
	case a.Error == nil:
		return ack{}, fmt.Errorf("%w: an answer without a sequence", cluster.ErrUnavailable)
	case a.Error.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return ack{}, fmt.Errorf("%w: %w", cluster.ErrTooLarge, a.Error)
	case a.Error.ErrorCode == codeNoResources, a.Error.ErrorCode == codeNoMemory, a.Error.ErrorCode == codeNoStorage:
		return ack{}, unavailable(a.Error) // room will not be made soon
	case a.Error.ErrorCode == codeRepeatPending, a.Error.Code == 503, a.Error.Code == 429:
		return ack{}, errAgain
	}
	return ack{}, unavailable(a.Error)
}

// first waits for the first answer. errAgain: there is none, but time is left.
func (p *reply) first(ctx context.Context) (*nats.Msg, error) {
	if err := p.wait(ctx, tryTimeout); err != nil {
		return nil, err
	}
	return p.all[0], nil
}

// wait returns when the last answer is there, with nats.ErrNoResponders if
// there is nobody to answer.
func (p *reply) wait(ctx context.Context, timeout time.Duration) error {
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-p.done:
		if m := p.all[0]; len(m.Data) == 0 && status(m) == "503" {
			return nats.ErrNoResponders
		}
		return nil
	case <-t.C:
		p.forget()
		return errAgain
	case <-ctx.Done():
		p.forget()
		return unavailable(context.Cause(ctx))
	case <-p.r.ended:
		return cluster.ErrClosed
	}
}

func status(m *nats.Msg) string { return header(m, "Status") }

// askError is sendError, where an outage may be waited for.
func (b *Bus) askError(nc *nats.Conn, err error, size int) error {
	if err = b.sendError(nc, err, size); errors.Is(err, cluster.ErrUnavailable) {
		return errAgain
	}
	return err
}

// present waits for the end of an outage that has just begun.
func (b *Bus) present(ctx context.Context) error {
	for !b.up.Load() {
		if since := time.Since(time.Unix(0, b.downSince.Load())); since > awayGrace {
			return fmt.Errorf("%w: away for %v", cluster.ErrUnavailable, since.Round(time.Millisecond))
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	if b.ctx.Err() != nil {
		return cluster.ErrClosed
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	case <-time.After(retryPause):
		return nil
	}
}

// messageID returns a name that no other message has.
func (b *Bus) messageID() string {
	return b.instance + strconv.FormatUint(b.numbered.Add(1), 36)
}
