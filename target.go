package polywire

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/polywire/polywire/wire"
)

// Target is a selection of connections to send to. It is a value: each method
// that narrows it returns another one. The members are looked up when it is used.
type Target struct {
	srv         *Server
	ns          *Namespace
	rooms       []string // nil: everybody, unless conns is set
	conns       []*Conn
	listed      bool
	exceptRooms []string
	exceptConns []*Conn
	pattern     Pattern
}

// All targets every open connection of the main namespace.
func (s *Server) All() Target { return s.spaces.main.All() }

// Room targets the members of a room. Every connection's ID is also the name
// of a room, which it is in, and others may be put into.
func (s *Server) Room(name string) Target { return s.spaces.main.Room(name) }

// To targets the members of several rooms, each member once.
func (s *Server) To(rooms ...string) Target { return s.spaces.main.To(rooms...) }

// ToConns targets given connections, of any namespace.
func (s *Server) ToConns(conns ...*Conn) Target {
	return Target{srv: s, ns: s.spaces.main, conns: slices.Clone(conns), listed: true}
}

// Others targets the members of a room but the connection itself.
func (c *Conn) Others(room string) Target { return c.ns.Room(room).ExceptConns(c) }

// Except leaves out the members of rooms.
func (t Target) Except(rooms ...string) Target {
	t.exceptRooms = append(slices.Clip(t.exceptRooms), rooms...)
	return t
}

// ExceptConns leaves out connections.
func (t Target) ExceptConns(conns ...*Conn) Target {
	t.exceptConns = append(slices.Clip(t.exceptConns), conns...)
	return t
}

// Pick lets a pattern choose among the members for each message.
func (t Target) Pick(p Pattern) Target {
	t.pattern = p
	return t
}

// Conns returns the members, before any pattern chooses.
func (t Target) Conns() []*Conn {
	var all []*Conn
	t.each(func(c *Conn) { all = append(all, c) })
	return all
}

// Count returns the number of members.
func (t Target) Count() int {
	if len(t.rooms) == 1 && len(t.exceptRooms)+len(t.exceptConns) == 0 && t.ns.match == nil && t.srv.Conn(t.rooms[0]) == nil {
		return t.ns.rooms.count(t.rooms[0])
	}
	n := 0
	t.each(func(*Conn) { n++ })
	return n
}

// Join puts all members into rooms.
func (t Target) Join(rooms ...string) {
	for _, c := range t.Conns() {
		_ = c.Join(rooms...) // one that is closing needs no room
	}
}

// Leave takes all members out of rooms.
func (t Target) Leave(rooms ...string) {
	for _, c := range t.Conns() {
		c.Leave(rooms...)
	}
}

// Disconnect closes all members.
func (t Target) Disconnect(code CloseCode, reason string) {
	for _, c := range t.Conns() {
		_ = c.Close(code, reason) // one that is closing already is as wanted
	}
}

// Send sends a one-way message to the members, or to those that the pattern
// picks. Each gets it in its own wire's form; it is encoded once for each form.
// A member that cannot take it (too slow, closing, or on a wire that cannot say
// it) is reported by the hook Dropped and does not disturb the others. The error
// is about the message itself: a value that cannot be encoded, or a pipe's refusal.
// That nobody was there is no error, unless [MustReach] says so.
func (t Target) Send(ctx context.Context, kind string, v any, opts ...SendOption) error {
	o := applySend(opts)
	out := &Outgoing{Kind: kind, Header: o.header, Value: v}
	out.deliver = func(_ context.Context, out *Outgoing) error { return t.deliver(nil, out, o.flags) }
	return t.srv.throughPipes(ctx, out, o.direct)
}

// deliver sends to the members, on behalf of a peer if sender is one.
func (t Target) deliver(sender *Conn, o *Outgoing, flags sendFlags) error {
	b := &Broadcast{Kind: o.Kind, Rooms: t.rooms, Payload: o.Value, Header: o.Header}
	h := &t.srv.hooks
	if sender != nil && h.BeforePeerBroadcast != nil {
		h.BeforePeerBroadcast(sender, b)
	}
	if h.BeforeBroadcast != nil {
		h.BeforeBroadcast(b)
	}
	room := ""
	if len(t.rooms) == 1 {
		room = t.rooms[0]
	}
	f := t.srv.newFanout(o, room)
	defer f.done()
	f.flags = flags
	if r := t.srv.recovery; r != nil && !flags.volatile {
		if err := r.fanOut(t, f); err != nil {
			return err
		}
	} else {
		t.fanOut(f)
	}
	b.Receivers = f.receivers
	for _, d := range f.failed {
		t.srv.dropped(d.conn, o.Kind, d.reason)
	}
	if h.AfterBroadcast != nil {
		h.AfterBroadcast(b)
	}
	if sender != nil && h.AfterPeerBroadcast != nil {
		h.AfterPeerBroadcast(sender, b)
	}
	if flags.reach && f.receivers == 0 && f.err == nil {
		return ErrNoConnections
	}
	return f.err
}

