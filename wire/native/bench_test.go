package native_test

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/native/nativepb"
	"github.com/polywire/polywire/wire/wiretest"
)

const (
	benchKind = "chat.say"
	benchText = `{"room":"general","text":"Good morning, everybody out there","at":1700000000,"tags":["a","b"],"x":1.5}`
)

func benchPackets() map[string]wire.Packet {
	call := wire.Packet{Type: wire.Call, ID: 1234, Kind: benchKind}
	binary, text, headers := call, call, call
	binary.Payload = codec.Payload{Type: codec.TypeBytes, Data: make([]byte, 100)}
	text.Payload = codec.Payload{Type: codec.TypeJSON, Data: []byte(benchText)}
	headers.Payload = text.Payload
	headers.Header = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tenant": "acme"}
	return map[string]wire.Packet{"100 bytes": binary, "100 bytes of JSON": text, "with headers": headers}
}

func frameType(f native.Form) transport.FrameType {
	if f == native.JSON {
		return transport.Text
	}
	return transport.Binary
}

// Calls of known kinds without headers cost no memory: the payload stays in
// place, and so does the room for the frame.
func TestAllocations(t *testing.T) {
	packets := benchPackets()
	for _, row := range []struct {
		form           native.Form
		packet         string
		decode, encode float64
	}{
		{native.Proto, "100 bytes", 0, 0},
		{native.Proto, "100 bytes of JSON", 0, 0},
		{native.JSON, "100 bytes", 1, 0}, // base64
		{native.JSON, "100 bytes of JSON", 0, 0},
		{native.Proto, "with headers", 6, 0}, // the map's two, and four strings
		{native.JSON, "with headers", 6, 0},
	} {
		p := packets[row.packet]
		s := native.NewSession(wiretest.NewHost(benchKind), row.form)
		frame := transport.Frame{Type: frameType(row.form), Data: mustEncode(t, s, &p)}
		var into wire.Packet
		if n := testing.AllocsPerRun(100, func() {
			into.Reset()
			if _, err := s.Decode(frame, &into); err != nil {
				t.Error(err)
			}
		}); n > row.decode {
			t.Errorf("%s, %s: decoding makes %v allocations", row.form, row.packet, n)
		}
		buf := make([]byte, 0, 4096)
		var w transport.Writer
		if n := testing.AllocsPerRun(100, func() {
			w = transport.NewWriter(framer, buf)
			if err := s.Encode(&w, &p); err != nil {
				t.Error(err)
			}
		}); n > row.encode {
			t.Errorf("%s, %s: encoding makes %v allocations", row.form, row.packet, n)
		}
	}
}

// framer is that of streams, which has no state.
var framer = stream.New(nil, stream.Options{}).Framer()

func BenchmarkDecode(b *testing.B) {
	for name, p := range benchPackets() {
		for _, f := range []native.Form{native.Proto, native.JSON} {
			b.Run(f.String()+"/"+name, func(b *testing.B) {
				s := native.NewSession(wiretest.NewHost(benchKind), f)
				frame := transport.Frame{Type: frameType(f), Data: mustEncode(b, s, &p)}
				var into wire.Packet
				b.ReportAllocs()
				b.SetBytes(int64(len(frame.Data)))
				for b.Loop() {
					into.Reset()
					if _, err := s.Decode(frame, &into); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run("generated/"+name, func(b *testing.B) {
			data := marshal(b, generated(&p))
			var e nativepb.Envelope
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := proto.Unmarshal(data, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encoding-json/"+name, func(b *testing.B) {
			data := mustEncode(b, native.NewSession(wiretest.NewHost(), native.JSON), &p)
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var e jsonEnvelope
				if err := json.Unmarshal(data, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, p := range benchPackets() {
		for _, f := range []native.Form{native.Proto, native.JSON} {
			b.Run(f.String()+"/"+name, func(b *testing.B) {
				s := native.NewSession(wiretest.NewHost(benchKind), f)
				buf := make([]byte, 0, 4096)
				var w transport.Writer
				b.ReportAllocs()
				for b.Loop() {
					w = transport.NewWriter(framer, buf)
					if err := s.Encode(&w, &p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run("generated/"+name, func(b *testing.B) {
			e, buf := generated(&p), make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (proto.MarshalOptions{}).MarshalAppend(buf, e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encoding-json/"+name, func(b *testing.B) {
			e := jsonEnvelope{Type: p.Type.String(), ID: p.ID, Kind: p.Kind, Headers: p.Header, Data: p.Payload.Data}
			if p.Payload.Type == codec.TypeJSON {
				e.Data, e.Payload = nil, p.Payload.Data
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
