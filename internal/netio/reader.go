// Package netio reads from and writes to network connections so that a quiet
// one costs nothing: it has no buffer while nothing comes, and a busy one
// reads all that is there, and writes all that is queued, in one system call.
package netio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/polywire/polywire/transport"
)

// past is a read deadline that wakes whoever is reading. It is not near enough
// to any real deadline to be one.
func past() time.Time { return time.Unix(1, 0) }

// Reader reads from a connection without holding a buffer while nothing comes.
// It must be initialised with Init where it stays: it may not be copied after.
//
// One goroutine at a time reads; Interrupt and Close may be called beside it.
type Reader struct {
	nc   net.Conn
	raw  syscall.RawConn // nil where readability cannot be awaited: TLS, pipes
	buf  *buffer         // nil when nothing is buffered
	r, w int             // buf.b[r:w] is unread
	wait *waiter         // nil while asleep
	full bool            // the last read of a nc without raw filled its buffer
}

// waiter is what a Reader needs only while it has a goroutine.
type waiter struct {
	ready func(fd uintptr) bool
	once  func(fd uintptr)
	total int
	err   error
}

// Init makes the reader read from nc, after the bytes in early, which are
// copied.
func (r *Reader) Init(nc net.Conn, early []byte) {
	*r = Reader{nc: nc, raw: rawConn(nc)}
	if len(early) > 0 {
		r.buf = newBuffer(len(early))
		r.w = copy(r.buf.b, early)
	}
}

// Conn returns the connection given to Init.
func (r *Reader) Conn() net.Conn { return r.nc }

// Buffered returns the unread bytes, in place. The caller may change them;
// they stay where they are until the next Fill.
func (r *Reader) Buffered() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.b[r.r:r.w:r.w]
}

// Discard marks the first n unread bytes as read. What they were stays valid
// until the next Fill.
func (r *Reader) Discard(n int) {
	r.r += min(n, r.w-r.r)
}

// Fill blocks until there is something to read, then reads all that is there,
// at least one byte, behind what is buffered. Total is the size of the frame
// in progress, header and all, or zero where that is not known: Fill goes on
// reading until it has that much as long as it need not block.
//
// It returns io.EOF when the peer has ended the link, transport.ErrInterrupted
// after Interrupt, and an error that is net.ErrClosed after Close. It never
// allocates more than 16 KiB or twice what has been received of the frame.
func (r *Reader) Fill(total int) error {
	var err error
	if r.raw != nil {
		err = r.fillReady(total)
	} else {
		err = r.fillBlocking(total)
	}
	if err == nil {
		return nil
	}
	r.shrink()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if err := r.nc.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		return transport.ErrInterrupted
	case errors.Is(err, io.ErrClosedPipe): // net.Pipe's word for it
		return net.ErrClosed
	}
	return err
}

// fillReady reads when the connection is readable.
func (r *Reader) fillReady(total int) error {
	w := r.wait
	if w == nil {
		w = &waiter{ready: r.read, once: r.readOnce}
		r.wait = w
	}
	w.total = total
	had := r.w - r.r
	err := r.raw.Read(w.ready)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		// Interrupted before it could look. Only who would block is; the
		// deadline stays for the next Fill.
		if r.raw.Control(w.once) == nil && r.w-r.r > had {
			err = nil
		}
	}
	if err == nil {
		err, w.err = w.err, nil
	}
	return err
}

// fillBlocking reads from connections that need a buffer to wait with.
func (r *Reader) fillBlocking(total int) error {
	size := smallBytes
	if r.full {
		size = blockBytes // there is probably more
	}
	for range 100 {
		room := r.room(total, size)
		n, err := r.nc.Read(room)
		r.w += n
		r.full = n == len(room)
		if n > 0 {
			return nil // an error will come again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// room returns where to read to: behind the unread bytes, in a buffer of at
// least size bytes that is not shared with anybody. It is never empty.
func (r *Reader) room(total, size int) []byte {
	n := r.w - r.r
	switch {
	case r.buf == nil:
		r.buf = takeBuffer(size)
	case n == len(r.buf.b) && n >= size:
		want := 2 * n
		if total > n {
			want = min(want, total)
		}
		r.move(takeBuffer(want))
	case len(r.buf.b) < size, len(r.buf.b) > size && n < size, r.buf.shared():
		r.move(takeBuffer(max(size, n+1)))
	case r.r > 0:
		copy(r.buf.b, r.buf.b[r.r:r.w])
		r.r, r.w = 0, n
	}
	return r.buf.b[r.w:]
}

// move puts the unread bytes into another buffer.
func (r *Reader) move(to *buffer) {
	n := copy(to.b, r.buf.b[r.r:r.w])
	r.buf.free()
	r.buf, r.r, r.w = to, 0, n
}

// shrink gives the buffer back, or keeps one of the size of the unread bytes
// when they are little: nobody may hold a large buffer by sending one byte.
func (r *Reader) shrink() {
	switch n := r.w - r.r; {
	case r.buf == nil:
	case n == 0:
		r.buf.free()
		r.buf, r.r, r.w = nil, 0, 0
	case n < len(r.buf.b)/4:
		r.move(newBuffer(n))
	}
}

// Detach leaves the memory of what Buffered has returned to the caller, who
// calls release once, from any goroutine. The reader goes on elsewhere.
func (r *Reader) Detach() (release func()) {
	b := r.buf
	if b == nil {
		return func() {}
	}
	if r.r == r.w {
		r.buf, r.r, r.w = nil, 0, 0
	} else {
		b.refs.Add(1)
	}
	return b.release
}

// Interrupt makes a Fill that is blocked, or else the next one that would
// block, return transport.ErrInterrupted.
func (r *Reader) Interrupt() {
	_ = r.nc.SetReadDeadline(past()) // fails on a closed connection, whose readers have been woken
}

// Idle returns what to watch for readability in place of calling Fill, and
// false where that is not possible or something is buffered. It lets go of all
// that only reading needs.
func (r *Reader) Idle() (syscall.RawConn, bool) {
	if r.raw == nil || r.w > r.r {
		return nil, false
	}
	r.shrink()
	r.wait = nil
	return r.raw, true
}

// Close closes the connection. It may be called at any time.
func (r *Reader) Close() error { return r.nc.Close() }
