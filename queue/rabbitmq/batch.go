package rabbitmq

import (
	"net"
	"sync"
)

const (
	batchFull = 64 << 10  // bytes at which writers wait
	batchKeep = 256 << 10 // larger buffers are not kept
)

// batchConn is a connection whose writes return before they are on the wire:
// what comes while a write is in progress leaves with the next one. The library
// writes every publish and every ack by itself, and each would cost a system
// call here and a wake-up at the broker. A write that fails shows as the end of
// the connection; what was lost with it is unconfirmed, or comes again.
type batchConn struct {
	net.Conn

	mu     sync.Mutex
	moved  *sync.Cond // the buffer has grown or was taken, or the end has come
	buf    []byte
	err    error
	closed bool
	done   chan struct{} // closed when the writer has ended
}

func newBatchConn(nc net.Conn) *batchConn {
	c := &batchConn{Conn: nc, done: make(chan struct{})}
	c.moved = sync.NewCond(&c.mu)
	go c.run() // ended by Close
	return c
}

// Write implements net.Conn. It waits while very much is unwritten.
func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.buf) >= batchFull && c.err == nil && !c.closed {
		c.moved.Wait()
	}
	switch {
	case c.err != nil:
		return 0, c.err
	case c.closed:
		return 0, net.ErrClosed
	}
	if len(c.buf) == 0 {
		defer c.moved.Broadcast()
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

// run writes.
func (c *batchConn) run() {
	defer close(c.done)
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.buf) == 0 && !c.closed {
			c.moved.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		batch := c.buf
		c.buf = spare[:0]
		c.moved.Broadcast()
		c.mu.Unlock()

		_, err := c.Conn.Write(batch)
		if spare = batch; cap(spare) > batchKeep {
			spare = nil
		}
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.moved.Broadcast()
			c.mu.Unlock()
			_ = c.Conn.Close() // the reader learns it, too
			return
		}
	}
}

// Close implements net.Conn. What is unwritten is lost.
func (c *batchConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.moved.Broadcast()
	c.mu.Unlock()
	err := c.Conn.Close()
	<-c.done
	return err
}
