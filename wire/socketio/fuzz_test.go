package socketio_test

import (
	stdjson "encoding/json"
	"errors"
	"runtime"
	"testing"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

// bounded decodes and checks the memory that it took: a small multiple of what
// came, and what arguments and the runtime's tables need.
func bounded(t *testing.T, s wire.Session, size int, f transport.Frame) (wire.Packet, bool, error) {
	t.Helper()
	var before, after runtime.MemStats
	var p wire.Packet
	runtime.ReadMemStats(&before)
	ok, err := s.Decode(f, &p)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 256<<10+32*uint64(size) {
		t.Fatalf("%d bytes took %d", size, used)
	}
	var violation *wire.ProtocolError
	if err != nil && (ok || !errors.As(err, &violation)) {
		t.Fatalf("%v, %v is not a *wire.ProtocolError", ok, err)
	}
	return p, ok, err
}

// again says a packet that has been decoded, as the other side would, and
// checks that it is understood like the first time.
func again(t *testing.T, e end, p wire.Packet) {
	t.Helper()
	said := p
	said.Position = "" // its place among the arguments it has already
	switch {
	case p.Type == wire.Hello, p.Type == wire.Welcome, p.Type == wire.Refused:
		return // what they say is read in more than one form
	case p.Kind == "" && (p.Type == wire.Message || p.Type == wire.Call):
		return // taken as official decoders do, and never said
	}
	from, to := e, e
	from.dialled = !e.dialled
	frames, err := wiretest.Encode(from.session(), &said)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	back, err := wiretest.Decode(to.session(), frames)
	if err != nil {
		t.Fatalf("%s: %v", wireOf(frames), err)
	}
	p.Position = ""
	if diff := wiretest.Diff(back, p); diff != "" {
		t.Fatalf("%s: %s", wireOf(frames), diff)
	}
}

// sayable reports whether a namespace that a peer has named can be said again.
func sayable(e end, p wire.Packet) bool {
	if e.version != 4 {
		return true
	}
	for _, c := range p.Namespace {
		if c == '?' {
			return false
		}
	}
	return true
}

func ends(data byte, parser socketio.Parser) end {
	e := end{version: 4 + int(data&1), dialled: data&2 != 0}
	e.options = []socketio.Option{socketio.WithParser(parser)}
	if data&4 != 0 {
		e.options = append(e.options, socketio.WithRoomEvents())
	}
	return e
}

func FuzzText(f *testing.F) {
	for _, packet := range malformed() {
		f.Add(byte(1), packet)
	}
	for _, x := range examples() {
		f.Add(byte(5), string(framesOf(f, x.wire)[0].Data))
		f.Add(byte(6), string(framesOf(f, x.wire)[0].Data))
	}
	f.Fuzz(func(t *testing.T, flags byte, packet string) {
		e := ends(flags, socketio.JSON)
		p, ok, err := bounded(t, e.session("foo"), len(packet), text(packet))
		if err != nil || !ok {
			return
		}
		if !utf8.ValidString(packet) {
			t.Fatalf("%q was taken and is not UTF-8", packet)
		}
		for _, a := range append(p.Args, p.Payload) {
			if a.Type == codec.TypeJSON && !stdjson.Valid(a.Data) {
				t.Fatalf("%q: the argument %q is not JSON", packet, a.Data)
			}
		}
		if sayable(e, p) {
			again(t, e, p)
		}
	})
}

func FuzzAttachments(f *testing.F) {
	for _, x := range examples() {
		all := framesOf(f, x.wire)
		if len(all) > 2 {
			f.Add(byte(5), string(all[0].Data), all[1].Data, all[2].Data)
		} else if len(all) > 1 {
			f.Add(byte(6), string(all[0].Data), all[1].Data, []byte(nil))
		}
	}
	f.Add(byte(1), `52-["a",[{"_placeholder":true,"num":1},{"num":1,"_placeholder":true,"x":{"_placeholder":true,"num":0}}]]`, []byte("x"), []byte("y"))
	f.Add(byte(1), `51-["a",{"_placeholder":true,"_placeholder":false,"num":0},[[{"_placeholder" : true , "num" : 0 }]]]`, []byte("x"), []byte("y"))
	f.Fuzz(func(t *testing.T, flags byte, packet string, one, two []byte) {
		e := ends(flags, socketio.JSON)
		s := e.session()
		size := len(packet) + len(one) + len(two)
		for _, frame := range []transport.Frame{text(packet), binary(string(one)), binary(string(two))} {
			p, ok, err := bounded(t, s, size, frame)
			if err != nil {
				return
			}
			if !ok || !sayable(e, p) {
				continue
			}
			for _, a := range append(p.Args, p.Payload) {
				if a.Type == codec.TypeParts {
					checkParts(t, a)
				}
			}
			if !ambiguous(p) {
				again(t, e, p)
			}
		}
	})
}

// checkParts checks that an argument with attachments is whole: each of them
// is in the text, and all that is in the text is there.
func checkParts(t *testing.T, a codec.Payload) {
	t.Helper()
	text, inside, err := codec.SplitParts(a.Data)
	if err != nil || !stdjson.Valid(text) || len(inside) == 0 {
		t.Fatalf("%q: %d parts, %v", a.Data, len(inside), err)
	}
	var v any
	if err := (codec.Parts{}).Unmarshal(a.Data, &v); err != nil {
		t.Fatalf("%q: %v", a.Data, err)
	}
}

// ambiguous reports whether a packet has an attachment more than once. Said
// again it has more of them, perhaps too many.
func ambiguous(p wire.Packet) bool {
	n := 0
	for _, a := range append(p.Args, p.Payload) {
		switch a.Type {
		case codec.TypeBytes:
			n++
		case codec.TypeParts:
			_, inside, err := codec.SplitParts(a.Data)
			if err != nil {
				return true
			}
			n += len(inside)
		}
	}
	return n > 2
}

// timed reports whether MessagePack may have timestamps, which are cut to
// milliseconds when they are said again.
func timed(data []byte) bool {
	for i, c := range data {
		if c == 0xff && i > 0 && (data[i-1] == 0xd6 || data[i-1] == 0xd7 || data[i-1] < 13) {
			return true
		}
	}
	return false
}

func FuzzMsgpack(f *testing.F) {
	msgpack := end{options: []socketio.Option{socketio.WithParser(socketio.Msgpack)}}
	for _, p := range []wire.Packet{
		{Type: wire.Message, Kind: "foo", Payload: pack("\x01"), Args: []codec.Payload{raw("x"), {}}},
		{Type: wire.Call, Kind: "foo", ID: 300, Namespace: "/a"},
		{Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Code: "c", Message: "m", Details: pack("\x93\xca....\xd6.....\xdf\x00\x00\x00\x01\xc3\xcf........")}},
		{Type: wire.Welcome, Key: "x", Resume: "y"},
		{Type: wire.Refused, Err: &wire.ErrorBody{Message: "m", Details: pack("\xc0")}},
		{Type: wire.Goodbye},
		{Type: wire.Publish, Room: "r", Kind: "k"},
	} {
		frames, err := wiretest.Encode(msgpack.session(), &p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(5), frames[0].Data)
		f.Add(byte(7), frames[0].Data)
	}
	f.Fuzz(func(t *testing.T, flags byte, data []byte) {
		e := ends(flags, socketio.Msgpack)
		p, ok, err := bounded(t, e.session("foo"), len(data), binary(string(data)))
		if err == nil && ok && sayable(e, p) && !timed(data) {
			again(t, e, p)
		}
	})
}
