package polywire_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/native/nativepb"
)

// patience bounds what a test waits for; it passes long before.
const patience = 20 * time.Second

// language is one way to speak the native wire, by hand.
type language struct {
	name      string
	websocket bool
	json      bool
	upgraded  bool // a stream that begins with an HTTP Upgrade
}

func languages() []language {
	return []language{
		{"websocket binary", true, false, false}, {"websocket json", true, true, false},
		{"stream binary", false, false, false}, {"stream json", false, true, false},
		{"upgrade binary", false, false, true}, {"upgrade json", false, true, true},
	}
}

// http reports whether the language begins with an HTTP request.
func (l language) http() bool { return l.websocket || l.upgraded }

func (l language) form() string {
	if l.json {
		return native.JSON.String()
	}
	return native.Proto.String()
}

// Frame types, which are the opcodes of WebSocket.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// op is the type of the language's message frames.
func (l language) op() byte {
	if l.json {
		return opText
	}
	return opBinary
}

// header is that of a frame which says to have n bytes of payload. The mask of
// a WebSocket frame is zero, so that the payload needs none.
func (l language) header(op byte, n uint64) []byte {
	switch {
	case !l.websocket:
		return binary.BigEndian.AppendUint32([]byte{op}, uint32(n))
	case n < 126:
		return []byte{0x80 | op, 0x80 | byte(n), 0, 0, 0, 0}
	case n < 1<<16:
		return append(binary.BigEndian.AppendUint16([]byte{0x80 | op, 0x80 | 126}, uint16(n)), 0, 0, 0, 0)
	}
	return append(binary.BigEndian.AppendUint64([]byte{0x80 | op, 0x80 | 127}, n), 0, 0, 0, 0)
}

func (l language) frame(op byte, payload string) []byte {
	return append(l.header(op, uint64(len(payload))), payload...)
}

// message is a frame with an envelope as it is given.
func (l language) message(envelope string) []byte { return l.frame(l.op(), envelope) }

