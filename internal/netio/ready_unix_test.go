//go:build unix

package netio

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/polywire/polywire/transport"
)

// Who was interrupted but has something to read reads it; the interrupt waits
// for a Fill that would block.
func TestInterruptOnlyWhoBlocks(t *testing.T) {
	local, remote := kinds["tcp"](t)
	defer local.Close()
	defer remote.Close()
	var r Reader
	r.Init(local, nil)
	send(remote, []byte("a"))
	fillTo(t, &r, 1)
	if _, err := remote.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	awaitData(t, local)
	r.Interrupt()
	if err := r.Fill(0); err != nil {
		t.Fatalf("something to read: %v", err)
	}
	if err := r.Fill(0); !errors.Is(err, transport.ErrInterrupted) {
		t.Fatalf("nothing to read: %v", err)
	}
	send(remote, []byte("c"))
	fillTo(t, &r, 3)
	if got := string(r.Buffered()); got != "abc" {
		t.Fatalf("got %q", got)
	}
}

// awaitData waits until something can be read, and reads nothing.
func awaitData(t *testing.T, nc net.Conn) {
	t.Helper()
	var failed error
	err := rawConn(nc).Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, failed = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return failed != syscall.EAGAIN
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

func TestQuietConnectionHoldsNoBuffer(t *testing.T) {
	local, remote := kinds["tcp"](t)
	defer local.Close()
	defer remote.Close()
	var r Reader
	r.Init(local, nil)
	if _, ok := r.Idle(); !ok || r.wait != nil {
		t.Fatal("a new reader is not idle")
	}
	send(remote, []byte("0123456789"))
	fillTo(t, &r, 10)
	if _, ok := r.Idle(); ok {
		t.Fatal("idle with something buffered")
	}
	r.Discard(7)
	r.Interrupt()
	if err := r.Fill(100); !errors.Is(err, transport.ErrInterrupted) {
		t.Fatal(err)
	}
	if got := len(r.buf.b); got != 3 {
		t.Fatalf("three bytes are kept in %d", got)
	}
	r.Discard(3)
	if _, ok := r.Idle(); !ok || r.buf != nil || r.wait != nil {
		t.Fatal("something is kept while idle")
	}
}

// probe sees a reader in the moment that it begins to block.
type probe struct {
	syscall.RawConn
	blocks func()
}

func (p probe) Read(f func(fd uintptr) bool) error {
	return p.RawConn.Read(func(fd uintptr) bool {
		done := f(fd)
		if !done {
			p.blocks()
		}
		return done
	})
}

func TestBlockedFillHoldsNoBuffer(t *testing.T) {
	local, remote := kinds["tcp"](t)
	defer local.Close()
	defer remote.Close()
	var r Reader
	r.Init(local, nil)
	for _, left := range []int{0, 1, 3, 4000} {
		send(remote, random(left+10))
		fillTo(t, &r, left+10)
		r.Discard(10)
		blocked := false
		raw := r.raw
		r.raw = probe{raw, func() {
			if blocked {
				return // it was woken by what it had read already
			}
			blocked = true
			if left == 0 && r.buf != nil || left > 0 && len(r.buf.b) != left {
				t.Errorf("with %d bytes left over the reader holds %v", left, r.buf)
			}
			send(remote, []byte("x"))
		}}
		if err := r.Fill(1 << 20); err != nil {
			t.Fatal(err)
		}
		if !blocked {
			t.Fatal("it did not block")
		}
		r.raw = raw
		r.Discard(left + 1)
	}
}
