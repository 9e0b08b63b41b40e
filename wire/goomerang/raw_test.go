package goomerang_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire/goomerang"
)

const (
	uuid = "6b1f2d4e-8a90-4c7b-9d3e-0f1a2b3c4d5e"

	// What a client of Goomerang puts between is_sync and the headers.
	then = "\x2a\x0b\x08\xe0\xa6\xa1\x9a\x06\x10\x95\x9a\xef\x3a"

	sync = "\x0a\x24" + uuid
	hi   = "\x0a\x02hi" // StringValue{"hi"}
)

// exchanges are frames and the server's answers, byte for byte.
var exchanges = []struct{ name, ask, answer string }{
	{"plain send",
		"\x12\x1b" + kindText + "\x18\x04" + then + "\x3a\x04" + hi, ""},
	{"sync send",
		sync + "\x12\x1b" + kindText + "\x18\x04\x20\x01" + then + "\x3a\x04" + hi,
		sync + "\x12\x1b" + kindText + "\x18\x04\x20\x01" + created + "\x3a\x04" + hi},
	{"sync send with headers",
		sync + "\x12\x1b" + kindText + "\x18\x04\x20\x01" + then + "\x32\x0d\x0a\x06copied\x12\x03\xc3\xa9\x21" + "\x32\x06\x0a\x00\x12\x02xx" + "\x3a\x04" + hi,
		sync + "\x12\x1b" + kindText + "\x18\x04\x20\x01" + created + "\x32\x0b\x0a\x04copy\x12\x03\xc3\xa9\x21" + "\x3a\x04" + hi},
	{"a reply of another kind",
		sync + "\x12\x1a" + kindNumber + "\x18\x02\x20\x01" + then + "\x3a\x02\x08\x03",
		sync + "\x12\x1b" + kindText + "\x18\x05\x20\x01" + created + "\x32\x0c\x0a\x06status\x12\x02OK" + "\x3a\x05\x0a\x03xxx"},
	{"a message without fields",
		sync + "\x12\x1b" + kindText + "\x20\x01" + then,
		sync + "\x12\x1b" + kindText + "\x20\x01" + created},
	{"fields in another order, twice, and unknown",
		"\x3a\x04" + hi + "\x40\x05\x20\x00\x4a\x03abc\x51\x01\x02\x03\x04\x05\x06\x07\x08\x5d\x01\x02\x03\x04" + "\x12\x01x" + "\x12\x1b" + kindText + "\x20\x01" + sync,
		sync + "\x12\x1b" + kindText + "\x18\x04\x20\x01" + created + "\x3a\x04" + hi},
	{"no uuid",
		"\x12\x1b" + kindText + "\x18\x04\x20\x01\x3a\x04" + hi,
		"\x12\x1b" + kindText + "\x18\x04\x20\x01" + created + "\x3a\x04" + hi},
	{"nothing to say",
		sync + "\x12\x19" + kindNothing + "\x20\x01",
		sync + "\x12\x15google.protobuf.Empty\x20\x01" + created},
	{"an error",
		sync + "\x12\x1a" + kindTaken + "\x20\x01",
		sync + "\x12\x11polywire.v1.Error\x18\x11\x20\x01" + created + "\x3a\x11\x0a\x08conflict\x12\x05taken"},
	{"a fault",
		sync + "\x12\x1a" + kindSecret + "\x20\x01",
		sync + "\x12\x11polywire.v1.Error\x18\x1a\x20\x01" + created + "\x3a\x1a\x0a\x08internal\x12\x0einternal error"},
	{"no handler",
		sync + "\x12\x1b" + kindUnheard + "\x20\x01",
		sync + "\x12\x11polywire.v1.Error\x18\x3e\x20\x01" + created + "\x3a\x3e\x0a\x09not_found\x12\x31no handler for kind " + `"google.protobuf.UInt32Value"`},
	{"a kind that is not linked in",
		sync + "\x12\x09x.Unknown\x20\x01\x3a\x01\xff",
		sync + "\x12\x11polywire.v1.Error\x18\x33\x20\x01" + created + "\x3a\x33\x0a\x09not_found\x12\x26no message type x.Unknown is linked in"},
	{"a plain send of such a kind",
		"\x12\x09x.Unknown", ""},
	{"commands are not answered",
		sync + "\x12\x1fgoomerang.protocol.SubscribeCmd\x18\x09\x20\x01\x3a\x09\x0a\x07topic.a", ""},
	{"a publication, to its publisher too",
		"\x12\x1dgoomerang.protocol.PublishCmd\x18\x2c" + then + "\x32\x10\x0a\x0amessage-k1\x12\x02v1" + "\x32\x09\x0a\x05other\x12\x00" +
			"\x3a\x2c\x0a\x07topic.a\x12\x1b" + kindText + "\x1a\x04" + hi,
		"\x12\x1b" + kindText + "\x18\x04" + created + "\x32\x08\x0a\x02k1\x12\x02v1" + "\x3a\x04" + hi},
	{"a publication of a kind that is not linked in",
		"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x18\x0a\x07topic.a\x12\x09x.Unknown\x1a\x02hi", ""},
	{"a publication elsewhere",
		"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x26\x0a\x07topic.b\x12\x1b" + kindText, ""},
	{"leaving",
		"\x12\x21goomerang.protocol.UnsubscribeCmd\x3a\x09\x0a\x07topic.a", ""},
	{"a publication afterwards",
		"\x12\x1dgoomerang.protocol.PublishCmd\x3a\x26\x0a\x07topic.a\x12\x1b" + kindText, ""},
	{"a broadcast",
		"\x12\x1fgoomerang.protocol.BroadcastCmd\x3a\x23\x12\x1b" + kindText + "\x1a\x04" + hi,
		"\x12\x1b" + kindText + "\x18\x04" + created + "\x3a\x04" + hi},
	{"a broadcast of a message without fields",
		"\x12\x1fgoomerang.protocol.BroadcastCmd\x3a\x1d\x12\x1b" + kindText,
		"\x12\x1b" + kindText + created},
	{"a command that there is none of",
		sync + "\x12\x19goomerang.protocol.NoCmd\x21\x20\x01",
		sync + "\x12\x11polywire.v1.Error\x18\x43\x20\x01" + created + "\x3a\x43\x0a\x09not_found\x12\x36no message type goomerang.protocol.NoCmd! is linked in"},
}

