package e2e_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// kindString is the protobuf message that all wires say. It is linked in, as
// wrapperspb is.
const kindString = "google.protobuf.StringValue"

// guest is somebody in the room, on a wire of its own.
type guest struct {
	name  string
	say   func(text string) // nil: it can only listen
	heard func() string     // the next thing that came
	form  func(text string) string
}

// places are where the server of the room listens.
type places struct{ http, drs string }

// room starts a server that tells the others what somebody says. Each
// connection is told of when it is in the room.
func room(t *testing.T) (srv *polywire.Server, at places, joined <-chan string) {
	t.Helper()
	in := make(chan string, 16)
	srv, err := polywire.New(
		polywire.WithWires(native.New(), socketio.New(), drs.New(drs.WithKeys("s")), goomerang.New(), sse.New()),
		polywire.WithCodecs(protobuf.Codec{}, msgpack.Codec{}),
		polywire.WithHeartbeat(time.Hour, time.Minute), // what comes is what was said
		polywire.WithHooks(polywire.Hooks{
			Connect: func(c *polywire.Conn) {
				if err := c.Join("room"); err != nil {
					t.Error(err)
				}
				in <- c.Wire()
			},
			Dropped: func(c *polywire.Conn, kind string, reason polywire.DropReason) {
				t.Errorf("a message %s to %s was dropped: %s", kind, c.Wire(), reason)
			},
			Error: func(_ *polywire.Conn, err error) { t.Error(err) },
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle(kindString, func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Others("room").Send(ctx, m.Kind(), m.Payload())
	})
	served := make(chan error, 2)
	listen := func(scheme string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- srv.Serve(l, scheme) }()
		return l.Addr().String()
	}
	at = places{listen("http"), listen("drs+tcp")}
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-served, <-served); err != nil {
			t.Error(err)
		}
	})
	return srv, at, in
}

// line is a connection that the test speaks by hand.
type line struct {
	t *testing.T
	w io.Writer
	r *bufio.Reader
}

// open connects; with a request, it is sent and the answer must have a status.
func open(t *testing.T, address, request string, status int) line {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	l := line{t, nc, bufio.NewReader(nc)}
	if request == "" {
		return l
	}
	l.write(request + "\r\n")
	resp, err := http.ReadResponse(l.r, nil) //nolint:bodyclose // it is the connection's
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%q was answered with %v, %v", request, resp, err)
	}
	if status == http.StatusOK {
		l.r = bufio.NewReader(resp.Body)
	}
	return l
}

func openWebSocket(t *testing.T, address, path string) line {
	t.Helper()
	return open(t, address, "GET "+path+" HTTP/1.1\r\nHost: room\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", http.StatusSwitchingProtocols)
}

func (l line) write(text string) {
	l.t.Helper()
	if _, err := io.WriteString(l.w, text); err != nil {
		l.t.Fatal(err)
	}
}

func (l line) read(n int) string {
	l.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(l.r, b); err != nil {
		l.t.Fatalf("%v after %q", err, b)
	}
	return string(b)
}

// until reads to the end of a text.
func (l line) until(end string) (all string) {
	l.t.Helper()
	for !strings.HasSuffix(all, end) {
		all += l.read(1)
	}
	return all
}

// frame reads a WebSocket frame of a server.
func (l line) frame() string {
	l.t.Helper()
	head := l.read(2)
	n := int(head[1])
	if n == 126 {
		more := l.read(2)
		head, n = head+more, int(binary.BigEndian.Uint16([]byte(more)))
	}
	return head + l.read(n)
}

