package polywire

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// Handlers run on the goroutine that reads, in place: no switch, no copy, one
// write for the answers of a batch. When one blocks (it calls a peer, or takes
// longer than the watch allows), reading is taken over: the buffer of its
// message stays with it, a new goroutine reads on, and the old one becomes a
// worker that handles what queues up meanwhile, in order, and then ends.
//
// turn says who reads (upper bits: a number that grows with each take-over)
// and what that goroutine is doing (lower bits).
const (
	turnReading  uint64 = iota // decoding, or waiting for more
	turnHandling               // in a handler
	turnWriting                // flushing the answers of a batch
	turnStep     = 4
	turnMask     = turnStep - 1
)

// reader is what the reading goroutine needs while there is something to read.
type reader struct {
	l       *link
	turn    uint64        // this goroutine's number
	read    bool          // something has come since it began
	active  bool          // a message, not heartbeats and hellos alone
	watched bool          // a handler has run in this batch
	now     time.Duration // when the first of them began, on the watch's clock
	size    int           // of the frame being handled
	packet  wire.Packet
	// Counted here and added to the server's figures once a batch.
	messages, bytes uint64
	last            lap
	spare           *request // to be used again; nil: none yet
}

// busy is the state of handlers that run off the reading goroutine.
type busy struct {
	running int
	queue   []*request
	bytes   int
	open    map[callID]struct{} // calls that are queued or being handled
	room    sync.Cond           // the queue has room, or nothing runs
	release func()              // gives back the buffer of the taken-over message
}

type callID struct {
	conn *Conn
	id   uint64
	key  string
}

// startReading starts a goroutine for reader number turn.
func (l *link) startReading(turn uint64) {
	l.srv.goes.Go(func() { l.read(turn) })
}

// wake gives a sleeping link a goroutine again.
func (l *link) wake() {
	if l.asleep.CompareAndSwap(true, false) {
		l.lookSoon()
		l.startReading(l.turn.Load())
	}
}

func (l *link) read(turn uint64) {
	r := l.srv.readers.Get().(*reader) //nolint:forcetypeassert // the pool has nothing else
	r.l, r.turn = l, turn
	ended := r.run()
	l.received(r.messages, r.bytes)
	if ended {
		l.end()
	}
	*r = reader{}
	l.srv.readers.Put(r)
}

// run reads until the link ends, which it reports, or falls asleep or is taken over.
func (r *reader) run() (ended bool) {
	for {
		goOn, err := r.batch()
		if !goOn {
			return false
		}
		if err == nil && r.read && !r.active && r.l.fallAsleep() {
			return false // a heartbeat is no reason to stay awake
		}
		if err == nil {
			err = r.l.t.Wait()
		}
		switch {
		case err == nil:
			r.read = true
			if r.l.sleepless.Load() != 0 { // it may be able to sleep after this
				r.l.sleepless.Store(0)
			}
			if now := r.l.srv.wheel.Now(); r.l.lastRead.Load() != now {
				r.l.lastRead.Store(now)
			}
		case errors.Is(err, transport.ErrInterrupted):
			if r.l.fallAsleep() {
				return false
			}
		default:
			return r.l.over(err)
		}
	}
}

// over ends the reading after an error, and tells a peer that is to be told.
func (l *link) over(err error) (ended bool) {
	why, tell := frameError(err)
	l.fail(why)
	if tell {
		l.close(why)
		l.waitFlushed()
		if !why.Remote {
			l.linger()
		}
	}
	return true
}

// fallAsleep hands the link to the poller, if it is still quiet.
func (l *link) fallAsleep() bool {
	s, ok := l.t.(transport.Sleeper)
	if !ok || l.dial != nil || l.phase.Load() == phaseEnded || l.closeBy.Load() != 0 {
		return false
	}
	raw, ok := s.Idle()
	if !ok {
		l.sleepless.Store(l.lastRead.Load())
		return false
	}
	l.asleep.Store(true) // before Add: it may wake at once
	if l.srv.sleepers.add(raw, l.conn.token(), l.srv.wake) {
		return true
	}
	l.sleepless.Store(l.lastRead.Load())
	// Whoever cleared it meanwhile has taken the link over.
	return !l.asleep.CompareAndSwap(true, false)
}

