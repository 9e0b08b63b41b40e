package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport"
)

const testOpen = `0{"sid":"s1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`

// startSocketIO serves the wire on WebSockets. Each connection gets a ping
// before the answer to its CONNECT, and as soon as it is open.
func startSocketIO(t *testing.T, reply replyFunc) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, &testServer{reply: reply, opened: func(c *testConn) {
		c.send(transport.Text, []byte(testOpen))
		c.send(transport.Text, []byte("2"))
	}})
}

// socketIOReply is the server that the wire wants.
func socketIOReply(s *testServer, c *testConn, f transport.Frame) {
	switch packet := string(f.Data); {
	case f.Type != transport.Text:
		_ = c.Close()
	case packet == "40":
		c.send(transport.Text, []byte(`40{"sid":"k1"}`))
		c.joined.Store(true)
		c.send(transport.Text, []byte("2beat"))
	case packet[0] == '3':
		s.pongs.Add(1)
	case strings.HasPrefix(packet, `42["broadcast",`):
		news := []byte(`42["news",` + packet[len(`42["broadcast",`):])
		s.each(func(o *testConn) {
			if o.joined.Load() {
				o.send(transport.Text, news)
			}
		})
	default:
		c.send(transport.Text, []byte(`42["other",1]`))
		c.send(transport.Text, []byte(acknowledgement(packet)))
	}
}

// acknowledgement answers 42<id>["echo",<x>] with 43<id>[<x>].
func acknowledgement(packet string) string {
	id, x, ok := strings.Cut(packet[2:], `["echo",`)
	if _, err := strconv.ParseUint(id, 10, 64); err != nil || !ok {
		return "44"
	}
	return "43" + id + "[" + x
}

func TestSocketIO(t *testing.T) {
	s := startSocketIO(t, socketIOReply)
	for _, mode := range []Mode{Echo, Broadcast} {
		for _, payload := range []int{1, 100, 300} {
			t.Run(mode.String(), func(t *testing.T) {
				res := run(t, Config{URL: "ws://" + s.addr + "/", Wire: "socketio", Mode: mode, Conns: 3, Window: 4,
					PayloadBytes: payload, Duration: short, PID: os.Getpid()})
				if res.Messages == 0 || res.OpenConns != 3 || res.Latency.P50 <= 0 {
					t.Errorf("nothing was measured: %+v", res)
				}
				if res.Pings < 1 || res.Pings > 3 {
					t.Errorf("%d pings answered after the opening, of 3", res.Pings)
				}
			})
		}
	}
}

func TestSocketIOPingsAreAnswered(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := startSocketIO(t, func(s *testServer, c *testConn, f transport.Frame) {
		socketIOReply(s, c, f)
		if s.pongs.Load() == 10 { // one of each connection's comes in its opening
			cancel()
		}
	})
	res, err := Run(ctx, Config{URL: "ws://" + s.addr, Wire: "socketio", Mode: Idle, Conns: 5, Duration: time.Minute})
	if !errors.Is(err, context.Canceled) || res.Errors != 0 { // a minute would be over without an error
		t.Errorf("%v, %d errors, %d pongs", err, res.Errors, s.pongs.Load())
	}
}

// TestSpeak counts what each connection has said before it is idle.
func TestSpeak(t *testing.T) {
	var hellos, calls atomic.Int32
	count := func(reply replyFunc, hello, call string) replyFunc {
		return func(s *testServer, c *testConn, f transport.Frame) {
			if hello != "" && string(f.Data) == hello {
				hellos.Add(1)
				return
			}
			if bytes.Contains(f.Data, []byte(call)) {
				calls.Add(1)
			}
			reply(s, c, f)
		}
	}
	for _, tt := range []struct {
		wire, sub, hello, call string
		start                  func(*testing.T, replyFunc) *testServer
		reply                  replyFunc
	}{
		{"raw", "", "", "xx", nil, rawReply},
		{"native", "polywire.v1.proto", "\x08\x08", "echo", nil, nativeReply},
		{"native-json", "polywire.v1.json", `{"type":"hello"}`, `"echo"`, nil, jsonReply},
		{"socketio", "", "", `421["echo"`, startSocketIO, socketIOReply},
	} {
		t.Run(tt.wire, func(t *testing.T) {
			hellos.Store(0)
			calls.Store(0)
			reply := count(tt.reply, tt.hello, tt.call)
			var s *testServer
			if tt.start != nil {
				s = tt.start(t, reply)
			} else {
				s = startServer(t, false, tt.sub, reply)
			}
			res := run(t, Config{URL: "ws://" + s.addr, Wire: tt.wire, Mode: Idle, Conns: 4, Speak: true, Duration: 10 * time.Millisecond})
			want := int32(4)
			if res.OpenConns != 4 || calls.Load() != want || (tt.hello != "" && hellos.Load() != want) {
				t.Errorf("%d open, %d hellos, %d calls", res.OpenConns, hellos.Load(), calls.Load())
			}
		})
	}
}

