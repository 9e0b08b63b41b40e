//go:build unix

package netio

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawConn returns the raw connection of those that can be read from by a
// system call, and nil for all others.
func rawConn(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil // a wrapper's own Read must not be passed by
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// read reads all that is there. It reports false when that is nothing, after
// giving the buffer back.
func (r *Reader) read(fd uintptr) bool {
	w := r.wait
	for got := false; ; {
		room := r.room(w.total, blockBytes)
		n, err := syscall.Read(int(fd), room)
		switch {
		case n > 0:
			r.w += n
			if got = true; n < len(room) || w.total <= r.w-r.r {
				return true
			}
		case err == syscall.EINTR:
		case got:
			return true // an error will come again
		case err == syscall.EAGAIN:
			r.shrink()
			return false
		case err == nil:
			w.err = io.EOF
			return true
		default:
			w.err = os.NewSyscallError("read", err)
			return true
		}
	}
}

func (r *Reader) readOnce(fd uintptr) { r.read(fd) }