// fanOut sends to the members, or to those that the pattern picks.
func (t Target) fanOut(f *fanout) {
	if t.pattern == nil {
		t.each(f.send)
		return
	}
	if members := t.Conns(); len(members) > 0 {
		for _, c := range t.pattern.Pick(members) {
			f.send(c)
		}
	}
}

// each calls f for each member once. f must not join, leave or block.
func (t Target) each(f func(*Conn)) {
	if t.ns.match == nil {
		t.eachIn(t.ns, f)
		return
	}
	for _, n := range t.ns.made() {
		t.eachIn(n, f)
	}
}

// eachOf calls f for the members of a room, and for the connection whose own
// room that is.
func (n *Namespace) eachOf(room string, f func(*Conn)) {
	own := n.srv.Conn(room)
	if own == nil || own.ns != n {
		own = nil
	} else {
		f(own)
	}
	n.rooms.each(room, func(c *Conn) {
		if c != own && c.phase.Load() == phaseOpen {
			f(c)
		}
	})
}

func (t Target) eachIn(n *Namespace, f func(*Conn)) {
	take := f
	if len(t.exceptConns)+len(t.exceptRooms) > 0 {
		left := make(map[*Conn]struct{}, len(t.exceptConns))
		for _, c := range t.exceptConns {
			left[c] = struct{}{}
		}
		for _, r := range t.exceptRooms {
			n.eachOf(r, func(c *Conn) { left[c] = struct{}{} })
		}
		take = func(c *Conn) {
			if _, out := left[c]; !out {
				f(c)
			}
		}
	}
	switch {
	case t.listed:
		for _, c := range t.conns {
			if c.phase.Load() == phaseOpen {
				take(c)
			}
		}
	case t.rooms == nil:
		n.members(take)
	case len(t.rooms) == 1:
		n.eachOf(t.rooms[0], take)
	default:
		seen := make(map[*Conn]struct{})
		for _, r := range t.rooms {
			n.eachOf(r, func(c *Conn) { seen[c] = struct{}{} })
		}
		for c := range seen {
			take(c)
		}
	}
}

// fanout sends one message to many, encoding it once for each format.
type fanout struct {
	srv       *Server
	out       *Outgoing
	packet    wire.Packet
	encoded   []encoding
	failed    []failure // told to the hooks when no lock is held any more
	receivers int
	flags     sendFlags
	err       error
}

type failure struct {
	conn   *Conn
	reason DropReason
}

// encoding is the message as the links of one format get it.
type encoding struct {
	format uint32
	label  string // the namespace
	coded  bool   // with the numeric code in place of the kind
	bytes  []byte
	err    error
}

func (s *Server) newFanout(o *Outgoing, room string) *fanout {
	f := s.fanouts.Get().(*fanout) //nolint:forcetypeassert // the pool has nothing else
	f.srv, f.out = s, o
	f.packet = wire.Packet{Type: wire.Message, Kind: o.Kind, Header: o.Header, Room: room}
	return f
}

// done gives the encoded bytes up; those queued by reference stay with their links.
func (f *fanout) done() {
	srv := f.srv
	clear(f.encoded)
	clear(f.failed)
	*f = fanout{encoded: f.encoded[:0], failed: f.failed[:0]}
	srv.fanouts.Put(f)
}

func (f *fanout) send(c *Conn) {
	l := c.link
	if c.phase.Load() != phaseOpen {
		return
	}
	var err error
	switch {
	case f.flags.volatile && !l.writable():
		f.failed = append(f.failed, failure{c, DropVolatile})
		return
	case l.format == 0:
		err = f.sendAlone(c)
	default:
		e := f.encoding(c)
		if err = e.err; err == nil {
			err = l.sendBytes(e.bytes)
		}
	}
	if err == nil {
		f.receivers++
		return
	}
	reason := DropUntranslated
	switch {
	case err == ErrSlowConsumer: //nolint:errorlint // as sendBytes returns it
		reason = DropSlow
	case c.Err() != nil:
		reason = DropClosed
	default:
		f.err = err
	}
	f.failed = append(f.failed, failure{c, reason})
}

// sendAlone encodes for a link whose bytes cannot be shared.
func (f *fanout) sendAlone(c *Conn) error {
	p := f.packet
	if err := c.link.fill(&p, f.out.Value); err != nil {
		return err
	}
	return c.sendPacket(p, f.flags)
}

// encoding returns the bytes for links like l, made once.
func (f *fanout) encoding(c *Conn) *encoding {
	l, label := c.link, c.label()
	code, coded := l.codes.Load().code(f.out.Kind)
	for i := range f.encoded {
		if e := &f.encoded[i]; e.format == l.format && e.coded == coded && e.label == label {
			return e
		}
	}
	e := encoding{format: l.format, coded: coded, label: label}
	p := f.packet
	p.Namespace = label
	if coded {
		p.Code, p.Kind = code, ""
	}
	if e.err = l.fillAs(&p, f.out.Kind, f.out.Value); e.err == nil {
		sc := f.srv.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool has nothing else
		sc.p = p
		sc.w.Reset(l.framer(f.flags), nil)
		e.err = l.sess.Encode(&sc.w, &sc.p)
		e.bytes = sc.w.Bytes()
		*sc = scratch{}
		f.srv.scratch.Put(sc)
	}
	f.encoded = append(f.encoded, e)
	return &f.encoded[len(f.encoded)-1]
}

