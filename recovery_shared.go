package polywire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/envelope"
	"github.com/polywire/polywire/wire"
)

// sharedLog is the recovery's log where it is a cluster's: all messages for
// connections that may come back go through it, in one order for all nodes,
// and what the nodes have to know of such connections, too. So each node has
// what any of them needs when its peer comes back there.
type sharedLog struct {
	follower
	r *recovery

	tells struct {
		sync.Mutex
		queue   []*envelope.Envelope
		waiting map[*Conn]bool // their rooms have changed
		bell    chan struct{}
	}
}

// The topic, and what a session's envelope says of it.
const (
	sessionsLog = "sessions"

	sessionLive  = 1 // Code: the connection is there
	sessionEnded = 2 // it may come back
	sessionOver  = 3 // it may not
)

// maxShared is the most messages that the shared log keeps.
const maxShared = 1 << 20

// share makes the recovery one of all nodes.
func (r *recovery) share(ctx context.Context) error {
	n := r.srv.node
	historian, ok := n.bus.(cluster.Historian)
	if !ok {
		return errors.New("polywire: recovery in a cluster needs an adapter with logs")
	}
	log, err := historian.Log(ctx, sessionsLog, cluster.LogOptions{Size: maxShared, Age: r.bounds.Window, Bytes: r.bounds.Bytes})
	if err != nil {
		return fmt.Errorf("polywire: recovery: %w", err)
	}
	l := &sharedLog{r: r}
	l.changed.L = &l.mu
	l.tells.waiting = make(map[*Conn]bool)
	l.tells.bell = make(chan struct{}, 1)
	r.cluster = l
	l.follow(n, log, sessionsLog, l)
	n.goes.Go(l.run)
	l.mu.Lock()
	l.awaitLoaded() // connections come only then
	l.mu.Unlock()
	return nil
}

// begin implements [followed].
func (l *sharedLog) begin(offset uint64, lost bool) {
	r := l.r
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.log)
	r.log, r.bytes = nil, 0
	r.epoch, r.floor, r.last = l.at.Epoch, offset, offset
	if lost {
		l.later(r.startOver)
	}
}

// startOver ends the connections here that have missed something.
func (r *recovery) startOver() {
	r.mu.Lock()
	conns := make([]*Conn, 0, len(r.live))
	for _, c := range r.live {
		conns = append(conns, c)
	}
	r.mu.Unlock()
	for _, c := range conns {
		_ = c.CloseLink(CloseInsufficientState, "messages were lost") // or it ends by itself
	}
}

// addMessage implements [followed].
func (l *sharedLog) addMessage(m *cluster.Message) {
	r := l.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = m.At.Offset
	var e envelope.Envelope
	err := envelope.Parse(m.Data, &e)
	switch {
	case err != nil:
		l.n.malformed(m.From, err)
	case e.Op == envelope.Send:
		l.fanOut(m.At.Offset, &e)
	case e.Op == envelope.Session:
		r.learn(m.From, &e)
	default:
		l.n.malformed(m.From, fmt.Errorf("%w: operation %d of a session", envelope.ErrMalformed, e.Op))
	}
}

// fanOut keeps a message, and sends it to those here who may come back. r.mu is held.
func (l *sharedLog) fanOut(number uint64, e *envelope.Envelope) {
	r := l.r
	sel := &e.Target
	k := kept{
		number: number, packet: wire.Packet{Type: wire.Message, Kind: e.Kind, Header: e.Header},
		namespace: sel.Namespace, rooms: sel.Rooms, everybody: sel.Everybody, to: sel.IDs,
		exceptRooms: sel.ExceptRooms, except: sel.ExceptIDs,
	}
	t, here := l.n.target(sel)
	if sel.Template > 0 {
		if !here {
			return
		}
		k.template = t.ns
	}
	args := make(Args, len(e.Args))
	for i, p := range e.Args {
		args[i] = p
	}
	offset := r.keep(k, args)
	if !here {
		return
	}
	t.resumable = resumableOnly
	room := ""
	if len(t.rooms) == 1 {
		room = t.rooms[0]
	}
	f := r.srv.newFanout(&Outgoing{Kind: e.Kind, Header: e.Header, Value: args}, room)
	f.flags = flagsOf(e.Flags)
	f.packet.Position, f.ofSession = offset, true
	t.fanOut(f)
	l.later(func() {
		defer f.done()
		for _, d := range f.failed {
			r.srv.dropped(d.conn, e.Kind, d.reason)
		}
	})
}

