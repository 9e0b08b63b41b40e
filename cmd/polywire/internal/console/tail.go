package console

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/codec"
)

// Bounds of the tail.
const (
	maxBatch    = 50 // entries of one event, and those that wait for it
	batchEvery  = 100 * time.Millisecond
	encodeTime  = 20 * time.Millisecond // of each second, for Go values
	maxRooms    = 32                    // of one broadcast
	maxFiltered = 255                   // bytes of one filter
)

// The directions and what an entry is.
const (
	dirIn  = "in"
	dirOut = "out"

	whatMessage   = "message"
	whatCall      = "call"
	whatAnswer    = "answer"
	whatPublish   = "publish"
	whatBroadcast = "broadcast"
)

// tail gives messages to those who watch. While nobody does it costs one look.
type tail struct {
	watchers atomic.Pointer[[]*watcher]
	seq      atomic.Uint64
	encoding budget

	mu sync.Mutex // of changes of watchers
}

// watcher is one who watches.
type watcher struct {
	filter  filter
	entries chan *entry
	missed  atomic.Int64 // entries that it had no room for
}

// filter picks entries; what is empty picks all.
type filter struct {
	kind   string // exact, or with beginning only
	prefix bool
	room   string
	conn   string
	wire   string
	user   string
	dir    string
	srv    *polywire.Server
}

// entry is a message as the tail has it.
type entry struct {
	at        time.Time
	seq       uint64
	dir, what string
	kind      string
	conn      *polywire.Conn // nil: none
	room      string
	rooms     []string
	receivers int
	took      time.Duration
	code      polywire.Code
	err       string
	header    map[string]string // shown
	args      []part
	size      int
	hidden    bool
	omitted   bool
}

// part is an argument, or the beginning of one.
type part struct {
	payload codec.Payload
	cut     bool
}

func (t *tail) watch(f filter) *watcher {
	w := &watcher{filter: f, entries: make(chan *entry, maxBatch)}
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*watcher
	if at := t.watchers.Load(); at != nil {
		all = slices.Clone(*at)
	}
	all = append(all, w)
	t.watchers.Store(&all)
	return w
}

// count returns how many watch.
func (t *tail) count() int {
	if all := t.watchers.Load(); all != nil {
		return len(*all)
	}
	return 0
}

func (t *tail) leave(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(*t.watchers.Load()), func(o *watcher) bool { return o == w })
	if len(all) == 0 {
		t.watchers.Store(nil)
		return
	}
	t.watchers.Store(&all)
}

// offer gives an entry to those whose filter picks it and who have room. fill
// completes it, for the first of them.
func (t *tail) offer(all []*watcher, e entry, fill func(e *entry)) {
	var made *entry
	for _, w := range all {
		if !w.filter.picks(&e) {
			continue
		}
		if len(w.entries) == cap(w.entries) {
			w.missed.Add(1)
			continue
		}
		if made == nil {
			e.at, e.seq, e.hidden = time.Now(), t.seq.Add(1), hiddenKind(e.kind)
			fill(&e)
			made = &e
		}
		select {
		case w.entries <- made:
		default:
			w.missed.Add(1)
		}
	}
}

// hiddenKind reports whether messages of a kind carry credentials.
func hiddenKind(kind string) bool { return kind == polywire.KindHello || kind == auth.KindRefresh }

// picks reports whether an entry is wanted.
func (f *filter) picks(e *entry) bool {
	switch {
	case f.dir != "" && f.dir != e.dir:
	case f.kind != "" && !f.prefix && f.kind != e.kind:
	case f.prefix && !strings.HasPrefix(e.kind, f.kind):
	case f.conn != "" && !f.concerns(e):
	case f.wire != "" && (e.conn == nil || e.conn.Wire() != f.wire):
	case f.user != "" && (e.conn == nil || e.conn.User() != f.user):
	case f.room != "" && f.room != e.room && !slices.Contains(e.rooms, f.room):
	default:
		return true
	}
	return false
}

