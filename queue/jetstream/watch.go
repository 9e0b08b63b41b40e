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
// under way then. It goes on after an outage, and ends with the driver.
func (d *Driver) Watch(ctx context.Context, name string, visit func(e *queue.Envelope)) (stop func(), err error) {
	if err := queue.CheckQueue(name); err != nil {
		return nil, err
	}
	l, err := d.connected(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := l.nc.Subscribe(d.names.all(name), func(m *nats.Msg) {
		e := received(name, m.Header, m.Data).Envelope
		visit(&e)
	})
	if err != nil {
		return nil, fmt.Errorf("queue %q: %w", name, translate(err))
	}
	stop = func() { _ = sub.Unsubscribe() } // an error says that there is no connection any more
	if err := l.flush(ctx); err != nil {    // the server knows that we listen
		stop()
		return nil, err
	}
	return stop, nil
}
