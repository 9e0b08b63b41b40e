package rabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// A walk takes messages from the broker and gives them back at its end, through
// channels that hold more and more of them each.
const (
	walkCreditMin = 64
	walkCreditMax = 512                    // messages in this program's memory
	walkIdle      = 300 * time.Millisecond // of silence before the broker is asked whether there are more
	walkSilences  = 3                      // so often, and it says no: that was all
)

// WalkDead implements queue.Driver. RabbitMQ cannot show a message without
// giving it out: while a walk lasts, the letters that it has seen and kept are
// its own, and they go back at its end. To keep their order it takes all, however
// few are visited: a walk costs as much as there are letters. When the connection
// is lost meanwhile they are all there, and later ones may come before them. A
// broker that ends the channel of a consumer which holds messages for too long
// (30 minutes, unless configured) ends a longer walk with an error.
func (d *Driver) WalkDead(ctx context.Context, q, after string, visit queue.Visit) error {
	if err := queue.CheckQueue(q); err != nil {
		return err
	}
	searching := after != ""
	err := d.walk(ctx, d.names.dead(q), func(m *amqp.Delivery) (remove, next bool, err error) {
		letter := d.letter(q, m)
		if searching {
			searching = letter.Cursor != after
			return false, true, nil
		}
		verdict, next := visit(letter)
		if verdict == queue.Replay {
			err = d.replay(ctx, letter, m)
		}
		return verdict != queue.Keep && err == nil, next, err
	})
	if errors.Is(err, queue.ErrNotFound) {
		return nil // nothing has died yet
	}
	return err
}

// letter reads a dead letter, or what the broker itself made one.
func (d *Driver) letter(q string, m *amqp.Delivery) *queue.Dead {
	letter := received(q, m)
	letter.Cursor, _ = m.Headers[fieldLetter].(string)
	if letter.Cursor != "" {
		return &letter
	}
	letter.Cursor = cursorOf(m)
	if letter.Reason != "" {
		return &letter // somebody moved it here as it is
	}
	letter.Reason = queue.ReasonBroker
	deaths, _ := m.Headers["x-death"].([]any)
	for _, death := range deaths {
		t, _ := death.(amqp.Table)
		if from, _ := t["queue"].(string); from != d.names.work(q) {
			continue
		}
		why, _ := t["reason"].(string)
		letter.LastError = "the broker gave it up: " + why
		letter.Died, _ = t["time"].(time.Time)
		break
	}
	return &letter
}

// cursorOf names a letter that has no name of ours.
func cursorOf(m *amqp.Delivery) string {
	if m.MessageId != "" {
		return "id:" + m.MessageId
	}
	sum := sha256.Sum256(m.Body)
	return "sum:" + hex.EncodeToString(sum[:16])
}

// replay publishes a letter as it was, without its past.
func (d *Driver) replay(ctx context.Context, letter *queue.Dead, m *amqp.Delivery) error {
	e := letter.Envelope
	e.At, e.Attempts, e.LastError = time.Time{}, 0, ""
	out := d.outgoing(&e)
	propertiesOf(m).put(&out.msg)
	return d.publish.publish(ctx, out)
}

// walker holds the messages of one walk.
type walker struct {
	s     *session
	name  string
	held  []*amqp.Channel // full; they give back in this order
	now   *reel
	limit int
	left  int64 // not visited
	back  int64 // kept
}

// reel is one channel of a walk.
type reel struct {
	ch   *amqp.Channel
	tag  string
	in   <-chan amqp.Delivery
	kept int
}

// walk calls visit for the messages that a queue holds now, and removes those
// that it wants removed.
func (d *Driver) walk(ctx context.Context, name string, visit func(m *amqp.Delivery) (remove, next bool, err error)) error {
	s, err := d.consume.use(ctx, false)
	if err != nil {
		return err
	}
	left, err := s.count(ctx, name)
	if err != nil || left == 0 {
		return err
	}
	w := &walker{s: s, name: name, limit: walkCreditMin, left: left}
	defer w.close(ctx)
	for w.left > 0 {
		m, err := w.next(ctx)
		if err != nil || m == nil {
			return err
		}
		remove, next, err := visit(m)
		if err == nil && remove {
			if err := m.Ack(false); err != nil {
				return unavailable(err)
			}
			w.left--
		} else {
			w.keep()
		}
		if err != nil || !next {
			return err
		}
	}
	return nil
}

func (w *walker) keep() {
	w.now.kept++
	w.left--
	w.back++
}

// next returns the next message; nil: there are no more.
func (w *walker) next(ctx context.Context) (*amqp.Delivery, error) {
	if w.now == nil || w.now.kept == w.limit {
		if err := w.open(); err != nil {
			return nil, err
		}
	}
	t := time.NewTimer(walkIdle)
	defer t.Stop()
	for silences := 0; ; {
		select {
		case m, ok := <-w.now.in:
			if !ok {
				return nil, unavailable(fmt.Errorf("the broker ended the walk through queue %q", w.name))
			}
			return &m, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.C:
			t.Reset(walkIdle)
			n, err := w.s.count(ctx, w.name)
			if err != nil {
				return nil, err
			}
			if silences++; n > 0 {
				silences = 0 // others took some and gave them back
			}
			if silences == walkSilences {
				return nil, nil
			}
		}
	}
}

// open begins to consume through another channel, behind what is held already.
func (w *walker) open() error {
	if w.now != nil {
		if err := w.now.ch.Cancel(w.now.tag, false); err != nil {
			return explain(err)
		}
		w.held = append(w.held, w.now.ch)
		w.now, w.limit = nil, min(2*w.limit, walkCreditMax)
	}
	ch, err := w.s.conn.Channel()
	if err != nil {
		return explain(err)
	}
	r := &reel{ch: ch, tag: "walk-" + newCursor(time.Now())}
	if err = ch.Qos(w.limit, 0, false); err == nil {
		r.in, err = ch.Consume(w.name, r.tag, false, false, false, false, nil)
	}
	if err != nil {
		_ = ch.Close()
		return explain(err)
	}
	w.now = r
	return nil
}

// Bounds of a walk's end.
const (
	drainTime = 10 * time.Second // to take what was not visited
	backTime  = 2 * time.Second  // to see what was given back
)

// close gives back what is held, the oldest first, and waits until the broker
// shows it to others, the next walk for instance.
func (w *walker) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	// What was given back before comes before what is given back now: to keep
	// their order all of them have to go through this hand.
	for w.left > 0 && !w.s.isLost() {
		m, err := w.next(ctx)
		if err != nil || m == nil {
			break
		}
		w.keep()
	}
	if w.now != nil {
		// Otherwise it would be given what the others give back.
		_ = w.now.ch.Cancel(w.now.tag, false)
		for range w.now.in {
			w.keep()
		}
		w.held = append(w.held, w.now.ch)
	}
	for _, ch := range w.held {
		settle(ch, w.name)
		_ = ch.Close() // the broker puts back what it had, in order
	}
	w.awaitBack(ctx)
}

func (w *walker) awaitBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, backTime)
	defer cancel()
	for {
		n, err := w.s.count(ctx, w.name)
		if err != nil || n >= w.back || pause(ctx, 5*time.Millisecond) != nil {
			return
		}
	}
}