// append gives an envelope to the log.
func (l *sharedLog) append(ctx context.Context, e *envelope.Envelope) error {
	if _, err := l.log.Append(ctx, sessionsLog, envelope.Append(nil, e)); err != nil {
		l.n.counters.failed.Add(1)
		return fmt.Errorf("polywire: to the sessions of the cluster: %w", err)
	}
	return nil
}

// distributeShared sends to those members, on all nodes, who may come back.
func (r *recovery) distributeShared(ctx context.Context, t Target, o *Outgoing, flags sendFlags, b *Broadcast) error {
	if !r.srv.node.up.Load() {
		err := t.distributeHere(o, flags, b)
		return errors.Join(err, fmt.Errorf("polywire: to the sessions of the cluster: %w", cluster.ErrUnavailable))
	}
	payloads, err := r.srv.settled(o.Value)
	if err != nil {
		return err
	}
	if t.local && !t.listed {
		t = r.srv.ToConns(t.Conns()...)
	}
	if t.listed && len(t.conns)+len(t.others) == 0 {
		return nil
	}
	return r.cluster.append(ctx, &envelope.Envelope{
		Op: envelope.Send, Target: t.selection(), Kind: o.Kind, Header: o.Header, Args: payloads, Flags: flagBits(flags),
	})
}

// sendShared is send by way of the cluster's log.
func (r *recovery) sendShared(ctx context.Context, c *Conn, p wire.Packet, settled Args, flags sendFlags) error {
	if err := c.Err(); err != nil {
		return err
	}
	payloads, err := r.srv.settled(settled)
	if err != nil {
		return err
	}
	return r.cluster.append(ctx, &envelope.Envelope{
		Op: envelope.Send, Target: envelope.Target{Namespace: c.ns.name, IDs: []string{c.ID()}},
		Kind: p.Kind, Header: p.Header, Args: payloads, Flags: flagBits(flags),
	})
}

// about is what other nodes get to know of a connection that may come back.
func (r *recovery) about(c *Conn, code uint32) *envelope.Envelope {
	e := &envelope.Envelope{
		Op: envelope.Session, Code: code, Secrets: []string{c.shared.secret}, Text: c.User(),
		Target: Target{srv: r.srv, ns: c.ns, listed: true, conns: []*Conn{c}}.selection(), Names: c.Rooms(),
	}
	if c.ns.template != nil {
		e.Target.Template = (Target{srv: r.srv, ns: c.ns.template, listed: true}).selection().Template
	}
	for name, v := range c.about(false).Values {
		if e.Header == nil {
			e.Header = make(map[string]string)
		}
		e.Header[name] = string(v)
	}
	return e
}

// tell lets the other nodes know of a connection that has come, or whose rooms
// have changed. It does not wait for them.
func (r *recovery) tell(c *Conn) {
	if l := r.cluster; l != nil {
		l.tells.Lock()
		l.tells.waiting[c] = true
		l.tells.Unlock()
		l.ring()
	}
}

// tellEnd lets them know of its end.
func (r *recovery) tellEnd(c *Conn, mayResume bool) {
	l := r.cluster
	if l == nil {
		return
	}
	code := uint32(sessionOver)
	if mayResume {
		code = sessionEnded
	}
	e := r.about(c, code)
	l.tells.Lock()
	delete(l.tells.waiting, c)
	l.tells.queue = append(l.tells.queue, e)
	l.tells.Unlock()
	l.ring()
}

func (l *sharedLog) ring() {
	select {
	case l.tells.bell <- struct{}{}:
	default:
	}
}

// run tells the other nodes, and looks for holes, until the node ends.
func (l *sharedLog) run() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.n.ctx.Done():
			return
		case <-tick.C:
			l.check()
			l.tellAll() // what could not be told before
		case <-l.tells.bell:
			l.tellAll()
		}
	}
}

