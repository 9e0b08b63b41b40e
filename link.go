package polywire

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/internal/wheel"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// link is an open transport, the session that speaks on it, and the
// connection that they carry. Its memory while idle is a designed number: what
// is needed only while something happens is allocated then.
//
// Locks: mu (handling), out.mu (sending) and conn.mu (state) are leaves, but
// mu may be held when out.mu is taken.
type link struct {
	srv       *Server
	t         transport.Conn
	sess      wire.Session
	wire      string
	dial      *dial  // what only a dialled link has; nil: accepted
	watchedAt uint32 // place in the watch, while a batch is handled
	format    uint32 // links of the same non-zero format share encoded bytes
	greeted   bool   // hello has come
	codes     atomic.Pointer[codeTable]

	turn    atomic.Uint64 // who reads, and what that goroutine does: see link_read.go
	current *request      // what the reader's handler works on
	mu      sync.Mutex
	busy    *busy       // handlers off the reading goroutine; nil: none
	isBusy  atomic.Bool // busy is there

	out outbox

	phase     atomic.Uint32 // phaseOpening, phaseOpen, phaseEnded
	asleep    atomic.Bool   // no goroutine reads: the poller watches
	opened    atomic.Bool   // it has been in phaseOpen
	held      atomic.Bool   // the reader waits for handlers to take what it has read
	draining  atomic.Bool   // no new requests; closes when none is left
	lastRead  atomic.Uint32 // wheel clock
	sleepless atomic.Uint32 // lastRead when it could not fall asleep
	pinged    atomic.Uint32 // wheel clock; 0: no answer is due
	closeBy   atomic.Uint32 // wheel clock; 0: not closing
	authorize uint32        // wheel clock: identity due by then
	timer     wheel.Entry
	cause     atomic.Pointer[CloseError]

	conn Conn
}

const (
	phaseOpening uint32 = iota // no identity yet
	phaseOpen
	phaseEnded
)

// frameError makes the CloseError of what a transport or session reported, and
// says whether the peer is to be told.
func frameError(err error) (why *CloseError, tell bool) {
	var closed *transport.CloseError
	var bad *wire.ProtocolError
	switch {
	case errors.As(err, &closed) && closed.Local:
		return &CloseError{Code: CloseCode(closed.Code), Reason: closed.Reason, cause: err}, true
	case errors.As(err, &closed):
		return &CloseError{Code: CloseCode(closed.Code), Reason: closed.Reason, Remote: true}, true
	case errors.As(err, &bad):
		return &CloseError{Code: bad.Code, Reason: bad.Reason, cause: err}, true
	case errors.Is(err, io.EOF):
		return &CloseError{Code: CloseConnectionClosed, Reason: "connection lost", Remote: true}, false
	}
	return &CloseError{Code: CloseConnectionClosed, Reason: "connection lost", cause: err}, false
}

// ending reports whether the link has ended or is about to.
func (l *link) ending() bool { return l.cause.Load() != nil }

// fail notes why the link ends; the first reason stays.
func (l *link) fail(why *CloseError) { l.cause.CompareAndSwap(nil, why) }

// close tells the peer that the link ends, after what is queued already, and
// waits for its answer without a goroutine. Nothing can be sent afterwards.
func (l *link) close(why *CloseError) {
	l.fail(why)
	l.closeBy.CompareAndSwap(0, l.srv.wheel.In(l.srv.cfg.CloseTimeout))
	l.srv.wheel.Move(&l.timer, l.closeBy.Load())
	l.sendClose(why.Code, why.Reason)
	l.letGo()
}

// letGo wakes a reader that waits behind handlers, to see that the link ends.
func (l *link) letGo() {
	if !l.held.Load() {
		return
	}
	l.mu.Lock()
	if l.busy != nil {
		l.busy.room.Broadcast()
	}
	l.mu.Unlock()
}

// kill ends the link without a word.
func (l *link) kill(why *CloseError) {
	l.fail(why)
	l.t.Close() //nolint:errcheck // it is over either way
	l.letGo()
	if l.asleep.CompareAndSwap(true, false) {
		// The reader's goroutine went to sleep, so its end is played here.
		l.srv.goes.Go(l.end)
	}
}