// envelope is what both forms say.
type envelope struct {
	Type    string            `json:"type,omitempty"`
	ID      uint64            `json:"id,omitempty"`
	Kind    string            `json:"kind,omitempty"`
	Payload json.RawMessage   `json:"payload,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Room    string            `json:"room,omitempty"`
	Key     string            `json:"key,omitempty"`
	Error   *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

func (l language) encode(e envelope) []byte {
	if l.json {
		b, _ := json.Marshal(e)
		return l.message(string(b))
	}
	p := &nativepb.Envelope{Id: e.ID, Kind: e.Kind, Payload: e.Payload, Headers: e.Headers, Room: e.Room}
	p.Type = nativepb.Type(nativepb.Type_value[strings.ToUpper(e.Type)])
	if e.Payload != nil {
		p.Content = nativepb.Content_JSON
	}
	b, _ := proto.Marshal(p)
	return l.message(string(b))
}

func (l language) decode(payload []byte) (e envelope, err error) {
	if l.json {
		return e, json.Unmarshal(payload, &e)
	}
	var p nativepb.Envelope
	if err := proto.Unmarshal(payload, &p); err != nil {
		return e, err
	}
	e = envelope{Type: strings.ToLower(p.Type.String()), ID: p.Id, Kind: p.Kind, Payload: p.Payload, Room: p.Room, Key: p.Key}
	if p.Error != nil {
		e.Error = &struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}{p.Error.Code, p.Error.Message}
	}
	return e, nil
}

// rawConn is a connection that speaks by hand.
type rawConn struct {
	language
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

// site is a server on real sockets, with what its hooks have told.
type site struct {
	t           *testing.T
	srv         *polywire.Server
	http, tcp   string
	serving     sync.WaitGroup
	clients     []net.Conn
	mu          sync.Mutex
	errors      []error
	dropped     []polywire.DropReason
	disconnects chan *polywire.CloseError
}

func newSite(t *testing.T, setup func(*polywire.Server), opts ...polywire.Option) *site {
	t.Helper()
	s := &site{t: t, disconnects: make(chan *polywire.CloseError, 10_000)}
	opts = append([]polywire.Option{polywire.WithWires(native.New()), polywire.WithHooks(polywire.Hooks{
		Error: func(_ *polywire.Conn, err error) { s.mu.Lock(); s.errors = append(s.errors, err); s.mu.Unlock() },
		Dropped: func(_ *polywire.Conn, _ string, r polywire.DropReason) {
			s.mu.Lock()
			s.dropped = append(s.dropped, r)
			s.mu.Unlock()
		},
		Disconnect: func(_ *polywire.Conn, why *polywire.CloseError) { s.disconnects <- why },
	})}, opts...)
	var err error
	if s.srv, err = polywire.New(opts...); err != nil {
		t.Fatal(err)
	}
	s.srv.Handle("echo", echo)
	if setup != nil {
		setup(s.srv)
	}
	if err := s.srv.Start(); err != nil {
		t.Fatal(err)
	}
	s.http, s.tcp = s.listen("ws"), s.listen("tcp")
	return s
}

func (s *site) listen(scheme string) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.serving.Go(func() {
		if err := s.srv.Serve(l, scheme); err != nil {
			s.t.Errorf("serve %s: %v", scheme, err)
		}
	})
	return l.Addr().String()
}

// close ends the server and its clients, and waits until nothing of it is left.
func (s *site) close() {
	s.t.Helper()
	defer s.leave()
	if err := s.srv.Close(); err != nil {
		s.t.Errorf("close: %v", err)
	}
	s.serving.Wait()
	s.until("nothing is left", func() bool { return srvIdle(s.srv) == "" })
}

// leave ends the clients.
func (s *site) leave() {
	for _, nc := range s.clients {
		nc.Close()
	}
}

// until waits for what the server's own figures show.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			s.t.Fatalf("waiting until %s: %+v", what, s.srv.Stats())
		}
	}
}

func (s *site) faults() (errs []error, dropped []polywire.DropReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(errs, s.errors...), append(dropped, s.dropped...)
}

// connect opens a connection below any protocol.
func (s *site) connect(l language) *rawConn {
	s.t.Helper()
	addr := s.tcp
	if l.http() {
		addr = s.http
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.clients = append(s.clients, nc)
	_ = nc.SetDeadline(time.Now().Add(2 * patience))
	return &rawConn{l, s.t, nc, bufio.NewReaderSize(nc, 512)}
}

// open makes a connection that speaks the wire.
func (s *site) open(l language) *rawConn {
	s.t.Helper()
	c := s.connect(l)
	if l.upgraded {
		accept := "*/*"
		if l.json {
			accept = "application/json"
		}
		resp := c.upgrade("Accept: " + accept)
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Polywire-Form") != l.form() {
			s.t.Fatalf("the request was answered with %s %v", resp.Status, resp.Header)
		}
		return c
	}
	if !l.websocket {
		c.write(l.frame(opText, l.form()))
		if op, answer := c.read(); op != opText || string(answer) != l.form() {
			s.t.Fatalf("the opening was answered with %d %q", op, answer)
		}
		return c
	}
	resp := c.upgrade("Sec-WebSocket-Protocol: " + l.form())
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Protocol") != l.form() {
		s.t.Fatalf("the handshake was answered with %s %v", resp.Status, resp.Header)
	}
	return c
}

func request(headers ...string) string {
	return "GET /polywire HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// request is what opens a link of the language over HTTP.
func (l language) request(headers ...string) string {
	if !l.upgraded {
		return request(headers...)
	}
	return "GET /polywire HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: polywire\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// upgradeAnswer is the answer to a handshake, its body read.
type upgradeAnswer struct {
	StatusCode int
	Status     string
	Header     http.Header
}

func (c *rawConn) upgrade(headers ...string) upgradeAnswer {
	c.t.Helper()
	c.write([]byte(c.request(headers...)))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("the answer to the handshake: %v", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	resp.Body.Close()
	return upgradeAnswer{resp.StatusCode, resp.Status, resp.Header}
}

func (c *rawConn) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *rawConn) send(e ...envelope) {
	c.t.Helper()
	var all []byte
	for _, e := range e {
		all = append(all, c.encode(e)...)
	}
	c.write(all)
}

func (c *rawConn) next() (op byte, payload []byte, err error) {
	head := make([]byte, 5)
	if !c.websocket {
		if _, err := io.ReadFull(c.r, head); err != nil {
			return 0, nil, err
		}
		payload = make([]byte, binary.BigEndian.Uint32(head[1:]))
		_, err = io.ReadFull(c.r, payload)
		return head[0], payload, err
	}
	if _, err := io.ReadFull(c.r, head[:2]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	if n >= 126 {
		long := make([]byte, 8)
		if _, err := io.ReadFull(c.r, long[8-(2+6*(n-126)):]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(long)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.r, payload)
	return head[0] &^ 0x80, payload, err
}

func (c *rawConn) read() (op byte, payload []byte) {
	c.t.Helper()
	op, payload, err := c.next()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return op, payload
}

// receive returns the next message.
func (c *rawConn) receive() envelope {
	c.t.Helper()
	for {
		op, payload := c.read()
		switch op {
		case opPing:
			c.write(c.frame(opPong, string(payload)))
		case opPong:
		case c.op():
			e, err := c.decode(payload)
			if err != nil {
				c.t.Fatalf("envelope %q: %v", payload, err)
			}
			return e
		default:
			c.t.Fatalf("got a frame of type %d: %q", op, payload)
		}
	}
}

// echo does a call, which shows that the connection is well.
func (c *rawConn) echo() {
	c.t.Helper()
	want := fmt.Sprintf(`"%d"`, time.Now().UnixNano())
	c.send(envelope{Type: "call", ID: 1 << 40, Kind: "echo", Payload: json.RawMessage(want)})
	if got := c.receive(); got.Type != "reply" || got.ID != 1<<40 || string(got.Payload) != want {
		c.t.Fatalf("the echo of %s is %+v", want, got)
	}
}

// fails does a call whose answer is an error of a code, and returns its text.
func (c *rawConn) fails(code polywire.Code, e envelope) string {
	c.t.Helper()
	e.ID = 99
	c.send(e)
	got := c.receive()
	if got.Type != "error" || got.ID != 99 || got.Error == nil || got.Error.Code != string(code) {
		c.t.Fatalf("%s %q was answered with %+v (%+v), want the error %s", e.Type, e.Kind, got, got.Error, code)
	}
	return got.Error.Message
}

// closes reads up to a close frame of a code, answers it, and then there is
// nothing more.
func (c *rawConn) closes(code polywire.CloseCode) (reason string) {
	c.t.Helper()
	for {
		op, payload := c.read()
		if op != opClose {
			continue
		}
		if len(payload) < 2 || polywire.CloseCode(binary.BigEndian.Uint16(payload)) != code {
			c.t.Fatalf("closed with % x %q, want %d", payload[:min(2, len(payload))], payload[min(2, len(payload)):], code)
		}
		_, _ = c.nc.Write(c.frame(opClose, string(payload[:2]))) // it may be gone already
		c.ends()
		return string(payload[2:])
	}
}

// ends reads to the end of the connection, which comes without a frame, and
// leaves it.
func (c *rawConn) ends() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%q and then %v, want the end", rest[:min(100, len(rest))], err)
	}
	c.nc.Close()
}

// drains reads to the end, whatever comes.
func (c *rawConn) drains() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.r); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection does not end")
	}
	c.nc.Close()
}

// descriptors counts the open files of this process, where the system tells.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// sameDescriptors waits until no more files are open than before.
func sameDescriptors(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(patience); descriptors() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d files are open, %d were before", descriptors(), before)
		}
	}
}

// spaces is n bytes of nothing.
func spaces(n int) string { return string(bytes.Repeat([]byte{' '}, n)) }
