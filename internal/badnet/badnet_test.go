package badnet_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/badnet"
	"github.com/polywire/polywire/internal/conntest"
)

const patience = time.Minute

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var goes sync.WaitGroup
	goes.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			goes.Go(func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err == nil {
					c.(*net.TCPConn).CloseWrite()
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); goes.Wait() })
	return l.Addr().String()
}

func through(t *testing.T, target string) *badnet.Proxy {
	t.Helper()
	p, err := badnet.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *badnet.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// say sends a text and waits for its echo.
func say(t *testing.T, c net.Conn, text string) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	hear(t, c, text)
	return time.Since(start)
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
		t.Fatalf("%q, %v", buf, err)
	}
}

// silent fails if something comes.
func silent(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	c.SetDeadline(time.Now().Add(patience))
}

// broken waits for the end of a connection.
func broken(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection was not reset: %v", err)
	}
}

// refused dials and wants to get nowhere; the dial itself may succeed.
func refused(t *testing.T, p *badnet.Proxy) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	broken(t, c)
}

func TestAllBytesPass(t *testing.T) {
	c := dial(t, through(t, echo(t)))
	text := make([]byte, 3<<20)
	rand.Read(text)
	var sent sync.WaitGroup
	sent.Go(func() {
		c.Write(text)
		c.(*net.TCPConn).CloseWrite()
	})
	got, err := io.ReadAll(c)
	sent.Wait()
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestDelay(t *testing.T) {
	p := through(t, echo(t))
	c := dial(t, p)
	say(t, c, "soon")
	p.Delay(30 * time.Millisecond)
	if took := say(t, c, "late"); took < 60*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
	// Delay is not less throughput: many messages are on their way. One after the
	// other they would take eighty seconds.
	p.Delay(time.Second)
	start := time.Now()
	for range 40 {
		io.WriteString(c, "x")
		<-time.After(time.Millisecond) // real: so that they come one by one
	}
	hear(t, c, strings.Repeat("x", 40))
	if took := time.Since(start); took < 2*time.Second || took > 40*time.Second {
		t.Errorf("forty took %v", took)
	}
}

func TestCut(t *testing.T) {
	p := through(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	if p.Conns() != 1 {
		t.Errorf("%d connections", p.Conns())
	}
	p.Cut()
	broken(t, c)
	refused(t, p)
	p.Resume()
	say(t, dial(t, p), "again")
}

func TestBlackHole(t *testing.T) {
	p := through(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	p.BlackHole()
	p.BlackHole()
	io.WriteString(c, "lost?")
	late := dial(t, p)
	io.WriteString(late, "late")
	silent(t, c, 50*time.Millisecond)
	silent(t, late, 50*time.Millisecond)
	p.Resume()
	p.Resume()
	hear(t, c, "lost?")
	hear(t, late, "late")
	say(t, c, "again")
}

func TestCutInABlackHole(t *testing.T) {
	p := through(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	p.BlackHole()
	io.WriteString(c, "lost")
	p.Cut()
	broken(t, c)
	p.Resume()
	say(t, dial(t, p), "again")
}

func TestTarget(t *testing.T) {
	p := through(t, conntest.HoldPort(t)) // where nobody listens
	refused(t, p)
	p.Target(echo(t))
	say(t, dial(t, p), "hello")
}

func TestCloseWhileNothingFlows(t *testing.T) {
	p := through(t, echo(t))
	c := dial(t, p)
	say(t, c, "hello")
	p.BlackHole()
	dial(t, p)
	io.WriteString(c, "lost")
	p.Close()
	p.Close()
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("it still listens")
	}
}

// A throttle narrows what is large, in time and not in what arrives.
func TestThrottle(t *testing.T) {
	p := through(t, echo(t))
	c := dial(t, p)
	say(t, c, "as fast as it goes")
	const rate = 100_000
	p.Throttle(rate)
	sent := make([]byte, rate/5)
	rand.Read(sent)
	if took := say(t, c, string(sent)); took < 100*time.Millisecond { // each way takes 200 ms, but for the first chunk
		t.Errorf("%d bytes came back after %v", len(sent), took)
	}
	p.Throttle(1)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	p.Throttle(0) // what is on its way does not wait for hours
	hear(t, c, string(sent))
}
