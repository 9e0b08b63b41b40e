package values_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/values"
)

// script is a connection that reads what it was given, a few bytes at a time.
type script struct {
	net.Conn
	in   []byte
	step int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.in[:min(s.step, len(s.in))])
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Close() error                    { return nil }
func (s *script) SetReadDeadline(time.Time) error { return nil }

// FuzzReceive checks that receiving ends, that it does not depend on how the
// bytes arrive, and that memory follows what came, not what was claimed.
func FuzzReceive(f *testing.F) {
	for _, r := range jsonRules() {
		f.Add([]byte(r.in), 3, false)
	}
	for _, r := range msgpackRules() {
		f.Add([]byte(r.in), 1, true)
	}
	text, binary := values.JSON(), values.Msgpack()
	f.Fuzz(func(t *testing.T, in []byte, step int, msgpack bool) {
		step = max(1, step&0xffff)
		const most = 1 << 30 // a claim that would be noticed
		syntax := &text
		if msgpack {
			syntax = &binary
		}
		open := func(step int) *values.Conn {
			return values.New(&script{in: in, step: step}, syntax, values.Options{MaxMessageBytes: most})
		}
		whole := describe(open(len(in) + 1))
		if got := describe(open(step)); got != whole {
			t.Fatalf("in steps of %d: %q, at once: %q", step, got, whole)
		}
		var before, after runtime.MemStats
		c := open(step)
		runtime.ReadMemStats(&before)
		for {
			if _, ok, err := c.Next(); err != nil || !ok && c.Wait() != nil {
				break
			}
		}
		runtime.ReadMemStats(&after)
		if got, bound := after.TotalAlloc-before.TotalAlloc, uint64(128<<10+8*len(in)); got > bound {
			t.Fatalf("%d bytes allocated for an input of %d", got, len(in))
		}
	})
}

// endless is a connection from which the same bytes come again and again, and
// to which everything can be written.
type endless struct {
	net.Conn
	in  []byte
	pos int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.in[e.pos:])
	e.pos = (e.pos + n) % len(e.in)
	return n, nil
}

func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

// receiveOne returns when a frame has come.
func receiveOne(c transport.Conn) (transport.Frame, error) {
	for {
		f, ok, err := c.Next()
		if ok || err != nil {
			return f, err
		}
		if err := c.Wait(); err != nil {
			return f, err
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	syntax := values.JSON()
	value := []byte(sized(130))
	c := values.New(&endless{in: bytes.Repeat(append(value, '\n'), 1000)}, &syntax, values.Options{})
	var received error
	reading := testing.AllocsPerRun(10000, func() {
		if _, err := receiveOne(c); err != nil {
			received = err
		}
	})
	if reading != 0 || received != nil {
		t.Errorf("receiving: %v allocations, %v", reading, received)
	}
	buf, framer := make([]byte, 0, 1000), c.Framer()
	writing := testing.AllocsPerRun(1000, func() {
		w := transport.NewWriter(framer, buf)
		if w.Frame(transport.Text, value) != nil || c.Write(w.Bytes()) != nil {
			t.Error("a frame was not written")
		}
	})
	if writing != 0 {
		t.Errorf("sending: %v allocations", writing)
	}
}

func BenchmarkReceive(b *testing.B) {
	syntax := values.JSON()
	for _, size := range []int{16, 140, 4096, 65536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			value := []byte(sized(size) + "\n")
			c := values.New(&endless{in: bytes.Repeat(value, 1+65536/len(value))}, &syntax, values.Options{})
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := receiveOne(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