// The client is played by hand: every form of a frame, one by one and all in
// one write.
func TestRawClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped []string
		var reported []error
		_, l := server(t, polywire.WithHooks(polywire.Hooks{
			Dropped: func(_ *polywire.Conn, kind string, why polywire.DropReason) {
				dropped = append(dropped, kind+" "+string(why))
			},
			Error: func(_ *polywire.Conn, err error) { reported = append(reported, err) },
		}))
		c := rawClient(t, l)
		asks, answers := "", ""
		for _, e := range exchanges {
			c.write(masked(2, e.ask))
			want := ""
			if e.answer != "" {
				want = message(2, e.answer)
			}
			if got := c.readAll(); got != want {
				t.Errorf("%s:\n got %q\nwant %q", e.name, got, want)
			}
			asks, answers = asks+masked(2, e.ask), answers+want
		}
		const refused = "x.Unknown refused x.Unknown refused x.Unknown refused goomerang.protocol.NoCmd! refused"
		if got := strings.Join(dropped, " "); got != refused {
			t.Errorf("dropped %s", got)
		}
		var texts []string
		for _, err := range reported {
			if strings.Contains(err.Error(), "x.Unknown") {
				texts = append(texts, err.Error())
			}
		}
		if want := []string{
			`polywire: message "x.Unknown": not_found: no message type x.Unknown is linked in`,
			`polywire: publish "x.Unknown": not_found: no message type x.Unknown is linked in`,
		}; fmt.Sprint(texts) != fmt.Sprint(want) {
			t.Errorf("reported %q", texts)
		}
		c.write(asks)
		if got := c.readAll(); got != answers {
			t.Errorf("all at once:\n got %q\nwant %q", got, answers)
		}
		c.write(masked(9, "ping"))
		if got := c.readAll(); got != message(10, "ping") {
			t.Errorf("a ping: %q", got)
		}
		c.write(masked(8, "\x03\xe8"))
		if got := c.readAll(); got != message(8, "\x03\xe8") {
			t.Errorf("a close: %q", got)
		}
	})
}

