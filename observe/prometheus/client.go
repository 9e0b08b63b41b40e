package prometheus

import (
	"sync/atomic"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

// clientDescs are the metrics that clients have and servers do not.
type clientDescs struct {
	state, retries, recoveries, errors, outage *prom.Desc

	states      [polywire.StateClosed + 1]atomic.Int64
	retried     counter
	room        results
	unsubscribe counter
	outages     *histogram
}

func newClientDescs(m *Metrics) *clientDescs {
	return &clientDescs{
		state:      m.desc("client_state", "Clients in each state; running ones may be connecting again.", "state"),
		retries:    m.desc("client_retries_total", "Tries to connect again."),
		recoveries: m.desc("client_recoveries_total", "Rooms with history that were subscribed to again, by result: hit (all that was missed has come), miss.", "result"),
		errors:     m.desc("client_subscription_errors_total", "Rooms that could not be subscribed to again."),
		outage:     m.desc("client_outage_duration_seconds", "How long clients were without a connection until the next one."),
		outages:    newHistogram(longTimeBounds(), seconds),
	}
}

func (d *clientDescs) collect(e emitter) {
	for state := polywire.StateNew; state <= polywire.StateClosed; state++ {
		e.gauge(d.state, float64(d.states[state].Load()), state.String())
	}
	e.counter(d.retries, d.retried.value())
	e.counter(d.recoveries, d.room.good.value(), "hit")
	e.counter(d.recoveries, d.room.bad.value(), "miss")
	e.counter(d.errors, d.unsubscribe.value())
	e.histogram(d.outage, d.outages)
}

// Client returns the options that make a client's figures part of the metrics.
// Each client takes options of its own:
//
//	client.New(url, append(m.Client(), client.WithBackoff(...))...)
//
// They contain a plugin for its core, in a [client.WithPeer] of its own.
func (m *Metrics) Client() []client.Option {
	m.use(m.client)
	m.use(m.clients)
	d := m.clients
	d.states[polywire.StateNew].Add(1)
	var lost atomic.Int64 // Unix nanoseconds of the last end; 0: none, or it is back
	hooks := client.Hooks{
		Status: func(from, to polywire.State) {
			d.states[from].Add(-1)
			d.states[to].Add(1)
			if to == polywire.StateClosing || to == polywire.StateClosed {
				lost.Store(0) // it does not want to come back
			}
		},
		Connect: func(*polywire.Conn) {
			if at := lost.Swap(0); at != 0 {
				d.outages.observe(shard(), time.Now().UnixNano()-at)
			}
		},
		Disconnect: func(error) { lost.Store(time.Now().UnixNano()) },
		Retry:      func(int, time.Duration, error) { d.retried.inc() },
		Recovered: func(_ string, ok bool) {
			if ok {
				d.room.good.inc()
			} else {
				d.room.bad.inc()
			}
		},
		Error: func(error) { d.unsubscribe.inc() },
	}
	return []client.Option{client.WithHooks(hooks), client.WithPeer(polywire.WithPlugins(&plugin{s: m.client, pipe: true}))}
}