// batch handles all frames that are there. It returns false when another
// goroutine reads now.
func (r *reader) batch() (goOn bool, err error) {
	l := r.l
	for {
		f, ok, nextErr := l.t.Next()
		if nextErr != nil {
			err = nextErr
			break
		}
		if !ok {
			break
		}
		r.bytes += uint64(len(f.Data))
		if f.Type.Control() {
			if f.Type == transport.Ping {
				l.sendControl(transport.Pong, f.Data)
			}
			if l.paced {
				l.beat()
			}
			continue
		}
		if l.closeBy.Load() != 0 {
			continue // this side has closed: nothing is handled any more
		}
		goOn, frameErr := r.frame(f)
		if !goOn {
			return false, nil
		}
		if frameErr != nil && l.closeBy.Load() == 0 { // else what failed is over, and the close frame on its way
			err = frameErr
			break
		}
	}
	l.received(r.messages, r.bytes)
	r.messages, r.bytes = 0, 0
	if r.watched && !r.endBatch() {
		return false, nil
	}
	return true, err
}

// frame decodes and handles one frame.
func (r *reader) frame(f transport.Frame) (goOn bool, err error) {
	p := &r.packet
	p.Reset()
	ok, err := r.l.sess.Decode(f, p)
	if err != nil || !ok {
		return true, err
	}
	r.messages++
	r.size = len(f.Data)
	if r.l.rate != nil && !r.l.rate.allows() {
		return true, &wire.ProtocolError{Code: CloseTooManyRequests, Reason: "too many messages"}
	}
	return r.handle(p)
}

// handle does what a packet asks for, on this goroutine if it can.
func (r *reader) handle(p *wire.Packet) (goOn bool, err error) {
	l := r.l
	switch p.Type {
	case wire.Reply, wire.Error:
		c, err := l.addressee(p)
		if c != nil {
			c.answered(p)
		}
		return true, err
	case wire.Ping:
		return true, l.send(&wire.Packet{Type: wire.Pong, ID: p.ID, Key: p.Key}, sendAlways)
	case wire.Pong:
		return true, nil
	case wire.Hello:
		return true, l.hello(p)
	case wire.Welcome:
		return true, l.welcome(p)
	case wire.Refused:
		return true, l.refusedBy(p)
	case wire.Goodbye:
		if l.multi == nil {
			return true, badRequest("a goodbye on a link with one connection")
		}
		return true, l.goodbyeFrom(p)
	case wire.Message, wire.Call, wire.Subscribe, wire.Unsubscribe, wire.Publish, wire.Broadcast:
	default:
		return true, badRequest("a packet of unknown type")
	}
	if p.Kind == KindHello && l.unknown() {
		return true, l.helloByMessage(p)
	}
	c, err := l.addressee(p)
	if c == nil || err != nil {
		return true, err
	}
	if p.Err != nil {
		l.refuse(c, p)
		return true, nil
	}
	return r.request(c, p)
}

// unknown reports whether an accepted link waits for its client's hello.
func (l *link) unknown() bool {
	return l.phase.Load() == phaseOpening && l.dial == nil && l.multi == nil && !l.greeted
}

// refuse does without a handler what a request gets that its wire does not let in.
func (l *link) refuse(c *Conn, p *wire.Packet) {
	l.out.waitForRoom(l)
	l.srv.dropped(c, p.Kind, DropRefused)
	if p.ID == 0 || p.Type == wire.Message {
		l.srv.reportError(c, fmt.Errorf("polywire: %s %q: %w", p.Type, shown(p.Kind), &Error{Code: Code(p.Err.Code), Message: p.Err.Message}))
		return
	}
	answer := wire.Packet{Type: wire.Error, Namespace: c.label(), ID: p.ID, Key: p.Key, Err: p.Err}
	if l.send(&answer, sendOpen) != nil {
		l.srv.dropped(c, p.Kind, DropClosed)
	}
}

// addressee returns the connection that a packet is for; nil without an error
// when it has just ended.
func (l *link) addressee(p *wire.Packet) (*Conn, error) {
	if l.multi == nil {
		// To a dialled link things may be sent before its welcome.
		if l.phase.Load() != phaseOpen && l.dial == nil {
			return nil, &wire.ProtocolError{Code: CloseUnauthorized, Reason: "the first message must be a hello"}
		}
		return &l.conn, nil
	}
	c := l.connOf(p.Namespace)
	switch {
	case l.dial != nil:
		if l.conn.label() != p.Namespace {
			return nil, misplaced("a message for another namespace")
		}
		return &l.conn, nil
	case c != nil:
		if p.Type != wire.Reply && p.Type != wire.Error {
			l.multi.await(c)
		}
	case !l.multi.wasLeft(p.Namespace):
		return nil, misplaced("a message for a namespace that is not joined")
	}
	return c, nil
}

