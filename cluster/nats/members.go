package natscluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/cluster"
)

// Times of membership. A node that was killed is gone after deadAfter and a
// tick; a slow one may lose three beats before.
const (
	beatEvery = 2 * time.Second // and up to beatJitter more
	deadAfter = 9 * time.Second
	beatTick  = 500 * time.Millisecond
	// stallAfter without a tick says that this process was not running: what
	// others said meanwhile may still be on its way.
	stallAfter = 3 * time.Second
	// openQuiet is how long a new node waits for another to tell of itself.
	openQuiet = 100 * time.Millisecond
	openMost  = time.Second
)

const beatJitter = time.Second

// What nodes say to each other begins with a kind.
const (
	sayBeat  = 'b' // I am here; a card follows
	sayHello = 'h' // the same, and: who else?
	sayBye   = 'x'
	sayProbe = 'p' // answer this number, 8 bytes
	sayThere = 't' // the answer
)

// card is what a node tells of itself, as JSON.
type card struct {
	Name     string            `json:"n,omitempty"`
	Started  int64             `json:"t"` // unix nanoseconds
	Services []string          `json:"s,omitempty"`
	Meta     map[string]string `json:"m,omitempty"`
	Server   string            `json:"v"`           // ID of the NATS server that it is connected with
	Logs     map[string]string `json:"l,omitempty"` // logs that it has open, with their options
}

func (c *card) node(id string) cluster.Node {
	return cluster.Node{ID: id, Name: c.Name, Started: time.Unix(0, c.Started), Services: c.Services, Meta: c.Meta}
}

// member is another node.
type member struct {
	node   cluster.Node
	card   []byte // as it came
	server string
	seen   time.Time
	mute   bool // did not answer a probe, and has not been heard since
}

// members is the table of nodes. One goroutine owns it.
type members struct {
	b         *Bus
	in        chan *nats.Msg
	changed   chan struct{} // the connection
	announced chan struct{}
	probes    chan func(error)
	first     chan struct{} // closed when the receiver knows the nodes

	self atomic.Pointer[cluster.Node]

	speaking sync.Mutex
	left     bool // has said goodbye

	mu     sync.Mutex
	logs   map[string]string            // this node's
	theirs map[string]map[string]string // of nodes, by ID

	others  map[string]*member
	pending map[uint64]*question // probes that are out
	asked   uint64
	late    *time.Timer // for probes that nobody answers
	up      bool
	count   atomic.Int64
	heard   atomic.Int64 // unix nanoseconds of the last word of another node
}

func newMembers(b *Bus, self cluster.Node) *members {
	m := &members{
		b: b, in: make(chan *nats.Msg, 4096), changed: make(chan struct{}, 1),
		announced: make(chan struct{}, 1), probes: make(chan func(error), 16), first: make(chan struct{}),
		logs: make(map[string]string), theirs: make(map[string]map[string]string),
		others: make(map[string]*member), pending: make(map[uint64]*question), up: true,
	}
	m.late = time.NewTimer(time.Hour)
	m.late.Stop()
	self = clone(self)
	m.self.Store(&self)
	return m
}

func clone(n cluster.Node) cluster.Node {
	n.Services, n.Meta = slices.Sorted(slices.Values(n.Services)), maps.Clone(n.Meta)
	return n
}

// say builds a message of this node.
func (m *members) say(kind byte, body []byte) []byte {
	b := appendFrame(make([]byte, 0, frameMax+1+len(body)), m.b.id, 0)
	return append(append(b, kind), body...)
}

// introduce builds a message with this node's card.
func (m *members) introduce(kind byte, self *cluster.Node, s *session) ([]byte, error) {
	m.mu.Lock()
	logs := maps.Clone(m.logs)
	m.mu.Unlock()
	body, err := json.Marshal(&card{
		Logs: logs,
		Name: self.Name, Started: self.Started.UnixNano(), Services: self.Services, Meta: self.Meta,
		Server: s.nc.ConnectedServerId(),
	})
	if err != nil {
		return nil, fmt.Errorf("natscluster: %w", err)
	}
	return m.say(kind, body), nil
}

