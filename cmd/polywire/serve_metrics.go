package main

import (
	"net/http"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/observe/prometheus"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook/dispatch"
)

// metrics are those at /metrics of the admin listener; nil: nobody reads any.
type metrics struct {
	all      *prometheus.Metrics
	queues   *prometheus.Queues
	webhooks *prometheus.Webhooks
}

func newMetrics() *metrics {
	m := prometheus.New(prometheus.Options{Kinds: ownKinds()})
	return &metrics{m, m.Queues(), m.Webhooks()}
}

func (m *metrics) handler() (http.Handler, error) { return m.all.Handler() }

// options make a server's figures part of them.
func (m *metrics) options() []polywire.Option {
	if m == nil {
		return nil
	}
	return []polywire.Option{polywire.WithPlugins(m.all.Server())}
}

// queueHooks are for a broker, which is to be given to watch then.
func (m *metrics) queueHooks(more ...queue.Hooks) []queue.Hooks {
	if m == nil {
		return more
	}
	return append(more, m.queues.Hooks())
}

func (m *metrics) watch(b *queue.Broker) {
	if m != nil && b != nil {
		m.queues.Watch(b)
	}
}

// webhookHooks are for a dispatcher, which is to be given to watchWebhooks then.
func (m *metrics) webhookHooks(more ...dispatch.Hooks) []dispatch.Hooks {
	if m == nil {
		return more
	}
	return append(more, m.webhooks.Hooks())
}

func (m *metrics) watchWebhooks(d *dispatch.Dispatcher) {
	if m != nil && d != nil {
		m.webhooks.Watch(d)
	}
}
