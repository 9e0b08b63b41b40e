package dispatch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// Receipt is what became of a published event.
type Receipt struct {
	// ID is the event's, made or given.
	ID string
	// Endpoints is to how many it goes.
	Endpoints int
}

// Publish returns nil when every delivery of the event is durable, and the event
// itself is kept for replays. An event without an ID gets one, one without a Time
// is of now. Of several endpoints all or none have it even if this program ends
// meanwhile, except that those whose order matters are by themselves. After an error
// some may have it or not: publish again with the same ID, within the queue's window
// nothing is delivered twice for that. After ErrFull nobody has it.
//
// The endpoints are those that are enabled and want the type when Publish is called.
// Ordered endpoints get events in the order in which calls of Publish ended; calls at
// the same time have no order.
func (d *Dispatcher) Publish(ctx context.Context, e webhook.Event) (Receipt, error) {
	start := time.Now()
	e.ID = cmp.Or(e.ID, webhook.NewID())
	if e.Time.IsZero() {
		e.Time = start
	}
	r := Receipt{ID: e.ID}
	s, err := d.stored(e, start)
	if err == nil {
		ts := d.wanting(e.Type)
		r.Endpoints = len(ts)
		err = d.publish(ctx, s, ts, "", true)
	}
	d.stats.published(err)
	d.hooks.Published(e, r.Endpoints, time.Since(start), err)
	return r, err
}

// stored returns an event as it is kept.
func (d *Dispatcher) stored(e webhook.Event, now time.Time) (Stored, error) {
	if d.isClosed() {
		return Stored{}, ErrClosed
	}
	b := bytes.NewBuffer(make([]byte, 0, 512))
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e.Data); err != nil {
		return Stored{}, fmt.Errorf("%w: the event's data cannot be encoded: %w", ErrInvalid, err)
	}
	data := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(data) > d.o.MaxEventBytes {
		return Stored{}, fmt.Errorf("%w: the event's data has %d bytes, more than %d", ErrInvalid, len(data), d.o.MaxEventBytes)
	}
	s := Stored{ID: e.ID, Type: e.Type, Time: e.Time, Accepted: now, Data: data, Trace: traceOf(e.Trace)}
	if err := checkNames(s); err != nil { // the encoder made the data: it is JSON
		return Stored{}, err
	}
	return s, nil
}

func (d *Dispatcher) isClosed() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.closed
}

// publish hands an event's deliveries to the queue, and the event to its store, and
// waits for all.
func (d *Dispatcher) publish(ctx context.Context, s Stored, ts []*target, replay string, keep bool) error {
	ms, err := d.messages(s, ts, replay)
	if err != nil {
		return err
	}
	if b, ok := d.o.Events.(BoundedEvents); keep && ok && b.Bounded() {
		if err := d.keep(ctx, s); errors.Is(err, ErrFull) {
			return err
		} else if err != nil {
			return unsure(err)
		}
		keep = false
	}
	pending := make([]*queue.Pending, len(ms))
	for i, m := range ms {
		pending[i] = d.o.Broker.Send(ctx, m)
	}
	var errs []error
	if keep {
		errs = append(errs, d.keep(ctx, s))
	}
	for _, p := range pending {
		errs = append(errs, p.Wait(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return unsure(err)
	}
	return nil
}

func unsure(err error) error { return fmt.Errorf("dispatch: the event may not be accepted: %w", err) }

// keep gives an event to its store.
func (d *Dispatcher) keep(ctx context.Context, s Stored) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := d.o.Events.Append(ctx, s)
	if err == nil || errors.Is(err, ErrFull) {
		return err
	}
	return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
}

// messages returns those of an event's deliveries: one endpoint, one message;
// several, one that is fanned out. Ordered endpoints have their own.
func (d *Dispatcher) messages(s Stored, ts []*target, replay string) ([]queue.Message, error) {
	var ms []queue.Message
	var plain []*target
	for _, t := range ts {
		if t.isOrdered() {
			del := delivery{endpoint: t.id, event: s, try: 1, replay: replay}
			ms = append(ms, del.message(d.queueName(orderedPart(t.id))))
			continue
		}
		plain = append(plain, t)
	}
	if len(plain) == 1 {
		return append(ms, d.route(&delivery{endpoint: plain[0].id, event: s, try: 1, replay: replay}, plain[0])), nil
	}
	for n := 0; len(plain) > 0; n++ {
		f := fanout{Event: s, Replay: replay}
		part := min(len(plain), maxFanout)
		for _, t := range plain[:part] {
			f.Endpoints = append(f.Endpoints, t.id)
		}
		plain = plain[part:]
		m, err := f.message(d.queueName(queueFanout), n)
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func (t *target) isOrdered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Endpoint.Ordered
}

// route returns the message of a first try: in the queue of those that are delivered
// at once or, when the endpoint takes no more for now or it is a replay, in the other,
// so that others' do not stand behind it.
func (d *Dispatcher) route(del *delivery, t *target) queue.Message {
	if wait, crowded := t.gate.crowded(); crowded {
		m := del.message(d.queueName(queueLate))
		m.Delay = wait
		d.hooks.Parked(t.id, del.event.ID, wait)
		return m
	}
	if del.replay != "" {
		return del.message(d.queueName(queueLate))
	}
	return del.message(d.queueName(queueFirst))
}

// spread is the handler of events for several endpoints.
func (d *Dispatcher) spread(ctx context.Context, m *queue.Delivery) error {
	f, err := parseFanout(&m.Message)
	if err != nil {
		return queue.Discard(err)
	}
	ms := make([]queue.Message, 0, len(f.Endpoints))
	for _, id := range f.Endpoints {
		t, err := d.find(ctx, id)
		if err != nil {
			return err
		}
		if t == nil {
			continue // removed meanwhile
		}
		ms = append(ms, d.route(&delivery{endpoint: id, event: f.Event, try: 1, replay: f.Replay}, t))
	}
	return d.o.Broker.PublishBatch(ctx, ms)
}
