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
// connection that they carry, or the first of several. Its memory while idle is a designed number: what
// is needed only while something happens is allocated then.
//
// Locks: mu (handling), out.mu (sending) and conn.mu (state) are leaves, but
// mu may be held when out.mu is taken.
type link struct {
	srv       *Server
	t         transport.Conn
	sess      wire.Session
	wire      *wireCounters
	dial      *dial  // what only a dialled link has; nil: accepted
	watchedAt uint32 // place in the watch, while a batch is handled
	format    uint32 // links of the same non-zero format share encoded bytes
	greeted   bool   // hello has come
	paced     bool   // the transport prescribes the heartbeat
	arguments bool   // the session takes several arguments
	curt      bool   // the peer does not answer room operations
	perAddr   bool   // counted among those of its address
	multi     *multi // what links with namespaces have; nil on others
	rate      *rate  // bounds the messages; nil: nothing does
	codes     atomic.Pointer[codeTable]

	turn    atomic.Uint64 // who reads, and what that goroutine does: see link_read.go
	current *request      // what the reader's handler works on
	mu      sync.Mutex
	busy    *busy       // handlers off the reading goroutine; nil: none
	isBusy  atomic.Bool // busy is there

	out outbox

	phase     atomic.Uint32 // phaseOpening, phaseOpen, phaseEnded
	asleep    atomic.Bool   // no goroutine reads: the poller watches
	held      atomic.Bool   // the reader waits for handlers to take what it has read
	asked     atomic.Uint32 // calls to the peer so far
	draining  atomic.Bool   // no new requests; closes when none is left
	lastRead  atomic.Uint32 // wheel clock
	sleepless atomic.Uint32 // lastRead when it could not fall asleep
	pinged    atomic.Uint32 // wheel clock; 0: no answer is due
	lastBeat  atomic.Uint32 // wheel clock of the last heartbeat, where they are prescribed
	closeBy   atomic.Uint32 // wheel clock; 0: not closing
	counts    linkCounters
	authorize uint32 // wheel clock: identity due by then
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
func (l *link) kill(why *CloseError) { _ = l.cutOff(why) } // it is over either way

// cutOff is kill, and says what went wrong when the transport was closed.
func (l *link) cutOff(why *CloseError) error {
	l.fail(why)
	err := l.t.Close()
	l.letGo()
	if l.asleep.CompareAndSwap(true, false) {
		// The reader's goroutine went to sleep, so its end is played here.
		l.srv.goes.Go(l.end)
	}
	return err
}

// end takes the link out of everything. The reader calls it, once.
func (l *link) end() {
	switch l.phase.Swap(phaseEnded) {
	case phaseEnded:
		return
	case phaseOpening:
		l.srv.limits.opening.Add(-1)
	}
	l.t.Close() //nolint:errcheck // it is over either way
	l.fail(&CloseError{Code: CloseConnectionClosed, Reason: "connection lost"})
	l.srv.wheel.Remove(&l.timer)
	l.dropOutbox()
	free := true
	if l.multi != nil {
		var conns []*Conn
		conns, free = l.multi.end()
		for _, c := range conns {
			c.finish(l.cause.Load())
		}
	}
	if free { // else who decides about it does this
		l.conn.finish(l.cause.Load())
	}
	l.srv.unregister(l)
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
	if _, gated := l.t.(transport.Gate); gated && nc == nil {
		l.fetched()
		return
	}
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, nc, lingerBytes)
}

// fetched waits until a peer that fetches what it is told has fetched the close
// frame, or the time for that is over.
func (l *link) fetched() {
	for {
		_, more, err := l.t.Next()
		if err == nil && !more {
			err = l.t.Wait()
		}
		if err != nil && !errors.Is(err, transport.ErrInterrupted) {
			return
		}
	}
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
