package socketio_test

import (
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

const (
	benchKind = "chat.say"
	benchText = `{"room":"general","text":"Good morning, everybody out there","at":1700000000,"tags":["a","b"],"x":1.5}`
)

// framer is that of streams, which has no state.
var framer = stream.New(nil, stream.Options{}).Framer()

type benchCase struct {
	name           string
	end            end
	packet         wire.Packet
	decode, encode float64 // allocations
}

func benchCases() []benchCase {
	msgpack := end{options: []socketio.Option{socketio.WithParser(socketio.Msgpack)}}
	message := wire.Packet{Type: wire.Message, Kind: benchKind, Payload: json(benchText)}
	call, admin, several, reply := message, message, message, message
	text := json(`"` + strings.Repeat("x", 100) + `"`)
	ask := wire.Packet{Type: wire.Call, Kind: benchKind, ID: 12345, Payload: text}
	answer := wire.Packet{Type: wire.Reply, ID: 12345, Payload: text}
	call.Type, call.ID = wire.Call, 12345
	reply.Type, reply.ID, reply.Kind = wire.Reply, 12345, ""
	admin.Namespace = "/admin"
	several.Args = []codec.Payload{json("1"), json(`"two"`)}
	packed := call
	packed.Payload = pack("\x82\xa4room\xa7general\xa2at\xce\x65\x00\x00\x00")
	attached := call
	attached.Payload = raw("0123456789")
	return []benchCase{
		{"message", end{}, message, 0, 0},
		{"call", end{}, call, 0, 0},
		{"reply", end{}, reply, 0, 0},
		{"text", end{}, ask, 0, 0},
		{"text reply", end{}, answer, 0, 0},
		{"namespace", end{}, admin, 0, 0},
		{"three arguments", end{}, several, 2, 0},
		{"version 4", end{version: 4}, call, 0, 0},
		{"room events", end{options: []socketio.Option{socketio.WithRoomEvents()}}, call, 0, 0},
		{"attachment", end{}, attached, 3, 1}, // the text's copy and what resolves it, and both times the slice of attachments
		{"msgpack", msgpack, packed, 0, 0},
	}
}

func decodeAll(b testing.TB, s wire.Session, frames []transport.Frame, into *wire.Packet) {
	for i, f := range frames {
		into.Reset()
		if ok, err := s.Decode(f, into); err != nil || ok != (i == len(frames)-1) {
			b.Fatal(ok, err)
		}
	}
}

// The usual packets cost no memory: arguments stay in place, and so does the
// room for the frame.
func TestAllocations(t *testing.T) {
	for _, c := range benchCases() {
		s := c.end.session(benchKind)
		frames, err := wiretest.Encode(s, &c.packet)
		if err != nil {
			t.Fatal(err)
		}
		var into wire.Packet
		if n := testing.AllocsPerRun(100, func() { decodeAll(t, s, frames, &into) }); n > c.decode {
			t.Errorf("%s: decoding makes %v allocations, want %v", c.name, n, c.decode)
		}
		buf := make([]byte, 0, 4096)
		var w transport.Writer
		if n := testing.AllocsPerRun(100, func() {
			w = transport.NewWriter(framer, buf)
			if err := s.Encode(&w, &c.packet); err != nil {
				t.Error(err)
			}
		}); n > c.encode {
			t.Errorf("%s: encoding makes %v allocations, want %v", c.name, n, c.encode)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			s := c.end.session(benchKind)
			frames, err := wiretest.Encode(s, &c.packet)
			if err != nil {
				b.Fatal(err)
			}
			var into wire.Packet
			b.ReportAllocs()
			for b.Loop() {
				decodeAll(b, s, frames, &into)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			s := c.end.session(benchKind)
			buf := make([]byte, 0, 4096)
			var w transport.Writer
			b.ReportAllocs()
			for b.Loop() {
				w = transport.NewWriter(framer, buf)
				if err := s.Encode(&w, &c.packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
