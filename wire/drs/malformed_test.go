package drs_test

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/internal/msgscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/wiretest"
)

type wrong struct{ in, why string }

func wrongJSON() []wrong {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return []wrong{
		{``, "unexpected end at byte 0"},
		{`1`, "expected an object at byte 0"},
		{`[]`, "expected an object at byte 0"},
		{`{`, "unexpected end at byte 1"},
		{`{}`, "no action"},
		{`{"key":"k","body":{}}`, "no action"},
		{`{"action":""}`, "no action"},
		{`{"action":null}`, "no action"},
		{`{"action":7}`, "the action is not a string"},
		{`{"action":{"a":"b"}}`, "the action is not a string"},
		{`{"action":"a","key":7}`, "the key is not a string"},
		{`{"action":"a","key":["k"]}`, "the key is not a string"},
		{`{"action":"a"}{}`, "unexpected text after the value at byte 14"},
		{`{"action":"a"},`, "unexpected text after the value at byte 14"},
		{`{"action":"a",}`, "expected an element after the comma at byte 14"},
		{`{"action":"a" "key":"k"}`, "expected a comma or the end at byte 14"},
		{`{"action":"a","body":}`, "expected a value at byte 21"},
		{`{"action":"a","body":[1,]}`, "expected an element after the comma at byte 24"},
		{`{"action":"a","body":[1}`, "expected a comma or the end at byte 23"},
		{`{"action":"a","body":01}`, "expected a comma or the end at byte 22"},
		{`{"action":"a","version":1.}`, "expected a digit at byte 26"},
		{`{"action":"a","body":` + deep(jsonscan.MaxDepth+1) + `}`, "nested too deep at byte 149"},
		{"{\"action\":\"\xff\"}", "string is not UTF-8 at byte 11"},
		{"{\"action\":\"a\nb\"}", "control character in a string at byte 12"},
		{`{"action":"\x"}`, "bad escape at byte 11"},
		{`{action:"a"}`, "expected a key in quotes at byte 1"},
	}
}

func wrongMsgpack() []wrong {
	return []wrong{
		{"", "MessagePack ends too soon"},
		{"\x01", "not a command"},
		{"\x90", "not a command"},
		{"\x80", "no action"},
		{"\x81\xa3key\xa1k", "no action"},
		{"\x81\xa6action\xa0", "no action"},
		{"\x81\xa6action\xc0", "no action"},
		{"\x81\xa6action\x07", "the action is not a string"},
		{"\x81\xa6action\xc4\x01a", "the action is not a string"},
		{"\x82\xa6action\xa1a\xa3key\x07", "the key is not a string"},
		{"\x81\xa6action\xa1a\x01", "bytes after the MessagePack value"},
		{"\x82\xa6action\xa1a", "MessagePack ends too soon"},
		{"\xdf\xff\xff\xff\xff\xa6action\xa1a", "MessagePack ends too soon"},
		{"\x81\xa6action\xdb\xff\xff\xff\xffa", "MessagePack ends too soon"},
		{"\x81\xa6action\xa1\xff", "not UTF-8"},
		{"\x82\xa6action\xa1a\xa4body\xc1", "MessagePack with an unknown first byte"},
		{"\x82\xa6action\xa1a\xa4body" + strings.Repeat("\x91", msgscan.MaxDepth+1) + "\x01", "MessagePack nests too deep"},
	}
}

func TestMalformed(t *testing.T) {
	for _, kind := range []struct {
		encoding drs.Encoding
		rows     []wrong
		frame    func(string) transport.Frame
	}{{drs.JSON, wrongJSON(), jsonFrame}, {drs.Msgpack, wrongMsgpack(), binaryFrame}} {
		s := drs.New(drs.WithEncoding(kind.encoding)).NewSession(wiretest.NewHost(), false)
		for _, row := range kind.rows {
			p, ok, err := packets(s, kind.frame(row.in))
			if ok || err == nil {
				t.Errorf("%s: %.60q was taken: %+v", kind.encoding, row.in, p)
			} else if got := reason(t, err); got != "malformed command: "+row.why {
				t.Errorf("%s: %.60q: %q, want %q", kind.encoding, row.in, got, row.why)
			}
		}
	}
}

func TestWrongFrames(t *testing.T) {
	host := wiretest.NewHost()
	_, _, err := packets(drs.New().NewSession(host, false), binaryFrame(`{"action":"a"}`))
	if got := reason(t, err); got != "malformed command: a binary message where commands are JSON" {
		t.Error(got)
	}
	_, _, err = packets(drs.New(drs.WithEncoding(drs.Msgpack)).NewSession(host, false), jsonFrame("\x81\xa6action\xa1a"))
	if got := reason(t, err); got != "malformed command: a text message where commands are MessagePack" {
		t.Error(got)
	}
}

// bounded decodes and checks the memory that it took and what came of it.
func bounded(t *testing.T, s wire.Session, f transport.Frame) (wire.Packet, bool, error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, ok, err := packets(s, f)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10+8*uint64(len(f.Data)) {
		t.Fatalf("%d bytes took %d", len(f.Data), used)
	}
	var violation *wire.ProtocolError
	switch {
	case err != nil && !errors.As(err, &violation):
		t.Fatalf("%v is not a *wire.ProtocolError", err)
	case err != nil && ok:
		t.Fatalf("a packet and %v", err)
	case ok && p.Type == wire.Error && p.Err == nil, ok && p.Type == wire.Call && (p.Kind == "" || p.ID == 0):
		t.Fatalf("%+v", p)
	}
	return p, ok, err
}

// again says a decoded command anew and decodes that: it must be the same.
func again(t *testing.T, p *drs.Protocol, got wire.Packet) {
	t.Helper()
	if got.Type != wire.Call {
		return
	}
	frames, err := wiretest.Encode(p.NewSession(wiretest.NewHost(), true), &got)
	if err != nil {
		t.Fatal(err)
	}
	back, ok, err := packets(p.NewSession(wiretest.NewHost(), false), frames[0])
	got.ID, got.Key, back.Key = 1, "", ""
	if diff := wiretest.Diff(back, got); !ok || err != nil || diff != "" {
		t.Fatalf("%q: %v, %s", frames[0].Data, err, diff)
	}
}

func FuzzJSON(f *testing.F) {
	for _, row := range readJSON() {
		f.Add([]byte(row.in))
	}
	for _, row := range wrongJSON() {
		f.Add([]byte(row.in))
	}
	p := drs.New(drs.WithKeys("t"), drs.WithRoomActions())
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := bounded(t, p.NewSession(wiretest.NewHost(), false), jsonFrame(string(data)))
		if err != nil {
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("%q was taken and is not JSON", data)
		}
		again(t, p, got)
	})
}

func FuzzMsgpack(f *testing.F) {
	for _, row := range readMsgpack() {
		f.Add([]byte(row.in))
	}
	for _, row := range wrongMsgpack() {
		f.Add([]byte(row.in))
	}
	p := drs.New(drs.WithKeys("t"), drs.WithRoomActions(), drs.WithEncoding(drs.Msgpack))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := bounded(t, p.NewSession(wiretest.NewHost(), false), binaryFrame(string(data)))
		if err == nil {
			again(t, p, got)
		}
	})
}
