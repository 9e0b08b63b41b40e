package goomerang_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/wiretest"
)

// sessions are all that there are.
func sessions() (all []wire.Session) {
	p, host := fixed(), wiretest.NewHost()
	for _, side := range []goomerang.Side{{}, {Polywire: true}, {Dialled: true}, {Dialled: true, Polywire: true}} {
		all = append(all, p.NewSession(host, side))
	}
	return all
}

type wrong struct{ in, why string }

func malformed(t testing.TB) []wrong {
	const kind = "\x12\x1b" + kindText
	answer := "\x0a" + lp(uuidOf(t, sessions()[1], 1)) + "\x12\x11polywire.v1.Error\x20\x01"
	return []wrong{
		{"", "no kind"},
		{"\x12\x00", "no kind"},
		{"\x3a\x04" + hi, "no kind"},
		{"\xff", "unexpected end"},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not a protobuf message"},
		{"\x00", "not a protobuf message"},
		{kind + "\xa0\xf8\xff\xff00", "not a protobuf message"},
		{kind + "\xf8\xff\xff\xff\x0f0" + "\x80\x80\x80\x80\x100", "not a protobuf message"},
		{"\x12", "field 2: unexpected end"},
		{"\x12\x05abc", "field 2: unexpected end"},
		{"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "field 2: unexpected end"},
		{"\x10\x01", "field 2: wrong wire type"},
		{"\x12\x01\xff", "field 2: not UTF-8"},
		{kind + "\x0a\x01\xff", "field 1: not UTF-8"},
		{kind + "\x08\x01", "field 1: wrong wire type"},
		{kind + "\x1a", "field 3: unexpected end"},
		{kind + "\x22\x01", "field 4: wrong wire type"},
		{kind + "\x20", "field 4: unexpected end"},
		{kind + "\x2a\x7f", "field 5: unexpected end"},
		{kind + "\x2a\x02\x08\x80", "field 5: unexpected end"},
		{kind + "\x2a\x01\x00", "field 5: not a protobuf message"},
		{kind + "\x28\x01", "field 5: wrong wire type"},
		{kind + "\x30\x01", "field 6: wrong wire type"},
		{kind + "\x32\x03\x0a\x05a", "field 6: unexpected end"},
		{kind + "\x32\x03\x0a\x01\xff", "field 6: not UTF-8"},
		{kind + "\x32\x03\x12\x01\xff", "field 6: not UTF-8"},
		{kind + "\x32\x02\x08\x01", "field 6: wrong wire type"},
		{kind + "\x32\x01\x1b", "field 6: unexpected end"},
		{kind + "\x32\x01\x07", "field 6: not a protobuf message"},
		{kind + "\x38\x01", "field 7: wrong wire type"},
		{kind + "\x43", "field 8: unexpected end"},
		{kind + "\x44", "field 8: not a protobuf message"},
		{kind + "\x47", "field 8: not a protobuf message"},
		{kind + strings.Repeat("\x43", 20_000), "field 8: not a protobuf message"},
		{"\x12\x1fgoomerang.protocol.SubscribeCmd\x3a\x02\x08\x01", "a command's field 1: wrong wire type"},
		{"\x12\x1fgoomerang.protocol.SubscribeCmd\x3a\x03\x0a\x01\xff", "a command's field 1: not UTF-8"},
		{"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x03\x12\x01\xff", "a command's field 2: not UTF-8"},
		{"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x02\x18\x01", "a command's field 3: wrong wire type"},
		{"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x02\x22\x01", "a command's field 4: unexpected end"},
		{"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x01\x00", "a command's not a protobuf message"},
		{answer + "\x3a\x01\x0a", "field 1: unexpected end"},
		{answer + "\x3a\x03\x12\x01\xff", "field 2: not UTF-8"},
		{answer + "\x3a\x01\x00", "not a protobuf message"},
		{answer + "\x3a\x01\x4f", "field 9: not a protobuf message"},
		{answer + "\x3a\x04\x1a\x02\x0a\x05", "field 1: unexpected end"},
		{answer + "\x3a\x04\x1a\x02\x12\x00", "field 2: wrong wire type"},
		{answer + "\x3a\x05\x1a\x03\x1a\x01\xff", "field 3: not UTF-8"},
		{answer + "\x3a\x03\x1a\x01\x00", "not a protobuf message"},
		{answer + "\x3a\x03\x1a\x01\x4f", "field 9: not a protobuf message"},
	}
}

func TestMalformed(t *testing.T) {
	for _, row := range malformed(t) {
		var p wire.Packet
		ok, err := sessions()[1].Decode(binaryFrame(row.in), &p)
		var violation *wire.ProtocolError
		if ok || !errors.As(err, &violation) || violation.Code != wire.CloseBadRequest || violation.Reason != "malformed frame: "+row.why {
			t.Errorf("%.80q: %v, %v, want %q", row.in, ok, err, row.why)
		}
	}
	var p wire.Packet
	many := kindFrame
	for i := range goomerang.MaxHeaders + 1 {
		many += "\x32" + lp("\x0a"+lp(string(rune('A'+i)))+"\x12\x00")
	}
	if _, err := sessions()[0].Decode(binaryFrame(many), &p); err == nil || !strings.Contains(err.Error(), "more than 64 headers") {
		t.Errorf("many headers: %v", err)
	}
}

const kindFrame = "\x12\x1b" + kindText

// uuids that are none of this session's, and one that is.
func TestForeignUUIDs(t *testing.T) {
	s := sessions()[2]
	own := uuidOf(t, s, 77)
	for uuid, want := range map[string]uint64{
		own: 77, "": 0, own[:35]: 0, own + "0": 0, strings.ToUpper(own): 0, uuid: 0,
		own[:23] + "0" + own[24:]:      0,         // no dash
		own[:35] + "g":                 0,         // no digit
		own[:19] + "0" + own[20:]:      0,         // another variant
		own[:19] + "c" + own[20:]:      0,         // and another
		own[:24] + "000000000000":      0,         // number 0
		own[:19] + "bfff-ffffffffffff": 1<<62 - 1, // the greatest
	} {
		var p wire.Packet
		ok, err := s.Decode(binaryFrame("\x0a"+lp(uuid)+kindFrame+"\x20\x01"), &p)
		if err != nil || ok != (want != 0) || p.ID != want {
			t.Errorf("%s: %v, %d, %v, want %d", uuid, ok, p.ID, err, want)
		}
	}
}

// bounded decodes, and checks the memory that it took and what came of it.
func bounded(t *testing.T, s wire.Session, f transport.Frame) (p wire.Packet, ok bool, err error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ok, err = s.Decode(f, &p)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10+16*uint64(len(f.Data)) {
		t.Fatalf("%d bytes took %d", len(f.Data), used)
	}
	var violation *wire.ProtocolError
	switch {
	case err != nil && (!errors.As(err, &violation) || len(violation.Reason) > 123):
		t.Fatalf("%v is not a *wire.ProtocolError, or too long", err)
	case err != nil && ok:
		t.Fatalf("a packet and %v", err)
	case ok && (p.Type < wire.Message || p.Type > wire.Broadcast || p.Type == wire.Error && p.Err == nil):
		t.Fatalf("%+v", p)
	}
	return p, ok, err
}

// FuzzDecode checks what is said of any input, that whatever is taken is a
// Frame to protobuf's own decoder too, and that what a packet says survives.
func FuzzDecode(f *testing.F) {
	for _, e := range exchanges {
		f.Add([]byte(e.ask))
		f.Add([]byte(e.answer))
	}
	for _, row := range malformed(f) {
		f.Add([]byte(row.in))
	}
	frame, _ := generated(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range sessions() {
			kept := bytes.Clone(data)
			p, ok, err := bounded(t, s, transport.Frame{Type: transport.Binary, Data: data})
			if !bytes.Equal(kept, data) {
				t.Fatal("the frame was changed")
			}
			if err != nil {
				continue
			}
			m := dynamicpb.NewMessage(frame)
			if err := proto.Unmarshal(data, m); err != nil {
				t.Fatalf("taken, but protobuf says %v", err)
			}
			if !ok {
				continue
			}
			if got := m.Get(frame.Fields().ByName("kind")).String(); p.Type < wire.Reply && got != p.Kind {
				t.Fatalf("kind %q, want %q", p.Kind, got)
			}
			if got := m.Get(frame.Fields().ByName("payload")).Bytes(); p.Type < wire.Reply && !bytes.Equal(p.Payload.Data, got) {
				t.Fatalf("payload %q, want %q", p.Payload.Data, got)
			}
			again(t, &p)
		}
	})
}

