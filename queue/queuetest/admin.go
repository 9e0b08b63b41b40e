package queuetest

import (
	"errors"
	"slices"
	"time"

	"github.com/polywire/polywire/queue"
)

// admin is what people look at queues with; some of it drivers need not have.
func admin(r *run) {
	b := r.open()
	if _, err := b.Inspect(r.Context(), unique("nobody")); !errors.Is(err, queue.ErrNotFound) {
		r.Errorf("a queue that is none: %v", err)
	}
	before := time.Now()
	ms := numbered("m", 5)
	ms[4].Delay = time.Hour
	r.publish(b, ms...)
	var d queue.Depth
	r.until("four wait and one is delayed", func() bool {
		var err error
		d, err = b.Inspect(r.Context(), r.queue)
		return err == nil && d.Waiting == 4 && (d.Delayed == 1 || d.Delayed == -1) && d.Unacked <= 0 && d.Dead <= 0
	})
	if age := d.Oldest.Sub(before); !d.Oldest.IsZero() && (age < -time.Second || age > time.Minute) {
		r.Errorf("the oldest was published %v after it was", age)
	}
	if names, err := b.Queues(r.Context()); errors.Is(err, queue.ErrUnsupported) {
		r.Log("the driver lists no queues")
	} else if err != nil || !slices.Contains(names, r.queue) || !slices.IsSorted(names) {
		r.Errorf("queues: %.500q, %v", names, err)
	}
	var seen []string
	look := func(limit, stop int) error {
		seen = nil
		return b.Browse(r.Context(), r.queue, limit, func(e *queue.Envelope) bool {
			seen = append(seen, e.ID)
			if e.ID == "m-00002" && string(e.Payload.Data) != "2" {
				r.Errorf("shown: %+v", e)
			}
			return len(seen) < stop
		})
	}
	if err := look(3, 9); errors.Is(err, queue.ErrUnsupported) {
		r.Log("the driver shows no messages")
	} else {
		if !slices.Equal(seen, []string{"m-00000", "m-00001", "m-00002"}) || err != nil {
			r.Errorf("shown: %v, %v", seen, err)
		}
		if err := look(100, 2); err != nil || len(seen) != 2 {
			r.Errorf("shown: %v, %v", seen, err)
		}
	}
	if n, err := b.Purge(r.Context(), r.queue); errors.Is(err, queue.ErrUnsupported) {
		r.Log("the driver purges no queues")
		return
	} else if err != nil || n != 5 && n != -1 {
		r.Errorf("purged %d, %v", n, err)
	}
	r.empty(b, 0)
	r.handle(b, done, queue.HandleOptions{})
	r.ledger.forget()
	r.publish(b, queue.Message{ID: "after"})
	r.settled()
	if n := r.ledger.runs(); n != 1 {
		r.Errorf("%d handled after the purge", n)
	}
}