// A shutdown is the normal end that clients of Goomerang wait for; other codes
// are told as they are.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t)
		c, other := rawClient(t, l), rawClient(t, l)
		srv.All().Conns()[1].Close(polywire.CloseForceDisconnect, "enough")
		got := c.readAll() + other.readAll()
		if got != message(8, "\x0d\xafenough") {
			t.Errorf("closed with %q", got)
		}
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(t.Context()) }()
		got = c.readAll() + other.readAll()
		if got != message(8, "\x03\xe8server shutting down") {
			t.Errorf("a shutdown: %q", got)
		}
		c.write(masked(8, "\x03\xe8"))
		other.write(masked(8, "\x03\xe8"))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A server cannot call a client of Goomerang.
func TestCallToRawClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, l := server(t)
		c := rawClient(t, l)
		conn := srv.All().Conns()[0]
		if err := conn.Call(t.Context(), kindText, wrapperspb.String("hi"), nil); err == nil || !strings.Contains(err.Error(), "take no calls") {
			t.Errorf("a call: %v", err)
		}
		for want, v := range map[string]any{
			"no message type is linked in": []byte("no protobuf"),
			"not the name of a message":    polywire.Payload{Type: codec.TypeProtobuf, Data: []byte(hi)},
		} {
			if err := conn.Send(t.Context(), "news", v); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if err := conn.Send(t.Context(), "news", wrapperspb.String("hi")); err != nil {
			t.Errorf("a message whose value says what it is: %v", err)
		}
		if got := c.readAll(); got != message(2, "\x12\x1b"+kindText+"\x18\x04"+created+"\x3a\x04"+hi) {
			t.Errorf("sent %q", got)
		}
	})
}

// What is against the protocol ends the link, and nobody else's.
func TestBadInput(t *testing.T) {
	good := exchanges[1]
	for name, tt := range map[string]struct {
		in, code string
	}{
		"text":       {masked(1, "hello"), "\x03\xebtext message: frames are binary messages"},
		"no frame":   {masked(2, "\xff"), "\x0d\xadmalformed frame: unexpected end"},
		"no kind":    {masked(2, "\x3a\x04"+hi), "\x0d\xadmalformed frame: no kind"},
		"empty":      {masked(2, ""), "\x0d\xadmalformed frame: no kind"},
		"no command": {masked(2, "\x12\x1fgoomerang.protocol.SubscribeCmd\x3a\x01\x0a"), "\x0d\xadmalformed frame: a command's field 1: unexpected end"},
		"too large":  {masked(2, strings.Repeat("x", 1001))[:8], "\x03\xf1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := server(t, polywire.WithMaxMessageBytes(1000))
				bad, witness := rawClient(t, l), rawClient(t, l)
				bad.write(masked(2, good.ask) + tt.in)
				got, ok := strings.CutPrefix(bad.readAll(), message(2, good.answer))
				if !ok || len(got) < 4 || got[0] != 0x88 || !strings.HasPrefix(got[2:], tt.code) {
					t.Errorf("ended with %q", got)
				}
				witness.write(masked(2, good.ask))
				if got := witness.readAll(); got != message(2, good.answer) {
					t.Errorf("the other one got %q", got)
				}
			})
		})
	}
}

// asked is how a sync frame of our client begins.
var asked = regexp.MustCompile(`^\x0a\x24([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})`)

// rawSite is our client, and the server that it talks to, played by hand.
type rawSite struct {
	*client.Client
	raw

	conns <-chan raw
}