// Hooks are for the server: they count how long handlers take, and feed the tail.
func (c *Console) Hooks() polywire.Hooks {
	return polywire.Hooks{
		AfterHandle: func(m *polywire.Message, took time.Duration, result any, err error) {
			c.latency.add(took, err != nil)
			if all := c.tail.watchers.Load(); all != nil {
				c.tail.handled(*all, m, took, err)
				c.tail.answered(*all, m, result, err, c.viewer)
			}
		},
		AfterBroadcast: func(b *polywire.Broadcast) {
			if all := c.tail.watchers.Load(); all != nil {
				c.tail.broadcast(*all, b, nil, c.viewer)
			}
		},
		AfterPeerBroadcast: func(sender *polywire.Conn, b *polywire.Broadcast) {
			if all := c.tail.watchers.Load(); all != nil {
				c.tail.broadcast(*all, b, sender, c.viewer)
			}
		},
	}
}

// concerns reports whether an entry is of the connection that is asked for, or
// was sent to a room that it is in.
func (f *filter) concerns(e *entry) bool {
	if e.what != whatBroadcast {
		return e.conn != nil && e.conn.ID() == f.conn
	}
	c := f.srv.Conn(f.conn)
	return c != nil && (e.rooms == nil || slices.ContainsFunc(e.rooms, func(room string) bool { return room == f.conn || c.In(room) }))
}

func (t *tail) handled(all []*watcher, m *polywire.Message, took time.Duration, err error) {
	e := entry{dir: dirIn, what: whatMessage, kind: m.Kind(), conn: m.Conn(), room: m.Room(), took: took}
	if m.IsCall() {
		e.what = whatCall
	}
	t.offer(all, e, func(e *entry) {
		e.failed(err)
		e.header = showHeader(m.Headers())
		e.size = m.Size()
		if e.hidden {
			return
		}
		room := maxBodyTaken
		e.take(m.Payload(), &room)
		if more := m.Args(); len(more) > 1 {
			for _, p := range more[1:] {
				e.take(p, &room)
			}
		}
	})
}

func (t *tail) answered(all []*watcher, m *polywire.Message, result any, err error, v *viewer) {
	if !m.IsCall() || result == polywire.NoReply() {
		return
	}
	e := entry{dir: dirOut, what: whatAnswer, kind: m.Kind(), conn: m.Conn()}
	t.offer(all, e, func(e *entry) {
		if e.failed(err); err == nil {
			t.encode(e, result, v)
		}
	})
}

// broadcast is what goes out, and with a sender what he wished to.
func (t *tail) broadcast(all []*watcher, b *polywire.Broadcast, sender *polywire.Conn, v *viewer) {
	e := entry{dir: dirOut, what: whatBroadcast, kind: b.Kind, rooms: b.Rooms, receivers: b.Receivers, took: b.Took}
	if sender != nil {
		e.dir, e.what, e.conn = dirIn, whatPublish, sender
	}
	t.offer(all, e, func(e *entry) {
		e.rooms = slices.Clone(b.Rooms[:min(len(b.Rooms), maxRooms)])
		e.header = showHeader(b.Header)
		t.encode(e, b.Payload, v)
	})
}

// failed notes an error. What is said about a credential may quote it.
func (e *entry) failed(err error) {
	if err == nil {
		return
	}
	if e.code = polywire.CodeOf(err); !e.hidden {
		e.err = clip(err.Error(), maxTextBytes)
	}
}

// take copies an argument, as much of it as there is room for.
func (e *entry) take(p codec.Payload, room *int) {
	if p.Empty() {
		return
	}
	n := min(len(p.Data), *room)
	*room -= n
	cut := n < len(p.Data)
	p.Data = bytes.Clone(p.Data[:n])
	e.args = append(e.args, part{p, cut})
}

