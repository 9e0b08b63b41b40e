package load

import "net"

// discardConn takes everything that is written to it.
type discardConn struct{ net.Conn }

func (discardConn) Write(b []byte) (int, error) { return len(b), nil }