func newRawSite(t *testing.T, url, path string, o ...client.Option) *rawSite {
	t.Helper()
	conns, l := rawServer(t, path)
	c, err := client.New(url, append([]client.Option{
		client.WithWires(fixed()), client.WithNetDial(l.NetDial), client.WithBackoff(time.Second, time.Second),
		client.WithPeer(polywire.WithLogger(discard()), codecs()),
	}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &rawSite{c, <-conns, conns}
}

// heard are the payloads of what the client has sent.
func (s *rawSite) heard() []string {
	s.raw.t.Helper()
	return unmasked(s.raw.t, s.readAll())
}

// call makes a call, gives the frame without its uuid to answer, writes what
// that returns, and returns the call's outcome.
func (s *rawSite) call(kind string, v, out any, answer func(uuid, rest string) string) error {
	t := s.raw.t
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	go func() { done <- s.Call(ctx, kind, v, out) }()
	for _, m := range s.heard() {
		uuid := asked.FindStringSubmatch(m[1:])
		if uuid == nil || m[0] != 0x82 {
			t.Errorf("called with %q", m)
			continue
		}
		s.write(answer(uuid[1], m[1+len(uuid[0]):]))
	}
	return <-done
}

// The server is played by hand.
func TestRawServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawSite(t, "goomerang+ws://server", "/ws")
		got := make(chan string, 10)
		s.Handle(kindText, func(_ context.Context, m *polywire.Message) (any, error) {
			var v wrapperspb.StringValue
			err := m.Bind(&v)
			got <- v.GetValue() + " " + m.Header("k")
			return nil, err
		})

		s.do("send", func(ctx context.Context) error {
			return s.Send(ctx, kindText, wrapperspb.String("hi"), polywire.WithHeader("k", "v"))
		}, "\x12\x1b"+kindText+"\x18\x04"+created+"\x32\x06\x0a\x01k\x12\x01v"+"\x3a\x04"+hi)
		s.do("subscribe", func(ctx context.Context) error { return s.Subscribe(ctx, "topic.a") },
			"\x12\x1fgoomerang.protocol.SubscribeCmd\x18\x09"+created+"\x3a\x09\x0a\x07topic.a")
		s.do("unsubscribe", func(ctx context.Context) error { return s.Unsubscribe(ctx, "topic.a") },
			"\x12\x21goomerang.protocol.UnsubscribeCmd\x18\x09"+created+"\x3a\x09\x0a\x07topic.a")
		s.do("publish", func(ctx context.Context) error {
			return s.Publish(ctx, "topic.a", kindText, wrapperspb.String("hi"), polywire.WithHeader("k", "v"))
		}, "\x12\x1dgoomerang.protocol.PublishCmd\x18\x2c"+created+"\x32\x0e\x0a\x09message-k\x12\x01v"+
			"\x3a\x2c\x0a\x07topic.a\x12\x1b"+kindText+"\x1a\x04"+hi)
		s.do("broadcast", func(ctx context.Context) error { return s.Broadcast(ctx, kindText, wrapperspb.String("hi")) },
			"\x12\x1fgoomerang.protocol.BroadcastCmd\x18\x23"+created+"\x3a\x23\x12\x1b"+kindText+"\x1a\x04"+hi)
		if err := s.Publish(t.Context(), "topic.a", "x.Unknown", nil); err == nil {
			t.Error("a kind that is not linked in was published")
		}

		s.write(message(2, "\x12\x1b"+kindText+"\x18\x04"+then+"\x32\x06\x0a\x01k\x12\x01v"+"\x3a\x04"+hi))
		synctest.Wait()
		if v := <-got; v != "hi v" {
			t.Errorf("got %q", v)
		}
		// Answers that nobody waits for, and calls, which such servers do not make.
		s.write(message(2, exchanges[1].ask) + message(2, sync+"\x12\x11polywire.v1.Error\x20\x01"))
		if heard := s.heard(); len(heard) > 0 || len(got) > 0 {
			t.Errorf("answered %q", heard)
		}
	})
}

