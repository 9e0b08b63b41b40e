package polywire

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/envelope"
	"github.com/polywire/polywire/wire"
)

// feed is the history of one room on this node: what the room's members have
// got, in order. Messages are sent to members, and members come, under its
// lock; that is why nobody misses one or gets it twice. It takes other locks
// in the order feed, connection, shard of rooms, outbox.
type feed struct {
	h               *history
	k               *keeping
	namespace, room string

	follower
	gone    bool     // the history has another feed for the room, or none
	rooms   []string // the room, as a target wants it
	floor   uint64   // all messages after this one are in entries
	entries backlog
	bytes   int64
	used    time.Time
}

// entry is a message of a room.
type entry struct {
	offset      uint64
	at          time.Time
	kind        string
	header      map[string]string
	value       any // its payloads, as what is sent
	bytes       int // of the payloads
	flags       sendFlags
	exceptRooms []string
	exceptIDs   []string
	sent        uint64 // as the envelope has it
}

// entryOverhead is about what an entry costs besides its bytes.
const entryOverhead = 200

func (e *entry) size() int64 {
	n := entryOverhead + len(e.kind) + e.bytes
	for k, v := range e.header {
		n += len(k) + len(v)
	}
	return int64(n)
}

// backlog is a line of entries in an array that is used again.
type backlog struct {
	array []entry
	head  int
}

func (b *backlog) all() []entry { return b.array[b.head:] }

func (b *backlog) push(e entry) {
	if len(b.array) == cap(b.array) && b.head > len(b.array)/2 {
		n := copy(b.array, b.array[b.head:])
		clear(b.array[n:])
		b.array, b.head = b.array[:n], 0
	}
	b.array = append(b.array, e)
}

func (b *backlog) drop(n int) {
	clear(b.array[b.head : b.head+n])
	if b.head += n; b.head == len(b.array) {
		b.array, b.head = b.array[:0], 0
	}
}

// append adds a message to a feed without a log, and sends it.
func (f *feed) append(e entry, b *Broadcast) error {
	f.mu.Lock()
	if f.gone {
		f.mu.Unlock()
		return f.h.feed(f.k, f.namespace, f.room).append(e, b)
	}
	e.offset = f.at.Offset + 1
	fan := f.add(e)
	f.mu.Unlock()
	b.Receivers += fan.receivers
	return f.finish(fan, e.kind)
}

// add keeps a message and sends it to the members. f.mu is held.
func (f *feed) add(e entry) *fanout {
	e.at = time.Now()
	f.at.Offset = e.offset
	size := e.size()
	f.bytes += size
	f.k.bytes.Add(size)
	f.entries.push(e)
	f.trim(e.at)
	f.used = e.at
	s := f.h.srv
	fan := s.newFanoutOf(e.kind, e.header, e.value, f.room)
	fan.flags = e.flags
	fan.packet.Position = formatPosition(f.at)
	if ns := s.namespace(f.namespace); ns != nil {
		t := Target{srv: s, ns: ns, local: true, rooms: f.rooms, exceptRooms: e.exceptRooms,
			exceptConns: s.connsOf(e.exceptIDs), resumable: resumableNot}
		t.fanOut(fan)
	}
	return fan
}

// finish tells the hooks what could not be delivered, when no lock is held.
func (f *feed) finish(fan *fanout, kind string) error {
	defer fan.done()
	for _, d := range fan.failed {
		f.h.srv.dropped(d.conn, kind, d.reason)
	}
	return fan.err
}

// trim gives up what is too old or too much. f.mu is held.
func (f *feed) trim(now time.Time) {
	old := now.Add(-f.k.Age)
	n := 0
	var freed int64
	entries := f.entries.all()
	for n < len(entries) {
		e := &entries[n]
		if len(entries)-n <= f.k.Size && !e.at.Before(old) && f.k.bytes.Load()-freed <= f.k.Bytes {
			break
		}
		freed += e.size()
		f.floor = e.offset
		n++
	}
	if n == 0 {
		return
	}
	f.bytes -= freed
	f.k.bytes.Add(-freed)
	f.entries.drop(n)
}

// namespace returns the namespace of a name, nil where nobody is in such a one.
func (s *Server) namespace(name string) *Namespace {
	if name == mainNamespace {
		return s.spaces.main
	}
	s.spaces.mu.RLock()
	defer s.spaces.mu.RUnlock()
	return s.spaces.named[name]
}

// enter lets a connection join, and sends it what it has missed since from, if
// it has been there before and all of that is here. again: the feed has gone.
func (f *feed) enter(ctx context.Context, c *Conn, byPeer bool, from string) (p place, again bool, err error) {
	pos, given := parsePosition(from)
	f.mu.Lock()
	defer f.unlock()
	f.awaitLoaded()
	f.used = time.Now()
	f.trim(f.used)
	if given && f.k.log != nil {
		err = f.reach(ctx, pos)
	}
	if f.gone {
		return place{}, true, nil
	}
	if err != nil {
		return place{}, false, err
	}
	before := c.In(f.room)
	if err := c.joinRoom(f.room, byPeer); err != nil || !f.known {
		return place{}, false, err
	}
	p.offset = formatPosition(f.at)
	switch {
	case !given:
	case before: // it has got all, or it is on its way
		p.recovered = pos.Epoch == f.at.Epoch && pos.Offset <= f.at.Offset
	default:
		p.recovered = f.resend(c, pos)
	}
	return p, false, nil
}

