package jetstream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/queue"
)

// Watch calls visit for each message that is published to a queue from now on,
// by anybody, retries among them, without taking it: one after the other, in
// the order of the server. It sees them on their way, before they are kept:
// also those that the server then drops as duplicates, or has no room for. Who
// is too slow for them misses some. stop ends it; a last call of visit may be
// under way then. It goes on after an outage, whose messages it misses, and ends with the
// driver.
func (d *Driver) Watch(ctx context.Context, name string, visit func(e *queue.Envelope)) (stop func(), err error) {
	if err := queue.CheckQueue(name); err != nil {
		return nil, err
	}
	l, err := d.connected(ctx)
	if err != nil {
		return nil, err
	}
	w := &watcher{d: d, queue: name, visit: visit, done: make(chan struct{})}
	sub, err := w.subscribe(l)
	if err == nil {
		err = l.flush(ctx) // the server knows that we listen
	}
	if err != nil {
		return nil, fmt.Errorf("queue %q: %w", name, translate(err))
	}
	watching, cancel := context.WithCancel(d.ctx)
	if !d.begin(func() { w.run(watching, l, sub) }) {
		cancel()
		return nil, queue.ErrClosed
	}
	return func() { cancel(); <-w.done }, nil
}

// watcher is one Watch.
type watcher struct {
	d     *Driver
	queue string
	visit func(e *queue.Envelope)
	done  chan struct{} // closed when no more is brought
}

func (w *watcher) subscribe(l *link) (*nats.Subscription, error) {
	return l.nc.Subscribe(w.d.names.all(w.queue), func(m *nats.Msg) {
		e := received(w.queue, m.Header, m.Data).Envelope
		w.visit(&e)
	})
}

// run goes from one connection to the next. nats.go brings back what a
// connection had that was lost, and not what one had that was closed.
func (w *watcher) run(ctx context.Context, l *link, sub *nats.Subscription) {
	defer close(w.done)
	for {
		select {
		case <-ctx.Done():
			_ = sub.Unsubscribe() // an error says that there is no connection any more
			return
		case <-l.closed:
		}
		var err error
		if l, err = w.d.connected(ctx); err != nil {
			return
		}
		if sub, err = w.subscribe(l); err != nil {
			sleep(ctx, redialWait) // it has just been closed, which is seen then
		}
	}
}
