package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/transport/transporttest"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// An idle connection is this and what the net package holds.
func TestIdleSize(t *testing.T) {
	if size := unsafe.Sizeof(stream.Conn{}); size > 80 {
		t.Errorf("a connection has %d bytes", size)
	}
}

// limit is MaxMessageBytes in the tests of raw bytes.
const limit = 1000

func rawFrame(t byte, payload string) string {
	n := len(payload)
	return string([]byte{t, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + payload
}

// rules has one row for each rule of the format: what comes, and what is made
// of it.
var rules = []struct{ name, in, want string }{
	{"nothing", "", "EOF"},
	{"text", "\x01\x00\x00\x00\x02hi", "text:hi EOF"},
	{"binary", "\x02\x00\x00\x00\x02\xff\xfe", "binary:\xff\xfe EOF"},
	{"ping", "\x09\x00\x00\x00\x01p", "ping:p EOF"},
	{"pong", "\x0a\x00\x00\x00\x01q", "pong:q EOF"},
	{"empty text", "\x01\x00\x00\x00\x00", "text: EOF"},
	{"empty binary", "\x02\x00\x00\x00\x00", "binary: EOF"},
	{"empty ping", "\x09\x00\x00\x00\x00", "ping: EOF"},
	{"several", rawFrame(1, "a") + rawFrame(9, "") + rawFrame(2, "b"), "text:a ping: binary:b EOF"},
	{"the length is big endian", "\x02\x00\x00\x01\x00" + strings.Repeat("x", 256), "binary:" + strings.Repeat("x", 256) + " EOF"},
	{"a message of the limit", rawFrame(2, strings.Repeat("x", limit)), "binary:" + strings.Repeat("x", limit) + " EOF"},
	{"over the limit", "\x02\x00\x00\x03\xe9", "local 1009"},
	{"far over the limit", "\x01\xff\xff\xff\xff", "local 1009"},
	{"a good frame before a bad one", rawFrame(1, "a") + "\x03", "text:a local 1002"},
	{"type 0", "\x00", "local 1002"},
	{"type 3", "\x03", "local 1002"},
	{"type 7", "\x07", "local 1002"},
	{"type 11", "\x0b", "local 1002"},
	{"type 255", "\xff", "local 1002"},
	{"text in several languages", rawFrame(1, "žluťoučký 馬 🐎"), "text:žluťoučký 馬 🐎 EOF"},
	{"text is not UTF-8", rawFrame(1, "a\xffb"), "local 1007"},
	{"text ends inside a character", rawFrame(1, "\xf0\x9f\x90"), "local 1007"},
	{"a surrogate in text", rawFrame(1, "\xed\xa0\x80"), "local 1007"},
	{"the longest ping", rawFrame(9, strings.Repeat("x", 125)), "ping:" + strings.Repeat("x", 125) + " EOF"},
	{"ping too long", "\x09\x00\x00\x00\x7e", "local 1002"},
	{"pong too long", "\x0a\x00\x00\x00\x7e", "local 1002"},
	{"close too long", "\x08\x00\x00\x00\x7e", "local 1002"},
	{"a control frame far too long", "\x09\xff\xff\xff\xff", "local 1002"},
	{"close", rawFrame(8, ""), "peer 1005"},
	{"close with a code", rawFrame(8, "\x03\xe8"), "peer 1000"},
	{"close with a reason", rawFrame(8, "\x0f\xa0bye"), "peer 4000 bye"},
	{"close of one byte", rawFrame(8, "\x03"), "local 1002"},
	{"close with a bad code", rawFrame(8, "\x03\xed"), "local 1002"},
	{"close reason is not UTF-8", rawFrame(8, "\x03\xe8\xff"), "local 1007"},
	{"nothing counts after close", rawFrame(8, "\x03\xe8") + rawFrame(1, "a"), "peer 1000"},
	{"end inside a header", "\x01\x00\x00", "EOF"},
	{"end inside a payload", "\x01\x00\x00\x00\x02h", "EOF"},
}

// describe receives until the end and says what came.
func describe(c transport.Conn) string {
	var got []string
	for {
		f, ok, err := c.Next()
		if err == nil && !ok {
			err = c.Wait()
		}
		var ce *transport.CloseError
		switch {
		case ok:
			got = append(got, f.Type.String()+":"+string(f.Data))
			continue
		case err == nil:
			continue
		case errors.As(err, &ce) && ce.Local:
			got = append(got, fmt.Sprintf("local %d", ce.Code))
		case errors.As(err, &ce):
			got = append(got, strings.TrimSpace(fmt.Sprintf("peer %d %s", ce.Code, ce.Reason)))
		default:
			got = append(got, err.Error())
		}
		return strings.Join(got, " ")
	}
}

// receive describes what a connection makes of the parts, each of which it
// has seen before the next one comes.
func receive(t *testing.T, early string, parts ...string) (got string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		nc, peer := transporttest.ConnPair(0)
		c := stream.New(nc, stream.Options{MaxMessageBytes: limit, Early: []byte(early)})
		defer c.Close()
		go func() { got = describe(c) }()
		for _, part := range parts {
			synctest.Wait()
			io.WriteString(peer, part)
		}
		peer.Close()
		synctest.Wait()
	})
	return got
}

