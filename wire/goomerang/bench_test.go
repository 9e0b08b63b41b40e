package goomerang_test

import (
	"bytes"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/wiretest"
)

// bare makes no header.
type bare struct{}

func (bare) Format() string                                               { return "" }
func (bare) Begin(dst []byte) []byte                                      { return dst }
func (bare) End(dst []byte, _ int, _ transport.FrameType) ([]byte, error) { return dst, nil }

func hundred() []byte { return append([]byte{0x0a, 98}, bytes.Repeat([]byte("x"), 98)...) }

// BenchmarkSync is what a sync send and its answer cost the server's session.
func BenchmarkSync(b *testing.B) {
	s := goomerang.New().NewSession(wiretest.NewHost(kindText), goomerang.Side{})
	ask := binaryFrame(sync + "\x12\x1b" + kindText + "\x18\x64\x20\x01" + then + "\x3a" + lp(string(hundred())))
	var buf []byte
	var p wire.Packet
	var w transport.Writer
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if ok, err := s.Decode(ask, &p); !ok || err != nil || p.Err != nil {
			b.Fatal(p, err)
		}
		p.Type = wire.Reply
		w.Reset(bare{}, buf[:0])
		if err := s.Encode(&w, &p); err != nil {
			b.Fatal(err)
		}
		buf = w.Bytes()
	}
}

// BenchmarkPlain is the same without an answer, one message in and one out.
func BenchmarkPlain(b *testing.B) {
	s := goomerang.New().NewSession(wiretest.NewHost(kindText), goomerang.Side{})
	plain := binaryFrame("\x12\x1b" + kindText + "\x18\x64" + then + "\x3a" + lp(string(hundred())))
	out := wire.Packet{Type: wire.Message, Kind: kindText, Payload: codec.Payload{Type: codec.TypeProtobuf, Data: hundred()}}
	var buf []byte
	var p wire.Packet
	var w transport.Writer
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if ok, err := s.Decode(plain, &p); !ok || err != nil || p.Err != nil {
			b.Fatal(p, err)
		}
		w.Reset(bare{}, buf[:0])
		if err := s.Encode(&w, &out); err != nil {
			b.Fatal(err)
		}
		buf = w.Bytes()
	}
}
