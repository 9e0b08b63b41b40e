//go:build !linux

package sleep

import "syscall"

// Poller does not exist on this system: connections keep their goroutines.
type Poller struct{}

// New returns ErrUnsupported.
func New(func(token uint64)) (*Poller, error) { return nil, ErrUnsupported }

// Add returns ErrUnsupported.
func (*Poller) Add(syscall.RawConn, uint64) error { return ErrUnsupported }

// Close does nothing.
func (*Poller) Close() error { return nil }
