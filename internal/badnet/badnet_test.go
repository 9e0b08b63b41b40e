package badnet

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// echo starts a server that says what it hears, until the test ends.
func echo(t *testing.T, before string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var goes sync.WaitGroup
	goes.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			goes.Go(func() {
				defer nc.Close()
				if _, err := io.WriteString(nc, before); err == nil {
					_, _ = io.Copy(nc, nc)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		goes.Wait()
	})
	return l.Addr().String()
}

func proxy(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// says sends a text and reads as many bytes.
func says(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	hears(t, nc, text)
}

func hears(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != text {
		t.Fatalf("heard %.40q, %v; want %.40q", got, err, text)
	}
}

// silent shows that nothing comes for a moment.
func silent(t *testing.T, nc net.Conn) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := nc.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v; want silence", n, err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
}

// over shows that a connection is reset.
func over(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v; want a reset", err)
	}
}

// refused shows that new connections fail, at once or soon.
func refused(t *testing.T, p *Proxy) {
	t.Helper()
	nc, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	over(t, nc)
}

func TestThrough(t *testing.T) {
	p := proxy(t, echo(t, ""))
	nc := dial(t, p)
	says(t, nc, "hello")
	long := strings.Repeat("0123456789", 1<<16)
	go func() { _, _ = io.WriteString(nc, long) }()
	hears(t, nc, long)
	if p.Connections() != 1 {
		t.Errorf("%d connections", p.Connections())
	}
	// The end of what one side says is not the end of what it hears.
	_, _ = io.WriteString(nc, "last words")
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(nc); err != nil || string(rest) != "last words" {
		t.Errorf("%q %v", rest, err)
	}
}

func TestDelay(t *testing.T) {
	p := proxy(t, echo(t, ""))
	nc := dial(t, p)
	says(t, nc, "quick")
	p.Delay(50 * time.Millisecond)
	began := time.Now()
	for range 20 { // all are on their way at once
		if _, err := io.WriteString(nc, "slow"); err != nil {
			t.Fatal(err)
		}
	}
	hears(t, nc, strings.Repeat("slow", 20))
	if d := time.Since(began); d < 100*time.Millisecond {
		t.Errorf("there and back in %v", d)
	}
	p.Delay(time.Hour)
	if _, err := io.WriteString(nc, "held"); err != nil {
		t.Fatal(err)
	}
	silent(t, nc)
	p.Resume()
	hears(t, nc, "held")
}

func TestCut(t *testing.T) {
	p := proxy(t, echo(t, ""))
	before := dial(t, p)
	says(t, before, "hello")
	p.Cut()
	over(t, before)
	refused(t, p)
	p.Resume()
	says(t, dial(t, p), "again")
}

func TestBlackHole(t *testing.T) {
	p := proxy(t, echo(t, "welcome"))
	before := dial(t, p)
	hears(t, before, "welcome")
	p.BlackHole()
	if _, err := io.WriteString(before, "anybody?"); err != nil {
		t.Fatal(err)
	}
	during := dial(t, p)
	silent(t, before)
	silent(t, during)
	p.Resume()
	hears(t, before, "anybody?")
	hears(t, during, "welcome")
	p.BlackHole()
	p.Cut()
	over(t, before)
}

func TestTarget(t *testing.T) {
	p := proxy(t, echo(t, "one"))
	first := dial(t, p)
	hears(t, first, "one")
	p.SetTarget(echo(t, "two"))
	hears(t, dial(t, p), "two")
	says(t, first, "still there")
	p.SetTarget("127.0.0.1:1")
	refused(t, p)
}

// Whatever goes on, nothing is left.
func TestClose(t *testing.T) {
	for name, bad := range map[string]func(*Proxy){
		"good": func(*Proxy) {}, "slow": func(p *Proxy) { p.Delay(time.Hour) }, "hole": (*Proxy).BlackHole, "cut": (*Proxy).Cut,
	} {
		t.Run(name, func(t *testing.T) {
			p := proxy(t, echo(t, ""))
			nc := dial(t, p)
			says(t, nc, "hello")
			bad(p)
			_, _ = io.WriteString(nc, "more")
			if err := errors.Join(p.Close(), p.Close()); err != nil {
				t.Error(err)
			}
			over(t, nc)
			if p.Connections() != 0 {
				t.Errorf("%d connections", p.Connections())
			}
		})
	}
}
