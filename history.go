package polywire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/envelope"
)

// History bounds what is kept of rooms. Zero fields have the defaults.
type History struct {
	Size int           // messages of each room; default 100
	Age  time.Duration // how long they are kept; default 5 min
	// Bytes bounds the messages of all rooms of the pattern; over it a room
	// gives up its oldest. Default 64 MiB.
	Bytes int64
	// Storage is where a cluster's log keeps them. A server without a cluster,
	// or whose cluster has no logs, has them in its memory. Default: memory.
	Storage cluster.Storage
}

// WithHistory keeps the latest messages of rooms: a peer that subscribes with
// the position that it has come to gets all that it has missed, in order and
// once, or none of it and is told so. pattern is a room's name, or what the
// names begin with and '*'; the first that fits a room is the one for it.
// Policies are asked for each subscription. Volatile messages, and those to
// everybody, to given connections or by a [Pattern], are not kept. Default: none.
//
// In a cluster such a message goes to the log first and comes from there, to
// members on this node too: sending returns when the log has it, and fails
// when it cannot say so within 5 s.
//
// Connections that can be resumed (see [WithSessions]) get what they have
// missed by their sessions instead.
func WithHistory(pattern string, h History) Option {
	return optionFunc(func(c *config) error {
		if pattern == "" || strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
			return fmt.Errorf("history of %q: a room's name, or a prefix and '*'", pattern)
		}
		if h.Size < 0 || h.Age < 0 || h.Bytes < 0 {
			return errors.New("the bounds of history must not be negative")
		}
		for _, p := range c.history {
			if p.pattern == pattern {
				return fmt.Errorf("history of %q: twice", pattern)
			}
		}
		if h.Size == 0 {
			h.Size = 100
		}
		if h.Age == 0 {
			h.Age = 5 * time.Minute
		}
		if h.Bytes == 0 {
			h.Bytes = 64 << 20
		}
		c.history = append(c.history, historyPolicy{pattern: pattern, History: h})
		return nil
	})
}

// historyPolicy is what is kept of the rooms of a pattern.
type historyPolicy struct {
	History
	pattern string
}

func (p *historyPolicy) fits(room string) bool {
	prefix, wild := strings.CutSuffix(p.pattern, "*")
	return room == prefix || wild && strings.HasPrefix(room, prefix)
}

// logName is the name of the policy's log: the same on all nodes.
func (p *historyPolicy) logName() string {
	plain := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '_'
	}, p.pattern)
	if plain == p.pattern && len(plain) < 64 {
		return "history-" + plain
	}
	sum := sha256.Sum256([]byte(p.pattern))
	return "history-" + plain[:min(len(plain), 32)] + "-" + hex.EncodeToString(sum[:4])
}

// place is where in a room's history somebody is.
type place struct {
	offset    string
	recovered bool
}

// position is an offset as the core sees it.
type position = cluster.Position

func formatPosition(p position) string {
	if p.Epoch == "" {
		return ""
	}
	b := make([]byte, 0, len(p.Epoch)+14)
	b = append(append(b, p.Epoch...), '.')
	return string(strconv.AppendUint(b, p.Offset, 36))
}

func parsePosition(s string) (p position, ok bool) {
	epoch, digits, ok := strings.Cut(s, ".")
	if !ok || epoch == "" || len(s) > 64 {
		return p, false
	}
	n, err := strconv.ParseUint(digits, 36, 64)
	return position{Epoch: epoch, Offset: n}, err == nil
}

// history keeps rooms' messages, each room's in a feed.
type history struct {
	srv      *Server
	policies []*keeping
	bell     chan struct{} // look at all feeds now
	stop     chan struct{}

	mu    sync.RWMutex
	feeds map[string]*feed // by topic
	count uint64           // feeds so far, for their epochs
}

// keeping is a policy at work.
type keeping struct {
	historyPolicy
	log   cluster.Log // nil: the feeds are all there is
	bytes atomic.Int64
}

