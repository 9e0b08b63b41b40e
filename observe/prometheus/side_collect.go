package prometheus

import (
	"strings"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/polywire/polywire"
)

// sideDescs are the metrics of a side; nil where it has none.
type sideDescs struct {
	state, connections, asleep, outbox         *prom.Desc
	accepted, refused, closed                  *prom.Desc
	messagesIn, messagesOut, bytesIn, bytesOut *prom.Desc
	dropped, slow, errors                      *prom.Desc
	workers, concurrency                       *prom.Desc
	rooms, memberships                         *prom.Desc
	subscribes, unsubscribes, publishes        *prom.Desc
	recoveries                                 *prom.Desc
	took, handled, size, sentSize, flight      *prom.Desc
	sends, casts, reach                        *prom.Desc
}

func (d *sideDescs) fill(m *Metrics, side string) {
	name := func(s string) string { return side + "_" + s }
	d.connections = m.desc(name("connections"), "Connections open now.", "wire")
	d.outbox = m.desc(name("outbox_bytes"), "Bytes that wait to be written to peers now.", "wire")
	d.accepted = m.desc(name("connections_opened_total"), "Connections that were let in.", "wire")
	d.closed = m.desc(name("connections_closed_total"), "Connections that have ended, by close code and by who ended it: here, or the peer.", "wire", "code", "by")
	d.messagesIn = m.desc(name("messages_received_total"), "Packets received, answers and room operations among them.", "wire")
	d.messagesOut = m.desc(name("messages_sent_total"), "Packets written.", "wire")
	d.bytesIn = m.desc(name("received_bytes_total"), "Bytes received, without framing.", "wire")
	d.bytesOut = m.desc(name("sent_bytes_total"), "Bytes written, with framing.", "wire")
	d.dropped = m.desc(name("messages_dropped_total"), "Messages that could not be delivered, by reason.", "reason")
	d.slow = m.desc(name("slow_consumers_total"), "Connections closed because the peer did not read what was sent to it.")
	d.errors = m.desc(name("errors_total"), "Errors that nobody waited for; each has a line in the log, up to a thousand at once and a hundred a second.")
	d.workers = m.desc(name("workers"), "Goroutines that handle messages beside the readers now.")
	d.took = m.desc(name("handler_duration_seconds"), "How long handlers and middleware took, by kind.", "kind")
	d.handled = m.desc(name("messages_handled_total"), "Messages handled, by kind and result: ok, error (a handler's answer), exception (a fault).", "kind", "result")
	d.size = m.desc(name("message_received_bytes"), "Sizes of the arguments of handled messages, by kind.", "kind")
	d.sentSize = m.desc(name("message_sent_bytes"), "Sizes of messages and answers put into outboxes, with framing, by kind.", "kind")
	d.flight = m.desc(name("message_flight_seconds"), "How long handled messages were on their way, where they say when they left, by kind.", "kind")
	d.sends = m.desc(name("send_duration_seconds"), "How long sending took, by kind and operation: send (until it was queued), call (until the answer).", "kind", "operation")
	if side != "server" {
		return
	}
	d.state = m.desc(name("state"), "Servers in each state.", "state")
	d.asleep = m.desc(name("connections_asleep"), "Connections that need no goroutine now.")
	d.refused = m.desc(name("connections_refused_total"), "Connections that were not let in, by reason.", "wire", "reason")
	d.concurrency = m.desc(name("concurrency_limit"), "Messages of one connection that may be handled at once.")
	d.rooms = m.desc(name("rooms"), "Rooms that have members on this node.")
	d.memberships = m.desc(name("room_memberships"), "Members of all rooms on this node together.")
	d.subscribes = m.desc(name("subscribes_total"), "Peers' wishes to join a room, by result: ok, refused.", "result")
	d.unsubscribes = m.desc(name("unsubscribes_total"), "Peers' wishes to leave a room.")
	d.publishes = m.desc(name("publishes_total"), "Peers' wishes to send to a room, by result: ok, refused.", "result")
	d.recoveries = m.desc(name("recoveries_total"), "Peers that came back and asked for what they had missed, by what of (room, session) and result: hit, miss.", "of", "result")
	d.casts = m.desc(name("broadcast_duration_seconds"), "How long it took to give a message to rooms or everybody, and to the cluster, by kind.", "kind")
	d.reach = m.desc(name("broadcast_receivers"), "Connections of this node that a message to rooms or everybody was given to.")
}

