package prometheus_test

import (
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/middleware"
	"github.com/polywire/polywire/observe/prometheus"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
)

// echoes is one connection to a server of its own, by hand: nothing of the
// client's is measured.
type echoes struct {
	nc      net.Conn
	request []byte
	reply   []byte
}

const inFlight = 16

func newEchoes(b *testing.B, opts ...polywire.Option) *echoes {
	b.Helper()
	srv, err := polywire.New(append([]polywire.Option{polywire.WithWires(native.New())}, opts...)...)
	if err != nil {
		b.Fatal(err)
	}
	srv.Handle("echo", echo)
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, scheme) }()
	e := &echoes{}
	b.Cleanup(func() {
		e.nc.Close()
		srv.Close()
		<-done
	})
	if e.nc, err = net.Dial("tcp", strings.TrimPrefix(l.Addr().String(), "tcp://")); err != nil {
		b.Fatal(err)
	}
	framer := stream.New(e.nc, stream.Options{}).Framer()
	hello := transport.NewWriter(framer, nil)
	if err := hello.Frame(transport.Text, []byte("polywire.v1.proto")); err != nil {
		b.Fatal(err)
	}
	e.round(b, hello.Bytes(), make([]byte, len(hello.Bytes())))
	session := native.NewSession(srv.Host("native"), native.Proto)
	requests, replies := transport.NewWriter(framer, nil), transport.NewWriter(framer, nil)
	for id := range uint64(inFlight) {
		body := codec.Payload{Type: codec.TypeBytes, Data: make([]byte, 100)}
		call := wire.Packet{Type: wire.Call, ID: id + 1, Kind: "echo", Payload: body}
		answer := wire.Packet{Type: wire.Reply, ID: id + 1, Payload: body}
		if session.Encode(&requests, &call) != nil || session.Encode(&replies, &answer) != nil {
			b.Fatal("it cannot be encoded")
		}
	}
	e.request, e.reply = requests.Bytes(), make([]byte, len(replies.Bytes()))
	return e
}

func (e *echoes) round(b *testing.B, out, in []byte) {
	if _, err := e.nc.Write(out); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(e.nc, in); err != nil {
		b.Fatal(err)
	}
}

// toNowhere is a logger that does its work, unlike one that discards.
func toNowhere() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(struct{ io.Writer }{io.Discard}), nil))
}

// BenchmarkObserved is what metrics and logging cost an echo, 16 in flight on
// one connection: some rounds without them and some with them take turns, so
// that whatever else the machine does meets both. loss-% is by how much the
// throughput falls; the medians of short slices leave out what disturbs.
func BenchmarkObserved(b *testing.B) {
	const slice = 32
	m := prometheus.New(prometheus.Options{})
	sides := []*echoes{
		newEchoes(b),
		newEchoes(b, polywire.WithPlugins(m.Server()), polywire.WithLogger(toNowhere()),
			polywire.WithHooks(middleware.LogHooks(toNowhere()))),
	}
	var took [2][]time.Duration
	turn := 0
	for b.Loop() {
		for k := range sides {
			at := (k + turn) % len(sides) // who is first changes
			began := time.Now()
			for range slice {
				sides[at].round(b, sides[at].request, sides[at].reply)
			}
			took[at] = append(took[at], time.Since(began))
		}
		turn++
	}
	plain, observed := median(took[0]), median(took[1])
	const messages = slice * inFlight
	b.ReportMetric(float64(plain)/messages, "plain-ns/message")
	b.ReportMetric(float64(observed)/messages, "observed-ns/message")
	b.ReportMetric(100*(1-float64(plain)/float64(observed)), "loss-%")
	b.ReportMetric(0, "ns/op")
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
