package prometheus

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
)

// side is what servers and the cores of clients have in common.
type side struct {
	m        *Metrics
	isServer bool
	descs    sideDescs

	received *table[receivedKind]
	sent     *table[histogram]
	sends    *table[sendTimes]
	casts    *table[histogram]
	reach    *histogram
	hops     *histogram
	flight   *table[histogram]

	refused *table[counter] // by wire and reason
	closed  *table[counter] // by wire, code and side
	dropped *table[counter]

	subscribed, published results
	unsubscribed          counter
	errors                counter
	joined, left          counter
	states                [polywire.StateClosed + 1]atomic.Int64
	workers               atomic.Int64
	concurrency           atomic.Int64

	mu      sync.Mutex
	cores   map[*polywire.Server]struct{}
	retired polywire.Stats // of cores that have ended: what only grows goes on
}

// results counts by how something came out.
type results struct{ good, bad counter }

func (r *results) note(err error) {
	if err != nil {
		r.bad.inc()
		return
	}
	r.good.inc()
}

// receivedKind is about the messages of a kind that handlers got.
type receivedKind struct {
	took, size *histogram
	failed     counter // answered with an error that a handler chose
	exceptions counter // no handler, a panic, or an error that stays in the log
}

func newReceivedKind() *receivedKind {
	return &receivedKind{took: newHistogram(timeBounds(), seconds), size: newHistogram(sizeBounds(), plain)}
}

// sendTimes are how long sending took, and calling.
type sendTimes struct{ sends, calls *histogram }

func newSendTimes() *sendTimes {
	return &sendTimes{sends: newHistogram(timeBounds(), seconds), calls: newHistogram(timeBounds(), seconds)}
}

func newTimes() *histogram { return newHistogram(timeBounds(), seconds) }
func newSizes() *histogram { return newHistogram(sizeBounds(), plain) }

// Bounds of tables whose names are few by nature.
const (
	maxCodes   = 200 // of wires, times codes, times two sides
	maxReasons = 50
)

func newSide(m *Metrics, name string) *side {
	kinds := m.o.Kinds
	s := &side{
		m: m, isServer: name == "server",
		received: newTable(m.o.MaxKinds, newReceivedKind, kinds...),
		sent:     newTable(m.o.MaxKinds, newSizes),
		sends:    newTable(m.o.MaxKinds, newSendTimes),
		casts:    newTable(m.o.MaxKinds, newTimes),
		reach:    newHistogram(countBounds(), plain),
		hops:     newHistogram(timeBounds(), seconds),
		flight:   newTable(m.o.MaxKinds, newTimes),
		refused:  newTable(maxReasons, newCounter),
		closed:   newTable(maxCodes, newCounter),
		dropped: newTable(maxReasons, newCounter, string(polywire.DropClosed), string(polywire.DropSlow), string(polywire.DropUntranslated),
			string(polywire.DropLate), string(polywire.DropVolatile), string(polywire.DropUnexpected), string(polywire.DropRefused)),
		cores: make(map[*polywire.Server]struct{}),
	}
	s.descs.fill(m, name)
	return s
}

// hooks returns what observes a core.
func (s *side) hooks() polywire.Hooks {
	h := polywire.Hooks{
		Configuration: func(c polywire.Configuration) { s.concurrency.Store(int64(c.Concurrency)) },
		Disconnect:    s.disconnected,
		AfterHandle:   s.handled,
		Sent: func(kind string, receivers, bytes int) {
			s.sent.get(kind).observeN(shard(), int64(bytes), receivers)
		},
		Error:       func(*polywire.Conn, error) { s.errors.inc() },
		Dropped:     func(_ *polywire.Conn, _ string, reason polywire.DropReason) { s.dropped.get(string(reason)).inc() },
		WorkerStart: func(*polywire.Conn) { s.workers.Add(1) },
		WorkerEnd:   func(*polywire.Conn) { s.workers.Add(-1) },
	}
	if s.isServer {
		s.observeServer(&h)
	}
	return h
}

// observeServer adds what clients do not have.
func (s *side) observeServer(h *polywire.Hooks) {
	h.Status = s.become
	h.Refused = func(r polywire.Refusal) { s.refused.get(r.Wire + sep + r.Reason).inc() }
	h.AfterBroadcast = func(b *polywire.Broadcast) {
		at := shard()
		s.casts.get(b.Kind).observe(at, int64(b.Took))
		s.reach.observe(at, int64(b.Receivers))
	}
	h.Subscribe = func(_ *polywire.Conn, _ string, err error) { s.subscribed.note(err) }
	h.Unsubscribe = func(*polywire.Conn, string, error) { s.unsubscribed.inc() }
	h.Publish = func(_ *polywire.Conn, _, _ string, err error) { s.published.note(err) }
	h.NodeJoined = func(cluster.Node) { s.joined.inc() }
	h.NodeLeft = func(cluster.Node) { s.left.inc() }
	h.Hop = func(hop polywire.Hop) {
		if !hop.Sent.IsZero() {
			s.hops.observe(shard(), int64(time.Since(hop.Sent)))
		}
	}
}

