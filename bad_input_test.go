package polywire_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/polywire/polywire"
)

// badInput is one row: something that a peer does wrong, and what it gets.
type badInput struct {
	name string
	only func(language) bool // nil: all languages
	opts []polywire.Option
	do   func(s *site, l language)
}

func webSockets(l language) bool { return l.websocket }
func streams(l language) bool    { return !l.http() } // with an opening of frames

// Whatever one peer does, another one that is there all the time gets its
// answers, and in the end no goroutine and no file is left.
func runBadInput(t *testing.T, rows []badInput) {
	newSite(t, nil).close() // what the runtime opens once, it opens here
	for _, row := range rows {
		for _, l := range languages() {
			if row.only != nil && !row.only(l) {
				continue
			}
			t.Run(row.name+"/"+l.name, func(t *testing.T) {
				before, files := goleak.IgnoreCurrent(), descriptors()
				s := newSite(t, badInputHandlers, row.opts...)
				witness := s.witness(l)
				row.do(s, l)
				witness.echo()
				witness.nc.Close()
				s.close()
				nothingLeft(t, before, files)
			})
		}
	}
}

// runSlowInput is runBadInput for rows that wait for a time of the server's.
// They are at one server, all at once: that time can be one in which also a
// busy machine does everything else.
func runSlowInput(t *testing.T, opts []polywire.Option, rows []badInput) {
	newSite(t, nil).close()
	before, files := goleak.IgnoreCurrent(), descriptors()
	s := newSite(t, badInputHandlers, opts...)
	var witnesses []*rawConn
	for _, l := range languages() {
		witnesses = append(witnesses, s.witness(l))
	}
	var all sync.WaitGroup
	for _, row := range rows {
		for _, l := range languages() {
			if row.only == nil || row.only(l) {
				all.Go(func() {
					t.Run(row.name+"/"+l.name, func(t *testing.T) {
						own := &site{t: t, srv: s.srv, http: s.http, tcp: s.tcp}
						defer own.leave()
						row.do(own, l)
					})
				})
			}
		}
	}
	all.Wait()
	for _, witness := range witnesses {
		witness.echo()
		witness.nc.Close()
	}
	s.close()
	nothingLeft(t, before, files)
}

// witness is somebody who is there all the time.
func (s *site) witness(l language) *rawConn {
	s.t.Helper()
	c := s.open(l)
	c.send(envelope{Type: "hello", Headers: map[string]string{"user": "witness"}})
	if got := c.receive(); got.Type != "welcome" {
		s.t.Fatalf("hello was answered with %+v", got)
	}
	return c
}

// nothingLeft waits until what began since has ended, and its files are closed.
func nothingLeft(t *testing.T, before goleak.Option, files int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		err := goleak.Find(before, lingers())
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	sameDescriptors(t, files)
}

