package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/wiretest"
)

func TestSessions(t *testing.T) {
	wiretest.Run(t, wiretest.Wire{
		New: func(host wire.Host) (client, server wire.Session) {
			c := &conn{phase: streaming}
			return &clientSession{host: host}, &serverSession{conn: c, places: openPlaces("from here")}
		},
		Positions: true,
		FrameType: transport.Text,
		Adapt: func(toServer bool, p *wire.Packet) bool {
			p.Args = nil // the core makes one array of them
			return !toServer && p.Type == wire.Message
		},
		Unsayable: []wire.Packet{
			{Type: wire.Call, ID: 1, Kind: "k"}, {Type: wire.Ping}, {Type: wire.Welcome}, {Type: wire.Reply, ID: 1},
			{Type: wire.Message}, {Type: wire.Message, Kind: closeKind}, {Type: wire.Message, Kind: recoveredKind}, {Type: wire.Message, Kind: "a\nb"},
			{Type: wire.Message, Kind: "k", Room: "from here", Position: "1\n2"}, {Type: wire.Message, Kind: "k", Room: "\xff"},
			{Type: wire.Message, Kind: "k", Header: map[string]string{"\xff": ""}},
			{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte("{")}},
			{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: "a\nb", Data: []byte("{")}},
		},
	})
}

// A client has nothing to say, and a server's session hears nothing after the request.
func TestOneWay(t *testing.T) {
	c := &clientSession{host: wiretest.NewHost()}
	for _, kind := range []wire.Type{wire.Message, wire.Call, wire.Subscribe, wire.Publish, wire.Hello} {
		if _, err := wiretest.Encode(c, &wire.Packet{Type: kind, ID: 1, Kind: "k", Room: "r"}); !errors.Is(err, ErrOneWay) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	s := &serverSession{asked: &request{rooms: []string{"a"}, offset: "7", places: newPlaces([]string{"a"}, "7"), header: map[string]string{"token": "x"}}}
	for i, want := range []wire.Packet{
		{Type: wire.Hello, Header: map[string]string{"token": "x"}, Position: "7"},
		{Type: wire.Subscribe, ID: 1, Room: "a", Position: "7"},
	} {
		var p wire.Packet
		f := transport.Frame{Type: transport.Text, Data: []byte("a")}
		if ok, err := s.Decode(f, &p); !ok || err != nil {
			t.Fatal(i, ok, err)
		}
		if diff := wiretest.Diff(p, want); diff != "" {
			t.Error(i, diff)
		}
	}
	var bad *wire.ProtocolError
	if _, err := s.Decode(transport.Frame{Type: transport.Text, Data: []byte("b")}, new(wire.Packet)); !errors.As(err, &bad) {
		t.Errorf("a frame too many: %v", err)
	}
}

// streams are texts and what a client makes of them: kind, id, payload of each
// message, and how it ends.
var streams = []struct{ name, text, want string }{
	{"empty", "", "EOF"},
	{"comments", ": a\n\n:\r\n\r\n: b\r\r", "EOF"},
	{"LF", "event: k\ndata: 1\n\n", "k  1;EOF"},
	{"CRLF", "event: k\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", "k  1;message  2;EOF"},
	{"CR", "event: k\rdata: 1\r\rdata: 2\r\r", "k  1;message  2;EOF"},
	{"mixed", "event: k\r\ndata: 1\n\rdata: 2\r\n\n", "k  1;message  2;EOF"},
	{"byte order mark", "\ufeffdata: 1\n\n", "message  1;EOF"},
	{"a second mark", "\ufeff\ufeffdata: 1\n\ndata: 2\n\n", "message  2;EOF"},
	{"no space", "event:k\ndata:1\n\n", "k  1;EOF"},
	{"two spaces", "event:  k\ndata:  1\n\n", " k   1;EOF"},
	{"lines", "data: [\ndata\ndata: 1]\n\n", "message  [\n\n1];EOF"},
	{"text", "data: hello \"you\"\ndata: there\n\n", "message  \"hello \\\"you\\\"\\nthere\";EOF"},
	{"no data", "event: k\nid: 3\n\ndata: 1\n\n", "message  1;EOF"},
	{"empty data", "data\n\n", "message  ;EOF"},
	{"id", "id: 1\ndata: 1\n\nid\ndata: 2\n\nid: a\x00b\ndata: 3\n\n", "message 1 1;message  2;message  3;EOF"},
	{"unknown fields", "retry: 1\nwhat: ever\n: x\nxdata: 2\ndata: 1\n\n", "message  1;EOF"},
	{"cut", "data: 1\n\ndata: 2\n", "message  1;EOF"},
	{"bytes", "type: application/octet-stream\ndata: \"AP8=\"\n\n", "message  \x00\xff;EOF"},
	{"not base64", "type: application/octet-stream\ndata: \"!\"\n\n", "malformed event"},
	{"not a string", "type: application/octet-stream\ndata: 1\n\n", "malformed event"},
	{"closed", "data: 1\n\nevent: $close\ndata: {\"code\":4001,\"reason\":\"go\"}\n\ndata: 2\n\n", "message  1;4001 go"},
	{"closed without sense", "event: $close\ndata: {\"code\":7}\n\n", "1005 "},
	{"close in data", "data: x\ndata: event: $close\n\n", "message  \"x\\nevent: $close\";EOF"},
	{"too big", "data: " + strings.Repeat("x", 5000) + "\n\n", "1009 event too big"},
	{"too big and no end", "data: " + strings.Repeat("x", 5000), "1009 event too big"},
}

const testLimit = 4096

// read returns what a client makes of a stream.
func read(r io.Reader) string {
	c := &clientConn{body: io.NopCloser(r), limit: testLimit}
	s := &clientSession{host: wiretest.NewHost()}
	var b strings.Builder
	for {
		f, ok, err := c.Next()
		if err == nil && !ok {
			if err = c.Wait(); err == nil {
				continue
			}
		}
		var p wire.Packet
		if err == nil {
			ok, err = s.Decode(f, &p)
		}
		var closed *transport.CloseError
		var bad *wire.ProtocolError
		switch {
		case errors.As(err, &closed):
			fmt.Fprintf(&b, "%d %s", closed.Code, closed.Reason)
			return b.String()
		case errors.As(err, &bad):
			return b.String() + bad.Reason
		case err != nil:
			return b.String() + err.Error()
		case ok:
			fmt.Fprintf(&b, "%s %s %s;", p.Kind, p.Position, p.Payload.Data)
		}
	}
}

func TestReadStreams(t *testing.T) {
	for _, row := range streams {
		for name, r := range map[string]io.Reader{
			"at once": strings.NewReader(row.text), "byte by byte": iotest.OneByteReader(strings.NewReader(row.text)),
		} {
			if got := read(r); got != row.want {
				t.Errorf("%s, %s: got %q, want %q", row.name, name, got, row.want)
			}
		}
	}
}

// Detached data stays, whatever comes behind it.
func TestDetach(t *testing.T) {
	text := strings.Repeat("data: 1\n\n", 3000)
	c := &clientConn{body: io.NopCloser(strings.NewReader(text)), limit: testLimit}
	var held [][]byte
	for {
		f, ok, err := c.Next()
		if err == nil && !ok {
			err = c.Wait()
		}
		if err != nil {
			break
		}
		if ok {
			held = append(held, f.Data)
			c.Detach()()
		}
	}
	for _, h := range held {
		if string(h) != "data: 1\n" {
			t.Fatalf("%q", h)
		}
	}
	if len(held) != 3000 {
		t.Errorf("%d events", len(held))
	}
}

type steps struct {
	r    io.Reader
	step int
}

func (s steps) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }

