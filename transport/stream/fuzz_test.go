package stream_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport/stream"
)

// FuzzReceive checks that receiving ends, that it does not depend on how the
// bytes arrive, and that memory follows what came, not what was claimed.
func FuzzReceive(f *testing.F) {
	for _, r := range rules {
		f.Add([]byte(r.in), 3)
	}
	f.Add([]byte("\x02\x7f\xff\xff\xffx"), 1)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		step = max(1, step&0xffff)
		const most = 1 << 30 // a claim that would be noticed
		open := func(step int) *stream.Conn {
			return stream.New(&conntest.Script{In: in, Step: step}, stream.Options{MaxMessageBytes: most})
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

// FuzzFrame checks that what a framer makes is received as it was.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("hello"))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 1000))
	f.Fuzz(func(t *testing.T, payload []byte) {
		framer := stream.New(nil, stream.Options{}).Framer()
		b, err := framer.End(append(framer.Begin([]byte("x")), payload...), 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.New(&conntest.Script{In: b[1:], Step: len(b)}, stream.Options{MaxMessageBytes: len(payload) + 1})
		if got, want := describe(c), "binary:"+string(payload)+" EOF"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
