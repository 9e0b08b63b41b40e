package stream_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
)

func TestHotPathsDoNotAllocate(t *testing.T) {
	frame := []byte(rawFrame(1, string(bytes.Repeat([]byte("x"), 100))))
	c := stream.New(&conntest.Endless{In: bytes.Repeat(frame, 1000)}, stream.Options{})
	var received error
	reading := testing.AllocsPerRun(10000, func() {
		if _, err := conntest.Receive(c); err != nil {
			received = err
		}
	})
	if reading != 0 || received != nil {
		t.Errorf("receiving: %v allocations, %v", reading, received)
	}
	payload, buf, framer := frame[5:], make([]byte, 0, 1000), c.Framer()
	writing := testing.AllocsPerRun(1000, func() {
		w := transport.NewWriter(framer, buf)
		if w.Frame(transport.Text, payload) != nil || c.Write(w.Bytes()) != nil {
			t.Error("a frame was not written")
		}
	})
	if writing != 0 {
		t.Errorf("sending: %v allocations", writing)
	}
}

func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{16, 128, 4096, 65536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frame := []byte(rawFrame(2, string(make([]byte, size))))
			c := stream.New(&conntest.Endless{In: bytes.Repeat(frame, 1+65536/len(frame))}, stream.Options{})
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conntest.Receive(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFrame(b *testing.B) {
	framer := stream.New(nil, stream.Options{}).Framer()
	payload, buf := make([]byte, 128), make([]byte, 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		w := transport.NewWriter(framer, buf)
		if err := w.Frame(transport.Binary, payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip is 16 frames there and back over TCP, in one write each way.
func BenchmarkRoundTrip(b *testing.B) {
	nc, peer := conntest.Dial(b, "tcp")
	c, echo := stream.New(nc, stream.Options{}), stream.New(peer, stream.Options{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveEcho(echo)
	}()
	const flight = 16
	w := transport.NewWriter(c.Framer(), nil)
	for range flight {
		if err := w.Frame(transport.Binary, make([]byte, 128)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Write(w.Bytes()); err != nil {
			b.Fatal(err)
		}
		for range flight {
			if _, err := conntest.Receive(c); err != nil {
				b.Fatal(err)
			}
		}
	}
	c.Close()
	<-done
}

// serveEcho sends back all that comes, as much in one write as has come in one.
func serveEcho(c transport.Conn) {
	out := make([][]byte, 1) // an interface's variadic argument escapes
	for c.Wait() == nil {
		w := transport.NewWriter(c.Framer(), out[0][:0])
		for {
			f, ok, err := c.Next()
			if !ok || err != nil || w.Frame(f.Type, f.Data) != nil {
				break
			}
		}
		out[0] = w.Bytes()
		if c.Write(out...) != nil {
			return
		}
	}
}
