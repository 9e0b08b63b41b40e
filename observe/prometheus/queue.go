package prometheus

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/polywire/polywire/queue"
)

// queueMetrics are about all brokers.
type queueMetrics struct {
	m     *Metrics
	descs queueDescs

	queues *table[queueCounts]

	mu      sync.Mutex
	brokers []*queue.Broker
}

// queueCounts are about one queue.
type queueCounts struct {
	published, ended              results
	publishTook, took, wait       *histogram
	retried, duplicate, stale     counter
	discarded, tried, lost, broke counter // dead letters
}

func newQueueCounts() *queueCounts {
	return &queueCounts{publishTook: newTimes(), took: newTimes(), wait: newHistogram(longTimeBounds(), seconds)}
}

type queueDescs struct {
	connected, reconnects, blocked, unreadable            *prom.Desc
	waiting, delayed, unacked, dead, oldest               *prom.Desc
	paused, trouble, inHand, running                      *prom.Desc
	published, publishTook                                *prom.Desc
	handled, took, wait, retried, buried, doubles, stales *prom.Desc
}

func newQueueMetrics(m *Metrics) *queueMetrics {
	return &queueMetrics{m: m, queues: newTable(m.o.MaxQueues, newQueueCounts), descs: queueDescs{
		connected:   m.desc("queue_brokers", "Brokers by the state of their connection.", "state"),
		reconnects:  m.desc("queue_reconnects_total", "Connections to brokers that were made after the first."),
		blocked:     m.desc("queue_blocked", "Brokers that take no messages for now: 0 is well."),
		unreadable:  m.desc("queue_unreadable", "Queues whose depth could not be read at this scrape: 0 is well."),
		waiting:     m.desc("queue_messages_waiting", "Messages that could be delivered now.", "queue"),
		delayed:     m.desc("queue_messages_delayed", "Messages that wait for their time.", "queue"),
		unacked:     m.desc("queue_messages_unacked", "Messages given out to any program and not answered.", "queue"),
		dead:        m.desc("queue_messages_dead", "Dead letters that are kept.", "queue"),
		oldest:      m.desc("queue_oldest_age_seconds", "Age of the oldest message that waits.", "queue"),
		paused:      m.desc("queue_paused", "Whether this program's consumer is paused: 1, or 0.", "queue"),
		trouble:     m.desc("queue_consumer_failing", "Whether the queue cannot be consumed for now: 1, or 0.", "queue"),
		inHand:      m.desc("queue_in_hand", "Deliveries that this program has and has not answered.", "queue"),
		running:     m.desc("queue_handlers_running", "Handlers of the queue that run in this program.", "queue"),
		published:   m.desc("queue_published_total", "Publishes, by result: ok (the broker has it for good), error.", "queue", "result"),
		publishTook: m.desc("queue_publish_duration_seconds", "How long publishing took, until the broker had it for good.", "queue"),
		handled:     m.desc("queue_attempts_total", "Attempts of handlers, by result: ok, error.", "queue", "result"),
		took:        m.desc("queue_handler_duration_seconds", "How long attempts of handlers took.", "queue"),
		wait:        m.desc("queue_wait_seconds", "How long messages had been published, or due, before their first attempt.", "queue"),
		retried:     m.desc("queue_retries_total", "Failed messages that will be tried again.", "queue"),
		buried:      m.desc("queue_dead_letters_total", "Messages that became dead letters, by reason: discarded, attempts, lost, broker.", "queue", "reason"),
		doubles:     m.desc("queue_duplicates_total", "Deliveries that were not handled because of their id.", "queue"),
		stales:      m.desc("queue_stale_total", "Answers that came too late: the message was or will be delivered again.", "queue"),
	}}
}

// Queues watches brokers, as many as are given to it, at any time.
type Queues struct{ q *queueMetrics }

// Queues returns what watches brokers, by its hooks and by asking them:
//
//	q := m.Queues()
//	broker, err := queue.New(driver, queue.Options{Hooks: []queue.Hooks{q.Hooks()}})
//	q.Watch(broker)
func (m *Metrics) Queues() *Queues {
	m.use(m.queues)
	return &Queues{m.queues}
}

// Watch makes the metrics ask a broker for its figures, and for the depth of
// all its queues, each time that they are read. Watch a broker until the
// program ends, or see Forget.
func (q *Queues) Watch(b *queue.Broker) {
	q.q.mu.Lock()
	defer q.q.mu.Unlock()
	q.q.brokers = append(q.q.brokers, b)
}

// Forget ends Watch.
func (q *Queues) Forget(b *queue.Broker) {
	q.q.mu.Lock()
	defer q.q.mu.Unlock()
	q.q.brokers = slices.DeleteFunc(slices.Clone(q.q.brokers), func(o *queue.Broker) bool { return o == b })
}

// Hooks returns what a broker is to be told to call.
func (q *Queues) Hooks() queue.Hooks {
	of := q.q.queues.get
	return queue.Hooks{
		Published: func(m *queue.Message, took time.Duration, err error) {
			c := of(m.Queue)
			c.published.note(err)
			c.publishTook.observe(shard(), int64(took))
		},
		Started: func(d *queue.Delivery) {
			due := d.Published
			if d.At.After(due) {
				due = d.At
			}
			if d.Attempt == 1 && !due.IsZero() {
				of(d.Queue).wait.observe(shard(), int64(time.Since(due)))
			}
		},
		Ended: func(d *queue.Delivery, took time.Duration, err error) {
			c := of(d.Queue)
			c.ended.note(err)
			c.took.observe(shard(), int64(took))
		},
		Retried:   func(d *queue.Delivery, _ time.Time, _ error) { of(d.Queue).retried.inc() },
		Duplicate: func(d *queue.Delivery) { of(d.Queue).duplicate.inc() },
		Stale:     func(d *queue.Delivery) { of(d.Queue).stale.inc() },
		Buried: func(d *queue.Dead) {
			c := of(d.Queue)
			switch d.Reason {
			case queue.ReasonDiscarded:
				c.discarded.inc()
			case queue.ReasonAttempts:
				c.tried.inc()
			case queue.ReasonLost:
				c.lost.inc()
			case queue.ReasonBroker:
				c.broke.inc()
			}
		},
	}
}