// again sends a packet on and compares what arrives.
func again(t *testing.T, p *wire.Packet) {
	t.Helper()
	all := sessions()
	from, to := all[3], all[1]
	if p.Err != nil && p.Type != wire.Error || p.Type == wire.Call && p.ID == 0 || p.Type == wire.Reply || p.Type == wire.Error {
		return
	}
	frames, err := wiretest.Encode(from, p)
	if err != nil {
		t.Fatalf("%+v was taken, and cannot be said: %v", p, err)
	}
	got, err := wiretest.Decode(to, frames)
	if err != nil {
		t.Fatal(err)
	}
	want := *p
	if got.Key = ""; want.ID > 0 {
		want.ID = 1
	}
	want.Key = ""
	if diff := wiretest.Diff(got, want); diff != "" {
		t.Fatal(diff)
	}
}

// FuzzError reads what is in a failed call's answer.
func FuzzError(f *testing.F) {
	f.Add("conflict", "taken", "text/plain", []byte("details"))
	f.Add("", "", "", []byte(nil))
	f.Add("é", "\x00", codec.TypeProtobuf, []byte(hi))
	f.Fuzz(func(t *testing.T, code, message, contentType string, data []byte) {
		all := sessions()
		p := wire.Packet{Type: wire.Error, Key: uuidOf(t, all[2], 9), Err: &wire.ErrorBody{
			Code: code, Message: message, Details: codec.Payload{Type: contentType, Data: data},
		}}
		frames, err := wiretest.Encode(all[0], &p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wiretest.Decode(all[2], frames)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != 9 || !bytes.Equal(got.Err.Details.Data, data) || contentType != "" && got.Err.Details.Type != strings.ToValidUTF8(contentType, "\uFFFD") ||
			got.Err.Code != strings.ToValidUTF8(code, "\uFFFD") || got.Err.Message != strings.ToValidUTF8(message, "\uFFFD") {
			t.Errorf("%+v", got.Err)
		}
	})
}