// end takes the link out of everything. The reader calls it, once.
func (l *link) end() {
	if l.phase.Swap(phaseEnded) == phaseEnded {
		return
	}
	l.t.Close() //nolint:errcheck // it is over either way
	l.fail(&CloseError{Code: CloseConnectionClosed, Reason: "connection lost"})
	l.srv.wheel.Remove(&l.timer)
	l.dropOutbox()
	l.conn.end(l.cause.Load())
	l.srv.unregister(l)
}

// lookSoon makes the link look at the clock when the first of all that it
// watches may be due.
func (l *link) lookSoon() {
	cfg := &l.srv.cfg
	first := min(cfg.SleepAfter, cfg.HeartbeatInterval, cfg.HeartbeatTimeout, cfg.WriteTimeout, cfg.CloseTimeout)
	l.srv.wheel.Move(&l.timer, l.srv.wheel.In(first))
}

// Due is the link's look at the clock: see [wheel.Timed].
func (l *link) Due(now uint32) uint32 {
	cfg := &l.srv.cfg
	if by := l.closeBy.Load(); by != 0 {
		if now >= by {
			l.kill(&CloseError{Code: CloseConnectionClosed, Reason: "the peer did not close"})
			return 0
		}
		return by
	}
	if l.phase.Load() == phaseOpening {
		if now >= l.authorize {
			l.close(&CloseError{Code: CloseStale, Reason: "no hello in time"})
			return l.closeBy.Load()
		}
		return l.authorize
	}
	if since := l.out.writingSince(); since != 0 && now-since >= wheel.Ticks(cfg.WriteTimeout) {
		l.kill(&CloseError{Code: CloseWriteError, Reason: "a write took too long"})
		return 0
	}
	return l.heartbeat(now)
}

// heartbeat pings a quiet peer, gives up on one that does not answer, and puts
// a quiet link to sleep.
func (l *link) heartbeat(now uint32) uint32 {
	cfg := &l.srv.cfg
	if l.held.Load() { // its answers wait behind what it has sent
		l.lastRead.Store(now)
	}
	last := l.lastRead.Load()
	quiet := now - min(last, now)
	interval, timeout := wheel.Ticks(cfg.HeartbeatInterval), wheel.Ticks(cfg.HeartbeatTimeout)
	if pinged := l.pinged.Load(); pinged != 0 {
		if last >= pinged {
			l.pinged.Store(0)
		} else if now-pinged >= timeout {
			// The peer is most likely gone: do not wait as for one that is there.
			l.closeBy.CompareAndSwap(0, now+2)
			l.close(&CloseError{Code: CloseNoPong, Reason: "no answer to a heartbeat"})
			return l.closeBy.Load()
		}
	} else if quiet >= interval {
		l.pinged.Store(now)
		l.sendControl(transport.Ping, nil)
	}
	next := last + interval
	if pinged := l.pinged.Load(); pinged != 0 {
		next = pinged + timeout
	}
	if !l.asleep.Load() && l.dial == nil {
		after := wheel.Ticks(cfg.SleepAfter)
		look := last + after
		if quiet >= after {
			look = now + after
			if l.sleepless.Load() != last {
				l.interrupt()
			}
		}
		next = min(next, look)
	}
	if l.out.writingSince() != 0 {
		next = min(next, now+1)
	}
	if call := l.conn.giveUp(now); call != 0 {
		next = min(next, call)
	}
	return max(next, now+1)
}

// interrupt asks the reading goroutine to go to sleep, if the transport can.
func (l *link) interrupt() {
	if s, ok := l.t.(transport.Sleeper); ok {
		s.Interrupt()
	}
}

// linger lets a close frame arrive: it says that nothing more will be sent, and
// throws away what still comes, since closing on unread bytes resets the
// connection and takes the frame with it.
func (l *link) linger() {
	nc := l.netConn()
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, nc, lingerBytes)
}

const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// netConn returns the network connection under the transport, nil if it has none.
func (l *link) netConn() net.Conn {
	if t, ok := l.t.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return nil
}
