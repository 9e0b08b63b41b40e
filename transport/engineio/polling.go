package engineio

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// polling is what a session has until it goes on with a WebSocket: what waits
// for the client's next GET, what its POST has brought, and the WebSocket that
// it tries out. At most one GET, one POST and one probe are under way.
type polling struct {
	c        *Conn
	noBinary bool   // the client takes text only
	jsonp    string // the beginning of each answer to a script element; empty: none

	mu          sync.Mutex
	changed     sync.Cond // of all that wait and wrote
	state       pollState
	closing     bool // a close frame was written
	interrupted bool
	probing     bool   // a WebSocket is being tried out
	out         []byte // neutral bytes for the next GET
	get         *get   // waits for an answer
	post        *post  // is being read, or handled
	batch       *batch // what it has brought, for the reader
	probe       *websocket.Conn
	noops       *time.Timer
	err         error         // once ended
	gone        chan struct{} // closed then

	reading *batch // the reader's own
}

type pollState uint8

const (
	pollOpen      pollState = iota
	pollSwitching           // the WebSocket is written what was waiting
	pollSwitched            // all goes on there
	pollEnded
)

// get is a poll. What it is answered is set before ready is closed.
type get struct {
	ready   chan struct{}
	neutral []byte
	refused *refusal
	status  int // in place of an answer
}

// post is a POST that is being read or handled.
type post struct {
	rc   *http.ResponseController
	read bool // its body has been
}

// batch is some of the frames of a POST.
type batch struct {
	frames []transport.Frame
	next   int
	done   chan struct{} // closed when the reader has handled them
}

// batchFrames bounds what a batch takes in memory beside the body.
const batchFrames = 64

func newPolling(c *Conn) *polling {
	p := &polling{c: c, gone: make(chan struct{})}
	p.changed.L = &p.mu
	return p
}

func (p *polling) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.get != nil && !p.closing || p.state == pollSwitched
}

// next returns the reader's next frame.
func (p *polling) next() (transport.Frame, bool) {
	b := p.reading
	if b == nil || b.next == len(b.frames) {
		return transport.Frame{}, false
	}
	b.next++
	return b.frames[b.next-1], true
}

// wait blocks until there are frames, or the session goes on elsewhere. The
// reader has handled all that it has taken.
func (p *polling) wait() (switched bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reading != nil && p.reading.next == len(p.reading.frames) {
		close(p.reading.done)
		p.reading = nil
	}
	for p.reading == nil {
		switch {
		case p.batch != nil:
			p.reading, p.batch = p.batch, nil
		case p.state == pollEnded:
			return false, p.err
		case p.state == pollSwitched && p.post == nil:
			if p.interrupted {
				p.c.ws.Load().Interrupt()
			}
			return true, nil
		case p.interrupted:
			p.interrupted = false
			return false, transport.ErrInterrupted
		default:
			p.changed.Wait()
		}
	}
	return false, nil
}

func (p *polling) interrupt() {
	p.mu.Lock()
	p.interrupted = true
	p.changed.Broadcast()
	p.mu.Unlock()
}

// write takes neutral bytes for the client's next GET, and returns how many of
// the slices it has taken: the others are for the WebSocket.
func (p *polling) write(bytes [][]byte) (taken int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range bytes {
		for p.full() {
			p.flush()
			if p.full() {
				p.changed.Wait()
			}
		}
		switch {
		case p.state == pollEnded:
			return i, net.ErrClosed
		case p.state == pollSwitched:
			return i, nil
		case p.closing:
			continue // nothing follows a close frame
		}
		if err := p.queue(b); err != nil {
			return i, err
		}
	}
	p.flush()
	return len(bytes), nil
}

// full reports whether a writer has to wait. p.mu is held.
func (p *polling) full() bool {
	return p.state == pollSwitching || p.state == pollOpen && len(p.out) >= p.c.srv.o.PollBytes
}

// queue appends whole frames to what waits, up to a close frame. p.mu is held.
func (p *polling) queue(b []byte) error {
	for rest := b; len(rest) > 0; {
		op, _, next, err := cutFrame(rest)
		if err != nil {
			return err
		}
		if op == transport.Close {
			p.out = append(p.out, b[:len(b)-len(rest)]...)
			p.closing = true
			return nil
		}
		rest = next
	}
	p.out = append(p.out, b...)
	return nil
}

// flush answers the GET that waits, if there is something to say. p.mu is held.
func (p *polling) flush() {
	switch {
	case p.get == nil:
	case len(p.out) > 0:
		out := p.out
		p.out = nil
		p.release(out)
	case p.closing:
		p.finish(io.EOF, kindClose)
	}
}