// Answer is what one member of a target answered.
type Answer[T any] struct {
	Conn  *Conn
	Value T
	Err   error // the member's error, or why there is no answer
}

// Collector gathers the answers of a target; see [Collect].
type Collector interface {
	collect(srv *Server, answers []*call)
}

type collector[T any] struct{ into *[]Answer[T] }

// Collect gathers the answers of all members of a [Target] in *into, decoded
// into T, in no order. A member that did not answer in time is there with its Err.
func Collect[T any](into *[]Answer[T]) Collector { return collector[T]{into} }

func (c collector[T]) collect(srv *Server, answers []*call) {
	for _, a := range answers {
		answer := Answer[T]{Conn: a.conn, Err: a.err}
		if a.err == nil {
			answer.Err = srv.bindReply(a.payload, a.args, &answer.Value)
		}
		*c.into = append(*c.into, answer)
	}
}

// collection is the state of a call to many.
type collection struct {
	mu       sync.Mutex
	answers  []*call
	missing  int
	complete chan struct{}
	first    bool // one good answer is enough
}

func (c *collection) add(answer *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, answer)
	c.missing--
	if c.missing == 0 || c.first && answer.err == nil && !c.closed() {
		if !c.closed() {
			close(c.complete)
		}
	}
}

func (c *collection) closed() bool {
	select {
	case <-c.complete:
		return true
	default:
		return false
	}
}

// Call asks the members, or those that the pattern picks, at once. out is
// [Collect] for all answers; the error then is about the message itself or
// ctx, and nil if some members failed or were late. Any other out takes the
// first good answer; the error is the last one's where none is good. Without a
// deadline in ctx the server's [WithHandlerTimeout] bounds the wait. No member
// at all is [ErrNoConnections].
func (t Target) Call(ctx context.Context, kind string, v, out any, opts ...SendOption) error {
	o := applySend(opts)
	if o.answer.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.answer.within)
		defer cancel()
	}
	deliver := func(ctx context.Context, o *Outgoing) error { return t.call(ctx, o, out) }
	return t.srv.throughPipes(ctx, &Outgoing{Kind: kind, Header: o.header, Value: v, deliver: deliver}, o.direct)
}

func (t Target) call(ctx context.Context, o *Outgoing, out any) error {
	members := t.Conns()
	if len(members) > 0 && t.pattern != nil {
		members = t.pattern.Pick(members)
	}
	if len(members) == 0 {
		return ErrNoConnections
	}
	if _, bounded := ctx.Deadline(); !bounded { // giving up must look at all at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.srv.cfg.HandlerTimeout)
		defer cancel()
	}
	blocking(ctx)
	all, isAll := out.(Collector)
	into := &collection{missing: len(members), complete: make(chan struct{}), first: !isAll}
	ids := make([]uint64, len(members))
	for i, c := range members {
		ids[i] = c.start(o, into)
	}
	late := context.Canceled // another answer was enough
	select {
	case <-into.complete:
	case <-ctx.Done():
		late = fmt.Errorf("polywire: call of %q: %w", o.Kind, ctx.Err())
	}
	for i, c := range members {
		if ids[i] != 0 && c.forget(ids[i]) {
			(&call{conn: c, into: into}).finish(Payload{}, late)
		}
	}
	// What another goroutine took out of the table just now is about to be added.
	<-into.complete
	into.mu.Lock()
	answers := slices.Clone(into.answers)
	into.mu.Unlock()
	if isAll {
		all.collect(t.srv, answers)
		return nil
	}
	return t.firstGood(answers, out)
}

func (t Target) firstGood(answers []*call, out any) error {
	var last error
	for _, a := range answers {
		if a.err == nil {
			return t.srv.bindReply(a.payload, a.args, out)
		}
		last = a.err
	}
	return last
}

// start sends one of the calls to many. Zero: it failed, and is in the collection.
func (c *Conn) start(o *Outgoing, into *collection) uint64 {
	waiting := &call{conn: c, into: into}
	p := wire.Packet{Type: wire.Call, Kind: o.Kind, Header: o.Header}
	if err := c.link.fill(&p, o.Value); err != nil {
		waiting.finish(Payload{}, err)
		return 0
	}
	id, err := c.open(waiting)
	if err != nil {
		waiting.finish(Payload{}, err)
		return 0
	}
	p.ID = id
	if err := c.sendPacket(p, sendFlags{}); err != nil && c.forget(id) {
		waiting.finish(Payload{}, err)
		return 0
	}
	return id
}
