package load

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/polywire/polywire/transport"
)

// testServer takes messages on both kinds of link and does what reply says.
type testServer struct {
	addr  string
	reply replyFunc

	stream      bool
	subprotocol string
	opened      func(c *testConn) // nil: nothing happens then
	pongs       atomic.Int32
	ln          net.Listener
	group       sync.WaitGroup
	mu          sync.Mutex
	conns       map[*testConn]struct{}
}

type testConn struct {
	opened atomic.Bool // a broadcast of another run must not come before the handshake
	joined atomic.Bool // the same, on a wire with an opening of its own
	net.Conn
	mu     sync.Mutex
	stream bool
}

// send writes a frame from the server: without a mask.
func (c *testConn) send(t transport.FrameType, data []byte) {
	var b []byte
	switch n := len(data); {
	case c.stream:
		b = binary.BigEndian.AppendUint32([]byte{byte(t)}, uint32(n))
	case n < 126:
		b = []byte{0x80 | byte(t), byte(n)}
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16([]byte{0x80 | byte(t), 126}, uint16(n))
	default:
		b = binary.BigEndian.AppendUint64([]byte{0x80 | byte(t), 127}, uint64(n))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.Write(append(b, data...)) // a client that has gone is none of the server's concern
}

type replyFunc = func(s *testServer, c *testConn, f transport.Frame)

// startServer serves WebSockets, or native stream links, until the test ends.
func startServer(t *testing.T, stream bool, subprotocol string, reply replyFunc) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, &testServer{stream: stream, subprotocol: subprotocol, reply: reply})
}

func serveOn(t *testing.T, ln net.Listener, s *testServer) *testServer {
	t.Helper()
	s.addr, s.ln, s.conns = ln.Addr().String(), ln, map[*testConn]struct{}{}
	s.group.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.group.Go(func() { s.serve(&testConn{Conn: nc, stream: s.stream}) })
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *testServer) close() {
	_ = s.ln.Close()
	s.each(func(c *testConn) { _ = c.Close() })
	s.group.Wait()
}

func (s *testServer) each(do func(*testConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

// broadcast is each, for those whose handshake is done.
func (s *testServer) broadcast(do func(*testConn)) {
	s.each(func(c *testConn) {
		if c.opened.Load() {
			do(c)
		}
	})
}

func (s *testServer) serve(c *testConn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.Close()
	}()
	br := bufio.NewReader(c)
	if !s.open(c, br) {
		return
	}
	c.opened.Store(true)
	if s.opened != nil {
		s.opened(c)
	}
	for {
		f, err := readFrame(br, c.stream)
		if err != nil {
			return
		}
		s.reply(s, c, f)
	}
}

func (s *testServer) open(c *testConn, br *bufio.Reader) bool {
	if c.stream {
		f, err := readFrame(br, true)
		if err != nil || string(f.Data) != s.subprotocol {
			return false
		}
		c.send(transport.Text, f.Data)
		return true
	}
	req, err := http.ReadRequest(br)
	if err != nil {
		return false
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	res := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if s.subprotocol != "" {
		res += "Sec-WebSocket-Protocol: " + s.subprotocol + "\r\n"
	}
	_, err = io.WriteString(c, res+"\r\n")
	return err == nil
}

// readFrame reads a client's frame: with a mask on WebSockets.
func readFrame(br *bufio.Reader, stream bool) (f transport.Frame, err error) {
	var head [14]byte
	size := 2
	if stream {
		size = 5
	}
	if _, err = io.ReadFull(br, head[:size]); err != nil {
		return f, err
	}
	n, more := int(head[1]&0x7f), 0
	switch {
	case stream:
		n = int(binary.BigEndian.Uint32(head[1:]))
	case n == 126:
		more = 2
	case n == 127:
		more = 8
	}
	if _, err = io.ReadFull(br, head[2:2+more]); err != nil {
		return f, err
	}
	switch more {
	case 2:
		n = int(binary.BigEndian.Uint16(head[2:]))
	case 8:
		n = int(binary.BigEndian.Uint64(head[2:]))
	}
	var mask [4]byte
	if !stream {
		if head[1]&0x80 == 0 {
			return f, fmt.Errorf("a client's frame without a mask")
		}
		if _, err = io.ReadFull(br, mask[:]); err != nil {
			return f, err
		}
	}
	f = transport.Frame{Type: transport.FrameType(head[0] & 0xf), Data: make([]byte, n)}
	_, err = io.ReadFull(br, f.Data)
	for i := range f.Data {
		f.Data[i] ^= mask[i%4]
	}
	return f, err
}

// rawReply is the server that the raw wire wants.
func rawReply(s *testServer, c *testConn, f transport.Frame) {
	switch {
	case f.Type.Control():
	case len(f.Data) > 0 && f.Data[0] == 'B':
		s.broadcast(func(o *testConn) { o.send(f.Type, f.Data) })
	default:
		c.send(f.Type, f.Data)
	}
}

// nativeReply is the server that the native wire wants. It greets a client's
// first message with one that nobody has asked for.
func nativeReply(s *testServer, c *testConn, f transport.Frame) {
	e, ok := parseEnvelope(f.Data)
	if !ok || f.Type != transport.Binary {
		_ = c.Close()
		return
	}
	switch string(e.name) {
	case "echo":
		if e.kind != typeCall {
			return
		}
		if e.id == 1 {
			c.send(transport.Binary, appendBytesField(nil, fieldKind, []byte("welcome")))
		}
		b := binary.AppendUvarint([]byte{fieldType << 3, typeReply, fieldID << 3}, e.id)
		c.send(transport.Binary, appendBytesField(b, fieldPayload, e.payload))
	case "broadcast":
		b := appendBytesField(nil, fieldKind, []byte("news"))
		b = appendBytesField(b, fieldPayload, e.payload)
		s.broadcast(func(o *testConn) { o.send(transport.Binary, b) })
	}
}

// jsonReply is nativeReply in the text form.
func jsonReply(s *testServer, c *testConn, f transport.Frame) {
	e, err := parseJSONEnvelope(f.Data)
	if err != nil || f.Type != transport.Text {
		_ = c.Close()
		return
	}
	switch string(e.name) {
	case "echo":
		c.send(transport.Text, []byte(`{"type":"welcome","key":"1"}`))
		c.send(transport.Text, fmt.Appendf(nil, `{"payload":%s, "id":%d, "headers":{"a":"b"}, "type":"reply"}`, e.payload, e.id))
	case "broadcast":
		s.broadcast(func(o *testConn) { o.send(transport.Text, fmt.Appendf(nil, `{"kind":"news","payload":%s}`, e.payload)) })
	}
}