func TestRules(t *testing.T) {
	for _, tt := range rules {
		t.Run(tt.name, func(t *testing.T) {
			if got := receive(t, "", tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := receive(t, tt.in); got != tt.want {
				t.Errorf("as early bytes: got %q, want %q", got, tt.want)
			}
			if got := receive(t, "", strings.Split(tt.in, "")...); got != tt.want {
				t.Errorf("dribbled: got %q, want %q", got, tt.want)
			}
			for i := range len(tt.in) {
				if got := receive(t, tt.in[:i], tt.in[i:]); got != tt.want {
					t.Errorf("split at %d: got %q, want %q", i, got, tt.want)
				}
			}
		})
	}
}

func TestErrorsStay(t *testing.T) {
	for _, tt := range rules {
		if strings.HasSuffix(tt.want, "EOF") {
			continue
		}
		nc, _ := transporttest.ConnPair(0)
		c := stream.New(nc, stream.Options{MaxMessageBytes: limit, Early: []byte(tt.in)})
		describe(c)
		var ce *transport.CloseError
		if _, ok, err := c.Next(); ok || !errors.As(err, &ce) {
			t.Errorf("%s: Next after its error: %v, %v", tt.name, ok, err)
		}
	}
}

func TestFramer(t *testing.T) {
	long := strings.Repeat("x", 125)
	tests := []struct {
		name    string
		typ     transport.FrameType
		payload string
		ok      bool
	}{
		{"text", transport.Text, "hi", true},
		{"binary", transport.Binary, "\xff", true},
		{"empty", transport.Text, "", true},
		{"large", transport.Binary, strings.Repeat("x", 70000), true},
		{"close", transport.Close, "\x03\xe8", true},
		{"the longest control frame", transport.Ping, long, true},
		{"a control frame too long", transport.Pong, long + "x", false},
		{"an unknown type", 3, "", false},
		{"no type", 0, "", false},
	}
	f := stream.New(nil, stream.Options{}).Framer()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := transport.NewWriter(f, []byte("before"))
			err := w.Frame(tt.typ, []byte(tt.payload))
			want := "before"
			if tt.ok {
				want += rawFrame(byte(tt.typ), tt.payload)
			}
			if (err == nil) != tt.ok || string(w.Bytes()) != want {
				t.Errorf("error %v, bytes %.50q", err, w.Bytes())
			}
		})
	}
}

func TestNetConn(t *testing.T) {
	nc, _ := transporttest.ConnPair(0)
	if got := stream.New(nc, stream.Options{}).NetConn(); got != nc {
		t.Errorf("got %v", got)
	}
}

func TestDefaultLimit(t *testing.T) {
	for _, max := range []int{0, -1} {
		for size, want := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
			nc, _ := transporttest.ConnPair(0)
			early := rawFrame(2, strings.Repeat("x", size))
			c := stream.New(nc, stream.Options{MaxMessageBytes: max, Early: []byte(early)})
			if _, ok, err := c.Next(); ok != want || (err == nil) != want {
				t.Errorf("limit %d, message of %d: %v, %v", max, size, ok, err)
			}
		}
	}
}

func TestEarlyIsCopied(t *testing.T) {
	nc, _ := transporttest.ConnPair(0)
	early := []byte(rawFrame(1, "hello"))
	c := stream.New(nc, stream.Options{Early: early})
	clear(early)
	if f, ok, err := c.Next(); !ok || err != nil || !bytes.Equal(f.Data, []byte("hello")) {
		t.Errorf("got %v %q, %v, %v", f.Type, f.Data, ok, err)
	}
}
