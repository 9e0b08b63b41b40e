package load

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport"
)

// short is long enough for a machine with nothing else to do to answer something.
const short = 150 * time.Millisecond

// run measures, and for longer if the machine was too busy to answer anything
// whose time is taken.
func run(t *testing.T, cfg Config) Result {
	t.Helper()
	return runUntil(t, cfg, func(res Result) bool {
		return res.Messages > 0 && (res.Latency.Max > 0 || cfg.Mode == Idle || cfg.Mode == Connect)
	})
}

// runUntil is run for who wants to see more than answers.
func runUntil(t *testing.T, cfg Config, enough func(Result) bool) Result {
	t.Helper()
	for longest := 30 * time.Second; ; cfg.Duration *= 4 {
		res, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if res.Errors != 0 || res.FirstError != "" {
			t.Fatalf("%d errors, first: %s", res.Errors, res.FirstError)
		}
		if enough(res) || cfg.Duration <= 0 || cfg.Duration > longest {
			return res
		}
	}
}

func TestEchoAndBroadcastOnEveryLink(t *testing.T) {
	ws := startServer(t, false, "", rawReply)
	wsNative := startServer(t, false, "polywire.v1.proto", nativeReply)
	tcpNative := startServer(t, true, "polywire.v1.proto", nativeReply)
	wsJSON := startServer(t, false, "polywire.v1.json", jsonReply)
	sock := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, &testServer{stream: true, subprotocol: "polywire.v1.proto", reply: nativeReply})

	for _, link := range []struct{ name, url, wire string }{
		{"raw", "ws://" + ws.addr, "raw"},
		{"native on ws", "ws://" + wsNative.addr, "native"},
		{"text form on ws", "ws://" + wsJSON.addr, "native-json"},
		{"native on tcp", "tcp://" + tcpNative.addr, "native"},
		{"native on unix", "unix://" + sock, "native"},
	} {
		for _, mode := range []Mode{Echo, Broadcast} {
			for _, payload := range []int{1, 100, 120, 300, 70_000} {
				t.Run(link.name+" "+mode.String(), func(t *testing.T) {
					res := run(t, Config{URL: link.url, Wire: link.wire, Mode: mode, Conns: 3, Window: 4,
						PayloadBytes: payload, Warmup: 10 * time.Millisecond, Duration: short, PID: os.Getpid()})
					if res.Messages == 0 || res.PerSecond <= 0 || res.OpenConns != 3 {
						t.Errorf("nothing was measured: %+v", res)
					}
					if l := res.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
						t.Errorf("latency %+v", l)
					}
				})
			}
		}
	}
}

// TestIdleAnswersPings has a server that pings once together with the opening,
// and again after the answer.
func TestIdleAnswersPings(t *testing.T) {
	for _, stream := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var pongs atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		beat := func(c *testConn) { c.send(transport.Ping, []byte("beat")) }
		serveOn(t, ln, &testServer{stream: stream, subprotocol: "polywire.v1.proto", opened: beat,
			reply: func(_ *testServer, c *testConn, f transport.Frame) {
				if f.Type != transport.Pong || string(f.Data) != "beat" {
					t.Errorf("%s %q in place of a pong", f.Type, f.Data)
				}
				if pongs.Add(1) == 10 {
					cancel()
				}
				beat(c)
			}})
		url := map[bool]string{false: "ws://", true: "tcp://"}[stream] + ln.Addr().String()
		res, err := Run(ctx, Config{URL: url, Mode: Idle, Conns: 5, Duration: time.Minute, DialRate: -1})
		if !errors.Is(err, context.Canceled) || res.Errors != 0 || pongs.Load() < 10 {
			t.Errorf("%s: %v, %d errors, %d pongs", url, err, res.Errors, pongs.Load())
		}
	}
}

func TestIdleMeasuresMemory(t *testing.T) {
	s := startServer(t, false, "", rawReply)
	res := run(t, Config{URL: "ws://" + s.addr, Wire: "raw", Mode: Idle, Conns: 50, Duration: short, PID: os.Getpid(), DialRate: -1})
	if res.Messages != 50 || res.OpenConns != 50 {
		t.Errorf("%d handshakes, %d open", res.Messages, res.OpenConns)
	}
	if runtime.GOOS == "linux" && (res.ServerMiB < 1 || res.ServerMiBBefore < 1 || res.ServerMicros <= 0) {
		t.Errorf("figures of the process are missing: %+v", res)
	}
}

