package sse

import (
	"net"
	"strconv"
	"time"

	"github.com/polywire/polywire/internal/netio"
)

const (
	chunkEnd  = "\r\n"
	streamEnd = "\r\n0\r\n\r\n" // with the chunk of no length (RFC 9112 section 7.1)
)

// adopt makes the stream the connection's only use: the head of the response
// first, within the timeout, then what has waited for it.
func (c *conn) adopt(nc net.Conn, chunked bool, head, prelude []byte, timeout time.Duration) {
	c.mu.Lock()
	if c.phase == ended {
		c.mu.Unlock()
		_ = nc.Close() // too late
		return
	}
	c.in.Init(nc, nil)
	c.direct, c.chunked = true, chunked
	pending := c.open.pending
	last := c.last([][]byte{pending})
	c.open.pending = nil
	c.mu.Unlock()
	err := nc.SetWriteDeadline(time.Now().Add(timeout))
	if err == nil {
		err = c.writeDirect(head, last, [][]byte{prelude, pending})
	}
	if err == nil {
		err = nc.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		_ = nc.Close() // which ends the reading
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == answering {
		c.phase = streaming
	}
	c.broadcast()
	c.close()
}

// writeDirect writes to the connection: bufs as one chunk where there are such,
// behind head. One goroutine at a time calls it.
func (c *conn) writeDirect(head []byte, last bool, bufs [][]byte) error {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	if n == 0 {
		return nil
	}
	nc := c.in.Conn()
	var err error
	switch {
	case !c.chunked && head == nil:
		err = netio.Write(nc, bufs...)
	case !c.chunked:
		err = netio.Write(nc, append([][]byte{head}, bufs...)...)
	default:
		size := append(strconv.AppendUint(c.size[:0], uint64(n), 16), chunkEnd...)
		end := c.end[:len(chunkEnd)]
		if last {
			end = c.end[:]
		}
		if len(bufs) == 1 && head == nil {
			all := [3][]byte{size, bufs[0], end}
			err = netio.Write(nc, all[:]...)
			break
		}
		all := append(make([][]byte, 0, len(bufs)+3), head, size)
		err = netio.Write(nc, append(append(all, bufs...), end)...)
	}
	if last && err == nil {
		halfClose(nc)
	}
	return err
}

// halfClose lets a client know that nothing comes any more. It closes then,
// which is how the end of the link is seen here.
func halfClose(nc net.Conn) {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it has ended already then
	}
}
