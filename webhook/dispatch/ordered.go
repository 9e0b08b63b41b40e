package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/polywire/polywire/queue"
)

// ownQueue is that of an endpoint whose order matters, as this program has it, guarded
// by the dispatcher's mutex. It stays when the endpoint is removed: there may be one
// with this id again.
type ownQueue struct {
	wanted  bool
	runs    bool // it was handled or resumed, and not paused since
	changes bool // somebody is at it, and looks again at what is wanted when that is done
	handled bool // it has a handler
}

func orderedPart(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return "o-" + hex.EncodeToString(sum[:10])
}

// wantOrdered says whether an endpoint's own queue is to be worked on. d.mu is held.
func (d *Dispatcher) wantOrdered(id string, want bool) {
	q := d.ordered[id]
	if d.closed || d.o.PublishOnly || q == nil && !want {
		return
	}
	if q == nil {
		q = new(ownQueue)
		d.ordered[id] = q
	}
	q.wanted = want
	if !q.changes && q.runs != want {
		q.changes = true
		d.wg.Go(func() { d.changeOrdered(d.queueName(orderedPart(id)), q) })
	}
}

// changeOrdered does what is wanted of an endpoint's own queue. To end it may take as
// long as a delivery that runs.
func (d *Dispatcher) changeOrdered(name string, q *ownQueue) {
	handled := false
	for {
		d.mu.Lock()
		q.handled = q.handled || handled
		want, again := q.wanted && !d.closed, q.handled
		if want == q.runs {
			q.changes = false
			d.mu.Unlock()
			return
		}
		q.runs = want
		d.mu.Unlock()
		var err error
		switch {
		case !want:
			ctx, cancel := context.WithTimeout(d.ctx, storeTimeout)
			_ = d.o.Broker.Pause(ctx, name) // it is paused in any case
			cancel()
		case again:
			err = d.o.Broker.Resume(name)
		default:
			err = d.o.Broker.Handle(name, d.deliverOrdered, queue.HandleOptions{
				Concurrency: 1, Prefetch: 7, Ordered: true, Timeout: -1, Lease: d.o.Lease, MaxAttempts: -1, MaxLost: -1,
			})
		}
		handled = handled || want && err == nil
		if err != nil {
			d.hooks.Trouble(fmt.Errorf("dispatch: the queue of an ordered endpoint: %w", err))
		}
	}
}
