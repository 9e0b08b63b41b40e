package conntest

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// HoldPort returns an address of the loopback, host:port, that is the test's
// until it ends: its servers may listen there, one after the other, also those
// in other processes, and nobody else is given the port while none of them
// does. Who dials then is refused.
func HoldPort(t testing.TB) string {
	t.Helper()
	// A socket that is bound and does not listen. Linux lets others that ask
	// for the port by its number, as all servers do with SO_REUSEADDR, have it
	// too, and does not choose it for those that ask for any.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	at, ok := name.(*syscall.SockaddrInet4)
	if err != nil || !ok {
		t.Fatalf("a socket's name is %v, %v", name, err)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))).String()
}