// encode takes a value that is sent. Go values are somebody else's and may
// change later, so they are encoded at once, for as long as there is time.
func (t *tail) encode(e *entry, value any, v *viewer) {
	if e.hidden {
		return
	}
	p, ok := value.(codec.Payload)
	if !ok {
		if value == nil {
			return
		}
		began := time.Now()
		if !t.encoding.left(began) {
			e.omitted = true
			return
		}
		p, ok = encoded(value, v)
		t.encoding.spend(time.Since(began))
		if !ok {
			e.omitted = true
			return
		}
	}
	e.size = len(p.Data)
	room := maxBodyTaken
	e.take(p, &room)
}

// encoded encodes a value of the application's, whose methods may panic.
func encoded(value any, v *viewer) (p codec.Payload, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	p, err := v.forms.Payload(value)
	return p, err == nil
}

// budget is a time of each second.
type budget struct {
	most          time.Duration
	second, spent atomic.Int64
}

func (b *budget) left(now time.Time) bool {
	if s := now.Unix(); b.second.Swap(s) != s {
		b.spent.Store(0)
	}
	return b.spent.Load() < int64(b.most)
}

func (b *budget) spend(d time.Duration) { b.spent.Add(int64(d)) }

// entryView is an entry as pages get it.
type entryView struct {
	AtMS      int64             `json:"at_ms"`
	Seq       uint64            `json:"seq"`
	Dir       string            `json:"dir"`
	What      string            `json:"what"`
	Kind      string            `json:"kind"`
	Conn      string            `json:"conn,omitempty"`
	User      string            `json:"user,omitempty"`
	Wire      string            `json:"wire,omitempty"`
	Room      string            `json:"room,omitempty"`
	Rooms     []string          `json:"rooms,omitempty"`
	Receivers *int              `json:"receivers,omitempty"`
	TookMS    *float64          `json:"took_ms,omitempty"`
	Code      string            `json:"code,omitempty"`
	Error     string            `json:"error,omitempty"`
	Header    map[string]string `json:"header,omitempty"`
	body
}

func (v *viewer) entry(e *entry) entryView {
	out := entryView{
		AtMS: e.at.UnixMilli(), Seq: e.seq, Dir: e.dir, What: e.what, Kind: clip(e.kind, maxTextBytes), Room: clip(e.room, maxTextBytes),
		Code: clip(string(e.code), maxTextBytes), Error: e.err, Header: e.header, body: body{Size: e.size, Hidden: e.hidden, Omitted: e.omitted},
	}
	for _, room := range e.rooms {
		out.Rooms = append(out.Rooms, clip(room, maxTextBytes))
	}
	if e.conn != nil {
		out.Conn, out.User, out.Wire = clip(e.conn.ID(), maxTextBytes), clip(e.conn.User(), maxTextBytes), e.conn.Wire()
	}
	if e.what == whatBroadcast || e.what == whatPublish {
		out.Receivers = &e.receivers
	}
	if e.what != whatAnswer {
		ms := rounded(float64(e.took) / float64(time.Millisecond))
		out.TookMS = &ms
	}
	switch len(e.args) {
	case 0:
	case 1:
		v.show(&out.body, e.kind, e.args[0].payload, e.args[0].cut, maxBodyShown)
	default:
		v.several(&out.body, e)
	}
	return out
}

// several shows the arguments of one message as a JSON array.
func (v *viewer) several(to *body, e *entry) {
	var text bytes.Buffer
	for i, a := range e.args {
		var one body
		v.show(&one, e.kind, a.payload, a.cut, maxBodyShown)
		text.WriteString(map[bool]string{true: "[", false: ", "}[i == 0])
		if one.Base64 || !json.Valid([]byte(one.Body)) {
			one.Body = strconv.Quote(one.Body)
		}
		text.WriteString(one.Body)
		to.Cut = to.Cut || one.Cut
	}
	text.WriteByte(']')
	to.Type = codec.TypeJSON
	to.text(text.Bytes(), maxBodyShown)
}
