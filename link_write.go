package polywire

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

const (
	// flushBytes is how much a batch may collect before it is written.
	flushBytes = 64 << 10
	// shareBytes is the size from which an encoded message for many is queued
	// by reference; copying a smaller one is cheaper than another vector.
	shareBytes = 4 << 10
	// keepBytes is the largest write buffer that goes back to the pool.
	keepBytes = 64 << 10
)

// outbox is what waits to be written to a link. Whoever finds it idle starts
// the flush; all that is queued meanwhile leaves with the next write.
type outbox struct {
	mu       sync.Mutex
	buf      *buffer  // frames in order, after segs; nil: none
	segs     [][]byte // earlier frames, where some are shared by reference
	messages int      // in buf and segs
	flushing bool     // somebody writes, or is about to
	closing  bool     // the close frame is queued: nothing may follow
	dead     bool     // nothing is written any more
	writing  uint32   // wheel clock of the beginning of the write in progress; 0: none
	changed  *changes // nil: nobody has waited yet

	queued atomic.Int64 // bytes, also those being written
}

// buffer is a pooled slice. one is it alone, as the argument of a write that
// would otherwise allocate it.
type buffer struct {
	b   []byte
	one [1][]byte
}

// scratch is what encoding needs besides the bytes.
type scratch struct {
	w     transport.Writer
	p     wire.Packet
	flags sendFlags
	bytes int // of the frames that were made last
}

// sendMode says what may be sent when.
type sendMode uint8

const (
	sendOpen   sendMode = iota // only on an open connection
	sendAlways                 // also during the opening
)

// send is sendWith for a packet that is not in a scratch.
func (l *link) send(p *wire.Packet, mode sendMode) error {
	sc := l.srv.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool has nothing else
	sc.p = *p
	err := l.sendWith(sc, mode)
	sc.p.Reset()
	l.srv.scratch.Put(sc)
	return err
}

// sendWith encodes the packet in sc into the outbox. Errors: ErrConnClosed,
// ErrSlowConsumer, or what Encode said.
func (l *link) sendWith(sc *scratch, mode sendMode) error {
	if mode == sendOpen && l.dial == nil && l.phase.Load() == phaseOpening {
		return ErrConnClosed
	}
	o := &l.out
	o.mu.Lock()
	if o.closing || o.dead {
		o.mu.Unlock()
		return l.closedError()
	}
	if sc.flags.inTurn && o.queued.Load() > int64(l.srv.cfg.OutboxBytes/2) {
		o.mu.Unlock()
		return errNoRoom
	}
	b := l.srv.ensure(&o.buf)
	before := len(b.b)
	sc.w.Reset(l.framer(sc.flags), b.b)
	err := l.sess.Encode(&sc.w, &sc.p)
	if err == nil {
		b.b = sc.w.Bytes()
	}
	sc.w = transport.Writer{}
	if err != nil {
		l.trim()
		o.mu.Unlock()
		return fmt.Errorf("polywire: %s cannot say this %s: %w", l.wire.name, sc.p.Type, err)
	}
	sc.bytes = len(b.b) - before
	return l.queuedMore(sc.bytes, 1)
}

// writable reports whether what is sent now would leave at once: a volatile
// message is for such peers only.
func (l *link) writable() bool {
	if g, ok := l.t.(transport.Gate); ok && !g.Ready() {
		return false
	}
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return !l.out.flushing
}

// framer returns what makes the frames of a message.
func (l *link) framer(flags sendFlags) transport.Framer {
	f := l.t.Framer()
	if flags.uncompressed {
		if c, ok := f.(transport.Compressor); ok {
			return c.Uncompressed()
		}
	}
	return f
}

// sendBytes queues frames that were encoded for all links of this one's format.
func (l *link) sendBytes(frames []byte) error {
	o := &l.out
	o.mu.Lock()
	if o.closing || o.dead {
		o.mu.Unlock()
		return l.closedError()
	}
	if len(frames) < shareBytes {
		b := l.srv.ensure(&o.buf)
		b.b = append(b.b, frames...)
	} else {
		if o.buf != nil {
			o.segs = append(o.segs, o.buf.b) // the pool loses this buffer
			o.buf = nil
		}
		o.segs = append(o.segs, frames)
	}
	return l.queuedMore(len(frames), 1)
}

