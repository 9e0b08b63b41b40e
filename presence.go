package polywire

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/envelope"
)

// Presence is one connection in a room.
type Presence struct {
	ID    string          `json:"id"`              // of the connection
	Node  string          `json:"node,omitempty"`  // ID of its node
	User  string          `json:"user,omitempty"`  // its identity's user
	Since time.Time       `json:"since,omitzero"`  // when it joined, by its node's clock
	Value json.RawMessage `json:"value,omitempty"` // what [Conn.SetPresence] has set
}

// The kinds of the messages that members of rooms with [WithPresence] get. The
// payload is a [Presence].
const (
	PresenceJoined  = "presence.joined"
	PresenceLeft    = "presence.left"
	PresenceChanged = "presence.changed"
)

// maxPresenceBytes bounds a connection's own value.
const maxPresenceBytes = 1 << 10

// WithPresence tells the members of rooms who joins and leaves, and who says
// something new of himself (see [Conn.SetPresence]), on all nodes: by messages
// of the kinds [PresenceJoined], [PresenceLeft] and [PresenceChanged], which
// the one concerned does not get, and peers may not send. Members of a node that was killed leave
// within 30 s. patterns are names of rooms, or what they begin with and '*'.
// Who is there can be asked for any room: see [Target.Presence]. Default: none.
func WithPresence(patterns ...string) Option {
	return optionFunc(func(c *config) error {
		for _, p := range patterns {
			if p == "" || strings.Contains(strings.TrimSuffix(p, "*"), "*") {
				return fmt.Errorf("presence in %q: a room's name, or a prefix and '*'", p)
			}
		}
		c.presence = append(c.presence, patterns...)
		return nil
	})
}

// presenceKey is under which a connection's values have its own.
type presenceKey struct{}

// SetPresence sets what others see of the connection in lists of who is in a
// room: a small value that can be said in JSON, up to 1 KiB; nil removes it. The
// members of rooms with [WithPresence] are told. Errors: that v cannot be said
// in JSON, and [CodeBadRequest] for a larger one.
func (c *Conn) SetPresence(v any) error {
	var own any
	if v != nil {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("polywire: presence: %w", err)
		}
		if len(b) > maxPresenceBytes {
			return Errorf(CodeBadRequest, "a presence value has at most %d bytes", maxPresenceBytes)
		}
		own = json.RawMessage(b)
	}
	c.SetValue(presenceKey{}, own)
	if p := c.link.srv.presence; p != nil {
		for _, room := range c.Rooms() {
			p.happened(PresenceChanged, c, room)
		}
	}
	return nil
}

// presenceIn is what others see of a connection in a room.
func (c *Conn) presenceIn(room string) Presence {
	p := Presence{ID: c.ID(), Node: c.link.srv.id, User: c.User()}
	p.Value, _ = c.Value(presenceKey{}).(json.RawMessage)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.rooms {
		if m.room.name == room {
			p.Since = time.Unix(0, m.since)
		}
	}
	return p
}

// Presence returns who is in a room, on all nodes, by the time of joining. The
// target must be of one room. With a *[PartialError] come those of the nodes
// that have answered.
func (t Target) Presence(ctx context.Context) ([]Presence, error) {
	if len(t.rooms) != 1 {
		return nil, errors.New("polywire: presence is asked of one room")
	}
	var all []Presence
	for _, c := range t.Conns() {
		all = append(all, c.presenceIn(t.rooms[0]))
	}
	err := t.everywhere(ctx, &envelope.Envelope{Op: envelope.Presence}, func(from string, e *envelope.Envelope) {
		for i := range e.Items {
			p, err := presenceOf(from, e.Items[i].Args)
			if err == nil {
				all = append(all, p)
			}
		}
	})
	slices.SortFunc(all, func(a, b Presence) int { return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID)) })
	return all, err
}

func presenceOf(from string, args []Payload) (p Presence, err error) {
	if len(args) != 1 {
		return p, fmt.Errorf("%w: a presence", envelope.ErrMalformed)
	}
	err = json.Unmarshal(args[0].Data, &p)
	p.Node = from
	return p, err
}