func newHistory(s *Server) *history {
	h := &history{srv: s, feeds: make(map[string]*feed), bell: make(chan struct{}, 1), stop: make(chan struct{})}
	for _, p := range s.cfg.history {
		h.policies = append(h.policies, &keeping{historyPolicy: p})
	}
	return h
}

// open opens the logs of the cluster.
func (h *history) open(ctx context.Context) error {
	historian, ok := h.srv.node.bus.(cluster.Historian)
	if !ok {
		return nil
	}
	for _, k := range h.policies {
		log, err := historian.Log(ctx, k.logName(), cluster.LogOptions{Storage: k.Storage, Size: k.Size, Age: k.Age, Bytes: k.Bytes})
		if err != nil {
			return fmt.Errorf("polywire: history of %q: %w", k.pattern, err)
		}
		k.log = log
	}
	return nil
}

// of returns the policy for a room, nil where there is none.
func (h *history) of(room string) *keeping {
	if h == nil {
		return nil
	}
	for _, k := range h.policies {
		if k.fits(room) {
			return k
		}
	}
	return nil
}

// feed returns a room's feed, made if there is none.
func (h *history) feed(k *keeping, namespace, room string) *feed {
	if f := h.made(namespace, room); f != nil {
		return f
	}
	topic := topicRoom(namespace, room)
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[topic]
	if f == nil {
		h.count++
		f = &feed{h: h, k: k, namespace: namespace, room: room, rooms: []string{room}, used: time.Now()}
		f.changed.L = &f.mu
		if k.log == nil {
			f.topic, f.known, f.at.Epoch = topic, true, h.srv.id+strconv.FormatUint(h.count, 36)
		} else {
			f.follow(h.srv.node, k.log, topic, f)
		}
		h.feeds[topic] = f
	}
	return f
}

// made returns a room's feed if there is one already. It makes no garbage.
func (h *history) made(namespace, room string) *feed {
	var buf [cluster.MaxTopicBytes]byte
	topic := appendTopic(buf[:0], namespace, room)
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.feeds[string(topic)]
}

// size returns the number of feeds.
func (h *history) size() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.feeds)
}

// received takes a message of a log.
func (h *history) received(m cluster.Message) {
	h.mu.RLock()
	f := h.feeds[m.Topic]
	h.mu.RUnlock()
	if f != nil {
		f.receive(m)
	}
}

// keepsAny reports whether a message to a target is kept.
func (h *history) keepsAny(t Target) bool {
	if h == nil || t.rooms == nil || t.pattern != nil || t.local || t.ns.match != nil {
		return false
	}
	for _, room := range t.rooms {
		if h.of(room) != nil {
			return true
		}
	}
	return false
}

// distributeKept sends to rooms of which some keep history. A member of
// several gets it by the first that does.
func (t Target) distributeKept(ctx context.Context, o *Outgoing, flags sendFlags, b *Broadcast) error {
	h := t.srv.history
	if flags.reach { // what reaches nobody is not kept, either
		if n, err := t.Count(ctx); n == 0 {
			return errors.Join(ErrNoConnections, err)
		}
		flags.reach = false // a part of the rooms may be empty
	}
	payloads, err := t.srv.settled(o.Value)
	if err != nil {
		return err
	}
	for i := range payloads {
		payloads[i] = payloads[i].Clone()
	}
	o.Value = argsOf(payloads)
	var sessions func() error
	if t.srv.recovery != nil {
		sessions = t.sessionsBeside(ctx, o, flags, b)
	}
	except := t.exceptRooms
	var plain []string
	for _, room := range t.rooms {
		k := h.of(room)
		if k == nil {
			plain = append(plain, room)
			continue
		}
		e := entry{kind: o.Kind, header: o.Header, value: o.Value, bytes: bytesOf(payloads), flags: flags, exceptRooms: except, exceptIDs: connIDs(t.exceptConns)}
		if k.log == nil {
			err = errors.Join(err, h.feed(k, t.ns.name, room).append(e, b))
		} else {
			err = errors.Join(err, h.append(ctx, k, t, room, e, payloads, b))
		}
		if len(t.rooms) > 1 {
			except = append(slices.Clip(except), room)
		}
	}
	rest := t
	if len(plain) > 0 {
		rest.rooms, rest.exceptRooms = plain, except
		rest.resumable = resumableNot
		err = errors.Join(err, rest.distributePlain(ctx, o, flags, b))
	}
	if sessions != nil {
		err = errors.Join(err, sessions())
	}
	return err
}

