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
func benchServer(b *testing.B) (srv *polywire.Server, address string) {
	b.Helper()
	srv, err := polywire.New(polywire.WithWires(native.New()))
	if err != nil {
		b.Fatal(err)
	}
	srv.Handle("echo", handle(func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }))
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
	session := native.NewSession(native.Proto, srv.Host("native"))
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