func (p *Presence) payload() Payload {
	b, err := json.Marshal(p)
	if err != nil { // the value was valid when it was set
		return Payload{}
	}
	return Payload{Type: codec.TypeJSON, Data: b}
}

// presenceHere answers another node's question who is in a room.
func (n *node) presenceHere(from string, e *envelope.Envelope) {
	var items []envelope.Item
	if t, ok := n.target(&e.Target); ok && len(t.rooms) == 1 {
		for _, c := range t.Conns() {
			p := c.presenceIn(t.rooms[0])
			items = append(items, envelope.Item{ID: p.ID, Args: []Payload{p.payload()}})
		}
	}
	n.answer(from, e.ID, len(items), items)
}

// presence tells the members of rooms about each other.
type presence struct {
	srv *Server

	mu      sync.Mutex
	queue   []presenceEvent
	bell    chan struct{}
	stop    chan struct{}
	rosters map[rosterKey]*roster // of rooms that have members here
}

type rosterKey struct{ namespace, room string }

// roster is who is in a room on other nodes, as far as that is known here.
type roster struct {
	members map[string]Presence // by ID
	// since is, while others are asked, who has come (true) or left since: their
	// answers may be older.
	since map[string]bool
}

// presenceEvent is something to tell.
type presenceEvent struct {
	kind   string // empty: ask the other nodes who is there
	key    rosterKey
	member Presence
}

func newPresence(s *Server) *presence {
	return &presence{srv: s, bell: make(chan struct{}, 1), stop: make(chan struct{}), rosters: make(map[rosterKey]*roster)}
}

func (p *presence) fits(room string) bool {
	return slices.ContainsFunc(p.srv.cfg.presence, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return room == prefix || wild && strings.HasPrefix(room, prefix)
	})
}

// happened notes that a member of a room has something to be told of, for the
// goroutine that does so. No lock of a room's may be held that members' have to wait for.
func (p *presence) happened(kind string, c *Conn, room string) {
	if p == nil || !p.fits(room) {
		return
	}
	p.tell(presenceEvent{kind: kind, key: rosterKey{c.ns.name, room}, member: c.presenceIn(room)})
}