// release answers the GET that waits. p.mu is held.
func (p *polling) release(neutral []byte) {
	p.get.neutral = neutral
	close(p.get.ready)
	p.get = nil
	p.changed.Broadcast()
}

// end ends the session for the reason that the reader is told, unless it has
// ended or goes on with a WebSocket. A GET that waits is answered with a last
// packet.
func (p *polling) end(err error, last kind) {
	p.mu.Lock()
	if p.state == pollOpen {
		p.finish(err, last)
	}
	p.mu.Unlock()
}

// close is end on behalf of this side, whatever the session does.
func (p *polling) close() {
	p.mu.Lock()
	p.finish(net.ErrClosed, kindClose)
	p.mu.Unlock()
}

// finish ends the session. p.mu is held.
func (p *polling) finish(err error, last kind) {
	if p.state == pollEnded {
		return
	}
	p.c.leave() // the client's next request must find nothing
	p.state, p.err = pollEnded, err
	close(p.gone)
	p.out, p.batch = nil, nil
	if p.get != nil {
		p.release(appendControl(nil, p.c.version, last, ""))
	}
	if p.post != nil && !p.post.read {
		_ = p.post.rc.SetReadDeadline(time.Unix(1, 0)) // its own deadline is the second best
	}
	if p.probe != nil {
		p.probe.Interrupt() // who reads it closes it
	}
	p.stopNoops()
	p.changed.Broadcast()
}

// stopNoops ends the answering of polls that a probe has begun. p.mu is held.
func (p *polling) stopNoops() {
	if p.noops != nil {
		p.noops.Stop()
		p.noops = nil
	}
}

// poll takes a GET. It is answered when its ready is closed, which may be so
// already.
func (p *polling) poll() *get {
	g := &get{ready: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == pollEnded:
		g.refused = refusalOf(codeSession)
	case p.state != pollOpen:
		g.refused = refusalOf(codeBadRequest)
	case p.get != nil:
		p.finish(cut(reasonError, errOverlap), kindClose)
		g.status = http.StatusBadRequest
	case p.closing && len(p.out) == 0:
		g.neutral = appendControl(g.neutral, p.c.version, kindNoop, "")
		g.neutral = appendControl(g.neutral, p.c.version, kindClose, "")
		p.finish(io.EOF, kindClose)
	default:
		p.get = g
		p.flush()
		return g
	}
	close(g.ready)
	return g
}

// abandon ends the session of a GET that its client has given up.
func (p *polling) abandon(g *get) {
	p.mu.Lock()
	if p.get == g {
		p.get = nil
	}
	p.mu.Unlock()
	p.end(cut(reasonError, errGivenUp), kindClose)
}

// begin takes a POST, or says how to answer it.
func (p *polling) begin(po *post) (refused *refusal, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == pollEnded:
		refused = refusalOf(codeSession)
	case p.state != pollOpen:
		refused = refusalOf(codeBadRequest)
	case p.post != nil:
		p.finish(cut(reasonError, errOverlap), kindClose)
		status = http.StatusBadRequest
	default:
		p.post = po
	}
	return refused, status
}

// readBy moves the deadline of the POST's body.
func (p *polling) readBy(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != pollEnded { // else somebody has cut it off
		_ = p.post.rc.SetReadDeadline(t) // a writer without deadlines is its owner's affair
	}
}

// bodyRead notes that the body of the POST has been read. False: the session
// has ended meanwhile.
func (p *polling) bodyRead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.post.read = true
	return p.state != pollEnded
}

// done is the end of the POST.
func (p *polling) done() {
	p.mu.Lock()
	p.post = nil
	p.changed.Broadcast()
	p.mu.Unlock()
}

// errGone is why a POST is not handled to its end.
var errGone = errors.New("engineio: the session has ended")

// deliver gives frames to the reader and waits until it has handled them.
func (p *polling) deliver(ctx context.Context, frames []transport.Frame) error {
	if len(frames) == 0 {
		return nil
	}
	b := &batch{frames: frames, done: make(chan struct{})}
	p.mu.Lock()
	if p.state == pollEnded {
		p.mu.Unlock()
		return errGone
	}
	p.batch = b
	p.changed.Broadcast()
	p.mu.Unlock()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		p.end(cut(reasonError, errGivenUp), kindClose)
	case <-p.gone:
		select {
		case <-b.done:
			return nil
		default:
		}
	}
	return errGone
}

// closedInOrder reports whether the session has ended after its close was
// taken by the client.
func (p *polling) closedInOrder() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == pollEnded && p.err == io.EOF //nolint:errorlint // exactly that
}
