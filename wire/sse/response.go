package sse

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"
)

// response is a stream that goes through net/http, whose goroutine waits for
// its end. Its fields are under the connection's mu.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	remote  net.Addr
	tls     *tls.ConnectionState
	writing bool
	left    bool          // net/http has it back: w must not be touched
	over    chan struct{} // closed once the stream is
	ended   bool          // over is closed
}

// finish lets net/http have the response back.
func (r *response) finish() {
	if !r.ended {
		r.ended = true
		close(r.over)
	}
}

// abort is finish for a response that may be stuck in a write.
func (r *response) abort() {
	if !r.left {
		_ = r.control.SetWriteDeadline(time.Unix(1, 0)) // or the write ends with the client
	}
	r.finish()
}

// write writes without mu, and makes sure that it leaves at once.
func (r *response) write(bufs [][]byte) error {
	for _, b := range bufs {
		if _, err := r.w.Write(b); err != nil { //nolint:gosec // events are no page
			return err
		}
	}
	return r.control.Flush()
}

// borrow lets the stream go through a response until it ends, or ctx does.
func (c *conn) borrow(ctx context.Context, w http.ResponseWriter, control *http.ResponseController, prelude []byte) {
	c.mu.Lock()
	if c.phase == ended {
		c.mu.Unlock()
		return
	}
	r := &response{w: w, control: control, remote: c.open.remote, tls: c.open.tls, over: make(chan struct{})}
	pending := c.open.pending
	c.resp, c.open.pending, c.phase = r, nil, streaming
	c.broadcast()
	c.close()
	_ = c.respond([][]byte{prelude, pending}) // the end comes by ctx then
	select {
	case <-r.over:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != ended {
		c.phase = ended
		if c.err == nil {
			c.err = io.EOF
		}
		r.abort()
	}
	c.broadcast()
	for r.writing {
		c.changed.Wait()
	}
	r.left = true
}

// respond writes to the response. mu is held, and released.
func (c *conn) respond(bufs [][]byte) error {
	r := c.resp
	for r.writing {
		c.changed.Wait()
	}
	if c.phase == ended {
		c.mu.Unlock()
		return net.ErrClosed
	}
	r.writing = true
	last := c.last(bufs)
	c.mu.Unlock()
	err := r.write(bufs)
	c.mu.Lock()
	defer c.mu.Unlock()
	r.writing = false
	if last && err == nil {
		c.phase, c.err = ended, io.EOF
		r.finish()
	}
	c.broadcast()
	return err
}
