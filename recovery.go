package polywire

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/polywire/polywire/wire"
)

// Sessions bounds what is kept for connections that come back. Zero fields
// have the defaults.
type Sessions struct {
	Window time.Duration // how long after its end a connection may be resumed, and messages are kept; default 2 min
	Bytes  int64         // of messages kept, for all connections together; default 16 MiB
	Max    int           // ended connections that may be resumed; default 10,000
}

// WithSessions lets connections on wires that can do it (Socket.IO) resume:
// one that ended without either side's wish comes back within the window under
// its old ID, in its rooms, with its values, and gets the messages that it has
// missed, in order, or is told that it starts anew. Doorkeepers are asked
// again, always, and must find the same user. Volatile messages and calls are
// not kept. Default: off.
//
// While it is on, messages to targets and connections leave one after the
// other, and their values are encoded before it is known whether anybody is
// there to get them.
func WithSessions(r Sessions) Option {
	return optionFunc(func(c *config) error {
		if r.Window < 0 || r.Bytes < 0 || r.Max < 0 {
			return errors.New("the bounds of sessions must not be negative")
		}
		if r.Window == 0 {
			r.Window = 2 * time.Minute
		}
		if r.Bytes == 0 {
			r.Bytes = 16 << 20
		}
		if r.Max == 0 {
			r.Max = 10_000
		}
		c.recovery = &r
		return nil
	})
}

// recovery keeps the latest messages and the connections that have ended.
// Messages are kept and queued under its lock, so that their places are in the
// order in which receivers get them.
type recovery struct {
	srv    *Server
	bounds Sessions
	epoch  string // begins the places; of this process, or of the cluster's log

	cluster *sharedLog // nil: the log here is all there is

	mu       sync.Mutex
	floor    uint64 // all messages after this number are in log
	last     uint64 // number of the last message
	log      []kept
	bytes    int64
	sessions map[string]*session // by secret
	order    []*session          // oldest first
	live     map[string]*Conn    // by secret
	// elsewhere are the connections of other nodes, by secret; see sharedLog.
	elsewhere map[string]*session
}

// kept is a message and whom it was for.
type kept struct {
	number      uint64
	at          time.Time
	packet      wire.Packet
	namespace   string
	template    *Namespace
	rooms       []string
	everybody   bool
	to          []string // ids
	exceptRooms []string
	except      []string // ids
}

// session is a connection that has ended and may come back.
type session struct {
	secret, id, namespace, user string
	node                        string // where it is or was
	template                    *Namespace
	rooms                       []string
	values                      map[any]any
	ended                       time.Time
	gone                        bool // resumed, or given up
}

// keptOverhead is about what a kept message costs besides its bytes.
const keptOverhead = 256

func newRecovery(s *Server, bounds Sessions) *recovery {
	return &recovery{
		srv: s, bounds: bounds, epoch: newEpoch(),
		sessions: make(map[string]*session), live: make(map[string]*Conn), elsewhere: make(map[string]*session),
	}
}

// resumable reports whether the connection may come back as the same session,
// so that this, and not its rooms' history, has what it misses.
func (c *Conn) resumable() bool {
	return c.shared != nil && c.link.srv.recovery != nil && c.link.dial == nil
}

