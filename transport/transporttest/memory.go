package transporttest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// DefaultBufferBytes is what a direction of an in-memory connection holds when
// nothing else was asked for.
const DefaultBufferBytes = 64 << 10

// ConnPair returns both ends of an in-memory connection that behaves like one
// over loopback TCP: each direction holds up to bufferBytes (0 or less: 64 KiB),
// then Write blocks; deadlines work; what was written before Close can still be
// read, then comes io.EOF. Writing to an end whose peer has closed fails with
// io.ErrClosedPipe, using a closed end with net.ErrClosed.
//
// Everything that blocks is durably blocking in the sense of testing/synctest,
// and deadlines follow the bubble's time, provided that the pair was made
// inside the bubble. Methods may be called from many goroutines at once; bytes
// of one Write stay together.
func ConnPair(bufferBytes int) (a, b net.Conn) {
	return newPair(bufferBytes, loopback(1), loopback(2))
}

func newPair(bufferBytes int, addrA, addrB net.Addr) (a, b net.Conn) {
	if bufferBytes <= 0 {
		bufferBytes = DefaultBufferBytes
	}
	ab, ba := newHalf(bufferBytes), newHalf(bufferBytes)
	return &memoryConn{in: ba, out: ab, local: addrA, remote: addrB},
		&memoryConn{in: ab, out: ba, local: addrB, remote: addrA}
}

// loopback makes addresses that code which parses host and port understands.
func loopback(port int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
}

type memoryConn struct {
	in, out       *half
	local, remote net.Addr
}

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memoryConn) LocalAddr() net.Addr         { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr        { return c.remote }

func (c *memoryConn) Close() error {
	c.in.close(&c.in.readClosed)
	c.out.close(&c.out.writeClosed)
	return nil
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	return c.in.setDeadline(&c.in.readBy, &c.in.readClosed, t)
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	return c.out.setDeadline(&c.out.writeBy, &c.out.writeClosed, t)
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// half is one direction: one end writes to it, the other reads from it.
type half struct {
	turn  chan struct{} // held by the writer whose bytes stay together; a mutex would not be durably blocking
	limit int

	mu          sync.Mutex
	changed     sync.Cond // of mu
	buf         []byte    // buf[off:] has not been read
	off         int
	readClosed  bool // the reading end has been closed
	writeClosed bool // the writing end has been closed
	readBy      deadline
	writeBy     deadline
}

// deadline is guarded by the half that it is part of.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func newHalf(limit int) *half {
	h := &half{turn: make(chan struct{}, 1), limit: limit}
	h.changed.L = &h.mu
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readClosed:
			return 0, net.ErrClosed
		case h.readBy.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case h.off < len(h.buf):
			return h.take(p), nil
		case h.writeClosed:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) take(p []byte) int {
	n := copy(p, h.buf[h.off:])
	h.off += n
	if h.off == len(h.buf) {
		h.buf, h.off = h.buf[:0], 0
	}
	h.changed.Broadcast()
	return n
}

func (h *half) write(p []byte) (n int, err error) {
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writeClosed:
			return n, net.ErrClosed
		case h.readClosed:
			return n, io.ErrClosedPipe
		case h.writeBy.passed:
			return n, os.ErrDeadlineExceeded
		}
		k := h.put(p[n:])
		n += k
		if n == len(p) {
			return n, nil
		}
		if k == 0 {
			h.changed.Wait()
		}
	}
}

// put takes as much of p as there is room for.
func (h *half) put(p []byte) int {
	n := min(h.limit-(len(h.buf)-h.off), len(p))
	if n == 0 {
		return 0
	}
	if h.off > 0 && len(h.buf)+n > cap(h.buf) {
		h.buf = h.buf[:copy(h.buf, h.buf[h.off:])]
		h.off = 0
	}
	h.buf = append(h.buf, p[:n]...)
	h.changed.Broadcast()
	return n
}

// close sets one of the closed flags.
func (h *half) close(flag *bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*flag = true
	if h.readClosed {
		h.buf, h.off = nil, 0
		h.readBy.set(nil)
	}
	if h.writeClosed {
		h.writeBy.set(nil)
	}
	h.changed.Broadcast()
}

func (h *half) setDeadline(d *deadline, closed *bool, t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if *closed {
		return net.ErrClosed
	}
	d.set(nil)
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		d.passed = true
		h.changed.Broadcast()
	default:
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if d.timer == timer { // else another deadline came meanwhile
				d.passed = true
				h.changed.Broadcast()
			}
		})
		d.set(timer)
	}
	return nil
}

func (d *deadline) set(timer *time.Timer) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = timer, false
}
