package drs_test

import (
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/load"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/wiretest"
)

// BenchmarkEcho is 100 connections with 16 commands in flight on each, server
// and load in one process.
func BenchmarkEcho(b *testing.B) {
	for _, scheme := range []string{"ws", "drs+tcp"} {
		b.Run(scheme, func(b *testing.B) {
			srv, err := polywire.New(polywire.WithWires(drs.New()), polywire.WithLogger(discard()))
			if err != nil {
				b.Fatal(err)
			}
			handle(srv)
			l, scheme, err := srv.Listen(scheme + "://127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = srv.Serve(l, scheme) }() // ends with the server
			defer srv.Close()
			for b.Loop() {
				r, err := load.Run(b.Context(), load.Config{URL: scheme + "://" + l.Addr().String(), Wire: "drs", Mode: load.Echo, Window: 16})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(r.PerSecond, "answers/s")
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	f := jsonFrame(`{"key":"0000000000000012","action":"echo","body":"` + strings.Repeat("x", 100) + `"}`)
	s := drs.New().NewSession(wiretest.NewHost("echo"), false)
	var p wire.Packet
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if ok, err := s.Decode(f, &p); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	text := []byte(`"` + strings.Repeat("x", 100) + `"`)
	p := wire.Packet{Type: wire.Reply, ID: 12, Key: "0000000000000012", Payload: codec.Payload{Type: codec.TypeJSON, Data: text}}
	s := drs.New().NewSession(wiretest.NewHost("echo"), false)
	framer := discardFramer{}
	buf := make([]byte, 0, 1000)
	var w transport.Writer
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(framer, buf)
		if err := s.Encode(&w, &p); err != nil {
			b.Fatal(err)
		}
	}
}

// discardFramer has no frames.
type discardFramer struct{}

func (discardFramer) Begin(dst []byte) []byte { return dst }
func (discardFramer) End(dst []byte, _ int, _ transport.FrameType) ([]byte, error) {
	return dst, nil
}
func (discardFramer) Format() string { return "" }