// FuzzRead checks that reading ends, and does not depend on how the bytes arrive.
func FuzzRead(f *testing.F) {
	for _, row := range streams {
		f.Add(row.text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, step int) {
		whole := read(strings.NewReader(text))
		if got := read(steps{strings.NewReader(text), max(1, step&0xfff)}); got != whole {
			// What is too big is noticed at once, or after what came with it.
			if !strings.Contains(got+whole, "1009 ") {
				t.Errorf("in steps %q, at once %q", got, whole)
			}
		}
	})
}

// FuzzEvent checks that nothing in a message becomes a line of its own.
func FuzzEvent(f *testing.F) {
	f.Add("k", "room", "id", "h", `{"a":1}`)
	f.Add("a\nb", "a\r\n\r\nevent: evil", "1", "\r\ndata: 2", "[\r1,\n\n2]")
	f.Fuzz(func(t *testing.T, kind, room, offset, header, payload string) {
		p := wire.Packet{
			Type: wire.Message, Kind: kind, Room: room, Position: offset, Header: map[string]string{header: header},
			Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(payload)},
		}
		frames, err := wiretest.Encode(&serverSession{places: openPlaces(room)}, &p)
		if err != nil {
			return
		}
		var split splitter
		text := append(bytes.Clone(frames[0].Data), '\n')
		split.more(copy(split.room(), text))
		if len(text) > clientReadBytes {
			return
		}
		lines, ok := split.next()
		if !ok || len(split.rest()) != 0 || parseClose(lines) != nil {
			t.Fatalf("%q is not one event", text)
		}
		got, err := wiretest.Decode(&clientSession{host: wiretest.NewHost()}, []transport.Frame{{Type: transport.Text, Data: lines}})
		if err != nil {
			t.Fatal(err)
		}
		got.Payload.Data = bytes.ReplaceAll(got.Payload.Data, []byte("\n"), nil)
		p.Payload.Data = []byte(strings.NewReplacer("\n", "", "\r", "").Replace(payload))
		if diff := wiretest.Diff(got, p); diff != "" {
			t.Error(diff)
		}
	})
}