func badRequest(reason string) error {
	return &wire.ProtocolError{Code: CloseBadRequest, Reason: reason}
}

// request handles a packet inline, or queues it behind the handlers that run.
func (r *reader) request(c *Conn, p *wire.Packet) (goOn bool, err error) {
	l := r.l
	r.active = true
	if !r.watched {
		r.now = l.srv.watch.now()
	}
	if a := c.apart.Load(); a != nil && a.user != nil && !a.user.allows(&l.srv.cfg, r.now) {
		return true, &wire.ProtocolError{Code: CloseTooManyRequests, Reason: "too many messages of this user"}
	}
	req, err := c.newRequest(r.spare, p, r.now)
	r.spare = nil // until it is known that nobody has it
	if err != nil {
		return true, err
	}
	req.size = max(r.size, req.Size())
	if p.Position != "" && l.dial != nil {
		l.dial.moved(p.Room, p.Position)
	}
	if l.out.waitForRoom(l) {
		r.last = lap{}
	}
	// Only this goroutine can make a link busy that is not.
	if l.isBusy.Load() || l.srv.cfg.Concurrency > 1 {
		queued, err := l.queue(req)
		if queued || err != nil {
			return true, err
		}
	}
	if !r.watched {
		r.watched = true
		l.srv.watch.add(l, r.now)
	}
	req.clock = r.lap()
	l.current = req
	l.turn.Store(r.turn | turnHandling)
	l.serve(req) // asks for draining itself, now that a take-over sees the turn
	if !l.turn.CompareAndSwap(r.turn|turnHandling, r.turn|turnReading) {
		l.becomeWorker(req)
		return false, nil
	}
	l.current = nil
	if l.srv.sender == nil { // a pipe may keep it
		r.spare = req
	}
	if l.srv.swift() {
		r.last = lap{req.clock, r.messages, r.bytes}
	}
	if l.out.queued.Load() >= flushBytes {
		return r.flush(), nil
	}
	return true, nil
}

// queue puts a request behind the handlers that run, unless none does (any
// more) and it is to be handled inline.
func (l *link) queue(req *request) (queued bool, err error) {
	l.mu.Lock()
	inline := l.busy == nil && l.srv.cfg.Concurrency == 1
	refused := !inline && l.draining.Load()
	if !inline && !refused {
		err = l.enqueue(req)
	}
	l.mu.Unlock()
	if refused {
		l.serve(req) // which says so
	}
	return !inline, err
}

// endBatch sends the answers of a batch.
func (r *reader) endBatch() (goOn bool) {
	r.watched = false
	goOn = r.flush()
	if goOn {
		r.l.srv.watch.remove(r.l)
	}
	return goOn
}

// flush writes what is queued on this goroutine; a write that blocks is taken
// over like a handler.
func (r *reader) flush() (goOn bool) {
	l := r.l
	r.last = lap{}
	if !l.out.claim() {
		return true
	}
	l.turn.Store(r.turn | turnWriting)
	l.flush()
	return l.turn.CompareAndSwap(r.turn|turnWriting, r.turn|turnReading)
}

// takeOver lets a new goroutine read on, if the present one is in a handler or a write.
func (l *link) takeOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	turn := l.turn.Load()
	next := turn&^turnMask + turnStep
	switch turn & turnMask {
	case turnHandling:
		if !l.turn.CompareAndSwap(turn, next|turnReading) {
			return
		}
		b := l.becomeBusy()
		b.running++
		b.release = l.t.Detach()
		req := l.current
		l.current = nil
		b.opens(req)
		if req.answered.Load() && req.open.CompareAndSwap(true, false) {
			delete(b.open, req.callID()) // its answer was faster
		}
		req.watchDeadline()
		l.srv.workerStarts(l)
	case turnWriting:
		if !l.turn.CompareAndSwap(turn, next|turnReading) {
			return
		}
	default:
		return
	}
	l.srv.watch.remove(l)
	l.startFlush() // of what the batch has collected
	l.startReading(next | turnReading)
}

func (l *link) becomeBusy() *busy {
	if l.busy == nil {
		l.busy = &busy{open: make(map[callID]struct{})}
		l.isBusy.Store(true)
		l.busy.room.L = &l.mu
	}
	return l.busy
}

// opens notes that a call's id is in use.
func (b *busy) opens(req *request) {
	if req.call {
		b.open[req.callID()] = struct{}{}
		req.open.Store(true)
	}
}

