package load

import (
	"fmt"
	"strings"
	"testing"

	"github.com/polywire/polywire/transport"
)

// goomerangReply is the server that the wire wants, as far as the frames go.
func goomerangReply(s *testServer, c *testConn, f transport.Frame) {
	text := string(f.Data)
	head, payload, ok := strings.Cut(text, "\x12\x1agoogle.protobuf.BytesValue")
	switch {
	case f.Type != transport.Binary || !ok:
		_ = c.Close()
	case strings.Contains(head, "goomerang.protocol.BroadcastCmd"):
		message := append([]byte("\x2a\x02\x08\x05\x12\x1agoogle.protobuf.BytesValue\x3a"), payload[1:]...) // the field's other number
		s.broadcast(func(o *testConn) { o.send(transport.Binary, message) })
	default: // somebody else's answer first
		c.send(transport.Binary, []byte("\x0a\x01x\x12\x01y\x20\x01"))
		c.send(transport.Binary, []byte(head+"\x4a\x01z\x12\x1agoogle.protobuf.BytesValue"+payload))
	}
}

func TestGoomerang(t *testing.T) {
	ws := startServer(t, false, "", goomerangReply)
	for _, mode := range []Mode{Echo, Broadcast} {
		for _, payload := range []int{1, 100, 5000} {
			t.Run(fmt.Sprint(mode, payload), func(t *testing.T) {
				res := run(t, Config{URL: "ws://" + ws.addr, Wire: "goomerang", Mode: mode, Conns: 3, Window: 4, PayloadBytes: payload, Duration: short})
				if res.Messages == 0 || res.OpenConns != 3 {
					t.Errorf("nothing was measured: %+v", res)
				}
			})
		}
	}
}

func TestGoomerangWire(t *testing.T) {
	const (
		uuid    = "\x0a\x24706f6c79-7769-4265-8000-000000000012"
		kind    = "\x12\x1agoogle.protobuf.BytesValue"
		created = "\x2a\x0b\x08\x80\xa0\xf8\xfa\x05\x10\x95\x9a\xef\x3a"
		payload = "\x3a\x04\x0a\x02hi"
	)
	echo, news := newGoomerangWire(Echo, []byte("hi")), newGoomerangWire(Broadcast, []byte("hi"))
	if got := string(echo.appendRequest(nil, 12)); got != uuid+kind+"\x18\x04\x20\x01"+created+payload {
		t.Errorf("%q", got)
	}
	if got := string(news.appendRequest(nil, 0)); got != "\x12\x1fgoomerang.protocol.BroadcastCmd\x18\x22"+created+"\x3a\x22"+kind+"\x1a\x04\x0a\x02hi" {
		t.Errorf("%q", got)
	}
	for data, want := range map[string]string{
		uuid + kind + "\x20\x01" + payload:                   "1 12, 0 0",
		payload + "\x20\x01" + kind + created + uuid:         "1 12, 0 0",
		uuid + kind + payload:                                "0 0, 1 0",
		kind + payload:                                       "0 0, 1 0",
		uuid + kind + "\x20\x01\x3a\x03\x0a\x01h":            "0 0, 0 0",
		"\x0a\x01x" + kind + "\x20\x01" + payload:            "0 0, 0 0",
		"\x12\x11polywire.v1.Error\x20\x01" + payload + uuid: "2 0, 2 0",
		"\x12\x05x": "2 0, 2 0",
		"":          "0 0, 0 0",
	} {
		f := transport.Frame{Type: transport.Binary, Data: []byte(data)}
		a, id := echo.classify(f)
		b, other := news.classify(f)
		if got := fmt.Sprintf("%d %d, %d %d", a, id, b, other); got != want {
			t.Errorf("%q: %s, want %s", data, got, want)
		}
	}
	if a, _ := echo.classify(transport.Frame{Type: transport.Text}); a != failure {
		t.Error("a text frame is fine")
	}
}
