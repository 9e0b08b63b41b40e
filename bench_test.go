package polywire_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

// benchServer serves the native wire on a loopback port.
func benchServer(b *testing.B, opts ...polywire.Option) (srv *polywire.Server, address string) {
	b.Helper()
	srv, err := polywire.New(append(opts, polywire.WithWires(native.New()))...)
	if err != nil {
		b.Fatal(err)
	}
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, scheme) }()
	b.Cleanup(func() {
		if err := srv.Close(); err != nil {
			b.Error(err)
		}
		<-done
	})
	return srv, l.Addr().String()
}

// BenchmarkEcho is what a call costs on the server, 16 at a time on one
// connection. The other side is hand-made and allocates nothing, so the
// allocations are the server's: at most 3 for a message.
func BenchmarkEcho(b *testing.B) {
	const batch = 16
	srv, address := benchServer(b)
	nc, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	framer := stream.New(nc, stream.Options{}).Framer()
	hello := transport.NewWriter(framer, nil)
	hello.Frame(transport.Text, []byte("polywire.v1.proto"))
	nc.Write(hello.Bytes())
	if _, err := io.ReadFull(nc, make([]byte, len(hello.Bytes()))); err != nil {
		b.Fatal(err)
	}
	requests := transport.NewWriter(framer, nil)
	session := native.NewSession(srv.Host("native"), native.Proto)
	for id := range uint64(batch) {
		p := wire.Packet{Type: wire.Call, ID: id + 1, Kind: "echo", Payload: codec.Payload{Type: codec.TypeBytes, Data: make([]byte, 100)}}
		if err := session.Encode(&requests, &p); err != nil {
			b.Fatal(err)
		}
	}
	replies := 0
	for id := range uint64(batch) {
		w := transport.NewWriter(framer, nil)
		p := wire.Packet{Type: wire.Reply, ID: id + 1, Payload: codec.Payload{Type: codec.TypeBytes, Data: make([]byte, 100)}}
		if err := session.Encode(&w, &p); err != nil {
			b.Fatal(err)
		}
		replies += len(w.Bytes())
	}
	in := make([]byte, replies)
	b.ReportAllocs()
	b.SetBytes(100)
	for b.Loop() {
		if _, err := nc.Write(requests.Bytes()); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/message")
}

// BenchmarkRoom is what a message to a room of ten costs, alone and kept.
func BenchmarkRoom(b *testing.B) {
	for _, bench := range []struct {
		name string
		opts []polywire.Option
	}{{"plain", nil}, {"history", []polywire.Option{polywire.WithHistory("room", polywire.History{})}}} {
		b.Run(bench.name, func(b *testing.B) {
			joined := make(chan struct{})
			opts := append(bench.opts, polywire.WithHooks(polywire.Hooks{Connect: func(c *polywire.Conn) {
				if err := c.Join("room"); err != nil {
					b.Error(err)
				}
				joined <- struct{}{}
			}}))
			srv, address := benchServer(b, append(opts, polywire.WithOutboxBytes(1<<30))...)
			for range 10 {
				defer benchReader(b, address)()
				<-joined
			}
			payload := make([]byte, 100)
			room := srv.Room("room")
			b.ReportAllocs()
			for b.Loop() {
				if err := room.Send(b.Context(), "news", payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchReader connects somebody who throws away what it gets.
func benchReader(b *testing.B, address string) (end func()) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	hello := transport.NewWriter(stream.New(nc, stream.Options{}).Framer(), nil)
	hello.Frame(transport.Text, []byte("polywire.v1.proto"))
	nc.Write(hello.Bytes())
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, nc)
	}()
	return func() {
		nc.Close()
		<-done
	}
}