// do runs f, which is to send one frame.
func (s *rawSite) do(name string, f func(context.Context) error, want string) {
	t := s.raw.t
	t.Helper()
	if err := f(t.Context()); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if heard := s.heard(); len(heard) != 1 || heard[0] != "\x82"+want {
		t.Errorf("%s:\n got %q\nwant %q", name, heard, "\x82"+want)
	}
}

// Every form of an answer.
func TestRawAnswers(t *testing.T) {
	const ask = "\x12\x1a" + kindNumber + "\x18\x02\x20\x01" + created + "\x3a\x02\x08\x05"
	tests := []struct {
		name, answer string // behind the uuid
		value        string
		err          string
	}{
		{"a reply", "\x12\x1b" + kindText + "\x18\x04\x20\x01" + then + "\x3a\x04" + hi, "hi", ""},
		{"one without fields", "\x12\x1b" + kindText + "\x20\x01", "", ""},
		{"an empty one", "\x12\x15google.protobuf.Empty\x20\x01", "", ""},
		{"another message than expected", "\x12\x1a" + kindNumber + "\x20\x01\x3a\x02\x08\x05", "",
			"the payload is of another type: google.protobuf.Int32Value, not google.protobuf.StringValue"},
		{"a kind that is not linked in", "\x12\x09x.Unknown\x20\x01", "", "unimplemented: the reply: no message type x.Unknown is linked in"},
		{"an error", "\x12\x11polywire.v1.Error\x20\x01\x3a\x11\x0a\x08conflict\x12\x05taken", "", "conflict: taken"},
		{"an error that says nothing", "\x12\x11polywire.v1.Error\x20\x01", "", ""},
		{"not sync", "\x12\x1b" + kindText + "\x3a\x04" + hi, "", "deadline exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRawSite(t, "goomerang+ws://server/ws", "/ws")
				var out wrapperspb.StringValue
				err := s.call(kindNumber, wrapperspb.Int32(5), &out, func(uuid, rest string) string {
					if rest != ask {
						t.Errorf("called with %q", rest)
					}
					return message(2, sync+tt.answer) + message(2, "\x0a\x24"+uuid+tt.answer)
				})
				if tt.name == "an error that says nothing" {
					var e *polywire.Error
					if !errors.As(err, &e) || !e.Remote() {
						t.Errorf("failed with %v", err)
					}
					return
				}
				if out.GetValue() != tt.value || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%q, %v", out.GetValue(), err)
				}
			})
		})
	}
}

// A server that says the normal end is going down: its clients come back. A
// client that ends says the normal end.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRawSite(t, "goomerang+ws://server", "/ws")
		s.write(message(8, "\x03\xe8"))
		if heard := s.heard(); len(heard) != 1 || heard[0] != "\x88\x03\xe8" {
			t.Errorf("a close was answered with %q", heard)
		}
		s.raw.Close()
		s.raw = <-s.conns
		synctest.Wait()
		s.do("after coming back", func(ctx context.Context) error { return s.Send(ctx, kindText, nil) }, "\x12\x1b"+kindText+created)
		done := make(chan error, 1)
		go func() { done <- s.Client.Close() }()
		if heard := s.heard(); len(heard) != 1 || heard[0] != "\x88\x03\xe8" {
			t.Errorf("the client ended with %q", heard)
		}
		s.write(message(8, "\x03\xe8"))
		s.raw.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A server with TLS listens at another path.
func TestDialPaths(t *testing.T) {
	for url, want := range map[string]string{
		"goomerang+ws://server": "/ws", "goomerang+ws://server/": "/", "goomerang+ws://server/a/b?c": "/a/b",
	} {
		synctest.Test(t, func(t *testing.T) { newRawSite(t, url, want) })
	}
	synctest.Test(t, func(t *testing.T) {
		newRawSite(t, "goomerang+ws://server", "/own", client.WithWires(goomerang.New(goomerang.WithPath("/own"))))
	})
}
