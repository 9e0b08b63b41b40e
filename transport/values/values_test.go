package values_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/transport/values"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// An idle connection is this, a scanner of 24 bytes and what the net package holds.
func TestIdleSize(t *testing.T) {
	if size := unsafe.Sizeof(values.Conn{}); size > 128 {
		t.Errorf("a connection has %d bytes", size)
	}
}

// limit is MaxMessageBytes in the tests of raw bytes.
const limit = 1000

// sized returns an object of n bytes.
func sized(n int) string { return `{"a":"` + strings.Repeat("x", n-8) + `"}` }

type rule struct{ name, in, want string }

// jsonRules has one row for each rule: what comes, and what is made of it.
func jsonRules() []rule {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return []rule{
		{"nothing", "", "EOF"},
		{"one, with a newline", "{}\n", "{} EOF"},
		{"one, without", "{}", "{} EOF"},
		{"several without newlines", `{"a":1}{"b":2}[3]`, `{"a":1} {"b":2} [3] EOF`},
		{"several with newlines", "{\"a\":1}\n{\"b\":2}\n", `{"a":1} {"b":2} EOF`},
		{"any white space between", " \r\n\t{}\r\n \n{} ", `{} {} EOF`},
		{"white space inside", "{\n  \"a\" : [ 1 ,\n 2 ]\n}\n", "{\n  \"a\" : [ 1 ,\n 2 ]\n} EOF"},
		{"brackets in strings", `{"}{":"]["}`, `{"}{":"]["} EOF`},
		{"escapes", `{"a\"}":"\\"}`, `{"a\"}":"\\"} EOF`},
		{"text in several languages", `{"a":"žluťoučký 馬 🐎"}`, `{"a":"žluťoučký 馬 🐎"} EOF`},
		{"of the limit", sized(limit) + "\n", sized(limit) + " EOF"},
		{"one over the limit", sized(limit + 1), "local 1009"},
		{"without an end", `{"a":"` + strings.Repeat("x", limit), "local 1009"},
		{"a good one before one over the limit", "{}" + sized(limit+1), "{} local 1009"},
		{"white space over the limit", strings.Repeat(" ", 2*limit) + "{}", "{} EOF"},
		{"as deep as may be", deep(128), deep(128) + " EOF"},
		{"too deep", deep(129), "local 1007"},
		{"far too deep", strings.Repeat(`{"a":`, 150), "local 1007"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "local 1007"},
		{"half a character", "{\"a\":\"\xf0\x9f\x90\"}", "local 1007"},
		{"a number", "1 ", "local 1007"},
		{"a word", "{}true", "{} local 1007"},
		{"a string", `"x"`, "local 1007"},
		{"a comma between", "{},{}", "{} local 1007"},
		{"HTTP", "GET / HTTP/1.1\r\n", "local 1007"},
		{"zero bytes", "\x00", "local 1007"},
		{"end inside", `{"a":`, "EOF"},
	}
}

func msgpackRules() []rule {
	text := func(n int) string { return fmt.Sprintf("\xda%c%c", n>>8, n&0xff) }
	return []rule{
		{"nothing", "", "EOF"},
		{"one", "\x81\xa1a\x01", "\x81\xa1a\x01 EOF"},
		{"several", "\x01\xc0\x92\x01\x02\xa1x", "\x01 \xc0 \x92\x01\x02 \xa1x EOF"},
		{"nested", "\x91\x91\x81\x90\x80\x05", "\x91\x91\x81\x90\x80 \x05 EOF"},
		{"bytes that are no text", "\xc4\x01\xff", "\xc4\x01\xff EOF"},
		{"over the limit", "\xda\x03\xe8" + strings.Repeat("x", limit), "local 1009"},
		{"claims of 4 GiB", "\xdb\xff\xff\xff\xff" + strings.Repeat("x", limit), "local 1009"},
		{"claims of many elements", "\xdd\xff\xff\xff\xff" + strings.Repeat("\x01", limit), "local 1009"},
		{"an unknown format", "\x01\xc1", "\x01 local 1007"},
		{"an unknown format inside", "\x92\x01\xc1", "local 1007"},
		{"end inside a head", "\xda\x00", "EOF"},
		{"end inside", "\x92\x01", "EOF"},
		{"a length of two bytes", text(0x41) + strings.Repeat("y", 0x41), text(0x41) + strings.Repeat("y", 0x41) + " EOF"},
	}
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
			got = append(got, string(f.Data))
			continue
		case err == nil:
			continue
		case errors.As(err, &ce) && ce.Local:
			got = append(got, fmt.Sprintf("local %d", ce.Code))
		default:
			got = append(got, err.Error())
		}
		return strings.Join(got, " ")
	}
}