// reach makes sure that it is known what came after a place. It fails where the
// log does not say so now: what was missed is not lost then, and whoever comes
// from there is to try again. f.mu is held, but not while the log is asked.
func (f *feed) reach(ctx context.Context, from position) error {
	unsure := func() bool { // the node that the peer was at may have been ahead
		return !f.known || from.Epoch == f.at.Epoch && from.Offset > f.at.Offset
	}
	if unsure() {
		if !f.n.up.Load() {
			return errNoHistoryNow()
		}
		f.startLoading()
		f.awaitLoaded()
		if f.failed && unsure() {
			return errNoHistoryNow()
		}
	}
	if from.Epoch == f.at.Epoch && from.Offset < f.floor {
		return f.fetch(ctx, from)
	}
	return nil
}

func errNoHistoryNow() error {
	return Errorf(CodeUnavailable, "the room's history cannot be read now")
}

// resend sends a new member what it has missed: all, or nothing. f.mu is held.
func (f *feed) resend(c *Conn, from position) bool {
	if from.Epoch != f.at.Epoch || from.Offset < f.floor || from.Offset > f.at.Offset {
		return false
	}
	entries := f.entries.all()
	i := sort.Search(len(entries), func(i int) bool { return entries[i].offset > from.Offset })
	missed := entries[i:]
	var bytes int64
	for k := range missed {
		bytes += missed[k].size()
	}
	if bytes+c.link.out.queued.Load() > int64(c.link.srv.cfg.OutboxBytes) {
		return false // it would be closed as a slow consumer, again and again
	}
	packets := make([]wire.Packet, 0, len(missed))
	for k := range missed {
		e := &missed[k]
		if slices.Contains(e.exceptIDs, c.ID()) || slices.ContainsFunc(e.exceptRooms, c.In) {
			continue
		}
		p := wire.Packet{Type: wire.Message, Kind: e.kind, Header: e.header, Room: f.room,
			Position: formatPosition(position{Epoch: f.at.Epoch, Offset: e.offset})}
		if c.link.fill(&p, e.value) != nil {
			continue // as when it was sent: its wire cannot say this
		}
		packets = append(packets, p)
	}
	for _, p := range packets {
		if c.sendPacket(p, sendFlags{}) != nil {
			return false // it ends
		}
	}
	return true
}

// addMessage implements [followed].
func (f *feed) addMessage(m *cluster.Message) {
	e, err := entryOf(m)
	if err != nil {
		f.n.malformed(m.From, err)
		return
	}
	fan := f.add(e)
	from := m.From
	f.later(func() {
		f.n.hop(from, e.kind, []string{f.room}, e.header, e.sent)
		if err := f.finish(fan, e.kind); err != nil {
			f.h.srv.reportError(nil, fmt.Errorf("polywire: history of room %q: %w", f.room, err))
		}
	})
}

func entryOf(m *cluster.Message) (entry, error) {
	var env envelope.Envelope
	if err := envelope.Parse(m.Data, &env); err != nil {
		return entry{}, err
	}
	if env.Op != envelope.Send {
		return entry{}, fmt.Errorf("%w: operation %d in a history", envelope.ErrMalformed, env.Op)
	}
	return entry{offset: m.At.Offset, kind: env.Kind, header: env.Header, value: argsOf(env.Args),
		bytes: bytesOf(env.Args), flags: flagsOf(env.Flags),
		exceptRooms: env.Target.ExceptRooms, exceptIDs: env.Target.ExceptIDs, sent: env.Sent}, nil
}

// begin implements [followed].
func (f *feed) begin(offset uint64, lost bool) {
	f.k.bytes.Add(-f.bytes)
	f.entries, f.bytes, f.floor = backlog{}, 0, offset
	if lost {
		f.later(f.startOver)
	}
}

// startOver ends the connections of members that have missed what cannot be
// had any more: they come back, and are told so.
func (f *feed) startOver() {
	ns := f.h.srv.namespace(f.namespace)
	if ns == nil {
		return
	}
	for _, c := range ns.Room(f.room).Local().Conns() {
		if !c.resumable() {
			_ = c.Close(CloseInsufficientState, "messages of a room were lost") // or it ends by itself
		}
	}
}

// fetch makes the feed reach back to a place, if it can. f.mu is held, but not
// while the log is asked.
func (f *feed) fetch(ctx context.Context, from position) error {
	f.loading = true
	f.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, loadTimeout)
	page, err := f.k.log.After(limited, f.topic, from)
	cancel()
	f.mu.Lock()
	if err == nil && page.Complete && page.Top.Epoch == f.at.Epoch {
		f.prepend(from.Offset, page.Messages)
	}
	f.settle()
	f.awaitLoaded() // settling may ask again
	if err != nil {
		return errNoHistoryNow()
	}
	return nil
}

// prepend puts older messages before those that are here. f.mu is held.
func (f *feed) prepend(floor uint64, messages []cluster.Message) {
	var older []entry
	var bytes int64
	now := time.Now()
	for i := range messages {
		if messages[i].At.Offset > f.floor {
			break
		}
		e, err := entryOf(&messages[i])
		if err != nil {
			return
		}
		e.at = now
		bytes += e.size()
		older = append(older, e)
	}
	f.entries = backlog{array: append(older, f.entries.all()...)}
	f.floor = min(f.floor, floor)
	f.bytes += bytes
	f.k.bytes.Add(bytes)
}

func (f *feed) idle(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim(now)
	return f.idleLocked(now)
}

// idleLocked reports whether nobody would miss the feed. f.mu is held.
func (f *feed) idleLocked(now time.Time) bool {
	after := idleFeed
	if f.k.log == nil { // with it the room's epoch ends
		after = max(idleFeed, 2*f.k.Age)
	}
	if f.loading || f.gone || now.Sub(f.used) < after {
		return false
	}
	ns := f.h.srv.namespace(f.namespace)
	return ns == nil || ns.rooms.count(f.room) == 0
}