// queuedMore counts what was queued, starts the flush if nobody is at it, and
// closes a link that is over its bound. out.mu is held, and released.
func (l *link) queuedMore(bytes, messages int) error {
	o := &l.out
	o.messages += messages
	queued := o.queued.Add(int64(bytes))
	stripe := l.counted().queued.Add(int64(bytes))
	most := int64(l.srv.cfg.OutboxBytes)
	full := queued > most && queued-int64(bytes) > most/2 // a message over the bound may pass where little waits
	if !o.closing && (full || l.srv.overflows(stripe)) {
		lost := l.discard()
		o.mu.Unlock()
		l.tooSlow(lost - messages) // whoever queued the last one is told by the error
		return ErrSlowConsumer
	}
	// While a handler runs on the reading goroutine, the batch flushes when it is done.
	if !o.flushing && l.turn.Load()&turnMask != turnHandling {
		o.flushing = true
		l.srv.goes.Go(l.flush)
	}
	o.mu.Unlock()
	return nil
}

// slowCloseTime is what a slow consumer has to read what is being written to
// it, and the close frame behind.
const slowCloseTime = 2 * time.Second

// tooSlow closes a link whose queue was thrown away.
func (l *link) tooSlow(lost int) {
	l.srv.counters.slow.Add(1)
	l.closeBy.CompareAndSwap(0, l.srv.wheel.In(slowCloseTime))
	l.close(&CloseError{Code: CloseSlow, Reason: "slow consumer", cause: ErrSlowConsumer})
	for range lost {
		l.srv.dropped(&l.conn, "", DropSlow)
	}
}

// discard throws away what waits behind the write in progress, and returns how
// many messages that were. out.mu is held.
func (l *link) discard() (messages int) {
	o := &l.out
	n := 0
	for _, s := range o.segs {
		n += len(s)
	}
	if o.buf != nil {
		n += len(o.buf.b)
		l.srv.recycle(o.buf)
	}
	messages = o.messages
	o.buf, o.segs, o.messages = nil, nil, 0
	o.queued.Add(-int64(n))
	l.counted().queued.Add(-int64(n))
	return messages
}

// trim gives back a buffer that an encoder left empty. out.mu is held.
func (l *link) trim() {
	if l.out.buf != nil && len(l.out.buf.b) == 0 {
		l.srv.recycle(l.out.buf)
		l.out.buf = nil
	}
}

// closedError is why nothing can be sent.
func (l *link) closedError() error {
	if why := l.cause.Load(); why != nil {
		return why
	}
	return ErrConnClosed
}

// sendControl queues a frame about the link.
func (l *link) sendControl(t transport.FrameType, payload []byte) {
	l.out.mu.Lock()
	l.control(t, payload)
}

// control is sendControl with out.mu held, which it releases.
func (l *link) control(t transport.FrameType, payload []byte) {
	o := &l.out
	if o.closing || o.dead {
		o.mu.Unlock()
		return
	}
	b := l.srv.ensure(&o.buf)
	before := len(b.b)
	f := l.t.Framer()
	out, err := f.End(append(f.Begin(b.b), payload...), before, t)
	if err != nil {
		l.trim()
		o.mu.Unlock()
		return
	}
	b.b = out
	o.closing = t == transport.Close
	_ = l.queuedMore(len(b.b)-before, 0) // a slow consumer has been closed
}

// sendClose queues the close frame, after which nothing can be sent.
func (l *link) sendClose(code CloseCode, reason string) {
	payload := transport.AppendClosePayload(nil, uint16(code), reason)
	l.sendControl(transport.Close, payload)
}

// claim takes the flush if there is something to write and nobody writes.
func (o *outbox) claim() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flushing || o.dead || (o.buf == nil && len(o.segs) == 0) {
		return false
	}
	o.flushing = true
	return true
}

