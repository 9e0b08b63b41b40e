package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/polywire/polywire/transport"
)

// rule is what comes of frames that keep to a rule, or break it.
type rule struct {
	name   string
	parts  []part
	want   []transport.Frame
	code   uint16 // of the CloseError, 0: io.EOF
	remote bool   // the CloseError is the peer's
	reason string // where the peer gave one
}

const limit = 70_000 // of messages in these tests

func text(s string) transport.Frame {
	return transport.Frame{Type: transport.Text, Data: []byte(s)}
}
func binaryFrame(s string) transport.Frame {
	return transport.Frame{Type: transport.Binary, Data: []byte(s)}
}
func ping(s string) transport.Frame { return transport.Frame{Type: transport.Ping, Data: []byte(s)} }
func pong(s string) transport.Frame { return transport.Frame{Type: transport.Pong, Data: []byte(s)} }

func frameRules() []rule {
	a125, a126 := strings.Repeat("*", 125), strings.Repeat("*", 126)
	rules := []rule{
		{name: "5.2 nothing"},
		{name: "5.2 empty text", parts: []part{{first: 0x81}}, want: []transport.Frame{text("")}},
		{name: "5.2 empty binary", parts: []part{{first: 0x82}}, want: []transport.Frame{binaryFrame("")}},
		{name: "5.5.2 empty ping", parts: []part{{first: 0x89}}, want: []transport.Frame{ping("")}},
		{name: "5.5.2 ping of 125 bytes", parts: []part{{first: 0x89, payload: a125}}, want: []transport.Frame{ping(a125)}},
		{name: "5.5.2 ping of any bytes", parts: []part{{first: 0x89, payload: "\x00\xff\xfe"}}, want: []transport.Frame{ping("\x00\xff\xfe")}},
		{name: "5.5.3 unsolicited pong", parts: []part{{first: 0x8a, payload: "p"}}, want: []transport.Frame{pong("p")}},
		{name: "5.5 control frame too long", parts: []part{{first: 0x81, payload: "a"}, {first: 0x89, payload: a126}}, want: []transport.Frame{text("a")}, code: 1002},
		{name: "5.5 pong too long", parts: []part{{first: 0x8a, payload: a126}}, code: 1002},
		{name: "5.5 fragmented ping", parts: []part{{first: 0x09}, {first: 0x80}}, code: 1002},
		{name: "5.5 fragmented pong", parts: []part{{first: 0x0a, payload: "p"}}, code: 1002},
		{name: "5.5 fragmented close", parts: []part{{first: 0x08}}, code: 1002},
		{name: "5.2 RSV1 without extension", parts: []part{{first: 0xc1, payload: "a"}}, code: 1002},
		{name: "5.2 RSV2", parts: []part{{first: 0x81, payload: "a"}, {first: 0xa1}}, want: []transport.Frame{text("a")}, code: 1002},
		{name: "5.2 RSV3", parts: []part{{first: 0x92}}, code: 1002},
		{name: "5.2 RSV1 of a ping", parts: []part{{first: 0xc9}}, code: 1002},
		{name: "5.2 RSV of a close", parts: []part{{first: 0xf8}}, code: 1002},
		{name: "5.1 wrong masking", parts: []part{{first: 0x81, payload: "abc"}, {first: 0x81, payload: "abc", unlike: true}}, want: []transport.Frame{text("abc")}, code: 1002},
		{name: "5.1 wrong masking of a ping", parts: []part{{first: 0x89, unlike: true}}, code: 1002},
		{name: "5.2 length 0 in 16 bits", parts: []part{{first: 0x82, form: 126}}, code: 1002},
		{name: "5.2 length 125 in 16 bits", parts: []part{{first: 0x82, form: 126, payload: a125}}, code: 1002},
		{name: "5.2 length 126 in 64 bits", parts: []part{{first: 0x82, form: 127, payload: a126}}, code: 1002},
		{name: "5.2 length 65535 in 64 bits", parts: []part{{first: 0x82, form: 127, claims: true, rawSize: 65535}}, code: 1002},
		{name: "5.2 length with the top bit", parts: []part{{first: 0x82, form: 127, claims: true, rawSize: 1 << 63}}, code: 1002},
		{name: "5.2 length of all bits", parts: []part{{first: 0x82, form: 127, claims: true, rawSize: 1<<64 - 1}}, code: 1002},
		{name: "7.4.1 claims too much", parts: []part{{first: 0x82, claims: true, rawSize: limit + 1}}, code: 1009},
		{name: "7.4.1 claims far too much", parts: []part{{first: 0x82, claims: true, rawSize: 1<<63 - 1}}, code: 1009},
		{name: "7.4.1 fragments claim too much", parts: []part{{first: 0x02, payload: "12345"}, {first: 0x80, claims: true, rawSize: limit - 4}}, code: 1009},
		{name: "5.5.1 nothing after a close", parts: []part{{first: 0x88}, {first: 0x81, payload: "late"}}, code: 1005, remote: true},
		{name: "5.5.1 close between fragments", parts: []part{{first: 0x01, payload: "a"}, {first: 0x88, payload: "\x03\xe9bye"}}, code: 1001, remote: true, reason: "bye"},
		{name: "5.5.1 close of one byte", parts: []part{{first: 0x88, payload: "\x03"}}, code: 1002},
		{name: "5.5.1 close too long", parts: []part{{first: 0x88, payload: "\x03\xe8" + strings.Repeat("r", 124)}}, code: 1002},
		{name: "5.5.1 longest close", parts: []part{{first: 0x88, payload: "\x03\xe8" + strings.Repeat("r", 123)}}, code: 1000, remote: true, reason: strings.Repeat("r", 123)},
		{name: "8.1 reason is not UTF-8", parts: []part{{first: 0x88, payload: "\x03\xe8\xce\xba\xed\xa0\x80"}}, code: 1007},
		{name: "7.1.7 the link ends within a frame", parts: []part{{first: 0x81, payload: "a", claims: true, rawSize: 5}}},
	}
	for _, n := range []int{1, 125, 126, 127, 128, 4096, 16383, 16384, 65535, 65536, limit} {
		s := strings.Repeat("x", n)
		rules = append(rules, rule{name: fmt.Sprint("5.2 text of ", n), parts: []part{{first: 0x81, payload: s}, {first: 0x82, payload: "next"}},
			want: []transport.Frame{text(s), binaryFrame("next")}})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		rules = append(rules, rule{name: fmt.Sprintf("5.2 opcode %d", op), parts: []part{{first: 0x81, payload: "a"}, {first: 0x80 | op}},
			want: []transport.Frame{text("a")}, code: 1002})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		rules = append(rules, rule{name: fmt.Sprintf("7.4 close code %d", code), parts: []part{{first: 0x88, payload: string([]byte{byte(code >> 8), byte(code)})}}, code: 1002})
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		rules = append(rules, rule{name: fmt.Sprintf("7.4 close code %d", code), parts: []part{{first: 0x88, payload: string([]byte{byte(code >> 8), byte(code)})}}, code: code, remote: true})
	}
	return rules
}

