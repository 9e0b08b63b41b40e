//go:build unix

package load

import (
	"errors"
	"io"
	"syscall"
)

// pump reads until the connection fails or is interrupted. All reading is done
// inside one call of RawConn.Read: when less came than there was room for, the
// socket is empty, and waiting in that same call saves the read that only finds
// that out. (A new call of Read could not skip it: it forgets that something
// came since.) No buffer is held while waiting.
func (c *conn) pump() error {
	raw, err := c.nc.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) (stop bool) {
		more := true
		for more && failed == nil {
			more, failed = c.readOnce(int(fd))
		}
		return failed != nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// readOnce reads what is there and handles it. more is false when nothing is
// left to read.
func (c *conn) readOnce(fd int) (more bool, err error) {
	buf := c.r.buffers.get()
	defer c.r.buffers.put(buf)
	b := *buf
	kept := copy(b, c.left)
	n, err := syscall.Read(fd, b[kept:])
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false, nil
	case errors.Is(err, syscall.EINTR):
		return true, nil
	case err != nil:
		return false, err
	case n == 0:
		return false, io.EOF
	}
	more = kept+n == len(b)
	b = b[:kept+n]
	used, err := c.batch(b)
	c.left = append(c.left[:0], b[used:]...)
	return more, err
}

// hungUp reports whether the peer has ended the connection: with a short read
// followed by a wait, an end that came together with the last bytes has not
// been seen.
func hungUp(nc socket) bool {
	raw, err := nc.SyscallConn()
	if err != nil {
		return true
	}
	var ended bool
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		ended = (n == 0 && err == nil) || errors.Is(err, syscall.ECONNRESET)
	})
	return ended || err != nil
}