// here is what this program does with a queue.
type here struct {
	depth              queue.Depth
	inHand, running    int64
	consumed, hasDepth bool
	paused, trouble    bool
}

func (q *queueMetrics) collect(e emitter) {
	d := &q.descs
	q.mu.Lock()
	brokers := q.brokers
	q.mu.Unlock()
	states := make(map[queue.Connection]int)
	reconnects, unreadable := int64(0), 0
	all := make(map[string]*here)
	ctx, cancel := context.WithTimeout(context.Background(), q.m.o.ScrapeTimeout)
	defer cancel()
	for _, b := range brokers {
		s := b.Stats()
		states[s.Connection.Connection]++
		reconnects += s.Connection.Reconnects
		unreadable += q.look(ctx, b, &s, all)
	}
	for _, c := range []queue.Connection{queue.Connecting, queue.Connected, queue.Blocked, queue.Disconnected} {
		e.gauge(d.connected, float64(states[c]), c.String())
	}
	e.gauge(d.blocked, float64(states[queue.Blocked]))
	e.counter(d.reconnects, float64(reconnects))
	e.gauge(d.unreadable, float64(unreadable))
	for name, h := range all {
		q.show(e, name, h)
	}
	q.queues.each(func(name string, c *queueCounts) { c.collect(e, d, name) })
}

// look asks a broker about its queues, those without a handler here too. It
// returns how many could not be asked.
func (q *queueMetrics) look(ctx context.Context, b *queue.Broker, s *queue.Stats, all map[string]*here) (unreadable int) {
	names := slices.Collect(maps.Keys(s.Queues))
	if more, err := b.Queues(ctx); err == nil {
		names = append(names, more...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		label := name
		if q.queues.get(name) == q.queues.rest.Load() {
			label = other
		}
		h := all[label]
		if h == nil {
			h = &here{}
			all[label] = h
		}
		if f, mine := s.Queues[name]; mine {
			h.consumed = true
			h.inHand += int64(f.InHand)
			h.running += f.Running
			h.paused = h.paused || f.Paused
			h.trouble = h.trouble || f.Trouble != ""
		}
		depth, err := b.Inspect(ctx, name)
		switch {
		case errors.Is(err, queue.ErrNotFound), errors.Is(err, queue.ErrUnsupported):
		case err != nil:
			unreadable++
		default:
			h.add(&depth)
		}
	}
	return unreadable
}

// add adds what one broker has. What it does not tell is below zero.
func (h *here) add(d *queue.Depth) {
	if !h.hasDepth {
		h.depth, h.hasDepth = *d, true
		return
	}
	h.depth.Waiting += max(d.Waiting, 0)
	h.depth.Delayed += max(d.Delayed, 0)
	h.depth.Unacked += max(d.Unacked, 0)
	h.depth.Dead += max(d.Dead, 0)
	if !d.Oldest.IsZero() && (h.depth.Oldest.IsZero() || d.Oldest.Before(h.depth.Oldest)) {
		h.depth.Oldest = d.Oldest
	}
}

func (q *queueMetrics) show(e emitter, name string, h *here) {
	d := &q.descs
	if h.hasDepth {
		for desc, n := range map[*prom.Desc]int64{
			d.waiting: h.depth.Waiting, d.delayed: h.depth.Delayed, d.unacked: h.depth.Unacked, d.dead: h.depth.Dead,
		} {
			if n >= 0 {
				e.gauge(desc, float64(n), name)
			}
		}
		age := 0.0
		if !h.depth.Oldest.IsZero() {
			age = max(time.Since(h.depth.Oldest).Seconds(), 0)
		}
		e.gauge(d.oldest, age, name)
	}
	if h.consumed {
		e.gauge(d.inHand, float64(h.inHand), name)
		e.gauge(d.running, float64(h.running), name)
		e.gauge(d.paused, truth(h.paused), name)
		e.gauge(d.trouble, truth(h.trouble), name)
	}
}

func (c *queueCounts) collect(e emitter, d *queueDescs, name string) {
	e.counter(d.published, c.published.good.value(), name, "ok")
	e.counter(d.published, c.published.bad.value(), name, "error")
	e.histogram(d.publishTook, c.publishTook, name)
	e.counter(d.handled, c.ended.good.value(), name, "ok")
	e.counter(d.handled, c.ended.bad.value(), name, "error")
	e.histogram(d.took, c.took, name)
	e.histogram(d.wait, c.wait, name)
	e.counter(d.retried, c.retried.value(), name)
	e.counter(d.doubles, c.duplicate.value(), name)
	e.counter(d.stales, c.stale.value(), name)
	e.counter(d.buried, c.discarded.value(), name, string(queue.ReasonDiscarded))
	e.counter(d.buried, c.tried.value(), name, string(queue.ReasonAttempts))
	e.counter(d.buried, c.lost.value(), name, string(queue.ReasonLost))
	e.counter(d.buried, c.broke.value(), name, string(queue.ReasonBroker))
}
