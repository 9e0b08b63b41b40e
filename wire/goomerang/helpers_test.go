package goomerang_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/goomerang"
)

// Kinds that the tests use: messages that are linked in, since wrapperspb is.
const (
	kindText    = "google.protobuf.StringValue" // answered with itself
	kindNumber  = "google.protobuf.Int32Value"  // answered with a text and a header
	kindNothing = "google.protobuf.BoolValue"   // answered with nothing
	kindTaken   = "google.protobuf.Int64Value"  // fails
	kindSecret  = "google.protobuf.FloatValue"  // fails, nobody is told why
	kindUnheard = "google.protobuf.UInt32Value" // no handler
)

// created is the field of all frames that this side makes: fixedTime.
const created = "\x2a\x08\x08\x80\xa0\xf8\xfa\x05\x10\x07"

func fixedTime() time.Time { return time.Unix(1_600_000_000, 7) }

func fixed(o ...goomerang.Option) *goomerang.Protocol {
	return goomerang.Fixed(goomerang.New(o...), fixedTime(), 0x0123456789abcdef)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func codecs() polywire.Option { return polywire.WithCodecs(codec.JSON{}, protobuf.Codec{}) }

func handle(r polywire.Registrar) {
	r.Handle(kindText, func(_ context.Context, m *polywire.Message) (any, error) {
		if v := m.Header("copied"); v != "" {
			m.SetReplyHeader("copy", v)
		}
		return m.Payload(), nil
	})
	r.Handle(kindNumber, func(_ context.Context, m *polywire.Message) (any, error) {
		var n wrapperspb.Int32Value
		if err := m.Bind(&n); err != nil {
			return nil, err
		}
		m.SetReplyHeader("status", "OK")
		return wrapperspb.String(strings.Repeat("x", int(n.GetValue()))), nil
	})
	r.Handle(kindNothing, func(context.Context, *polywire.Message) (any, error) { return nil, nil })
	r.Handle(kindTaken, func(context.Context, *polywire.Message) (any, error) {
		return nil, polywire.Errorf(polywire.CodeConflict, "taken")
	})
	r.Handle(kindSecret, func(context.Context, *polywire.Message) (any, error) {
		return nil, errors.New("a secret of the server's")
	})
}

// free lets clients do what they like with rooms.
func free() []polywire.Option {
	return []polywire.Option{
		polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return nil }),
		polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithBroadcastPolicy(func(context.Context, *polywire.Conn, string) error { return nil }),
	}
}

// server serves the wire in memory until the test is over.
func server(t *testing.T, opts ...polywire.Option) (*polywire.Server, *transporttest.Listener) {
	t.Helper()
	base := append(free(), polywire.WithWires(fixed()), polywire.WithLogger(discard()), codecs())
	srv, err := polywire.New(append(base, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	handle(srv)
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, "ws") }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return srv, l
}

// raw is one end of a WebSocket, played by hand.
type raw struct {
	net.Conn

	t *testing.T
}

// rawClient opens a WebSocket as a client does that knows nothing of Polywire.
func rawClient(t *testing.T, l *transporttest.Listener) raw {
	t.Helper()
	nc, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	r := raw{nc, t}
	r.write("GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	answer := r.readAll()
	if !strings.HasPrefix(answer, "HTTP/1.1 101 ") || !strings.HasSuffix(answer, "\r\n\r\n") ||
		strings.Contains(strings.ToLower(answer), "subprotocol") {
		t.Fatalf("the opening was answered with %q", answer)
	}
	return r
}

// rawServer opens the WebSockets of clients as a server of Goomerang does, at
// the path, and hands them out.
func rawServer(t *testing.T, path string) (<-chan raw, *transporttest.Listener) {
	t.Helper()
	conns := make(chan raw, 10)
	l := transporttest.NewListener()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(nc))
			if err != nil || req.URL.Path != path {
				nc.Close()
				continue
			}
			sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
			conns <- raw{nc, t}
		}
	}()
	t.Cleanup(func() { l.Close() })
	return conns, l
}

func (r raw) write(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r, text); err != nil {
		r.t.Fatal(err)
	}
}

// readAll returns what has come when everybody has come to rest.
func (r raw) readAll() string {
	r.t.Helper()
	text, _ := conntest.Rest(r.t, r)
	return text
}

// message makes the bytes of a WebSocket message: RFC 6455 section 5.2.
func message(op byte, payload string) string {
	switch n := len(payload); {
	case n < 126:
		return string([]byte{0x80 | op, byte(n)}) + payload
	default:
		return string([]byte{0x80 | op, 126, byte(n >> 8), byte(n)}) + payload
	}
}

// masked is message of a client, whose mask is zero.
func masked(op byte, payload string) string {
	m := []byte(message(op, payload))
	m[1] |= 0x80
	head := len(m) - len(payload)
	return string(m[:head]) + "\x00\x00\x00\x00" + payload
}

// unmasked takes a client's messages apart: the first byte of each, and its payload.
func unmasked(t *testing.T, b string) (all []string) {
	t.Helper()
	for len(b) > 0 {
		n, head := int(b[1]&0x7f), 2
		if n == 126 {
			n, head = int(binary.BigEndian.Uint16([]byte(b[2:4]))), 4
		}
		if b[1]&0x80 == 0 || len(b) < head+4+n {
			t.Fatalf("not a client's message: %q", b)
		}
		payload := []byte(b[head+4 : head+4+n])
		for i := range payload {
			payload[i] ^= b[head+i%4]
		}
		all = append(all, b[:1]+string(payload))
		b = b[head+4+n:]
	}
	return all
}

// lp is a string of less than 128 bytes behind its length, as in protobuf.
func lp(s string) string { return string([]byte{byte(len(s))}) + s }
