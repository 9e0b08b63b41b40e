//go:build !linux

package conntest

import (
	"net"
	"testing"
)

// HoldPort returns an address of the loopback, host:port, where nobody listens.
// On Linux it is the test's until it ends.
func HoldPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