func TestConnect(t *testing.T) {
	s := startServer(t, false, "", rawReply)
	res := run(t, Config{URL: "ws://" + s.addr, Wire: "raw", Mode: Connect, Conns: 20, DialRate: 1000, PID: os.Getpid()})
	if res.Messages != 20 || res.Latency.P50 <= 0 || res.PerSecond > 1100 {
		t.Errorf("%+v", res)
	}

	if _, err := Run(t.Context(), Config{URL: "ws://" + conntest.HoldPort(t), Wire: "raw", Mode: Connect, Conns: 2}); err == nil {
		t.Error("handshakes with nobody succeeded")
	}
}

// TestConnectCountsFailures has a server that turns every second client away.
func TestConnectCountsFailures(t *testing.T) {
	var n atomic.Int32
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, everySecond{ln, &n}, &testServer{reply: rawReply})
	res, err := Run(t.Context(), Config{URL: "ws://" + s.addr, Wire: "raw", Mode: Connect, Conns: 10})
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages != 5 || res.Errors != 5 || res.FirstError == "" {
		t.Errorf("%d handshakes, %d errors (%s)", res.Messages, res.Errors, res.FirstError)
	}
	if _, err := Run(t.Context(), Config{URL: "ws://" + s.addr, Wire: "raw", Mode: Echo, Conns: 10}); err == nil {
		t.Error("echo went on with half of its connections")
	}
}

type everySecond struct {
	net.Listener
	n *atomic.Int32
}

func (l everySecond) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil && l.n.Add(1)%2 == 0 {
		_ = nc.Close()
	}
	return nc, err
}

func TestFaultyServersAreReported(t *testing.T) {
	envelope := func(fields ...byte) []byte { return fields }
	for _, tt := range []struct {
		name, wire, want string
		reply            replyFunc
	}{
		{"another payload", "raw", "without what was sent", func(_ *testServer, c *testConn, f transport.Frame) {
			f.Data[len(f.Data)-1] ^= 1
			c.send(f.Type, f.Data)
		}},
		{"close frame", "raw", "closed by the server", func(_ *testServer, c *testConn, _ transport.Frame) {
			c.send(transport.Close, []byte{3, 232})
		}},
		{"hangs up", "raw", "EOF", func(_ *testServer, c *testConn, _ transport.Frame) { _ = c.Close() }},
		{"huge claim", "raw", "a frame of", func(_ *testServer, c *testConn, _ transport.Frame) {
			_, _ = c.Write([]byte{0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0})
		}},
		{"fragment", "raw", "fragmented", func(_ *testServer, c *testConn, _ transport.Frame) {
			_, _ = c.Write([]byte{0x02, 1, 'x'})
		}},
		{"unasked", "native", "not made", func(_ *testServer, c *testConn, f transport.Frame) {
			e, _ := parseEnvelope(f.Data)
			c.send(transport.Binary, append(envelope(fieldType<<3, typeReply, fieldID<<3, 99),
				appendBytesField(nil, fieldPayload, e.payload)...))
		}},
		{"error", "native", "an error", func(_ *testServer, c *testConn, _ transport.Frame) {
			c.send(transport.Binary, envelope(fieldType<<3, typeError, fieldID<<3, 1))
		}},
		{"error in text", "native-json", "an error", func(_ *testServer, c *testConn, _ transport.Frame) {
			c.send(transport.Text, []byte(`{"type":"error","id":1,"error":{"code":"x"}}`))
		}},
		{"malformed text", "native-json", "an error", func(_ *testServer, c *testConn, _ transport.Frame) {
			c.send(transport.Text, []byte(`{"type":"reply","id":1`))
		}},
		{"the other form", "native-json", "an error", func(_ *testServer, c *testConn, _ transport.Frame) {
			c.send(transport.Binary, envelope(fieldType<<3, typeReply, fieldID<<3, 1))
		}},
		{"malformed", "native", "an error", func(_ *testServer, c *testConn, _ transport.Frame) {
			c.send(transport.Binary, envelope(fieldPayload<<3|protoBytes, 100, 1))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sub := map[string]string{"native": "polywire.v1.proto", "native-json": "polywire.v1.json"}[tt.wire]
			s := startServer(t, false, sub, tt.reply)
			res, err := Run(t.Context(), Config{URL: "ws://" + s.addr, Wire: tt.wire, Mode: Echo, Conns: 1, Duration: time.Minute})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
			if res.Errors != 1 || res.OpenConns != 0 {
				t.Errorf("%d errors, %d open", res.Errors, res.OpenConns)
			}
		})
	}
}