// tellAll sends what is waiting. What cannot be told waits for the next time:
// until then the session can be resumed where it was, and nowhere else.
func (l *sharedLog) tellAll() {
	if !l.n.up.Load() {
		return
	}
	l.tells.Lock()
	queue, waiting := l.tells.queue, l.tells.waiting
	l.tells.queue, l.tells.waiting = nil, make(map[*Conn]bool)
	l.tells.Unlock()
	if len(queue)+len(waiting) == 0 {
		return
	}
	var err error
	for len(queue) > 0 && err == nil {
		if err = l.append(l.n.ctx, queue[0]); !errors.Is(err, cluster.ErrUnavailable) {
			queue = queue[1:]
		}
	}
	for c := range waiting {
		l.r.mu.Lock()
		live := c.shared.secret != "" && l.r.live[c.shared.secret] == c
		l.r.mu.Unlock()
		if live && err == nil {
			err = l.append(l.n.ctx, l.r.about(c, sessionLive))
		}
		if !live || !errors.Is(err, cluster.ErrUnavailable) {
			delete(waiting, c)
		}
	}
	if err != nil && l.n.ctx.Err() == nil {
		l.r.srv.reportError(nil, err)
		l.putBack(queue, waiting)
	}
}

// putBack puts back what could not be told, before what has come meanwhile.
func (l *sharedLog) putBack(queue []*envelope.Envelope, waiting map[*Conn]bool) {
	l.tells.Lock()
	defer l.tells.Unlock()
	l.tells.queue = append(queue, l.tells.queue...)
	if over := len(l.tells.queue) - l.r.bounds.Max; over > 0 {
		l.tells.queue = l.tells.queue[over:]
	}
	for c := range waiting {
		l.tells.waiting[c] = true
	}
}

// learn takes note of a connection of another node that may come back. r.mu is held.
func (r *recovery) learn(from string, e *envelope.Envelope) {
	if from == r.srv.id || len(e.Secrets) != 1 || len(e.Target.IDs) != 1 {
		return
	}
	secret := e.Secrets[0]
	old := r.elsewhere[secret]
	if r.live[secret] != nil || old != nil && old.node != from && e.Code != sessionLive {
		return // it has moved on meanwhile
	}
	delete(r.elsewhere, secret)
	if ended := r.sessions[secret]; ended != nil {
		r.drop(ended)
	}
	if e.Code == sessionOver {
		return
	}
	s := &session{
		secret: secret, id: e.Target.IDs[0], namespace: e.Target.Namespace, user: e.Text, node: from,
		rooms: e.Names, ended: time.Now(), values: make(map[any]any),
	}
	for name, text := range e.Header {
		var v any
		if json.Unmarshal([]byte(text), &v) == nil {
			s.values[name] = v
		}
	}
	if t, ok := r.srv.node.target(&envelope.Target{Template: e.Target.Template, Namespace: e.Target.Namespace}); ok && e.Target.Template > 0 {
		s.template = t.ns
	}
	if e.Code == sessionLive {
		r.elsewhere[secret] = s
		return
	}
	r.add(s)
	r.purge(s.ended)
}

// nodeGone makes what was connected to a node come back elsewhere.
func (r *recovery) nodeGone(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for secret, s := range r.elsewhere {
		if s.node == id {
			delete(r.elsewhere, secret)
			s.ended = now
			r.add(s)
		}
	}
	r.purge(now)
}

// displaceFar asks another node to end the connection whose session a peer
// wants to resume here, and waits until it has told.
func (r *recovery) displaceFar(hello *wire.Packet, id *Identity) {
	if r.cluster == nil {
		return
	}
	r.mu.Lock()
	s := r.elsewhere[hello.Resume]
	r.mu.Unlock()
	n := r.srv.node
	if s == nil || s.user != id.user() || !n.isAlive(s.node) {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, displaceTime)
	defer cancel()
	e := &envelope.Envelope{Op: envelope.Session, Secrets: []string{hello.Resume}}
	q, err := n.ask(ctx, e, []string{topicNode(s.node)}, []string{s.node}, false, ignore)
	if err != nil {
		return // it cannot be asked; the session is resumed all the same
	}
	_ = q.wait(ctx)
}

// displaceTime is how long a peer that comes back waits for another node to
// end what is left of it there.
const displaceTime = 2 * time.Second

// displaced ends the connection that has come back at another node.
func (n *node) displaced(from string, e *envelope.Envelope) {
	if r := n.srv.recovery; r != nil && len(e.Secrets) == 1 {
		r.mu.Lock()
		old := r.live[e.Secrets[0]]
		r.mu.Unlock()
		if old != nil {
			r.cutOff(old)
		}
	}
	n.tell(from, &envelope.Envelope{Op: envelope.Answer, ID: e.ID, Expect: 1})
}
