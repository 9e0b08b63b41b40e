package values_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/values"
)

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
			return values.New(&conntest.Script{In: in, Step: step}, syntax, values.Options{MaxMessageBytes: most})
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

func TestHotPathsDoNotAllocate(t *testing.T) {
	syntax := values.JSON()
	value := []byte(sized(130))
	c := values.New(&conntest.Endless{In: bytes.Repeat(append(value, '\n'), 1000)}, &syntax, values.Options{})
	var received error
	reading := testing.AllocsPerRun(10000, func() {
		if _, err := conntest.Receive(c); err != nil {
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
			c := values.New(&conntest.Endless{In: bytes.Repeat(value, 1+65536/len(value))}, &syntax, values.Options{})
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conntest.Receive(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