// add adds up what only grows, and with now what is true at the moment.
func add(to, from *polywire.Stats, now bool) {
	to.Refused += from.Refused
	to.Slow += from.Slow
	r, f := &to.Recovery, &from.Recovery
	r.RoomHits, r.RoomMisses = r.RoomHits+f.RoomHits, r.RoomMisses+f.RoomMisses
	r.SessionHits, r.SessionMisses = r.SessionHits+f.SessionHits, r.SessionMisses+f.SessionMisses
	addCluster(&to.Cluster, &from.Cluster, now)
	if to.Wires == nil {
		to.Wires = make(map[string]polywire.WireStats)
	}
	for name, w := range from.Wires {
		sum := to.Wires[name]
		sum.Accepted += w.Accepted
		sum.MessagesIn += w.MessagesIn
		sum.MessagesOut += w.MessagesOut
		sum.BytesIn += w.BytesIn
		sum.BytesOut += w.BytesOut
		if now {
			sum.Connections += w.Connections
			sum.QueuedBytes += w.QueuedBytes
		}
		to.Wires[name] = sum
	}
	if now {
		to.Asleep += from.Asleep
		to.Rooms += from.Rooms
		to.Memberships += from.Memberships
	}
}

func addCluster(to, from *polywire.ClusterStats, now bool) {
	to.Published += from.Published
	to.Received += from.Received
	to.Failed += from.Failed
	to.Malformed += from.Malformed
	to.Questions += from.Questions
	to.Missing += from.Missing
	if now {
		to.Nodes = max(to.Nodes, from.Nodes)
		to.Available = to.Available || from.Available
		to.Feeds += from.Feeds
	}
}

// stats are the figures of all cores, those that have ended too.
func (s *side) stats() polywire.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum polywire.Stats
	add(&sum, &s.retired, false)
	for srv := range s.cores {
		one := srv.Stats()
		add(&sum, &one, true)
	}
	return sum
}

func (s *side) collect(e emitter) {
	d, stats := &s.descs, s.stats()
	for wire, w := range stats.Wires {
		e.gauge(d.connections, float64(w.Connections), wire)
		e.gauge(d.outbox, float64(w.QueuedBytes), wire)
		e.counter(d.accepted, float64(w.Accepted), wire)
		e.counter(d.messagesIn, float64(w.MessagesIn), wire)
		e.counter(d.messagesOut, float64(w.MessagesOut), wire)
		e.counter(d.bytesIn, float64(w.BytesIn), wire)
		e.counter(d.bytesOut, float64(w.BytesOut), wire)
	}
	s.closed.each(func(name string, n *counter) {
		labels := append(strings.Split(name, sep), other, other) // of what has no room any more
		e.counter(d.closed, n.value(), labels[:3]...)
	})
	s.dropped.each(func(reason string, n *counter) { e.counter(d.dropped, n.value(), reason) })
	e.counter(d.slow, float64(stats.Slow))
	e.counter(d.errors, s.errors.value())
	e.gauge(d.workers, float64(s.workers.Load()))
	s.collectKinds(e)
	if s.isServer {
		s.collectServer(e, &stats)
		s.m.cluster.collect(e, s, &stats.Cluster)
	}
}

func (s *side) collectKinds(e emitter) {
	d := &s.descs
	most, busiest := uint64(0), ""
	s.received.each(func(kind string, k *receivedKind) {
		e.histogram(d.took, k.took, kind)
		e.histogram(d.size, k.size, kind)
		failed, exceptions := k.failed.value(), k.exceptions.value()
		count, _, _ := k.took.read() // after the others: what is handled meanwhile is no negative number
		if count > most {
			most, busiest = count, kind
		}
		e.counter(d.handled, max(float64(count)-failed-exceptions, 0), kind, "ok")
		e.counter(d.handled, failed, kind, "error")
		e.counter(d.handled, exceptions, kind, "exception")
	})
	s.received.elect(busiest)
	s.sent.elect(busiest)
	s.sent.each(func(kind string, h *histogram) { e.histogram(d.sentSize, h, kind) })
	s.flight.each(func(kind string, h *histogram) { e.histogram(d.flight, h, kind) })
	s.sends.each(func(kind string, t *sendTimes) {
		e.histogram(d.sends, t.sends, kind, "send")
		e.histogram(d.sends, t.calls, kind, "call")
	})
}

