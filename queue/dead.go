package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DeadLetters are those of one queue. Methods may be called by many goroutines
// at once; where the broker can show a letter to one of them only, others miss it.
type DeadLetters struct {
	b     *Broker
	queue string
}

// Dead returns the dead letters of a queue, with or without a handler here.
func (b *Broker) Dead(queue string) DeadLetters { return DeadLetters{b: b, queue: queue} }

// DeadFilter picks dead letters: those for which all that is set holds. The
// zero value picks all.
type DeadFilter struct {
	IDs    []string  // the message's id is one of these
	Kind   string    // it has this kind
	Key    string    // it has this key
	Reason Reason    // it died of this
	Error  string    // the last error has this in it
	Since  time.Time // it died then or later
	Until  time.Time // it died before
	Match  func(d *Dead) bool
}

func (f *DeadFilter) matches(d *Dead) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID)) &&
		(f.Kind == "" || f.Kind == d.Kind) && (f.Key == "" || f.Key == d.Key) &&
		(f.Reason == "" || f.Reason == d.Reason) && strings.Contains(d.LastError, f.Error) &&
		(f.Since.IsZero() || !d.Died.Before(f.Since)) && (f.Until.IsZero() || d.Died.Before(f.Until)) &&
		(f.Match == nil || f.Match(d))
}

// DeadPage is a part of a queue's dead letters, oldest first.
type DeadPage struct {
	Letters []Dead
	Next    string // what to give to List for the next page; empty: this was the last
}

// MaxPage is the most letters that one page has.
const MaxPage = 1000

// List returns up to limit letters that the filter picks; 0, or more than
// MaxPage: MaxPage. Next of the page before goes into after. Errors: ctx's, the
// driver's, and [ErrUnsupported].
func (l DeadLetters) List(ctx context.Context, f DeadFilter, after string, limit int) (DeadPage, error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	var page DeadPage
	err := l.walk(ctx, after, func(d *Dead) (Verdict, bool) {
		if !f.matches(d) {
			return Keep, true
		}
		if len(page.Letters) == limit {
			page.Next = page.Letters[limit-1].Cursor
			return Keep, false
		}
		page.Letters = append(page.Letters, *d)
		return Keep, true
	})
	return page, err
}

// Read returns the oldest letter with an id, or ErrNotFound.
func (l DeadLetters) Read(ctx context.Context, id string) (Dead, error) {
	var found *Dead
	err := l.walk(ctx, "", func(d *Dead) (Verdict, bool) {
		if d.ID == id {
			found = d
		}
		return Keep, found == nil
	})
	switch {
	case err != nil:
		return Dead{}, err
	case found == nil:
		return Dead{}, fmt.Errorf("%w: dead letter %.200q of queue %q", ErrNotFound, id, l.queue)
	}
	return *found, nil
}

// ReplayOptions say how letters are replayed.
type ReplayOptions struct {
	// Rate is how many a second at most; zero: no bound.
	Rate float64
	// Limit is how many at most; zero: no bound.
	Limit int
	// Done is called after each letter with how many have been replayed.
	Done func(n int)
}

// Replay publishes the letters that the filter picks once more, oldest first,
// with their attempts back at zero; each is removed when the broker has it
// again. Letters that die meanwhile are left alone. It returns how many were
// replayed, with the error that ended it, if any: ctx's, or the broker's.
func (l DeadLetters) Replay(ctx context.Context, f DeadFilter, o ReplayOptions) (int, error) {
	if o.Rate < 0 || o.Rate != o.Rate || o.Limit < 0 {
		return 0, fmt.Errorf("%w: replay %v a second, %d at most", ErrInvalid, o.Rate, o.Limit)
	}
	return l.judge(ctx, f, Replay, o)
}

// Purge removes the letters that the filter picks, for good, and returns how
// many, with the error that ended it, if any.
func (l DeadLetters) Purge(ctx context.Context, f DeadFilter) (int, error) {
	return l.judge(ctx, f, Remove, ReplayOptions{})
}

func (l DeadLetters) judge(ctx context.Context, f DeadFilter, v Verdict, o ReplayOptions) (int, error) {
	var wanted map[string]bool
	if len(f.IDs) > 0 {
		wanted = make(map[string]bool, len(f.IDs))
		for _, id := range f.IDs {
			wanted[id] = true
		}
	}
	pace := newPace(o.Rate)
	n, judged := 0, 0
	confirm := func() { // a verdict is carried out when the walk goes on, or ends well
		if n < judged {
			n = judged
			if o.Done != nil {
				o.Done(n)
			}
		}
	}
	err := l.walk(ctx, "", func(d *Dead) (Verdict, bool) {
		confirm()
		if o.Limit > 0 && judged == o.Limit || len(f.IDs) > 0 && len(wanted) == 0 {
			return Keep, false
		}
		if !f.matches(d) {
			return Keep, true
		}
		if !pace.wait(ctx) {
			return Keep, false
		}
		delete(wanted, d.ID)
		judged++
		return v, true
	})
	if err == nil {
		confirm()
		err = ctx.Err()
	}
	return n, err
}

func (l DeadLetters) walk(ctx context.Context, after string, visit Visit) error {
	if err := CheckQueue(l.queue); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.b.driver.WalkDead(ctx, l.queue, after, visit)
}

// pace lets things happen at a rate.
type pace struct {
	every time.Duration
	next  time.Time
}

func newPace(rate float64) *pace {
	p := &pace{next: time.Now()}
	if rate > 0 {
		p.every = time.Duration(min(float64(time.Second)/rate, float64(MaxDelay)))
	}
	return p
}

// wait reports false when ctx was done first.
func (p *pace) wait(ctx context.Context) bool {
	if p.every == 0 {
		return ctx.Err() == nil
	}
	now := time.Now()
	if d := p.next.Sub(now); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			now = p.next
		case <-ctx.Done():
			return false
		}
	}
	p.next = now.Add(p.every)
	return ctx.Err() == nil
}

// Queues returns the names of the broker's queues, sorted; ErrUnsupported
// where the driver is no [Lister].
func (b *Broker) Queues(ctx context.Context) ([]string, error) {
	if l, ok := b.driver.(Lister); ok {
		return l.Queues(ctx)
	}
	return nil, fmt.Errorf("%w: to list queues", ErrUnsupported)
}

// Purge removes all messages that wait in a queue, for good; dead letters
// stay. It returns how many, -1 if the broker does not tell; ErrUnsupported
// where the driver is no [Purger].
func (b *Broker) Purge(ctx context.Context, queue string) (int64, error) {
	if err := CheckQueue(queue); err != nil {
		return 0, err
	}
	if p, ok := b.driver.(Purger); ok {
		return p.Purge(ctx, queue)
	}
	return 0, fmt.Errorf("%w: to purge a queue", ErrUnsupported)
}

// Browse calls visit for the messages that wait in a queue, oldest first, at
// most limit, without taking them; ErrUnsupported where the driver is no [Browser].
func (b *Broker) Browse(ctx context.Context, queue string, limit int, visit func(e *Envelope) (next bool)) error {
	if err := CheckQueue(queue); err != nil {
		return err
	}
	if p, ok := b.driver.(Browser); ok {
		return p.Browse(ctx, queue, limit, visit)
	}
	return fmt.Errorf("%w: to browse a queue", ErrUnsupported)
}