// receive describes what a connection makes of the parts, each of which it
// has seen before the next one comes.
func receive(t *testing.T, s *values.Syntax, early string, parts ...string) (got string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		nc, peer := transporttest.ConnPair(0)
		c := values.New(nc, s, values.Options{MaxMessageBytes: limit, Early: []byte(early)})
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
	text, binary := values.JSON(), values.Msgpack()
	for _, kind := range []struct {
		syntax *values.Syntax
		rules  []rule
	}{{&text, jsonRules()}, {&binary, msgpackRules()}} {
		for _, tt := range kind.rules {
			t.Run(kind.syntax.Name+"/"+tt.name, func(t *testing.T) {
				if got := receive(t, kind.syntax, "", tt.in); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if got := receive(t, kind.syntax, tt.in); got != tt.want {
					t.Errorf("as early bytes: got %q, want %q", got, tt.want)
				}
				if got := receive(t, kind.syntax, "", bytesOf(tt.in)...); got != tt.want {
					t.Errorf("dribbled: got %q, want %q", got, tt.want)
				}
				step := max(1, len(tt.in)/100)
				for i := 0; i < len(tt.in); i += step {
					if got := receive(t, kind.syntax, tt.in[:i], tt.in[i:]); got != tt.want {
						t.Errorf("split at %d: got %q, want %q", i, got, tt.want)
					}
				}
			})
		}
	}
}

func bytesOf(s string) (parts []string) {
	for i := range len(s) {
		parts = append(parts, s[i:i+1])
	}
	return parts
}

func TestErrorsStay(t *testing.T) {
	syntax := values.JSON()
	for _, tt := range jsonRules() {
		if strings.HasSuffix(tt.want, "EOF") {
			continue
		}
		nc, _ := transporttest.ConnPair(0)
		c := values.New(nc, &syntax, values.Options{MaxMessageBytes: limit, Early: []byte(tt.in)})
		describe(c)
		var ce *transport.CloseError
		if _, ok, err := c.Next(); ok || !errors.As(err, &ce) {
			t.Errorf("%s: Next after its error: %v, %v", tt.name, ok, err)
		}
	}
}

func TestDefaultLimit(t *testing.T) {
	syntax := values.JSON()
	for _, max := range []int{0, -1} {
		for size, want := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
			nc, _ := transporttest.ConnPair(0)
			c := values.New(nc, &syntax, values.Options{MaxMessageBytes: max, Early: []byte(sized(size))})
			if _, ok, err := c.Next(); ok != want || (err == nil) != want {
				t.Errorf("limit %d, message of %d: %v, %v", max, size, ok, err)
			}
		}
	}
}

