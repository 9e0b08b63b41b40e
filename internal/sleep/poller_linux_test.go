package sleep

import (
	"net"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

func TestWakesOnceForEachAdd(t *testing.T) {
	woken := make(chan uint64, 10)
	p, err := New(func(token uint64) { woken <- token })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range uint64(200) {
		token := i<<40 | i
		a, b := pair(t)
		raw, err := a.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // armed again after it woke
			if err := p.Add(raw, token); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if got := <-woken; got != token {
				t.Fatalf("woken with %x, want %x", got, token)
			}
		}
	}
}

func TestWakesForWhatWasThereAndForTheEnd(t *testing.T) {
	woken := make(chan uint64, 10)
	p, err := New(func(token uint64) { woken <- token })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	a, b := pair(t)
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b.Write([]byte("before"))
	if err := p.Add(raw, 1); err != nil {
		t.Fatal(err)
	}
	<-woken
	a.Read(make([]byte, 10))
	if err := p.Add(raw, 2); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if got := <-woken; got != 2 {
		t.Fatalf("woken with %d after the peer's end, want 2", got)
	}
	a.Close()
	if err := p.Add(raw, 3); err == nil {
		t.Fatal("a closed connection was added")
	}
}