// become follows the states of what is watched, each of which begins as new.
func (s *side) become(from, to polywire.State) {
	s.states[from].Add(-1)
	s.states[to].Add(1)
}

// sep stands between the labels of a table's name; none has it.
const sep = "\x00"

// disconnected counts an end by its code. A peer's own invention is no label.
func (s *side) disconnected(c *polywire.Conn, why *polywire.CloseError) {
	code, by := strconv.Itoa(int(why.Code)), "here"
	if why.Remote {
		by = "peer"
		if !known(why.Code) {
			code = other
		}
	}
	s.closed.get(c.Wire() + sep + code + sep + by).inc()
}

// known reports whether a code is one of Polywire's, or of RFC 6455 (7.4.1).
func known(code polywire.CloseCode) bool {
	return code >= 1000 && code <= 1015 || code >= 3000 && code <= 3013 || code >= 3500 && code <= 3507
}

// handled notes a message that went through the handlers.
func (s *side) handled(m *polywire.Message, took time.Duration, _ any, err error) {
	k := s.received.find(m.Kind())
	if k == nil {
		k = s.kind(m.Kind(), err)
	}
	at := shard()
	k.took.observe(at, int64(took))
	k.size.observe(at, int64(m.Size()))
	if err != nil {
		if fault(err) {
			k.exceptions.inc()
		} else {
			k.failed.inc()
		}
	}
	if s.m.o.FlightHeader != "" {
		s.flown(m, took)
	}
}

// kind is where a kind that has no label counts: one that nobody handles does
// not get one.
func (s *side) kind(kind string, err error) *receivedKind {
	var coded *polywire.Error
	if errors.As(err, &coded) && coded.Fault() && !coded.Remote() && coded.Code == polywire.CodeNotFound {
		return s.received.others()
	}
	return s.received.get(kind)
}

// fault tells a fault from an error that a handler chose, as the core does for the wire.
func fault(err error) bool {
	var coded *polywire.Error
	return !errors.As(err, &coded) || coded.Fault()
}

// flown notes how long a message was on its way, if it says when it left.
func (s *side) flown(m *polywire.Message, took time.Duration) {
	sent, err := strconv.ParseInt(m.Header(s.m.o.FlightHeader), 10, 64)
	if err != nil || sent <= 0 {
		return
	}
	flight := time.Since(time.UnixMicro(sent)) - took
	if k := s.received.find(m.Kind()); k != nil {
		s.flight.get(m.Kind()).observe(shard(), int64(flight))
	} else {
		s.flight.others().observe(shard(), int64(flight))
	}
}

// plugin puts the hooks into a core, and keeps in mind whom to ask for figures.
type plugin struct {
	s    *side
	pipe bool

	mu  sync.Mutex
	srv *polywire.Server
}

var _ polywire.Plugin = (*plugin)(nil)

// ErrActive is returned when a plugin that a server has is given to another.
var ErrActive = errors.New("prometheus: the plugin is active on another server")

// Server returns a plugin that makes a server's figures part of the metrics.
// Each server takes one of its own:
//
//	polywire.New(polywire.WithPlugins(m.Server()), ...)
func (m *Metrics) Server() polywire.Plugin {
	m.use(m.server)
	return &plugin{s: m.server, pipe: m.o.SendDurations}
}

// Activate implements [polywire.Plugin].
func (p *plugin) Activate(srv *polywire.Server) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.srv != nil {
		return ErrActive
	}
	p.srv = srv
	srv.Hook(p.s.hooks())
	if p.pipe {
		srv.Pipe(pipe{p.s})
	}
	if p.s.isServer {
		p.s.states[srv.State()].Add(1)
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.cores[srv] = struct{}{}
	return nil
}

// Deactivate implements [polywire.Plugin]: what the server has counted stays.
func (p *plugin) Deactivate(context.Context) error {
	p.mu.Lock()
	srv := p.srv
	p.srv = nil
	p.mu.Unlock()
	if srv == nil {
		return nil
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	delete(p.s.cores, srv)
	last := srv.Stats()
	add(&p.s.retired, &last, false)
	return nil
}

// pipe measures sending, and says when messages left where that is wanted.
type pipe struct{ s *side }

func (pipe) Handler(next polywire.Handler) polywire.Handler { return next }

func (p pipe) Sender(next polywire.Sender) polywire.Sender {
	s := p.s
	return func(ctx context.Context, o *polywire.Outgoing) error {
		if name := s.m.o.FlightHeader; name != "" && !s.isServer && !o.IsReply() {
			o.Header = maps.Clone(o.Header)
			if o.Header == nil {
				o.Header = make(map[string]string, 1)
			}
			o.Header[name] = strconv.FormatInt(time.Now().UnixMicro(), 10)
		}
		began := time.Now()
		err := next(ctx, o)
		times := s.sends.get(o.Kind)
		h := times.sends
		if o.IsCall() {
			h = times.calls
		}
		h.observe(shard(), int64(time.Since(began)))
		return err
	}
}