func TestFramer(t *testing.T) {
	text, binary := values.JSON(), values.Msgpack()
	text.Ping = `{"are":"you there"}`
	for _, tt := range []struct {
		name    string
		syntax  *values.Syntax
		typ     transport.FrameType
		payload string
		want    string // behind "before"; "refused"
	}{
		{"JSON", &text, transport.Text, `{"a":1}`, "{\"a\":1}\n"},
		{"binary JSON", &text, transport.Binary, `{}`, "refused"},
		{"MessagePack", &binary, transport.Binary, "\x91\x01", "\x91\x01"},
		{"MessagePack as text", &binary, transport.Text, "\x91\x01", "refused"},
		{"MessagePack that ends like a close frame", &binary, transport.Binary, "\xc4\x01\xc1", "refused"},
		{"ping", &text, transport.Ping, "payload", "{\"are\":\"you there\"}\n"},
		{"ping without words", &binary, transport.Ping, "payload", ""},
		{"pong", &text, transport.Pong, "payload", ""},
		{"close", &text, transport.Close, "\x03\xe8", "\x00"},
		{"close in MessagePack", &binary, transport.Close, "\x03\xe8", "\xc1"},
		{"no type", &text, 0, "", "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := transport.NewWriter(values.New(nil, tt.syntax, values.Options{}).Framer(), []byte("before"))
			err := w.Frame(tt.typ, []byte(tt.payload))
			want := "before" + tt.want
			if tt.want == "refused" {
				want = "before"
			}
			if (err != nil) != (tt.want == "refused") || string(w.Bytes()) != want {
				t.Errorf("error %v, bytes %q", err, w.Bytes())
			}
		})
	}
}

// A close frame is the end of what this side writes; what the peer still says
// is read, where the connection has two directions.
func TestCloseFrame(t *testing.T) {
	syntax := values.JSON()
	for _, network := range []string{"tcp", "unix", "tls"} {
		for _, split := range []bool{false, true} {
			t.Run(fmt.Sprint(network, split), func(t *testing.T) {
				client, server := conntest.Dial(t, network)
				a, b := values.New(client, &syntax, values.Options{}), values.New(server, &syntax, values.Options{})
				w := transport.NewWriter(a.Framer(), nil)
				if err := w.Frame(transport.Text, []byte(`{"last":1}`)); err != nil {
					t.Fatal(err)
				}
				at := len(w.Bytes())
				if err := w.Frame(transport.Close, transport.AppendClosePayload(nil, 4000, "bye")); err != nil {
					t.Fatal(err)
				}
				parts := [][]byte{w.Bytes()}
				if split {
					parts = [][]byte{w.Bytes()[:at], w.Bytes()[at:]}
				}
				if err := a.Write(parts...); err != nil {
					t.Fatal(err)
				}
				if parts[len(parts)-1][len(parts[len(parts)-1])-1] != 0 {
					t.Error("Write has changed what it was given")
				}
				if got := describe(b); got != `{"last":1} EOF` {
					t.Errorf("the peer received %q", got)
				}
				if _, err := io.WriteString(server, `{"answer":2}`); err != nil {
					t.Fatal(err)
				}
				b.Close()
				if got := describe(a); got != `{"answer":2} EOF` {
					t.Errorf("this side received %q", got)
				}
				a.Close()
			})
		}
	}
	nc, peer := transporttest.ConnPair(0) // which has no half to close
	c := values.New(nc, &syntax, values.Options{})
	if err := c.Write([]byte("{}\n\x00")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(peer); string(got) != "{}\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Wait(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// A value that comes in many small parts is not scanned from its beginning
// each time, which would take many minutes here.
func TestPartsAreScannedOnce(t *testing.T) {
	const size = 2 << 20
	syntax := values.JSON()
	start := time.Now()
	c := values.New(&conntest.Script{In: []byte(sized(size)), Step: 64}, &syntax, values.Options{MaxMessageBytes: size})
	if got := describe(c); len(got) != size+len(" EOF") {
		t.Fatalf("%d bytes", len(got))
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("%v", took)
	}
}

func TestNetConn(t *testing.T) {
	syntax := values.JSON()
	nc, _ := transporttest.ConnPair(0)
	if got := values.New(nc, &syntax, values.Options{}).NetConn(); got != nc {
		t.Errorf("got %v", got)
	}
}