func fragmentRules() []rule {
	return []rule{
		{name: "5.4 two fragments", parts: []part{{first: 0x01, payload: "Hel"}, {first: 0x80, payload: "lo"}}, want: []transport.Frame{text("Hello")}},
		{name: "5.4 empty fragments", parts: []part{{first: 0x01}, {first: 0x00}, {first: 0x80}}, want: []transport.Frame{text("")}},
		{name: "5.4 an empty one in the middle", parts: []part{{first: 0x02, payload: "a"}, {first: 0x00}, {first: 0x80, payload: "b"}}, want: []transport.Frame{binaryFrame("ab")}},
		{name: "5.4 an empty one at the end", parts: []part{{first: 0x02, payload: "a"}, {first: 0x80}}, want: []transport.Frame{binaryFrame("a")}},
		{name: "5.4 pings between fragments, in order",
			parts: []part{{first: 0x01, payload: "a"}, {first: 0x89, payload: "1"}, {first: 0x00, payload: "b"}, {first: 0x89, payload: "2"}, {first: 0x8a, payload: "3"}, {first: 0x80, payload: "c"}},
			want:  []transport.Frame{ping("1"), ping("2"), pong("3"), text("abc")}},
		{name: "5.4 two fragmented messages", parts: []part{{first: 0x01, payload: "a"}, {first: 0x80, payload: "b"}, {first: 0x02, payload: "c"}, {first: 0x80, payload: "d"}},
			want: []transport.Frame{text("ab"), binaryFrame("cd")}},
		{name: "5.4 continuation of nothing", parts: []part{{first: 0x80, payload: "a"}}, code: 1002},
		{name: "5.4 unfinished continuation of nothing", parts: []part{{first: 0x00, payload: "a"}}, code: 1002},
		{name: "5.4 continuation after a whole message", parts: []part{{first: 0x81, payload: "a"}, {first: 0x80, payload: "b"}}, want: []transport.Frame{text("a")}, code: 1002},
		{name: "5.4 continuation after the last fragment", parts: []part{{first: 0x01, payload: "a"}, {first: 0x80}, {first: 0x00}}, want: []transport.Frame{text("a")}, code: 1002},
		{name: "5.4 text within a message", parts: []part{{first: 0x01, payload: "a"}, {first: 0x81, payload: "b"}}, code: 1002},
		{name: "5.4 binary within a message", parts: []part{{first: 0x02, payload: "a"}, {first: 0x02, payload: "b"}}, code: 1002},
		{name: "5.5 fragmented ping within a message", parts: []part{{first: 0x01, payload: "a"}, {first: 0x09}}, code: 1002},
		{name: "5.5 long ping within a message", parts: []part{{first: 0x01, payload: "a"}, {first: 0x89, payload: strings.Repeat("p", 126)}}, code: 1002},
		{name: "5.2 opcode 3 within a message", parts: []part{{first: 0x01, payload: "a"}, {first: 0x83}}, code: 1002},
		{name: "7.1.7 the link ends within a message", parts: []part{{first: 0x01, payload: "a"}}},
	}
}