// sessionsBeside sends to those whose sessions keep what they miss. In a
// cluster that has a log of its own: it is waited for, by what is returned,
// beside those of the rooms, and not after them.
func (t Target) sessionsBeside(ctx context.Context, o *Outgoing, flags sendFlags, b *Broadcast) (wait func() error) {
	t.resumable = resumableOnly
	if t.srv.recovery.cluster == nil {
		return func() error { return t.distributePlain(ctx, o, flags, b) }
	}
	own, seen, before, done := *o, *b, b.Receivers, make(chan error, 1)
	go func() { done <- t.distributePlain(ctx, &own, flags, &seen) }()
	return func() error {
		err := <-done
		b.Receivers += seen.Receivers - before
		return err
	}
}

// append gives a message to a room's log. When that is known to be away, the
// members here get it all the same, without a place.
func (h *history) append(ctx context.Context, k *keeping, t Target, room string, e entry, payloads []Payload, b *Broadcast) error {
	if !h.srv.node.up.Load() {
		t.rooms, t.exceptRooms, t.resumable = []string{room}, e.exceptRooms, resumableNot
		err := t.distributeHere(&Outgoing{Kind: e.kind, Header: e.header, Value: e.value}, e.flags, b)
		return errors.Join(err, fmt.Errorf("polywire: to the history of room %q: %w", room, cluster.ErrUnavailable))
	}
	namespace := t.ns.name
	env := envelope.Envelope{
		Op: envelope.Send, Kind: e.kind, Header: e.header, Args: payloads, Flags: flagBits(e.flags),
		Target: envelope.Target{Namespace: namespace, Rooms: []string{room}, ExceptRooms: e.exceptRooms, ExceptIDs: e.exceptIDs},
	}
	h.srv.node.stamp(&env)
	if _, err := k.log.Append(ctx, topicRoom(namespace, room), envelope.Append(nil, &env)); err != nil {
		h.srv.node.counters.failed.Add(1)
		return fmt.Errorf("polywire: to the history of room %q: %w", room, err)
	}
	h.srv.node.counters.published.Add(1)
	return nil
}

// The pace of looking after feeds.
const (
	sweepEvery = 5 * time.Second
	checkEvery = 30 * time.Second // on average: a hole behind which nothing follows is found then
	idleFeed   = 30 * time.Second // a feed without members is kept for them to come back
)

// run looks after the feeds until the server ends.
func (h *history) run() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		now := false
		select {
		case <-h.stop:
			return
		case <-h.bell:
			now = true
		case <-tick.C:
		}
		h.sweep(now)
	}
}

// ring lets all feeds be checked soon.
func (h *history) ring() {
	select {
	case h.bell <- struct{}{}:
	default:
	}
}

// sweep gives up what is too old, and asks the log of some feeds, or of all,
// whether they have missed something.
func (h *history) sweep(all bool) {
	h.mu.RLock()
	feeds := make([]*feed, 0, len(h.feeds))
	for _, f := range h.feeds {
		feeds = append(feeds, f)
	}
	h.mu.RUnlock()
	now := time.Now()
	for _, f := range feeds {
		if f.idle(now) && h.drop(f, now) {
			continue
		}
		if f.k.log != nil && (all || f.isBehind() || rand.Float64() < float64(sweepEvery)/float64(checkEvery)) { //nolint:gosec // spreads load
			f.check()
		}
	}
}

// drop gives a feed up, unless somebody has come meanwhile.
func (h *history) drop(f *feed, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.idleLocked(now) {
		return false
	}
	f.gone = true
	f.k.bytes.Add(-f.bytes)
	f.entries, f.bytes = backlog{}, 0
	delete(h.feeds, f.topic)
	if f.k.log != nil {
		f.k.log.Interest(f.topic, false)
	}
	return true
}