// TestSpeakFailures has servers that answer the first request wrongly.
func TestSpeakFailures(t *testing.T) {
	for want, packet := range map[string]string{
		"with an error": "41", "not made": `432["x"]`, "a frame of": strings.Repeat("2", 1<<14)} {
		s := startSocketIO(t, func(s *testServer, c *testConn, f transport.Frame) {
			if string(f.Data) == "40" {
				socketIOReply(s, c, f)
			} else {
				c.send(transport.Text, []byte(packet))
			}
		})
		_, err := Run(t.Context(), Config{URL: "ws://" + s.addr, Wire: "socketio", Mode: Idle, Conns: 1, Speak: true, PayloadBytes: 1})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSocketIORefusals(t *testing.T) {
	for _, tt := range []struct {
		name, want   string
		open, answer string
	}{
		{"no session", "in place of an open packet", "1", ""},
		{"refused", "did not accept", testOpen, `44{"message":"no"}`},
		{"an event first", "did not accept", testOpen, `42["x"]`},
		{"without an id", "did not accept", testOpen, "40"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := serveOn(t, ln, &testServer{
				opened: func(c *testConn) { c.send(transport.Text, []byte(tt.open)) },
				reply:  func(_ *testServer, c *testConn, _ transport.Frame) { c.send(transport.Text, []byte(tt.answer)) },
			})
			_, err = Run(t.Context(), Config{URL: "ws://" + s.addr, Wire: "socketio", Mode: Idle, Conns: 1})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestHandshakes(t *testing.T) {
	s := startSocketIO(t, socketIOReply)
	res := run(t, Config{URL: "ws://" + s.addr, Wire: "socketio", Mode: Handshakes, DialRate: 200, Duration: 2 * short})
	inTime := res.Seconds < (3 * short).Seconds() // a machine that is busy elsewhere is given up on after four
	if (inTime && res.Asked != 60) || res.Asked > 60 || res.Messages != res.Asked || res.OpenConns != 0 || res.Latency.Max <= 0 || res.PerSecond > 220 {
		t.Errorf("%+v", res)
	}
	if want := fmt.Sprintf("0 of %d\n", res.Asked); !strings.Contains(res.Table(), want) {
		t.Errorf("no %q in\n%s", want, res.Table())
	}
	res = run(t, Config{URL: "ws://" + s.addr, Wire: "socketio", Mode: Handshakes, DialRate: -1, Duration: short})
	if res.Messages == 0 || res.Messages != res.Asked {
		t.Errorf("%+v", res)
	}
}

// TestHandshakesAreLost has a server that turns every second client away, and
// one that turns all away.
func TestHandshakesAreLost(t *testing.T) {
	var n atomic.Int32
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, everySecond{ln, &n}, &testServer{reply: rawReply})
	res, err := Run(t.Context(), Config{URL: "ws://" + s.addr, Wire: "raw", Mode: Handshakes, DialRate: 100, Duration: short})
	if err != nil || res.Asked == 0 || res.Errors != int(res.Asked/2) || res.Messages != res.Asked-res.Asked/2 {
		t.Errorf("%v: %+v", err, res)
	}
	if _, err := Run(t.Context(), Config{URL: "ws://" + conntest.HoldPort(t), Wire: "raw", Mode: Handshakes, Duration: short}); err == nil {
		t.Error("handshakes with nobody succeeded")
	}
}

// pollServer is Engine.IO by long polling, as the generator wants it. Before
// every third answer it sends a ping, in a poll of its own.
type pollServer struct {
	mu       sync.Mutex
	sessions map[string]chan string
	packets  int
	pongs    int
	answer   func(packet string) string // nil: acknowledgement
}

func startPolls(t *testing.T, answer func(string) string) (*pollServer, string) {
	t.Helper()
	p := &pollServer{sessions: map[string]chan string{}, answer: answer}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s.URL
}

func (p *pollServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sid := r.URL.Query().Get("sid")
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.sessions[sid]
	switch {
	case r.URL.Path != "/socket.io/" || r.URL.Query().Get("transport") != "polling":
		http.Error(w, "not here", http.StatusNotFound)
	case r.Method == http.MethodGet && sid == "":
		sid = fmt.Sprintf("s%d", len(p.sessions))
		p.sessions[sid] = make(chan string, 10)
		_, _ = io.WriteString(w, strings.Replace(testOpen, "s1", sid, 1))
	case out == nil:
		http.Error(w, "no such session", http.StatusBadRequest)
	case r.Method == http.MethodGet:
		p.mu.Unlock()
		select {
		case packets := <-out:
			_, _ = io.WriteString(w, packets)
		case <-r.Context().Done():
		}
		p.mu.Lock()
	default:
		body, _ := io.ReadAll(r.Body)
		for packet := range strings.SplitSeq(string(body), "\x1e") {
			p.take(out, packet)
		}
		_, _ = io.WriteString(w, "ok")
	}
}

func (p *pollServer) take(out chan string, packet string) {
	p.packets++
	switch {
	case packet == "40":
		out <- "2"
		out <- "6\x1e40{\"sid\":\"k1\"}"
	case packet == "3":
		p.pongs++
	case p.answer != nil:
		out <- p.answer(packet)
	case p.packets%3 == 0:
		out <- "2"
		out <- "42[\"other\"]\x1e" + acknowledgement(packet)
	default:
		out <- acknowledgement(packet)
	}
}

func TestPolling(t *testing.T) {
	s, url := startPolls(t, nil)
	res := runUntil(t, Config{URL: url, Wire: "socketio-polling", Mode: Echo, Conns: 5, Duration: short, PID: os.Getpid()},
		func(res Result) bool { return res.Messages > 0 && res.Latency.P50 > 0 && res.Pings > 0 })
	if res.Messages == 0 || res.OpenConns != 5 || res.Latency.P50 <= 0 || res.Pings == 0 {
		t.Errorf("nothing was measured: %+v", res)
	}
	s.mu.Lock()
	pongs := s.pongs
	s.mu.Unlock()
	if pongs < int(res.Pings)+5 { // one of each session's came in its opening
		t.Errorf("%d pings answered, %d pongs came", res.Pings, pongs)
	}
	res = run(t, Config{URL: url, Wire: "socketio-polling", Mode: Connect, Conns: 5})
	if res.Messages != 5 || res.OpenConns != 5 {
		t.Errorf("%+v", res)
	}
	res = run(t, Config{URL: url, Wire: "socketio-polling", Mode: Handshakes, DialRate: 100, Duration: short})
	if res.Messages == 0 || res.Messages != res.Asked {
		t.Errorf("%+v", res)
	}
}

func TestPollingFaultsAreReported(t *testing.T) {
	for packet, want := range map[string]string{
		"1": "an error", `432["xxx"]`: "not made", `431["yyy"]`: "without what was sent", "44": "an error",
		"":                             "with nothing",
		"431[\"xxx\"]\x1e431[\"xxx\"]": "not made",
		strings.Repeat("6", 1<<20):     "a frame of",
	} {
		_, url := startPolls(t, func(string) string { return packet })
		_, err := Run(t.Context(), Config{URL: url, Wire: "socketio-polling", Mode: Echo, Conns: 1, PayloadBytes: 3, Duration: time.Minute})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", packet, err, want)
		}
	}
}

func TestPollingOpeningsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		handler    http.HandlerFunc
	}{
		{"refused", "400", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }},
		{"no session", "in place of an open packet", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "1") }},
		{"hangs up", "keep the connection", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, testOpen)
		}},
		{"a POST that is not ok", "a POST was answered", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, map[string]string{http.MethodGet: testOpen, http.MethodPost: "no"}[r.Method])
		}},
		{"no namespace", "did not accept", func(w http.ResponseWriter, r *http.Request) {
			body := map[string]string{http.MethodGet: `44{"message":"no"}`, http.MethodPost: "ok"}[r.Method]
			if r.URL.Query().Get("sid") == "" {
				body = testOpen
			}
			_, _ = io.WriteString(w, body)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.handler)
			defer s.Close()
			_, err := Run(t.Context(), Config{URL: s.URL, Wire: "socketio-polling", Mode: Echo, Conns: 1, Duration: time.Minute})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestSilentPollEnds has a server that never answers the first request.
func TestSilentPollEnds(t *testing.T) {
	_, url := startPolls(t, func(string) string { return "6" })
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	res, err := Run(ctx, Config{URL: url, Wire: "socketio-polling", Mode: Echo, Conns: 2, Duration: time.Hour})
	if !errors.Is(err, context.DeadlineExceeded) || res.Messages != 0 {
		t.Errorf("%v, %+v", err, res)
	}
}

func TestSocketIORequests(t *testing.T) {
	w := newSocketIOWire("websocket", Echo, []byte("hello"))
	if got := string(w.appendRequest(nil, 300)); got != `42300["echo","hello"]` {
		t.Errorf("request %s", got)
	}
	if got := string(newSocketIOWire("websocket", Broadcast, []byte("hello")).appendRequest(nil, 300)); got != `42["broadcast","hello"]` {
		t.Errorf("broadcast %s", got)
	}
	for given, want := range map[string]string{
		"": "/socket.io/?EIO=4&transport=websocket", "/": "/socket.io/?EIO=4&transport=websocket",
		"/x/": "/x/?EIO=4&transport=websocket", "/x/?EIO=3": "/x/?EIO=3",
	} {
		if got := w.path(given); got != want {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestSocketIOClassify(t *testing.T) {
	echo := newSocketIOWire("websocket", Echo, []byte("hello"))
	news := newSocketIOWire("websocket", Broadcast, []byte("hello"))
	for _, tt := range []struct {
		w      *socketIOWire
		packet string
		want   class
		id     uint64
	}{
		{echo, `4312["hello"]`, answer, 12},
		{echo, `430["hello"]`, failure, 0},
		{echo, `43["hello"]`, failure, 0},
		{echo, `4399999999999999999999["hello"]`, failure, 0},
		{echo, `431["hell"]`, failure, 0},
		{echo, `431[{"error":{"code":"internal"}}]`, failure, 0},
		{echo, `42["news","hello"]`, unrelated, 0},
		{news, `42["news","hello"]`, answer, 0},
		{news, `42["news","hell"]`, unrelated, 0},
		{news, `42["olds","hello"]`, unrelated, 0},
		{news, `431["hello"]`, unrelated, 0},
		{news, "2", heartbeat, 0},
		{news, "6", unrelated, 0},
		{news, "41", failure, 0},
		{news, `44{"message":"x"}`, failure, 0},
		{news, "4", failure, 0},
		{news, "1", failure, 0},
		{news, "", failure, 0},
	} {
		if got, id := tt.w.classify(transport.Frame{Type: transport.Text, Data: []byte(tt.packet)}); got != tt.want || id != tt.id {
			t.Errorf("%s: class %d of %d, want %d of %d", tt.packet, got, id, tt.want, tt.id)
		}
	}
	if got, _ := echo.classify(transport.Frame{Type: transport.Binary, Data: []byte("2")}); got != failure {
		t.Errorf("a binary frame is of class %d", got)
	}
}

func FuzzSocketIO(f *testing.F) {
	for _, seed := range []string{`4312["hello"]`, `42["news","hello"]`, "2", "43", "4318446744073709551616[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame := transport.Frame{Type: transport.Text, Data: b}
		for _, mode := range []Mode{Echo, Broadcast} {
			w := newSocketIOWire("websocket", mode, []byte("hello"))
			class, id := w.classify(frame)
			if (class == answer && mode == Echo) != (id > 0) {
				t.Fatalf("%q: class %d, id %d", b, class, id)
			}
			if class == heartbeat && !bytes.HasPrefix(w.appendPong(nil, b), []byte("3")) {
				t.Fatalf("%q has no pong", b)
			}
		}
	})
}