// becomeWorker is the way of a goroutine whose reading was taken over: req is
// done, what is queued comes next.
func (l *link) becomeWorker(req *request) {
	l.mu.Lock()
	release := l.busy.release
	l.busy.release = nil
	l.mu.Unlock()
	if release != nil {
		release()
	}
	l.work(req)
}

// enqueue puts a request behind the running handlers, waiting for room, or
// starts another worker for it. l.mu is held; the request's bytes are copied.
func (l *link) enqueue(req *request) error {
	b := l.becomeBusy()
	if req.call {
		if _, twice := b.open[req.callID()]; twice {
			return badRequest("a call id is in use twice")
		}
	}
	req.own()
	if l.full(b, req, l.srv.cfg.InboxMessages) {
		l.held.Store(true)
		l.awaitRoom(b, req)
		l.held.Store(false)
	}
	if l.ending() && (l.dial == nil || req.Position() == "") { // a place that is noted is one up to which all was handled
		return nil // nothing new is handled
	}
	if l.busy != b { // all done while we waited
		b = l.becomeBusy()
	}
	b.opens(req)
	if b.running < l.srv.cfg.Concurrency {
		b.running++
		l.srv.workerStarts(l)
		l.srv.goes.Go(func() {
			req.begin()
			l.serve(req)
			l.work(req)
		})
		return nil
	}
	b.queue = append(b.queue, req)
	b.bytes += req.size
	return nil
}

// full reports whether a request has to wait for room. l.mu is held.
func (l *link) full(b *busy, req *request, most int) bool {
	return b.running >= l.srv.cfg.Concurrency && len(b.queue) > 0 && !l.ending() &&
		(len(b.queue) >= most || b.bytes+req.size > l.srv.cfg.MaxMessageBytes)
}

// awaitRoom waits for room for a request. While handlers wait for answers of the
// peer, which may be behind what it has asked itself, there is room for as many
// more as it may have open calls. l.mu is held.
func (l *link) awaitRoom(b *busy, req *request) {
	usual := l.srv.cfg.InboxMessages
	for l.full(b, req, usual) {
		asked := l.asked.Load()
		l.mu.Unlock()
		waits := false
		l.eachConn(func(c *Conn) { waits = waits || c.openCalls() > 0 })
		l.mu.Lock()
		if waits && !l.full(b, req, usual+l.srv.cfg.MaxOpenCalls) {
			return
		}
		if l.full(b, req, usual) && l.asked.Load() == asked {
			b.room.Wait()
		}
	}
}

// work handles what is queued, until nothing is. done is what this goroutine
// has handled last.
func (l *link) work(done *request) {
	for {
		l.mu.Lock()
		b := l.busy
		if done.open.CompareAndSwap(true, false) { // it was not answered
			delete(b.open, done.callID())
		}
		if t := done.deadline.Load(); t != nil {
			t.Stop() // one that a take-over has set at the last moment
		}
		if len(b.queue) == 0 {
			b.running--
			if b.running == 0 {
				l.busy = nil
				l.isBusy.Store(false)
			}
			b.room.Broadcast()
			drained := l.busy == nil && l.draining.Load()
			l.mu.Unlock()
			l.srv.workerEnds(l)
			if drained {
				l.depart()
			}
			return
		}
		req := b.queue[0]
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.bytes -= req.size
		b.room.Broadcast()
		l.mu.Unlock()
		req.begin()
		l.out.waitForRoom(l)
		l.serve(req)
		done = req
	}
}

// drain closes the link as soon as its running handlers are done.
func (l *link) drain() {
	l.draining.Store(true)
	l.takeOver() // a handler that runs inline becomes a worker, which closes
	l.mu.Lock()
	idle := l.busy == nil
	l.mu.Unlock()
	if idle {
		l.depart()
	}
}

// awayTime is how long a shutdown waits for peers that are to fetch its close
// frame and are not there: their way back may be closed already.
const awayTime = 500 * time.Millisecond

// depart closes the link for a shutdown.
func (l *link) depart() {
	g, gated := l.t.(transport.Gate)
	away := gated && !g.Ready()
	l.close(l.goodbye())
	if away {
		by := l.srv.wheel.In(awayTime)
		l.closeBy.Store(by)
		l.srv.wheel.Sooner(&l.timer, by)
	}
}

// goodbye is what a shutdown tells the peer: a dialled one is just left.
func (l *link) goodbye() *CloseError {
	if l.dial != nil {
		return &CloseError{Code: CloseNormal}
	}
	return &CloseError{Code: CloseShutdown, Reason: reasonShutdown}
}
