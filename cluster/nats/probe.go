package natscluster

import (
	"encoding/binary"
	"time"
)

// A probe asks one node at each other NATS server. Interests and probes go the
// same way from server to server, so a server that has delivered a probe knows
// the interests that were stated before; its node's answer says so.

// probeTimeout is how long a node has to answer. One that does not is not
// asked again before it has been heard.
const probeTimeout = 250 * time.Millisecond

// question is a probe that is out.
type question struct {
	open   map[string]struct{} // nodes that have not answered
	answer func(error)
	until  time.Time
}

// probe calls answer when the nodes at other servers know what was sent before.
func (m *members) probe(answer func(error)) {
	select {
	case m.probes <- answer:
	case <-m.b.ctx.Done():
	}
}

// ask begins a probe, if there are nodes at other servers.
func (m *members) ask(answer func(error)) {
	s := m.b.sess.Load()
	own := s.nc.ConnectedServerId()
	open := make(map[string]struct{})
	asked := make(map[string]bool)
	for id, o := range m.others {
		if o.server == own || o.mute || asked[o.server] {
			continue
		}
		asked[o.server] = true
		open[id] = struct{}{}
	}
	if len(open) == 0 {
		answer(nil)
		return
	}
	m.asked++
	number := m.asked
	text := m.say(sayProbe, binary.BigEndian.AppendUint64(nil, number))
	for id := range open {
		_ = s.nc.Publish(m.b.nodeSubject(id), text) // no answer comes then
	}
	m.pending[number] = &question{open: open, answer: answer, until: time.Now().Add(probeTimeout)}
	if len(m.pending) == 1 {
		m.late.Reset(probeTimeout)
	}
}

// answered takes a node's answer.
func (m *members) answered(id string, body []byte) {
	if len(body) != 8 {
		m.b.counters.malformed.Add(1)
		return
	}
	number := binary.BigEndian.Uint64(body)
	if q := m.pending[number]; q != nil {
		m.strike(number, q, id)
	}
}

// release takes a node that has gone, or is elsewhere now, out of all probes.
func (m *members) release(id string) {
	for number, q := range m.pending {
		m.strike(number, q, id)
	}
}

func (m *members) strike(number uint64, q *question, id string) {
	delete(q.open, id)
	if len(q.open) == 0 {
		delete(m.pending, number)
		q.answer(nil)
	}
}

// giveUp ends the probes that nodes have not answered in time.
func (m *members) giveUp(now time.Time) {
	next := time.Duration(0)
	for number, q := range m.pending {
		if wait := q.until.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		for id := range q.open {
			if o := m.others[id]; o != nil {
				o.mute = true
			}
		}
		delete(m.pending, number)
		q.answer(nil)
	}
	if next > 0 {
		m.late.Reset(next)
	}
}
