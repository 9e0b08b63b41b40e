package transporttest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// ErrRefused is returned when a [Listener] is dialled that has been closed.
var ErrRefused = errors.New("transporttest: connection refused")

// Listener is a net.Listener in memory, so that whole servers and clients run
// inside a testing/synctest bubble; it must have been made there. Methods may
// be called from many goroutines at once.
type Listener struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
	ports    atomic.Int32
}

// NewListener returns an open Listener. Its connections are those of
// [ConnPair] with the default buffers, each with a remote address of its own.
func NewListener() *Listener {
	return &Listener{incoming: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept returns the server's end of the next connection that is dialled, and
// net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.incoming:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. Connections live on.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address in the form of loopback TCP.
func (l *Listener) Addr() net.Addr { return loopback(1) }

// Dial returns the client's end of a new connection as soon as the other has
// been accepted. It fails with ctx's error, or with [ErrRefused] after Close.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	client, server := newPair(0, loopback(1+int(l.ports.Add(1))), l.Addr())
	select {
	case l.incoming <- server:
		return client, nil
	case <-l.closed:
		return nil, ErrRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// NetDial is Dial for where a network and an address are given, such as
// DialContext of http.Transport; both are ignored.
func (l *Listener) NetDial(ctx context.Context, _, _ string) (net.Conn, error) {
	return l.Dial(ctx)
}
