package prometheus

import (
	"slices"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// webhookMetrics are about all dispatchers.
type webhookMetrics struct {
	m     *Metrics
	descs webhookDescs

	published   results
	publishTook *histogram
	delivered   *histogram // from the acceptance of an event to its delivery
	classes     *table[counter]
	endpoints   *table[endpointCounts]
	parked      counter
	logFailed   counter
	disabled    counter
	troubles    counter

	mu          sync.Mutex
	dispatchers []*dispatch.Dispatcher
}

// endpointCounts are about one endpoint.
type endpointCounts struct {
	took                                *histogram
	delivered, retried, failed, dropped counter
}

func newEndpointCounts() *endpointCounts { return &endpointCounts{took: newTimes()} }

type webhookDescs struct {
	events, publishTook, delivered, classes    *prom.Desc
	attempts, took                             *prom.Desc
	parked, logFailed, disabled, troubles      *prom.Desc
	endpoints, breakers, running, waiting      *prom.Desc
	failingSince, repeated, removed, unwatched *prom.Desc
}

func newWebhookMetrics(m *Metrics) *webhookMetrics {
	w := &webhookMetrics{
		m: m, publishTook: newTimes(), delivered: newHistogram(longTimeBounds(), seconds),
		classes: newTable(maxReasons, newCounter), endpoints: newTable(m.o.MaxEndpoints, newEndpointCounts),
	}
	w.descs = webhookDescs{
		events:       m.desc("webhook_events_total", "Events, by result: accepted, refused.", "result"),
		publishTook:  m.desc("webhook_publish_duration_seconds", "How long it took until an event was accepted for good."),
		delivered:    m.desc("webhook_delivery_seconds", "From the acceptance of an event until a receiver had it."),
		classes:      m.desc("webhook_attempt_classes_total", "Attempts by how they ended: ok, status, timeout, dns, connect, tls, ...", "class"),
		attempts:     m.desc("webhook_attempts_total", "What became of deliveries after an attempt: delivered, retried, failed (the last try), dropped (the endpoint is disabled).", "endpoint", "result"),
		took:         m.desc("webhook_attempt_duration_seconds", "How long attempts took.", "endpoint"),
		parked:       m.desc("webhook_parked_total", "Times that a delivery was put back because its endpoint took no more."),
		logFailed:    m.desc("webhook_log_failures_total", "Attempts that could not be kept in the log."),
		disabled:     m.desc("webhook_endpoints_disabled_total", "Endpoints that were disabled by a rule."),
		troubles:     m.desc("webhook_troubles_total", "Failures that are tried again: the watch of endpoints, a change of one."),
		endpoints:    m.desc("webhook_endpoints", "Endpoints, by state: enabled, disabled.", "state"),
		breakers:     m.desc("webhook_breakers", "Breakers of endpoints, by state: closed (attempts are made), open, half-open.", "state"),
		running:      m.desc("webhook_attempts_running", "Attempts that run now."),
		waiting:      m.desc("webhook_deliveries_waiting", "Deliveries in hand that wait for their endpoint."),
		failingSince: m.desc("webhook_endpoints_failing", "Enabled endpoints whose last attempt failed."),
		repeated:     m.desc("webhook_repeated_total", "Deliveries that the queue brought again after they were made; they are not made twice."),
		removed:      m.desc("webhook_removed_total", "Deliveries given up because their endpoint was removed."),
		unwatched:    m.desc("webhook_watch_failing", "Whether changes of endpoints are not seen at once: 1, or 0."),
	}
	return w
}

// Webhooks watches dispatchers, as many as are given to it, at any time.
type Webhooks struct{ w *webhookMetrics }

// Webhooks returns what watches dispatchers, by its hooks and by asking them:
//
//	w := m.Webhooks()
//	d, err := dispatch.New(ctx, dispatch.Options{Hooks: []dispatch.Hooks{w.Hooks()}, ...})
//	w.Watch(d)
func (m *Metrics) Webhooks() *Webhooks {
	m.use(m.webhooks)
	return &Webhooks{m.webhooks}
}

// Watch makes the metrics ask a dispatcher for its figures each time that they
// are read. Watch one until the program ends, or see Forget.
func (w *Webhooks) Watch(d *dispatch.Dispatcher) {
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	w.w.dispatchers = append(w.w.dispatchers, d)
}

// Forget ends Watch.
func (w *Webhooks) Forget(d *dispatch.Dispatcher) {
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	w.w.dispatchers = slices.DeleteFunc(slices.Clone(w.w.dispatchers), func(o *dispatch.Dispatcher) bool { return o == d })
}

// Hooks returns what a dispatcher is to be told to call.
func (w *Webhooks) Hooks() dispatch.Hooks {
	m := w.w
	return dispatch.Hooks{
		Published: func(_ webhook.Event, _ int, took time.Duration, err error) {
			m.published.note(err)
			m.publishTook.observe(shard(), int64(took))
		},
		Attempted: m.attempted,
		Parked:    func(string, string, time.Duration) { m.parked.inc() },
		Disabled:  func(string, string) { m.disabled.inc() },
		LogFailed: func(dispatch.Entry, error) { m.logFailed.inc() },
		Trouble:   func(error) { m.troubles.inc() },
	}
}

func (w *webhookMetrics) attempted(e dispatch.Entry) {
	c := w.endpoints.get(e.Endpoint)
	if e.State == dispatch.StateDropped {
		c.dropped.inc()
		return
	}
	at := shard()
	w.classes.get(e.Attempt.Class.String()).inc()
	c.took.observe(at, int64(e.Attempt.Duration))
	switch e.State {
	case dispatch.StateDelivered:
		c.delivered.inc()
		if !e.Accepted.IsZero() && e.Replay == "" {
			w.delivered.observe(at, int64(time.Since(e.Accepted)))
		}
	case dispatch.StateScheduled:
		c.retried.inc()
	case dispatch.StateFailed:
		c.failed.inc()
	}
}

// dispatched is what dispatchers say together.
type dispatched struct {
	enabled, disabled, failing, running, waiting int
	repeated, removed                            int64
	breakers                                     map[dispatch.BreakerState]int
	unwatched                                    bool
}

func (w *webhookMetrics) look() dispatched {
	w.mu.Lock()
	all := w.dispatchers
	w.mu.Unlock()
	sum := dispatched{breakers: make(map[dispatch.BreakerState]int)}
	for _, d := range all {
		s := d.Stats()
		sum.repeated += s.Repeated
		sum.removed += s.Removed
		sum.unwatched = sum.unwatched || s.Watching != ""
		for _, ep := range s.Endpoints {
			sum.running += ep.Running
			sum.waiting += ep.Waiting
			sum.breakers[ep.Breaker]++
			switch {
			case !ep.Enabled:
				sum.disabled++
				continue
			case !ep.FailingSince.IsZero():
				sum.failing++
			}
			sum.enabled++
		}
	}
	return sum
}

func (w *webhookMetrics) collect(e emitter) {
	d, now := &w.descs, w.look()
	e.counter(d.events, w.published.good.value(), "accepted")
	e.counter(d.events, w.published.bad.value(), "refused")
	e.histogram(d.publishTook, w.publishTook)
	e.histogram(d.delivered, w.delivered)
	w.classes.each(func(class string, n *counter) { e.counter(d.classes, n.value(), class) })
	w.endpoints.each(func(id string, c *endpointCounts) {
		e.counter(d.attempts, c.delivered.value(), id, "delivered")
		e.counter(d.attempts, c.retried.value(), id, "retried")
		e.counter(d.attempts, c.failed.value(), id, "failed")
		e.counter(d.attempts, c.dropped.value(), id, "dropped")
		e.histogram(d.took, c.took, id)
	})
	e.counter(d.parked, w.parked.value())
	e.counter(d.logFailed, w.logFailed.value())
	e.counter(d.disabled, w.disabled.value())
	e.counter(d.troubles, w.troubles.value())
	e.gauge(d.endpoints, float64(now.enabled), "enabled")
	e.gauge(d.endpoints, float64(now.disabled), "disabled")
	for _, s := range []dispatch.BreakerState{dispatch.BreakerClosed, dispatch.BreakerOpen, dispatch.BreakerHalfOpen} {
		e.gauge(d.breakers, float64(now.breakers[s]), s.String())
	}
	e.gauge(d.running, float64(now.running))
	e.gauge(d.waiting, float64(now.waiting))
	e.gauge(d.failingSince, float64(now.failing))
	e.counter(d.repeated, float64(now.repeated))
	e.counter(d.removed, float64(now.removed))
	e.gauge(d.unwatched, truth(now.unwatched))
}
