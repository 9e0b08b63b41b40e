package netio

import (
	"net"
	"sync"
)

// vectors caches the slice headers that a vectored write uses up.
var vectors = sync.Pool{New: func() any { return new(net.Buffers) }} //nolint:gochecknoglobals // as pools is

// Write writes all of bufs, or returns an error, and neither changes nor keeps
// them. Several small ones leave together, with one system call (and in one
// TLS record).
func Write(nc net.Conn, bufs ...[]byte) error {
	if len(bufs) == 1 {
		_, err := nc.Write(bufs[0])
		return err
	}
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	if total > blockBytes {
		switch nc.(type) {
		case *net.TCPConn, *net.UnixConn:
			return writeVector(nc, bufs)
		}
	}
	return gather(nc, bufs)
}

// writeVector writes without copying.
func writeVector(nc net.Conn, bufs [][]byte) error {
	v, _ := vectors.Get().(*net.Buffers) // it has nothing else
	all := append((*v)[:0], bufs...)
	*v = all
	_, err := v.WriteTo(nc)
	clear(all)
	*v = all[:0]
	vectors.Put(v)
	return err
}

// gather copies what fits into blocks, for few and well filled writes.
func gather(nc net.Conn, bufs [][]byte) error {
	block := takeBuffer(blockBytes)
	defer block.free()
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		_, err := nc.Write(block.b[:n])
		n = 0
		return err
	}
	for _, b := range bufs {
		if n+len(b) > len(block.b) {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(b) > len(block.b) {
			if _, err := nc.Write(b); err != nil {
				return err
			}
			continue
		}
		n += copy(block.b[n:], b)
	}
	return flush()
}