// serverFrame is a WebSocket frame, RFC 6455 section 5.2.
func serverFrame(op byte, payload string) string {
	if len(payload) < 126 {
		return string([]byte{0x80 | op, byte(len(payload))}) + payload
	}
	return string([]byte{0x80 | op, 126, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

// clientFrame is one with a mask, which is zero.
func clientFrame(op byte, payload string) string {
	b := []byte(serverFrame(op, payload))
	b[1] |= 0x80
	head := len(b) - len(payload)
	return string(b[:head]) + "\x00\x00\x00\x00" + payload
}

// lp is a text of less than 128 bytes behind its length, as in protobuf.
func lp(text string) string { return string([]byte{byte(len(text))}) + text }

// stringValue is the message in protobuf.
func stringValue(text string) string { return "\x0a" + lp(text) }

// goGuest uses our client; show says what came.
func goGuest(t *testing.T, name, url string, w wire.Protocol, show func(m *polywire.Message) string, form func(string) string) guest {
	t.Helper()
	c, err := client.New(url, client.WithWires(w), client.WithPeer(polywire.WithCodecs(protobuf.Codec{}, msgpack.Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 16)
	c.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
		heard <- m.Kind() + " " + show(m)
		return nil, nil
	})
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return guest{
		name: name,
		say: func(text string) {
			if err := c.Send(t.Context(), kindString, wrapperspb.String(text)); err != nil {
				t.Error(err)
			}
		},
		heard: func() string {
			select {
			case s := <-heard:
				return s
			case <-time.After(time.Minute):
				t.Fatal("heard nothing")
				return ""
			}
		},
		form: func(text string) string { return kindString + " " + form(text) },
	}
}

// protobufGuest is a Go client of the binary native form, in which each
// message has the encoding that it came in.
func protobufGuest(t *testing.T, at places) guest {
	show := func(m *polywire.Message) string {
		var v wrapperspb.StringValue
		if err := m.Bind(&v); err != nil {
			t.Error(err)
		}
		return v.GetValue()
	}
	return goGuest(t, "protobuf", "ws://"+at.http, native.New(native.WithForm(native.Proto)), show, func(text string) string { return text })
}

// socketIOGuest is a Go client of Socket.IO.
func socketIOGuest(t *testing.T, at places) guest {
	show := func(m *polywire.Message) string { return m.Payload().Type + " " + string(m.Payload().Data) }
	return goGuest(t, "Socket.IO", "socketio+http://"+at.http, socketio.New(), show,
		func(text string) string { return `application/json "` + text + `"` })
}

// plainGuest is ten lines of a browser's: a WebSocket without a subprotocol.
func plainGuest(t *testing.T, at places) guest {
	l := openWebSocket(t, at.http, "/polywire")
	return guest{
		name: "plain WebSocket",
		say: func(text string) {
			l.write(clientFrame(1, `{"kind":"`+kindString+`","payload":"`+text+`"}`))
		},
		heard: l.frame,
		form: func(text string) string {
			return serverFrame(1, `{"type":"message","kind":"`+kindString+`","payload":"`+text+`","room":"room"}`)
		},
	}
}

// drsGuest fires a command, which is answered as every command is.
func drsGuest(t *testing.T, at places) guest {
	l := open(t, at.drs, "", 0)
	told := 0
	return guest{
		name: "DRS",
		say: func(text string) {
			l.write(`{"key":"mine","action":"` + kindString + `","body":"` + text + `"}`)
			if got, want := l.until("\n"), `{"key":"mine","action":"drs.response"}`+"\n"; got != want {
				t.Errorf("DRS: answered with %q, want %q", got, want)
			}
		},
		heard: func() string { return l.until("\n") },
		form: func(text string) string {
			told++
			return fmt.Sprintf(`{"key":"s-%012x","action":"%s","body":"%s"}`+"\n", told, kindString, text)
		},
	}
}

// goomerangGuest has the message's name as the kind, and protobuf.
func goomerangGuest(t *testing.T, at places) guest {
	l := openWebSocket(t, at.http, "/ws")
	return guest{
		name: "Goomerang",
		say: func(text string) {
			l.write(clientFrame(2, "\x12"+lp(kindString)+"\x3a"+lp(stringValue(text))))
		},
		heard: func() string {
			f := l.frame()
			// The time of creation, field 5, is left out with its length.
			before, rest, ok := strings.Cut(f, "\x2a")
			if !ok || len(rest) < 1 || len(rest) < 1+int(rest[0]) || f[1] != byte(len(f)-2) {
				t.Fatalf("Goomerang: a frame %q", f)
			}
			return before[:1] + before[2:] + rest[1+int(rest[0]):]
		},
		form: func(text string) string {
			payload := stringValue(text)
			return "\x82\x12" + lp(kindString) + "\x18" + string([]byte{byte(len(payload))}) + "\x3a" + lp(payload)
		},
	}
}

// upgradeGuest has asked for msgpack on a stream: RFC 9110 section 7.8, and
// docs/wire-native.md for the frames.
func upgradeGuest(t *testing.T, at places) guest {
	l := open(t, at.http, "GET /polywire HTTP/1.1\r\nHost: room\r\nConnection: Upgrade\r\nUpgrade: polywire\r\n"+
		"Accept: application/msgpack\r\n", http.StatusSwitchingProtocols)
	frame := func(envelope string) string {
		return "\x02" + string(binary.BigEndian.AppendUint32(nil, uint32(len(envelope)))) + envelope
	}
	envelope := func(text string) string { // kind, a string of less than 32 bytes, and that it is msgpack
		return "\x1a" + lp(kindString) + "\x2a" + lp(string([]byte{0xa0 | byte(len(text))})+text) + "\x30\x03"
	}
	return guest{
		name: "Upgrade",
		say:  func(text string) { l.write(frame(envelope(text))) },
		heard: func() string {
			head := l.read(5)
			return head + l.read(int(binary.BigEndian.Uint32([]byte(head[1:]))))
		},
		form: func(text string) string { return frame(envelope(text) + "\x4a\x04room") },
	}
}

// eventsGuest is what an EventSource reads.
func eventsGuest(t *testing.T, at places) guest {
	l := open(t, at.http, "GET /events?room=room HTTP/1.1\r\nHost: room\r\nAccept: text/event-stream\r\n", http.StatusOK)
	if first := l.until("\n\n"); !strings.HasPrefix(first, ":") {
		t.Errorf("the stream begins with %q", first)
	}
	return guest{
		name:  "SSE",
		heard: func() string { return l.until("\n\n") },
		form: func(text string) string {
			return "event: " + kindString + "\nroom: \"room\"\ndata: \"" + text + "\"\n\n"
		},
	}
}

// One room, and somebody on every wire: what each says reaches all others in
// their own form, once.
func TestOneRoomEveryWire(t *testing.T) {
	srv, at, joined := room(t)
	var guests []guest
	for _, g := range []struct {
		wire  string
		enter func(*testing.T, places) guest
	}{
		{"native", protobufGuest},
		{"native", plainGuest},
		{"native", upgradeGuest},
		{"socketio", socketIOGuest},
		{"drs", drsGuest},
		{"goomerang", goomerangGuest},
		{"sse", eventsGuest},
	} {
		guests = append(guests, g.enter(t, at))
		if w := <-joined; w != g.wire {
			t.Fatalf("%s came, not %s", w, g.wire)
		}
	}
	told := func(by, text string) {
		t.Helper()
		for _, g := range guests {
			if g.name == by {
				continue
			}
			if got, want := g.heard(), g.form(text); got != want {
				t.Errorf("%s said to %s:\n got %q\nwant %q", by, g.name, got, want)
			}
		}
	}
	for _, g := range guests {
		if g.say == nil {
			continue
		}
		text := "olé, says " + g.name
		g.say(text)
		told(g.name, text)
	}
	// Whoever had heard something twice, or itself, would hear that first.
	if err := srv.Room("room").Send(t.Context(), kindString, wrapperspb.String("good night")); err != nil {
		t.Error(err)
	}
	told("the server", "good night")
}