// announce replaces what the others know.
func (m *members) announce(self cluster.Node) error {
	self = clone(self)
	self.ID = m.b.id
	s := m.b.sess.Load()
	text, err := m.introduce(sayBeat, &self, s)
	if err != nil {
		return err
	}
	if int64(len(text)) > s.nc.MaxPayload() {
		return cluster.ErrTooLarge
	}
	m.self.Store(&self)
	signal(m.announced)
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// connection says that the engine has gone or come.
func (m *members) connection() { signal(m.changed) }

// settled waits until the receiver knows the nodes.
func (m *members) settled(ctx context.Context) error {
	select {
	case <-m.first:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// goodbye tells the others that this node ends: its last word.
func (m *members) goodbye(ctx context.Context, s *session) error {
	m.speaking.Lock()
	m.left = true
	err := s.nc.Publish(m.b.nodesSubject(), m.say(sayBye, nil))
	m.speaking.Unlock()
	if err != nil {
		return err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flushTimeout)
		defer cancel()
	}
	return s.nc.FlushWithContext(ctx)
}

// run owns the table until the bus ends.
func (m *members) run() {
	defer m.late.Stop()
	m.tell(sayHello, m.b.nodesSubject())
	if !m.gather() {
		return
	}
	beat := time.NewTimer(nextBeat())
	defer beat.Stop()
	tick := time.NewTicker(beatTick)
	defer tick.Stop()
	last, told := time.Now(), m.self.Load()
	for {
		select {
		case <-m.b.ctx.Done():
			return
		case msg := <-m.in:
			if m.take(msg) {
				m.publish(nil)
			}
		case <-m.announced:
			m.tell(sayBeat, m.b.nodesSubject())
			if self := m.self.Load(); self != told {
				told = self
				m.publish(nil)
			}
		case <-m.changed:
			m.connectionChanged()
		case answer := <-m.probes:
			m.ask(answer)
		case <-beat.C:
			m.tell(sayBeat, m.b.nodesSubject())
			beat.Reset(nextBeat())
		case now := <-m.late.C:
			m.giveUp(now)
		case now := <-tick.C:
			if now.Sub(last) > stallAfter {
				m.forgive()
			}
			last = now
			m.expire(now)
		}
	}
}

func nextBeat() time.Duration { return beatEvery + rand.N(beatJitter) } //nolint:gosec // nobody gains by guessing it

// gather waits for the nodes that are there: until none has told of itself for
// a moment.
func (m *members) gather() bool {
	quiet := time.NewTimer(openQuiet)
	defer quiet.Stop()
	most := time.NewTimer(openMost)
	defer most.Stop()
	for done := false; !done; {
		select {
		case <-m.b.ctx.Done():
			return false
		case msg := <-m.in:
			if m.take(msg) {
				quiet.Reset(openQuiet)
			}
		case answer := <-m.probes:
			m.ask(answer)
		case now := <-m.late.C:
			m.giveUp(now)
		case <-quiet.C:
			done = true
		case <-most.C:
			done = true
		}
	}
	m.publish(m.first)
	return true
}

// tell sends this node's card.
func (m *members) tell(kind byte, subject string) {
	if !m.b.up.Load() {
		return
	}
	m.speaking.Lock()
	defer m.speaking.Unlock()
	s := m.b.sess.Load()
	if text, err := m.introduce(kind, m.self.Load(), s); err == nil && !m.left {
		_ = s.nc.Publish(subject, text) // the next beat says the same
	}
}

// take handles a message of another node, and reports whether the list changed.
func (m *members) take(msg *nats.Msg) bool {
	from, _, data, err := parseFrame(msg.Data)
	if err != nil || len(data) == 0 {
		m.b.counters.malformed.Add(1)
		return false
	}
	if string(from) == m.b.id {
		return false
	}
	now := time.Now()
	m.heard.Store(now.UnixNano())
	o := m.others[string(from)]
	if o != nil {
		o.seen, o.mute = now, false
	}
	body := data[1:]
	switch data[0] {
	case sayBeat, sayHello:
		if data[0] == sayHello || o == nil { // who is new here may not know this node: servers had not met
			m.tell(sayBeat, m.b.nodeSubject(string(from)))
		}
		if o != nil && bytes.Equal(o.card, body) {
			return false
		}
		var c card
		if err := json.Unmarshal(body, &c); err != nil {
			m.b.counters.malformed.Add(1)
			return false
		}
		id := string(from)
		m.others[id] = &member{node: c.node(id), card: body, server: c.Server, seen: now}
		m.mu.Lock()
		m.theirs[id] = c.Logs
		m.mu.Unlock()
		m.release(id) // it may have moved to another server
		return true
	case sayBye:
		if o != nil {
			m.forget(o.node.ID)
		}
		return o != nil
	case sayProbe:
		s := m.b.sess.Load()
		_ = s.nc.Publish(m.b.nodeSubject(string(from)), m.say(sayThere, body)) // silence is an answer too
	case sayThere:
		m.answered(string(from), body)
	default:
		m.b.counters.malformed.Add(1)
	}
	return false
}

// forget drops a node.
func (m *members) forget(id string) {
	delete(m.others, id)
	m.mu.Lock()
	delete(m.theirs, id)
	m.mu.Unlock()
	m.release(id)
}

// uses tells the others that this node has a log open.
func (m *members) uses(log string, o cluster.LogOptions) {
	m.mu.Lock()
	m.logs[log] = fmt.Sprint(o)
	m.mu.Unlock()
	signal(m.announced)
}

// user returns another node that has a log open with other options; empty: none.
func (m *members) user(log string, o cluster.LogOptions) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, logs := range m.theirs {
		if there, open := logs[log]; open && there != fmt.Sprint(o) {
			return id
		}
	}
	return ""
}

// publish gives the list to the receiver.
func (m *members) publish(told chan struct{}) {
	list := make([]cluster.Node, 0, len(m.others)+1)
	list = append(list, clone(*m.self.Load()))
	for _, o := range m.others {
		list = append(list, clone(o.node))
	}
	slices.SortFunc(list, func(a, b cluster.Node) int { return cmp.Compare(a.ID, b.ID) })
	m.count.Store(int64(len(list)))
	m.b.inbox.put(item{kind: itemNodes, nodes: list, told: told})
}

// connectionChanged stops the clocks while the engine is away. When it is back
// everybody has a whole period to be heard.
func (m *members) connectionChanged() {
	m.up = m.b.up.Load()
	m.forgive()
	if m.up {
		m.tell(sayHello, m.b.nodesSubject())
		return
	}
	for id, q := range m.pending {
		delete(m.pending, id)
		q.answer(cluster.ErrUnavailable)
	}
}

// forgive lets everybody be silent for another whole period.
func (m *members) forgive() {
	now := time.Now()
	for _, o := range m.others {
		o.seen = now
	}
}

// expire drops nodes that have been silent for too long, and probes.
func (m *members) expire(now time.Time) {
	if !m.up {
		return
	}
	gone := false
	for id, o := range m.others {
		if now.Sub(o.seen) > deadAfter {
			m.forget(id)
			gone = true
		}
	}
	if gone {
		m.publish(nil)
	}
}