func (s *side) collectServer(e emitter, stats *polywire.Stats) {
	d := &s.descs
	for state := polywire.StateNew; state <= polywire.StateClosed; state++ {
		e.gauge(d.state, float64(s.states[state].Load()), state.String())
	}
	e.gauge(d.asleep, float64(stats.Asleep))
	s.refused.each(func(name string, n *counter) {
		wire, reason, ok := strings.Cut(name, sep)
		if !ok {
			reason = other
		}
		e.counter(d.refused, n.value(), wire, reason)
	})
	e.gauge(d.concurrency, float64(s.concurrency.Load()))
	e.gauge(d.rooms, float64(stats.Rooms))
	e.gauge(d.memberships, float64(stats.Memberships))
	e.counter(d.subscribes, s.subscribed.good.value(), "ok")
	e.counter(d.subscribes, s.subscribed.bad.value(), "refused")
	e.counter(d.unsubscribes, s.unsubscribed.value())
	e.counter(d.publishes, s.published.good.value(), "ok")
	e.counter(d.publishes, s.published.bad.value(), "refused")
	r := stats.Recovery
	e.counter(d.recoveries, float64(r.RoomHits), "room", "hit")
	e.counter(d.recoveries, float64(r.RoomMisses), "room", "miss")
	e.counter(d.recoveries, float64(r.SessionHits), "session", "hit")
	e.counter(d.recoveries, float64(r.SessionMisses), "session", "miss")
	s.casts.each(func(kind string, h *histogram) { e.histogram(d.casts, h, kind) })
	e.histogram(d.reach, s.reach)
}

// clusterDescs are the metrics of a node.
type clusterDescs struct {
	nodes, available, feeds                *prom.Desc
	published, received, failed, malformed *prom.Desc
	questions, missing, hops, changes      *prom.Desc
}

func newClusterDescs(m *Metrics) *clusterDescs {
	return &clusterDescs{
		nodes:     m.desc("cluster_nodes", "Nodes that are alive, as this one sees it; itself among them."),
		available: m.desc("cluster_available", "Whether the cluster's engine can be reached: 1, or 0."),
		feeds:     m.desc("cluster_feeds", "Rooms whose history this node has in memory."),
		published: m.desc("cluster_published_total", "Messages given to the cluster's engine."),
		received:  m.desc("cluster_received_total", "Messages that came from other nodes, and from logs."),
		failed:    m.desc("cluster_failed_total", "Messages that the cluster's engine did not take, or not in time."),
		malformed: m.desc("cluster_malformed_total", "Messages of other nodes that could not be read."),
		questions: m.desc("cluster_questions_total", "Questions asked of other nodes."),
		missing:   m.desc("cluster_answers_missing_total", "Answers of other nodes that did not come in time, or at all."),
		hops:      m.desc("cluster_hop_duration_seconds", "How long messages took from another node, by the difference of the two clocks."),
		changes:   m.desc("cluster_node_changes_total", "Other nodes that have come or gone, by change: joined, left.", "change"),
	}
}

// collect shows the figures of a node; a server without a cluster has none.
func (d *clusterDescs) collect(e emitter, s *side, c *polywire.ClusterStats) {
	if c.Nodes == 0 && c.Published == 0 {
		return
	}
	e.gauge(d.nodes, float64(c.Nodes))
	e.gauge(d.available, truth(c.Available))
	e.gauge(d.feeds, float64(c.Feeds))
	e.counter(d.published, float64(c.Published))
	e.counter(d.received, float64(c.Received))
	e.counter(d.failed, float64(c.Failed))
	e.counter(d.malformed, float64(c.Malformed))
	e.counter(d.questions, float64(c.Questions))
	e.counter(d.missing, float64(c.Missing))
	e.histogram(d.hops, s.hops)
	e.counter(d.changes, s.joined.value(), "joined")
	e.counter(d.changes, s.left.value(), "left")
}