func (p *presence) tell(e presenceEvent) {
	p.mu.Lock()
	p.queue = append(p.queue, e)
	p.mu.Unlock()
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

// run tells what has happened, in order, until the server ends.
func (p *presence) run() {
	for {
		select {
		case <-p.stop:
			return
		case <-p.bell:
		}
		p.mu.Lock()
		queue := p.queue
		p.queue = nil
		p.mu.Unlock()
		for _, e := range queue {
			if e.kind == "" {
				p.ask(e.key)
				continue
			}
			p.announce(e)
		}
	}
}

// announce tells the members here and on other nodes.
func (p *presence) announce(e presenceEvent) {
	s := p.srv
	ns := s.namespace(e.key.namespace)
	if ns == nil {
		return
	}
	p.track(ns, e.key)
	p.fanOut(ns, e)
	if s.node == nil {
		return
	}
	env := &envelope.Envelope{
		Op: envelope.Presence, Kind: e.kind, Args: []Payload{e.member.payload()},
		Target: envelope.Target{Namespace: e.key.namespace, Rooms: []string{e.key.room}},
	}
	err := s.node.publish(s.node.ctx, []string{topicRoom(e.key.namespace, e.key.room)}, env)
	if err != nil && !errors.Is(err, cluster.ErrClosed) { // with the node all its members leave
		s.reportError(nil, err) // who comes back asks who is there
	}
}

// fanOut gives an event to the members here.
func (p *presence) fanOut(ns *Namespace, e presenceEvent) {
	s := p.srv
	t := ns.Room(e.key.room).Local().ExceptConns(s.connsOf([]string{e.member.ID})...)
	f := s.newFanout(&Outgoing{Kind: e.kind, Value: e.member.payload()}, e.key.room)
	defer f.done()
	t.fanOut(f)
	for _, d := range f.failed {
		s.dropped(d.conn, e.kind, d.reason)
	}
	if h := s.hooks.Presence; h != nil {
		h(e.kind, e.key.room, e.member)
	}
}

// track keeps a roster for a room while it has members here.
func (p *presence) track(ns *Namespace, key rosterKey) {
	if p.srv.node == nil {
		return
	}
	here := ns.rooms.count(key.room) > 0
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r := p.rosters[key]; {
	case !here:
		delete(p.rosters, key)
	case r == nil:
		p.rosters[key] = &roster{members: make(map[string]Presence), since: make(map[string]bool)}
		p.queue = append(p.queue, presenceEvent{key: key})
		select {
		case p.bell <- struct{}{}:
		default:
		}
	}
}

// askAll asks about all rooms anew: events may have been lost.
func (p *presence) askAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, r := range p.rosters {
		r.begin()
		p.queue = append(p.queue, presenceEvent{key: key})
	}
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

// begin notes who comes and goes from now on, until others have answered.
func (r *roster) begin() {
	if r.since == nil {
		r.since = make(map[string]bool)
	}
}

// ask finds out who is in a room on other nodes, and tells the members here
// what is new in that.
func (p *presence) ask(key rosterKey) {
	s := p.srv
	ns := s.namespace(key.namespace)
	if ns == nil {
		return
	}
	p.mu.Lock()
	if r := p.rosters[key]; r != nil {
		r.begin()
	}
	p.mu.Unlock()
	ctx, cancel := within(s.node.ctx, nodesTime)
	defer cancel()
	found, err := ns.Room(key.room).Presence(ctx)
	var missing *PartialError
	errors.As(err, &missing)
	var events []presenceEvent
	p.mu.Lock()
	r := p.rosters[key]
	if r == nil {
		p.mu.Unlock()
		return
	}
	there := make(map[string]bool)
	for _, m := range found {
		if m.Node == s.id {
			continue
		}
		there[m.ID] = true
		if _, newer := r.since[m.ID]; newer || !s.node.isAlive(m.Node) { // or it has died since
			continue
		}
		if _, known := r.members[m.ID]; !known {
			r.members[m.ID] = m
			events = append(events, presenceEvent{PresenceJoined, key, m})
		}
	}
	for id, m := range r.members {
		if r.since[id] {
			continue
		}
		if !there[id] && err == nil || missing != nil && !there[id] && !slices.Contains(missing.Nodes, m.Node) {
			delete(r.members, id)
			events = append(events, presenceEvent{PresenceLeft, key, m})
		}
	}
	r.since = nil
	p.mu.Unlock()
	for _, e := range events {
		p.fanOut(ns, e)
	}
}

// received takes another node's event.
func (p *presence) received(from string, e *envelope.Envelope) {
	m, err := presenceOf(from, e.Args)
	if err != nil || len(e.Target.Rooms) != 1 {
		p.srv.node.malformed(from, fmt.Errorf("%w: a presence", envelope.ErrMalformed))
		return
	}
	key := rosterKey{e.Target.Namespace, e.Target.Rooms[0]}
	p.mu.Lock()
	r := p.rosters[key]
	known := false
	if r != nil {
		_, known = r.members[m.ID]
		if e.Kind == PresenceLeft {
			delete(r.members, m.ID)
		} else {
			r.members[m.ID] = m
		}
		if r.since != nil {
			r.since[m.ID] = e.Kind != PresenceLeft
		}
	}
	p.mu.Unlock()
	if e.Kind == PresenceJoined && known || e.Kind == PresenceLeft && !known && r != nil && r.since == nil {
		return // the members know already
	}
	if ns := p.srv.namespace(key.namespace); ns != nil {
		p.fanOut(ns, presenceEvent{e.Kind, key, m})
	}
}

// nodeGone lets the members of a node leave that has ended without a word.
func (p *presence) nodeGone(id string) {
	var events []presenceEvent
	p.mu.Lock()
	for key, r := range p.rosters {
		for _, m := range r.members {
			if m.Node == id {
				delete(r.members, m.ID)
				events = append(events, presenceEvent{PresenceLeft, key, m})
			}
		}
	}
	p.mu.Unlock()
	for _, e := range events {
		if ns := p.srv.namespace(e.key.namespace); ns != nil {
			p.fanOut(ns, e)
		}
	}
}
