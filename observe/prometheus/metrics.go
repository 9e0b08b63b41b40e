// Package prometheus shows what servers, clients, queues and webhooks do as
// metrics of Prometheus. docs/operations.md says what each means, and when to
// worry; dashboards and alerts are in deploy.
//
// The number of series has a bound: names that come from outside (kinds of
// messages) or grow with the use (queues, endpoints) have a label of their own
// as long as there is room, and count as "other" after that. Names of rooms,
// connections and users are never labels.
package prometheus

import (
	"cmp"
	"errors"
	"net/http"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options are what [New] may be told. The zero value is good.
type Options struct {
	// MaxKinds is how many kinds of messages have a label, among those received,
	// and again among those sent. Zero: 100. A received kind gets one when a
	// handler took it.
	MaxKinds int
	// Kinds have a label in any case, whatever else comes first.
	Kinds []string
	// MaxQueues and MaxEndpoints are how many queues and endpoints of webhooks
	// have a label. Zero: 100 each.
	MaxQueues, MaxEndpoints int
	// ScrapeTimeout bounds what brokers are asked when the metrics are read: how
	// deep their queues are. Zero: 2 s.
	ScrapeTimeout time.Duration
	// FlightHeader is a header in which clients put the time of sending into what
	// they send (Unix microseconds), and from which the receiver tells how long a
	// message was on its way. Clocks that differ are seen in it. Empty: none.
	FlightHeader string
	// SendDurations measures sending on servers, too: it adds a pipe, which costs
	// each message something. On clients it is always measured.
	SendDurations bool
}

// Metrics is a collector for a registry of Prometheus. Get the parts for what
// is to be watched: [Metrics.Server], [Metrics.Client], [Metrics.Queues],
// [Metrics.Webhooks]. One Metrics may watch many of each, and adds them up.
// Methods may be called from many goroutines at once.
type Metrics struct {
	o     Options
	descs []*prom.Desc

	server, client *side
	cluster        *clusterDescs
	clients        *clientDescs
	queues         *queueMetrics
	webhooks       *webhookMetrics

	mu   sync.Mutex
	used map[any]bool // which parts are shown
}

// New returns metrics that are to be registered:
//
//	m := prometheus.New(prometheus.Options{})
//	registry.MustRegister(m)
//	srv, err := polywire.New(polywire.WithPlugins(m.Server()))
func New(o Options) *Metrics {
	o.MaxKinds = cmp.Or(max(o.MaxKinds, 0), 100)
	o.MaxQueues = cmp.Or(max(o.MaxQueues, 0), 100)
	o.MaxEndpoints = cmp.Or(max(o.MaxEndpoints, 0), 100)
	o.ScrapeTimeout = cmp.Or(max(o.ScrapeTimeout, 0), 2*time.Second)
	m := &Metrics{o: o, used: make(map[any]bool)}
	m.server, m.client = newSide(m, "server"), newSide(m, "client")
	m.cluster = newClusterDescs(m)
	m.clients = newClientDescs(m)
	m.queues = newQueueMetrics(m)
	m.webhooks = newWebhookMetrics(m)
	return m
}

// desc makes the description of a metric.
func (m *Metrics) desc(name, help string, labels ...string) *prom.Desc {
	d := prom.NewDesc("polywire_"+name, help, labels, nil)
	m.descs = append(m.descs, d)
	return d
}

// use makes a part visible: who has no queues is not shown figures of queues.
func (m *Metrics) use(part any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used[part] = true
}

func (m *Metrics) uses(part any) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used[part]
}

// Describe implements [prom.Collector].
func (m *Metrics) Describe(ch chan<- *prom.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements [prom.Collector].
func (m *Metrics) Collect(ch chan<- prom.Metric) {
	e := emitter{ch}
	for _, s := range []*side{m.server, m.client} {
		if m.uses(s) {
			s.collect(e)
		}
	}
	if m.uses(m.clients) {
		m.clients.collect(e)
	}
	if m.uses(m.queues) {
		m.queues.collect(e)
	}
	if m.uses(m.webhooks) {
		m.webhooks.collect(e)
	}
}

// Handler returns what serves the metrics over HTTP, together with those of
// the Go runtime and of the process, from a registry of its own.
func (m *Metrics) Handler() (http.Handler, error) {
	r := prom.NewRegistry()
	err := errors.Join(r.Register(m), r.Register(collectors.NewGoCollector()),
		r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	if err != nil {
		return nil, err
	}
	return promhttp.InstrumentMetricHandler(r, promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})), nil
}

// emitter makes metrics of numbers.
type emitter struct{ ch chan<- prom.Metric }

func (e emitter) counter(d *prom.Desc, v float64, labels ...string) {
	e.ch <- prom.MustNewConstMetric(d, prom.CounterValue, v, labels...)
}

func (e emitter) gauge(d *prom.Desc, v float64, labels ...string) {
	e.ch <- prom.MustNewConstMetric(d, prom.GaugeValue, v, labels...)
}

func (e emitter) histogram(d *prom.Desc, h *histogram, labels ...string) {
	count, sum, upTo := h.read()
	e.ch <- prom.MustNewConstHistogram(d, count, sum, upTo, labels...)
}

// truth is 1 for what is so.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