func textRules() []rule {
	const kosme = "κόσμε"
	rules := []rule{
		{name: "8.1 text", parts: []part{{first: 0x81, payload: kosme}}, want: []transport.Frame{text(kosme)}},
		{name: "8.1 binary may be anything", parts: []part{{first: 0x82, payload: "\xff\xc0"}}, want: []transport.Frame{binaryFrame("\xff\xc0")}},
		{name: "8.1 split within characters", parts: []part{{first: 0x01, payload: "\xf0"}, {first: 0x00, payload: "\x9f"}, {first: 0x00, payload: "\x90\x8e\xe9\xa6"}, {first: 0x80, payload: "\xac"}},
			want: []transport.Frame{text("🐎馬")}},
		{name: "8.1 binary split anywhere", parts: []part{{first: 0x02, payload: "\xf0"}, {first: 0x80, payload: "\xf0"}}, want: []transport.Frame{binaryFrame("\xf0\xf0")}},
		{name: "8.1 invalid in the first fragment fails at once", parts: []part{{first: 0x01, payload: kosme + "\xed\xa0\x80"}, {first: 0x89, payload: "not reached"}}, code: 1007},
		{name: "8.1 invalid in the middle fails at once", parts: []part{{first: 0x01, payload: kosme}, {first: 0x00, payload: "\xf4\x90\x80\x80"}, {first: 0x89}}, code: 1007},
		{name: "8.1 invalid across fragments fails at once", parts: []part{{first: 0x01, payload: kosme + "\xf4"}, {first: 0x00, payload: "\x90"}, {first: 0x89}}, code: 1007},
		{name: "8.1 a new character within another", parts: []part{{first: 0x01, payload: "\xe9\xa6"}, {first: 0x00, payload: "a"}, {first: 0x89}}, code: 1007},
		{name: "8.1 cut at the end", parts: []part{{first: 0x81, payload: kosme + "\xe9\xa6"}}, code: 1007},
		{name: "8.1 cut at the end of the last fragment", parts: []part{{first: 0x01, payload: "\xe9"}, {first: 0x80, payload: "\xa6"}}, code: 1007},
		{name: "8.1 cut at the end, last fragment empty", parts: []part{{first: 0x01, payload: "\xe9\xa6"}, {first: 0x80}}, code: 1007},
	}
	for _, s := range []string{"\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd", "\U0001fffe"} {
		rules = append(rules, rule{name: fmt.Sprintf("8.1 %+q", s), parts: []part{{first: 0x81, payload: s}}, want: []transport.Frame{text(s)}})
		for i := range len(s) {
			rules = append(rules, rule{name: fmt.Sprintf("8.1 %+q split at %d", s, i), parts: []part{{first: 0x01, payload: s[:i]}, {first: 0x80, payload: s[i:]}}, want: []transport.Frame{text(s)}})
		}
	}
	for _, s := range []string{"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf",
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x90"} {
		rules = append(rules, rule{name: fmt.Sprintf("8.1 %q", s), parts: []part{{first: 0x81, payload: s}}, code: 1007})
		for i := range len(s) + 1 {
			rules = append(rules, rule{name: fmt.Sprintf("8.1 %q split at %d", s, i), parts: []part{{first: 0x01, payload: s[:i]}, {first: 0x80, payload: s[i:]}}, code: 1007})
		}
	}
	return rules
}