// newEpoch returns letters and digits that no other epoch is made of.
func newEpoch() string {
	b := make([]byte, 5)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// newSecret returns 120 random bits in 20 characters.
func newSecret() string {
	b := make([]byte, 15)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// settle encodes a value once, as bytes that stay.
func (r *recovery) settle(v any) (Args, error) {
	args, several := v.(Args)
	if !several {
		args = Args{v}
	}
	settled := make(Args, len(args))
	for i, v := range args {
		p, err := r.srv.cfg.codecs.Marshal(v, "")
		if err != nil {
			return nil, err
		}
		settled[i] = p.Clone()
	}
	return settled, nil
}

// fanOut keeps the message of f and sends it to the target.
func (r *recovery) fanOut(t Target, f *fanout) error {
	settled, err := r.settle(f.out.Value)
	if err != nil {
		return err
	}
	k := kept{
		packet: f.packet, namespace: t.ns.name, rooms: t.rooms, everybody: t.rooms == nil && !t.listed,
		exceptRooms: t.exceptRooms, except: connIDs(t.exceptConns),
	}
	if t.ns.match != nil {
		k.template = t.ns
	}
	if t.listed {
		k.to = connIDs(t.conns)
	}
	f.out.Value = settled
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cluster == nil { // else it is away: the connections here get it without a place
		f.packet.Position, f.ofSession = r.keep(k, settled), true
	}
	t.fanOut(f)
	return nil
}

// send keeps a message to one connection and sends it.
func (r *recovery) send(ctx context.Context, c *Conn, p wire.Packet, v any, flags sendFlags) error {
	settled, err := r.settle(v)
	if err != nil {
		return err
	}
	if err := c.waitToSend(ctx); err != nil {
		return err
	}
	if r.cluster != nil && r.srv.node.up.Load() {
		return r.sendShared(ctx, c, p, settled, flags)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := c.Err(); err != nil {
		return err
	}
	if r.cluster == nil && c.resumable() {
		p.Position = r.keep(kept{packet: p, namespace: c.ns.name, to: []string{c.ID()}}, settled)
	}
	if err := c.link.fill(&p, settled); err != nil {
		return err
	}
	return c.sendPacket(p, flags)
}

func connIDs(conns []*Conn) []string {
	var ids []string
	for _, c := range conns {
		ids = append(ids, c.ID())
	}
	return ids
}

// keep adds a message to the log and returns its place. r.mu is held.
func (r *recovery) keep(k kept, args Args) (offset string) {
	k.at = time.Now()
	for _, a := range args {
		k.packet.Args = append(k.packet.Args, a.(Payload)) //nolint:forcetypeassert // settle made it
	}
	if k.number == 0 { // of no log of a cluster
		k.number = r.last + 1
	}
	r.last = k.number
	offset = formatPosition(position{Epoch: r.epoch, Offset: k.number})
	k.packet.Position = offset
	r.log = append(r.log, k)
	r.bytes += k.size()
	r.purge(k.at)
	return offset
}

func (k *kept) size() int64 {
	n := keptOverhead + len(k.packet.Kind)
	for _, a := range k.packet.Args {
		n += len(a.Data)
	}
	for _, names := range [][]string{k.rooms, k.to, k.exceptRooms, k.except} {
		for _, s := range names {
			n += len(s)
		}
	}
	return int64(n)
}

// purge gives up what is too old or too much. r.mu is held.
func (r *recovery) purge(now time.Time) {
	old := now.Add(-r.bounds.Window)
	n := 0
	for n < len(r.log) && (r.bytes > r.bounds.Bytes || r.log[n].at.Before(old)) {
		r.bytes -= r.log[n].size()
		r.floor = r.log[n].number
		r.log[n] = kept{}
		n++
	}
	r.log = r.log[n:]
	n = 0
	for n < len(r.order) && (r.order[n].gone || r.order[n].ended.Before(old) || len(r.order)-n > r.bounds.Max) {
		r.drop(r.order[n])
		r.order[n] = nil
		n++
	}
	r.order = r.order[n:]
}

func (r *recovery) drop(s *session) {
	if !s.gone {
		s.gone, s.values, s.rooms = true, nil, nil
		delete(r.sessions, s.secret)
	}
}

// persist makes a session of a connection that has ended, if it may come back.
func (r *recovery) persist(c *Conn, why *CloseError) {
	if c.shared == nil || c.shared.secret == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	secret := c.shared.secret
	if r.live[secret] == c {
		delete(r.live, secret)
	}
	now := time.Now()
	if !recoverable(why) || r.srv.State() != StateRunning {
		r.tellEnd(c, false)
		r.purge(now)
		return
	}
	s := &session{
		secret: secret, id: c.ID(), namespace: c.ns.name, template: c.ns.template, user: c.User(),
		node: r.srv.id, rooms: c.Rooms(), ended: now,
	}
	c.mu.Lock()
	s.values = maps.Clone(c.values)
	c.mu.Unlock()
	r.add(s)
	r.tellEnd(c, true)
	r.purge(now)
}

// add keeps a session that has ended. r.mu is held.
func (r *recovery) add(s *session) {
	if old := r.sessions[s.secret]; old != nil {
		r.drop(old)
	}
	r.sessions[s.secret] = s
	r.order = append(r.order, s)
}

// recoverable reports whether neither side has wished for this end. Who sent
// what it may not send comes back as after a broken link, as official servers
// have it.
func recoverable(why *CloseError) bool {
	return why.Code.Reconnect() || why.Code == CloseBadRequest && (why.Reason == reasonServerClose || why.Reason == reasonForced)
}

// displace ends the connection whose session a peer wants to resume while this
// side has not noticed its end.
func (r *recovery) displace(hello *wire.Packet, id *Identity) {
	if hello.Resume == "" {
		return
	}
	r.mu.Lock()
	old := r.live[hello.Resume]
	r.mu.Unlock()
	if old == nil {
		r.displaceFar(hello, id)
		return
	}
	if old.shared.label != hello.Namespace || old.User() != id.user() {
		return
	}
	r.cutOff(old)
}

// cutOff ends a connection whose peer has come back by another way.
func (r *recovery) cutOff(old *Conn) {
	old.finish(&CloseError{Code: CloseConnectionClosed, Reason: "transport close", Remote: true})
	if len(old.link.multi.open()) == 0 {
		old.link.kill(&CloseError{Code: CloseConnectionClosed, Reason: "transport close", Remote: true})
	}
}

// begin resumes the session that the hello names, or begins one. The
// connection is open and not announced; r.mu is held.
func (r *recovery) begin(c *Conn, hello *wire.Packet) {
	s, after := r.find(c, hello)
	if hello.Resume != "" {
		n := &r.srv.counters
		n.recovery(&n.sessionHits, &n.sessionMisses, s != nil)
	}
	if s == nil {
		c.shared.secret = newSecret()
		r.live[c.shared.secret] = c
		r.tell(c)
		return
	}
	defer r.tell(c)
	c.shared.secret, c.shared.id, c.shared.resumed = s.secret, s.id, true
	r.live[s.secret] = c
	for _, name := range s.rooms {
		_ = c.joinRoom(name, false) // it was in, so the name is good
	}
	c.mu.Lock()
	for k, v := range s.values {
		if _, newer := c.values[k]; newer {
			continue
		}
		if c.values == nil {
			c.values = make(map[any]any)
		}
		c.values[k] = v
	}
	c.mu.Unlock()
	i := sort.Search(len(r.log), func(i int) bool { return r.log[i].number > after })
	for _, k := range r.log[i:] {
		if k.isFor(s) {
			r.replay(c, &k)
		}
	}
	r.drop(s)
	delete(r.elsewhere, s.secret)
}

// find returns the session that the hello may resume, and the number of the
// last message that it has got.
func (r *recovery) find(c *Conn, hello *wire.Packet) (s *session, after uint64) {
	r.purge(time.Now())
	at, ok := parsePosition(hello.Position)
	if s = r.sessions[hello.Resume]; s == nil {
		s = r.elsewhere[hello.Resume] // its node has not noticed the end
	}
	if !ok || at.Epoch != r.epoch || s == nil || s.namespace != hello.Namespace || s.user != c.User() {
		return nil, 0
	}
	if at.Offset < r.floor || at.Offset > r.last {
		return nil, 0
	}
	return s, at.Offset
}

// isFor reports whether a session would have got the message.
func (k *kept) isFor(s *session) bool {
	if k.template != nil && k.template != s.template || k.template == nil && k.namespace != s.namespace {
		return false
	}
	in := func(rooms []string) bool {
		return slices.ContainsFunc(rooms, func(room string) bool {
			return room == s.id || slices.Contains(s.rooms, room)
		})
	}
	if slices.Contains(k.except, s.id) || in(k.exceptRooms) {
		return false
	}
	return k.everybody || slices.Contains(k.to, s.id) || in(k.rooms)
}

// replay sends a kept message.
func (r *recovery) replay(c *Conn, k *kept) {
	p := k.packet
	args := make(Args, len(p.Args))
	for i, a := range p.Args {
		args[i] = a
	}
	p.Args = nil
	err := c.link.fill(&p, args)
	if err == nil {
		err = c.sendPacket(p, sendFlags{})
	}
	if err != nil {
		r.srv.dropped(c, k.packet.Kind, DropUntranslated)
	}
}