// TestHungUp is about ends that came together with the last bytes: pump does
// not see those, stop does.
func TestHungUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	sock, ok := client.(socket)
	if !ok {
		t.Fatalf("%T is no socket", client)
	}
	if hungUp(sock) {
		t.Error("an open connection was taken for ended")
	}
	_ = server.Close()
	var b [1]byte
	if _, err := client.Read(b[:]); err == nil {
		t.Fatal("the server did not end the connection")
	}
	if !hungUp(sock) {
		t.Error("an ended connection was taken for open")
	}
}

func TestRefusals(t *testing.T) {
	s := startServer(t, false, "other", rawReply)
	stream := startServer(t, true, "other", rawReply)
	good := Config{URL: "ws://" + s.addr, Mode: Echo, Wire: "raw", Conns: 1}
	for _, tt := range []struct {
		name string
		want string
		set  func(*Config)
	}{
		{"no mode", "Mode", func(c *Config) { c.Mode = 0 }},
		{"wire", "unknown wire", func(c *Config) { c.Wire = "smoke" }},
		{"conns", "Conns", func(c *Config) { c.Conns = -1 }},
		{"window", "Window", func(c *Config) { c.Window = -1 }},
		{"in flight", "2097152", func(c *Config) { c.Window, c.PayloadBytes = 3, 1<<20 }},
		{"scheme", "scheme", func(c *Config) { c.URL = "https://127.0.0.1:1" }},
		{"no port", "no port", func(c *Config) { c.URL, c.Wire = "tcp://127.0.0.1", "native" }},
		{"speaking loads", "Speak", func(c *Config) { c.Speak = true }},
		{"speaking polls", "Speak", func(c *Config) { c.Speak, c.Mode, c.Wire = true, Connect, "socketio-polling" }},
		{"quiet polls", "no mode", func(c *Config) { c.Mode, c.Wire = Idle, "socketio-polling" }},
		{"many polls", "one request", func(c *Config) { c.Window, c.Wire = 2, "socketio-polling" }},
		{"bad url", "parse", func(c *Config) { c.URL = "ws://[::1" }},
		{"raw on tcp", "ws URL", func(c *Config) { c.URL = "tcp://127.0.0.1:1" }},
		{"remote", "not a loopback", func(c *Config) { c.URL = "ws://192.0.2.1:80" }},
		{"unasked subprotocol", "chose subprotocol", func(*Config) {}},
		{"no agreement", "opening", func(c *Config) { c.URL, c.Wire = "tcp://"+stream.addr, "native" }},
		{"descriptors", "hard limit", func(c *Config) { c.Conns = maxConns }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "descriptors" && raiseDescriptorLimit(maxConns) == nil {
				return // this machine has so many
			}
			cfg := good
			tt.set(&cfg)
			_, err := Run(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestCancelledRunEnds(t *testing.T) {
	silent := startServer(t, false, "", func(*testServer, *testConn, transport.Frame) {})
	for _, mode := range []Mode{Echo, Idle} {
		ctx, cancel := context.WithTimeout(t.Context(), short)
		_, err := Run(ctx, Config{URL: "ws://" + silent.addr, Wire: "raw", Mode: mode, Conns: 2, Duration: time.Hour})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{URL: "ws://" + silent.addr, Wire: "raw", Mode: Connect}); !errors.Is(err, context.Canceled) {
		t.Errorf("before dialling: %v", err)
	}
}

// TestSilentHandshakeEnds has a server that accepts and says nothing.
func TestSilentHandshakeEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	_, err = Run(ctx, Config{URL: "ws://" + ln.Addr().String(), Wire: "raw", Mode: Echo, Conns: 1})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestProgress(t *testing.T) {
	s := startServer(t, false, "", rawReply)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []Progress
	_, err := Run(ctx, Config{URL: "ws://" + s.addr, Wire: "raw", Mode: Echo, Conns: 2, Duration: time.Minute,
		Progress: func(p Progress) {
			if seen = append(seen, p); p.Messages > 0 {
				cancel()
			}
		}})
	if !errors.Is(err, context.Canceled) || len(seen) == 0 {
		t.Fatalf("%v, %+v", err, seen)
	}
	if last := seen[len(seen)-1]; last.Phase != "measure" || last.Open != 2 || last.Messages == 0 || last.Elapsed < progressInterval {
		t.Errorf("%+v", seen)
	}
}

func TestModeText(t *testing.T) {
	for m := Echo; m <= Handshakes; m++ {
		text, err := json.Marshal(m)
		var back Mode
		if err != nil || json.Unmarshal(text, &back) != nil || back != m {
			t.Errorf("%v: %s became %v", m, text, back)
		}
	}
	var m Mode
	for _, bad := range []string{"", "mode 0", "Echo"} {
		if m.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was accepted as %v", bad, m)
		}
	}
}
