package rabbitmq

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// slowConn counts its writes, which wait for leave.
type slowConn struct {
	net.Conn

	leave  chan struct{}
	closed chan struct{}

	mu      sync.Mutex
	written bytes.Buffer
	writes  int
	broken  error
}

func (c *slowConn) Write(p []byte) (int, error) {
	select {
	case <-c.leave:
	case <-c.closed:
		return 0, net.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	c.writes++
	return c.written.Write(p)
}

func (c *slowConn) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

func TestWritesShareTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowConn{leave: make(chan struct{}), closed: make(chan struct{})}
		c := newBatchConn(slow)
		var want bytes.Buffer
		write := func(p []byte) {
			want.Write(p)
			if n, err := c.Write(p); n != len(p) || err != nil {
				t.Errorf("wrote %d of %d, %v", n, len(p), err)
			}
		}
		write([]byte("first"))
		synctest.Wait() // it is on its way
		for range 1000 {
			write([]byte("one of many "))
		}
		slow.leave <- struct{}{}
		slow.leave <- struct{}{}
		synctest.Wait()
		if slow.writes != 2 || !bytes.Equal(slow.written.Bytes(), want.Bytes()) {
			t.Errorf("%d bytes in %d writes, want %d in 2", slow.written.Len(), slow.writes, want.Len())
		}

		// More than a buffer holds has to wait for the wire.
		write(make([]byte, 10))
		synctest.Wait()
		write(make([]byte, batchKeep+1))
		waited := make(chan error, 1)
		go func() { _, err := c.Write([]byte("last")); waited <- err }()
		synctest.Wait()
		if len(waited) != 0 {
			t.Error("a write did not wait although the buffer was full")
		}
		slow.leave <- struct{}{}
		synctest.Wait()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		want.WriteString("last")
		slow.leave <- struct{}{}
		slow.leave <- struct{}{}
		synctest.Wait()
		if !bytes.Equal(slow.written.Bytes(), want.Bytes()) {
			t.Errorf("%d bytes, want %d", slow.written.Len(), want.Len())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("written after the end: %v", err)
		}
	})
}

func TestBrokenWireIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowConn{leave: make(chan struct{}, 1), closed: make(chan struct{}), broken: io.ErrClosedPipe}
		c := newBatchConn(slow)
		slow.leave <- struct{}{}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if _, err := c.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("written to a broken wire: %v", err)
		}
		select {
		case <-slow.closed:
		default:
			t.Error("the connection is open, and its reader knows nothing")
		}
		_ = c.Close()
	})
}

func TestCloseFreesWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowConn{leave: make(chan struct{}), closed: make(chan struct{})}
		c := newBatchConn(slow)
		_, _ = c.Write([]byte("on its way"))
		synctest.Wait()
		_, _ = c.Write(make([]byte, batchFull))
		waited := make(chan error, 1)
		go func() { _, err := c.Write([]byte("x")); waited <- err }()
		synctest.Wait()
		_ = c.Close()
		if err := <-waited; err == nil {
			t.Error("a write to a closed connection succeeded")
		}
	})
}