// lingers is how net/http lets an answer arrive: for half a second.
func lingers() goleak.Option { return goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait") }

func badInputHandlers(s *polywire.Server) {
	polywire.HandleFunc(s, "add", func(_ context.Context, in *struct{ A, B int }) (*int, error) {
		sum := in.A + in.B
		return &sum, nil
	})
	s.Handle("panic", func(context.Context, *polywire.Message) (any, error) { panic("hunter2") })
	s.Handle("fail", func(context.Context, *polywire.Message) (any, error) { return nil, errors.New("hunter2") })
	s.Handle("hold", func(ctx context.Context, _ *polywire.Message) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
}

// closing is a row of bytes after which the link is closed with a code.
func closing(name string, only func(language) bool, code polywire.CloseCode, bytes func(l language) []byte) badInput {
	return badInput{name: name, only: only, do: func(s *site, l language) {
		c := s.open(l)
		c.write(bytes(l))
		c.closes(code)
	}}
}

func text2(l language, binary, text string) []byte {
	if l.json {
		return l.message(text)
	}
	return l.message(binary)
}

func TestBadFrames(t *testing.T) {
	raw := func(s string) func(language) []byte { return func(language) []byte { return []byte(s) } }
	runBadInput(t, []badInput{
		closing("one byte over the limit", nil, 1009, func(l language) []byte { return l.header(l.op(), 1<<20+1) }),
		closing("over the limit with all its bytes", nil, 1009, func(l language) []byte { return l.message(spaces(1<<20 + 1)) }),
		closing("a huge length", webSockets, 1009, func(l language) []byte { return l.header(l.op(), 1<<62) }),
		closing("a huge length", func(l language) bool { return !l.websocket }, 1009, func(l language) []byte { return l.header(l.op(), 1<<32-1) }),
		closing("a negative length", webSockets, 1002, func(l language) []byte { return l.header(l.op(), 1<<63) }),
		closing("a length in more bytes than it needs", webSockets, 1002, raw("\x82\xfe\x00\x05\x00\x00\x00\x00")),
		closing("unmasked", webSockets, 1002, raw("\x82\x00")),
		closing("reserved bits", webSockets, 1002, raw("\xc2\x80\x00\x00\x00\x00")),
		closing("unknown opcode", webSockets, 1002, raw("\x83\x80\x00\x00\x00\x00")),
		closing("unknown frame type", func(l language) bool { return !l.websocket }, 1002, raw("\x03\x00\x00\x00\x00")),
		closing("continuation of nothing", webSockets, 1002, raw("\x80\x80\x00\x00\x00\x00")),
		closing("a message within a message", webSockets, 1002, raw("\x02\x80\x00\x00\x00\x00\x82\x80\x00\x00\x00\x00")),
		closing("fragmented ping", webSockets, 1002, raw("\x09\x80\x00\x00\x00\x00")),
		closing("long ping", nil, 1002, func(l language) []byte { return l.frame(opPing, spaces(126)) }),
		closing("long close reason", nil, 1002, func(l language) []byte { return l.frame(opClose, "\x03\xe8"+spaces(124)) }),
		closing("close frame of one byte", nil, 1002, func(l language) []byte { return l.frame(opClose, "\x03") }),
		closing("close code that is never sent", nil, 1002, func(l language) []byte { return l.frame(opClose, "\x03\xee") }),
		closing("close reason that is not UTF-8", nil, 1007, func(l language) []byte { return l.frame(opClose, "\x03\xe8\xff") }),
		closing("text that is not UTF-8", nil, 1007, func(l language) []byte { return l.frame(opText, "{\"\xff") }),
		closing("text for binary and binary for text", nil, 3501, func(l language) []byte { return l.frame(opText+opBinary-l.op(), "{}") }),
		closing("fragments over the limit", webSockets, 1009, func(l language) []byte {
			b := l.message(spaces(1 << 19))
			b[0] &^= 0x80
			for range 2 {
				next := l.frame(0, spaces(1<<19))
				next[0] &^= 0x80
				b = append(b, next...)
			}
			return b
		}),
		{name: "too many fragments", only: webSockets, opts: []polywire.Option{polywire.WithMaxFragments(10)}, do: func(s *site, l language) {
			c := s.open(l)
			c.write(fragments(l, `{"kind":"echo"}`))
			c.closes(1009)
		}},
		{name: "a flood of fragments within the limit", only: webSockets, do: func(s *site, l language) {
			c := s.open(l)
			long := envelope{Type: "call", ID: 5, Kind: "echo", Payload: json.RawMessage(`"` + spaces(30_000) + `"`)}
			c.write(fragments(l, string(l.encode(long)[8:])))
			if got := c.receive(); got.ID != 5 || len(got.Payload) != 30_002 {
				s.t.Errorf("got %d with %d bytes", got.ID, len(got.Payload))
			}
		}},
		{name: "half a frame and the end", do: func(s *site, l language) {
			c := s.open(l)
			c.write(l.message(spaces(100))[:50])
			c.nc.Close()
		}},
	})
}

// fragments cuts a message into frames of one byte, with pings between some.
func fragments(l language, message string) []byte {
	var all []byte
	for i := range len(message) {
		op := byte(0)
		if i == 0 {
			op = l.op()
		}
		f := l.frame(op, message[i:i+1])
		if i < len(message)-1 {
			f[0] &^= 0x80
		}
		all = append(all, f...)
		if i%1000 == 0 {
			all = append(all, l.frame(opPing, "")...)
		}
	}
	return all
}

func TestBadEnvelopes(t *testing.T) {
	both := func(binary, text string) func(language) []byte {
		return func(l language) []byte { return text2(l, binary, text) }
	}
	of := func(e ...envelope) func(language) []byte {
		return func(l language) (b []byte) {
			for _, e := range e {
				b = append(b, l.encode(e)...)
			}
			return b
		}
	}
	hold := envelope{Type: "call", ID: 7, Kind: "hold"}
	runBadInput(t, []badInput{
		closing("empty", nil, 3501, both("", "")),
		closing("truncated", nil, 3501, both("\x1a\x05ec", `{"kind":"ec`)),
		closing("malformed", nil, 3501, both("\x1b\x05echo", `{"kind":echo}`)),
		closing("a length that lies", nil, 3501, both("\x1a\xff\xff\xff\xff\x7fecho", `{"kind":"echo","data":"AAA"}`)),
		closing("something behind it", nil, 3501, both("\x1a\x04echo\x00", `{"kind":"echo"}{}`)),
		closing("kind that is not UTF-8", func(l language) bool { return !l.json }, 3501, both("\x1a\x01\xff", "")),
		closing("unknown type", nil, 3501, both("\x08\x63\x1a\x04echo", `{"type":"shout","kind":"echo"}`)),
		closing("a number that is none", nil, 3501, both("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", `{"id":1e400,"kind":"echo"}`)),
		closing("nested very deep", func(l language) bool { return l.json }, 3501, both("", strings.Repeat(`{"a":[`, 100_000))),
		closing("a call without an id", nil, 3501, both("\x08\x01\x1a\x04echo", `{"type":"call","kind":"echo"}`)),
		closing("a call id used twice", nil, 3501, of(hold, hold)),
		closing("a second hello", nil, 3501, of(envelope{Type: "hello"}, envelope{Type: "hello"})),
		closing("a welcome to the server", nil, 3501, of(envelope{Type: "welcome", Key: "x"})),
	})
}

func TestBadRequests(t *testing.T) {
	// going is a row of calls that fail while the connection goes on.
	going := func(name string, do func(s *site, c *rawConn), opts ...polywire.Option) badInput {
		return badInput{name: name, opts: opts, do: func(s *site, l language) {
			c := s.open(l)
			do(s, c)
			c.echo()
		}}
	}
	fault := func(s *site, want string) {
		s.t.Helper()
		s.until("the hook has told of "+want, func() bool {
			errs, _ := s.faults()
			return slices.ContainsFunc(errs, func(err error) bool { return strings.Contains(err.Error(), want) })
		})
	}
	subscribe := func(room string) envelope { return envelope{Type: "subscribe", Room: room} }
	runBadInput(t, []badInput{
		going("call of an unknown kind", func(s *site, c *rawConn) {
			c.fails(polywire.CodeNotFound, envelope{Type: "call", Kind: "nobody"})
		}),
		going("message of an unknown kind", func(s *site, c *rawConn) {
			c.send(envelope{Type: "message", Kind: "nobody"})
			fault(s, "nobody")
		}),
		going("payload that does not decode", func(s *site, c *rawConn) {
			c.fails(polywire.CodeBadRequest, envelope{Type: "call", Kind: "add", Payload: json.RawMessage(`{"A":"one"}`)})
			c.send(envelope{Type: "message", Kind: "add", Payload: json.RawMessage(`[]`)})
			fault(s, string(polywire.CodeBadRequest))
		}),
		going("handler that panics", func(s *site, c *rawConn) {
			if text := c.fails(polywire.CodeInternal, envelope{Type: "call", Kind: "panic"}); strings.Contains(text, "hunter2") {
				s.t.Errorf("the peer was told %q", text)
			}
			fault(s, "hunter2")
			c.send(envelope{Type: "message", Kind: "panic"})
		}),
		going("handler whose error is its own", func(s *site, c *rawConn) {
			if text := c.fails(polywire.CodeInternal, envelope{Type: "call", Kind: "fail"}); strings.Contains(text, "hunter2") {
				s.t.Errorf("the peer was told %q", text)
			}
			fault(s, "hunter2")
		}),
		going("answer to nothing", func(s *site, c *rawConn) {
			c.send(envelope{Type: "reply", ID: 77, Payload: json.RawMessage(`1`)})
			s.until("it is dropped", func() bool {
				_, dropped := s.faults()
				return slices.Equal(dropped, []polywire.DropReason{polywire.DropUnexpected})
			})
		}),
		going("room names", func(s *site, c *rawConn) {
			c.fails(polywire.CodeBadRequest, subscribe(strings.Repeat("r", 256)))
			c.fails(polywire.CodeForbidden, subscribe("$x"))
			if n := len(s.srv.Rooms()); n != 0 {
				s.t.Errorf("there are %d rooms", n)
			}
		}),
		going("one room too many", func(s *site, c *rawConn) {
			for i := range uint64(128) {
				c.send(envelope{Type: "subscribe", ID: i + 1, Room: fmt.Sprint("room", i)})
				if got := c.receive(); got.Type != "reply" || got.ID != i+1 {
					s.t.Fatalf("room %d: %+v", i, got)
				}
			}
			c.fails(polywire.CodeTooManyRequests, subscribe("one more"))
		}),
		going("publish and broadcast", func(s *site, c *rawConn) {
			c.fails(polywire.CodeForbidden, envelope{Type: "publish", Room: "r", Kind: "k"})
			c.fails(polywire.CodeForbidden, envelope{Type: "broadcast", Kind: "k"})
		}),
	})
	runSlowInput(t, []polywire.Option{polywire.WithHandlerTimeout(2 * time.Second)}, []badInput{
		going("handler that takes too long", func(_ *site, c *rawConn) {
			c.fails(polywire.CodeDeadlineExceeded, envelope{Type: "call", Kind: "hold"})
		}),
	})
}

// A length that lies costs what was sent, not what it announces.
func TestAnnouncedBytesCostNothing(t *testing.T) {
	const conns = 200
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			s := newSite(t, nil)
			defer s.close()
			witness := s.open(l)
			all := make([]*rawConn, conns)
			for i := range all {
				all[i] = s.open(l)
				all[i].echo()
			}
			before := heap()
			for _, c := range all {
				// The answer to the ping shows that what is behind it was read.
				c.write(append(append(l.frame(opPing, ""), l.header(l.op(), 1<<20-1)...), spaces(10)...))
				if op, _ := c.read(); op != opPong {
					t.Fatalf("got a frame of type %d", op)
				}
			}
			witness.echo()
			if grown := int64(heap()) - int64(before); grown > 2<<20 {
				t.Errorf("%d bytes more for %d messages of 10 bytes", grown, conns)
			}
			for _, c := range all {
				c.nc.Close()
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools keep their contents for one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// One that does not read is closed when its outbox is full; the others get all.
func TestSlowReader(t *testing.T) {
	runBadInput(t, []badInput{{name: "slow reader", do: func(s *site, l language) {
		slow, good := s.open(l), s.open(l)
		for _, c := range []*rawConn{slow, good} {
			c.send(envelope{Type: "subscribe", ID: 1, Room: "news"})
			c.receive()
		}
		payload := strings.Repeat("x", 200_000)
		for i := 0; ; i++ {
			if i == 1000 {
				s.t.Fatal("200 MB went to one that does not read")
			}
			if err := s.srv.Room("news").Send(s.t.Context(), fmt.Sprint("news", i), payload); err != nil {
				s.t.Fatal(err)
			}
			if got := good.receive(); got.Kind != fmt.Sprint("news", i) || len(got.Payload) != len(payload)+2 {
				s.t.Fatalf("message %d came as %q with %d bytes", i, got.Kind, len(got.Payload))
			}
			if s.srv.Stats().Slow > 0 {
				break
			}
		}
		if why := <-s.disconnects; why.Code != polywire.CloseSlow {
			s.t.Errorf("closed with %v", why)
		}
		good.echo()
		slow.nc.Close()
	}}})
}