// startFlush writes what is queued on a goroutine of its own.
func (l *link) startFlush() {
	if l.out.claim() {
		l.srv.goes.Go(l.flush)
	}
}

// writingSince returns the wheel clock of the beginning of the write in
// progress, 0 if there is none.
func (o *outbox) writingSince() uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writing
}

// flush writes until nothing is queued. The caller has claimed it.
func (l *link) flush() {
	o := &l.out
	for {
		o.mu.Lock()
		o.signal() // there is more room than before the last write
		buf, segs, messages := o.buf, o.segs, o.messages
		o.buf, o.segs, o.messages = nil, nil, 0
		if o.dead || (buf == nil && len(segs) == 0) {
			o.flushing, o.writing = false, 0
			o.mu.Unlock()
			return
		}
		o.writing = max(1, l.srv.wheel.Now())
		if o.changed != nil {
			o.changed.batches++
		}
		o.mu.Unlock()
		if l.asleep.Load() { // its timer is far ahead
			l.srv.wheel.Sooner(&l.timer, l.srv.wheel.In(l.srv.cfg.WriteTimeout))
		}
		n, err := l.write(buf, segs)
		if buf != nil {
			l.srv.recycle(buf)
		}
		o.queued.Add(-int64(n))
		l.sent(messages, n)
		if err != nil {
			l.writeFailed(err)
			return
		}
	}
}

func (l *link) write(buf *buffer, segs [][]byte) (n int, err error) {
	if len(segs) == 0 {
		buf.one[0] = buf.b
		return len(buf.b), l.t.Write(buf.one[:]...)
	}
	if buf != nil {
		segs = append(segs, buf.b)
	}
	for _, s := range segs {
		n += len(s)
	}
	return n, l.t.Write(segs...)
}

// writeFailed ends the link. What was queued is lost with it.
func (l *link) writeFailed(err error) {
	o := &l.out
	o.mu.Lock()
	o.dead, o.flushing, o.writing = true, false, 0
	o.signal()
	o.mu.Unlock()
	l.kill(&CloseError{Code: CloseWriteError, Reason: "write failed", cause: err})
}

// dropOutbox throws away what is queued on a link that has ended.
func (l *link) dropOutbox() {
	o := &l.out
	o.mu.Lock()
	o.dead = true
	lost := l.discard()
	o.signal()
	o.mu.Unlock()
	for range lost {
		l.srv.dropped(&l.conn, "", DropClosed)
	}
}

// signal tells those who wait for the outbox. mu is held.
func (o *outbox) signal() {
	if o.changed != nil {
		o.changed.Broadcast()
	}
}

// waitUntil blocks until ok, which is asked with mu held, or the outbox is dead.
func (o *outbox) waitUntil(ok func() bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := o.awaited()
	for !o.dead && !ok() {
		changed.Wait()
	}
}

// waitFlushed blocks until everything queued has been written, or never will be.
func (l *link) waitFlushed() {
	o := &l.out
	if o.claim() {
		l.flush()
	}
	o.waitUntil(func() bool { return !o.flushing })
}

// waitForRoom blocks while the outbox is more than half full: a peer that
// asks faster than it reads is held back, not closed. The link's write
// timeout bounds it.
func (o *outbox) waitForRoom(l *link) (waited bool) {
	return o.waitForRoomOr(l, func() bool { return false })
}

func (o *outbox) waitForRoomOr(l *link, enough func() bool) (waited bool) {
	half := int64(l.srv.cfg.OutboxBytes / 2)
	if o.queued.Load() <= half {
		return false
	}
	l.startFlush()
	o.waitUntil(func() bool { return o.queued.Load() <= half || !o.flushing || enough() })
	return true
}

// ensure returns the buffer at *at, a pooled one if there is none.
func (s *Server) ensure(at **buffer) *buffer {
	if *at == nil {
		*at = s.buffers.Get().(*buffer) //nolint:forcetypeassert // the pool has nothing else
	}
	return *at
}

// recycle gives a buffer back to the pool.
func (s *Server) recycle(b *buffer) {
	if cap(b.b) > keepBytes {
		return
	}
	b.b = b.b[:0]
	s.buffers.Put(b)
}
