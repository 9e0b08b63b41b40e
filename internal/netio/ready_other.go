//go:build !unix

package netio

import (
	"net"
	"syscall"
)

func rawConn(net.Conn) syscall.RawConn { return nil }

func (r *Reader) read(uintptr) bool { return true }

func (r *Reader) readOnce(uintptr) {}