func (r rule) outcome() outcome {
	o := outcome{frames: r.want, err: io.EOF}
	if r.code != 0 {
		o.err = &transport.CloseError{Code: r.code, Reason: r.reason, Local: !r.remote}
	}
	return o
}

// check runs a rule for one side, with its bytes cut in every way.
func (r rule) check(t *testing.T, s settings) {
	t.Helper()
	all := encode(r.parts, s.server)
	want := r.outcome()
	got := receive(s, all)
	var found, expected *transport.CloseError
	if errors.As(got.err, &found) && errors.As(want.err, &expected) && found.Local {
		if found.Reason == "" || len(found.Reason) > 123 {
			t.Errorf("reason %q", found.Reason)
		}
		expected.Reason = found.Reason // its words are free
	}
	if !got.same(want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
	if single := receive(s, slices.Collect(slices.Chunk(all, 1))...); !single.same(want) {
		t.Fatalf("byte by byte:\ngot  %v\nwant %v", single, want)
	}
	step := max(1, len(all)/200) // the long ones not everywhere
	for at := step; at < len(all); at += step {
		if split := receive(s, all[:at], all[at:]); !split.same(want) {
			t.Fatalf("split at %d:\ngot  %v\nwant %v", at, split, want)
		}
	}
}

func TestRules(t *testing.T) {
	for side, server := range map[string]bool{"server": true, "client": false} {
		s := settings{server: server, maxBytes: limit}
		for _, r := range slices.Concat(frameRules(), fragmentRules(), textRules()) {
			t.Run(side+"/"+r.name, func(t *testing.T) { r.check(t, s) })
		}
	}
}

// With compression negotiated, nothing else may change but RSV1.
func TestRulesWithCompression(t *testing.T) {
	for side, server := range map[string]bool{"server": true, "client": false} {
		s := settings{server: server, maxBytes: limit, compression: new(Compression)}
		for _, r := range slices.Concat(frameRules(), fragmentRules(), textRules(), deflateRules(t)) {
			if r.name != "5.2 RSV1 without extension" {
				t.Run(side+"/"+r.name, func(t *testing.T) { r.check(t, s) })
			}
		}
	}
}

// Section 5.7 has these as examples.
func TestExamplesOfTheRFC(t *testing.T) {
	rows := []struct {
		name   string
		server bool
		bytes  string
		want   transport.Frame
	}{
		{"unmasked text", false, "\x81\x05Hello", text("Hello")},
		{"masked text", true, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", text("Hello")},
		{"fragmented text", false, "\x01\x03Hel\x80\x02lo", text("Hello")},
		{"ping", false, "\x89\x05Hello", ping("Hello")},
		{"masked pong", true, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", pong("Hello")},
		{"256 bytes", false, "\x82\x7e\x01\x00" + strings.Repeat("b", 256), binaryFrame(strings.Repeat("b", 256))},
		{"64 KiB", false, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("b", 1<<16), binaryFrame(strings.Repeat("b", 1<<16))},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := receive(settings{server: row.server}, []byte(row.bytes))
			if want := (outcome{[]transport.Frame{row.want}, io.EOF}); !got.same(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		})
	}
}

func TestManyFragments(t *testing.T) {
	const fragments = 65_536
	parts := make([]part, fragments)
	want := strings.Repeat("馬", fragments/3+1)[:fragments/3*3] + "a"
	for i := range parts {
		parts[i] = part{payload: want[i : i+1]}
	}
	parts[0].first = 0x01
	parts[fragments-1].first = 0x80
	all := encode(parts, true)
	s := settings{server: true}
	if got := receive(s, slices.Collect(slices.Chunk(all, 1000))...); !got.same(outcome{[]transport.Frame{text(want)}, io.EOF}) {
		t.Fatal("the message did not come")
	}
	for most, code := range map[int]uint16{fragments: 0, fragments - 1: 1009, 2: 1009, 1: 1009} {
		s.maxFragments = most
		r := rule{code: code, want: []transport.Frame{text(want)}}
		if code != 0 {
			r.want = nil
		}
		got, want := receive(s, all), r.outcome()
		if ce, ok := errors.AsType[*transport.CloseError](want.err); ok {
			ce.Reason = "too many fragments"
		}
		if !got.same(want) {
			t.Fatalf("at most %d: %d frames, %v", most, len(got.frames), got.err)
		}
	}
}

// What was violated stays so, and what still comes is thrown away.
func TestErrorsAreFinal(t *testing.T) {
	c := newConn(&feed{chunks: [][]byte{{0x83, 0x00}, encode([]part{{first: 0x81, payload: "late"}}, false)}}, nil, settings{})
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, ok, err := c.Next(); ok || err == nil {
			t.Fatalf("%v, %v", ok, err)
		}
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := c.Next(); ok || err == nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if err := c.Wait(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// A header is no reason to allocate.
func TestClaimsCostNothing(t *testing.T) {
	all := part{first: 0x82, claims: true, rawSize: 1 << 29, payload: "0123456789"}.append(nil, true)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := receive(settings{server: true, maxBytes: 1 << 30}, slices.Collect(slices.Chunk(all, 1))...)
	runtime.ReadMemStats(&after)
	if !errors.Is(got.err, io.EOF) {
		t.Fatal(got.err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 100<<10 {
		t.Fatalf("%d bytes allocated for %d received", n, len(all))
	}
}

func TestConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 200 {
		t.Fatalf("a Conn has %d bytes", n)
	}
}

func TestMask(t *testing.T) {
	for n := range 100 {
		b := bytes.Repeat([]byte("mask me"), 20)
		want := bytes.Clone(b)
		for i := range n {
			want[3+i] ^= testKey[i%4]
		}
		mask(b[3:3+n], 0x3d21fa37)
		if !bytes.Equal(b, want) {
			t.Fatalf("%d bytes: % x", n, b)
		}
	}
}

func TestWholeMessagesAllocateNothing(t *testing.T) {
	all := encode(slices.Repeat([]part{{first: 0x81, payload: strings.Repeat("p", 100)}}, 16), true)
	c := newConn(&loop{data: all}, nil, settings{server: true})
	allocs := testing.AllocsPerRun(100, func() {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		for range 16 {
			if _, ok, err := c.Next(); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	})
	if allocs >= 1 {
		t.Fatalf("%v allocations for 16 frames", allocs)
	}
}
