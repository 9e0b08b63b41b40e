package native_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/wiretest"
)

// refuses decodes a frame and wants the reason why that cannot be.
func refuses(t *testing.T, f native.Form, data, want string) {
	t.Helper()
	p, err := decode(f, []byte(data))
	if err == nil {
		t.Fatalf("decoded: %+v", p)
	}
	if got := malformedReason(t, err); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMalformedProto(t *testing.T) {
	entries := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, row := range []struct{ name, data, want string }{
		{"empty", "", "neither kind nor code"},
		{"tag cut", "\x80", "unexpected end"},
		{"tag of 11 bytes", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "varint over 64 bits"},
		{"tag over 64 bits", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "varint over 64 bits"},
		{"field 0", "\x00\x01", "field number 0"},
		{"field 2^29", "\x80\x80\x80\x80\x10\x01", "field number over 2^29-1"},
		{"varint cut", "\x10\xff", "field 2: unexpected end"},
		{"varint missing", "\x10", "field 2: unexpected end"},
		{"varint too long", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "field 2: varint over 64 bits"},
		{"length cut", "\x1a\xff", "field 3: unexpected end"},
		{"length over the frame", "\x1a\x05abcd", "field 3: unexpected end"},
		{"length of 2^64-1", "\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", "field 5: unexpected end"},
		{"length of 2^31", "\x2a\x80\x80\x80\x80\x08", "field 5: unexpected end"},
		{"type as bytes", "\x0a\x01\x01", "field 1: wrong wire type"},
		{"id as fixed64", "\x11\x01\x00\x00\x00\x00\x00\x00\x00", "field 2: wrong wire type"},
		{"kind as varint", "\x18\x01", "field 3: wrong wire type"},
		{"code as fixed32", "\x25\x01\x00\x00\x00", "field 4: wrong wire type"},
		{"payload as varint", "\x28\x01", "field 5: wrong wire type"},
		{"headers as varint", "\x40\x01", "field 8: wrong wire type"},
		{"error as varint", "\x50\x01", "field 10: wrong wire type"},
		{"codes as varint", "\x60\x01", "field 12: wrong wire type"},
		{"args as varint", "\x68\x01", "field 13: wrong wire type"},
		{"kind as a group", "\x1b\x1c", "field 3: wrong wire type"},
		{"unknown group", "\xa3\x06\xa4\x06", "field 100: group, or unknown wire type"},
		{"wire type 6", "\xa6\x06", "field 100: group, or unknown wire type"},
		{"unknown fixed64 cut", "\xa1\x06.......", "field 100: unexpected end"},
		{"unknown fixed32 cut", "\xa5\x06...", "field 100: unexpected end"},
		{"unknown bytes cut", "\xa2\x06\x05ab", "field 100: unexpected end"},
		{"type 12", "\x08\x0c\x1a\x01k", "field 1: unknown type"},
		{"type 2^32", "\x08\x80\x80\x80\x80\x10\x1a\x01k", "field 1: unknown type"},
		{"content 6", "\x1a\x01k\x30\x06", "field 6: unknown content"},
		{"content of details 6", "\x08\x03\x52\x04\x1a\x02\x10\x06", "field 10: unknown content"},
		{"content of an argument 6", "\x1a\x01k\x6a\x02\x10\x06", "field 13: unknown content"},
		{"code over 32 bits", "\x20\x80\x80\x80\x80\x10", "field 4: does not fit in 32 bits"},
		{"code of a kind over 32 bits", "\x62\x06\x10\x80\x80\x80\x80\x10", "field 12: does not fit in 32 bits"},
		{"kind not UTF-8", "\x1a\x01\xff", "field 3: not UTF-8"},
		{"kind not UTF-8, then good", "\x1a\x01\xff\x1a\x01k", "field 3: not UTF-8"},
		{"content type not UTF-8", "\x3a\x01\xff", "field 7: not UTF-8"},
		{"header's key not UTF-8", "\x42\x03\x0a\x01\xff", "field 8: not UTF-8"},
		{"header's value not UTF-8", "\x42\x03\x12\x01\xff", "field 8: not UTF-8"},
		{"header cut", "\x42\x03\x0a\x05a", "field 8: unexpected end"},
		{"header's tag cut", "\x42\x01\x80", "field 8: unexpected end"},
		{"header with a group", "\x42\x01\x1b", "field 8: group, or unknown wire type"},
		{"room not UTF-8", "\x4a\x01\xff", "field 9: not UTF-8"},
		{"error's code not UTF-8", "\x52\x03\x0a\x01\xff", "field 10: not UTF-8"},
		{"error's tag cut", "\x52\x01\x80", "field 10: unexpected end"},
		{"details cut", "\x52\x03\x1a\x05a", "field 10: unexpected end"},
		{"details' tag cut", "\x52\x03\x1a\x01\x80", "field 10: unexpected end"},
		{"key not UTF-8", "\x5a\x01\xff", "field 11: not UTF-8"},
		{"code's tag cut", "\x62\x01\x80", "field 12: unexpected end"},
		{"code's kind not UTF-8", "\x62\x03\x0a\x01\xff", "field 12: not UTF-8"},
		{"argument cut", "\x6a\x05\x0a", "field 13: unexpected end"},
		{"offset as varint", "\x70\x01", "field 14: wrong wire type"},
		{"offset not UTF-8", "\x72\x01\xff", "field 14: not UTF-8"},
		{"offset over the frame", "\x72\x40e", "field 14: unexpected end"},
		{"recovered as bytes", "\x7a\x01\x01", "field 15: wrong wire type"},
		{"recovered cut", "\x78\xff", "field 15: unexpected end"},
		{"65 headers", entries("\x42\x04\x0a\x02%02d", 65), "field 8: more than 64 headers"},
		{"65 arguments", strings.Repeat("\x6a\x00", 65), "field 13: more than 64 args"},
		{"4097 codes", entries("\x62\x06\x0a\x04%04d", 4097), "field 12: more than 4096 codes"},
		{"call without id", "\x08\x01\x1a\x01k", "no id"},
		{"call without kind", "\x08\x01\x10\x01", "neither kind nor code"},
		{"reply without id", "\x08\x02", "no id"},
		{"publish without kind", "\x08\x06\x4a\x01r", "neither kind nor code"},
		{"broadcast without kind", "\x08\x07", "neither kind nor code"},
	} {
		t.Run(row.name, func(t *testing.T) {
			refuses(t, native.Proto, row.data, row.want)
		})
	}
}

func TestMalformedJSON(t *testing.T) {
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	deep := strings.Repeat("[", jsonscan.MaxDepth+1) + strings.Repeat("]", jsonscan.MaxDepth+1)
	for _, row := range []struct{ data, want string }{
		{``, "unexpected end at byte 0"},
		{`[]`, "expected an object at byte 0"},
		{`"x"`, "expected an object at byte 0"},
		{`{`, "unexpected end at byte 1"},
		{`{}`, "neither kind nor code"},
		{`{"kind":"k"} x`, "unexpected text after the value at byte 13"},
		{`{"kind":"k",}`, "expected an element after the comma at byte 12"},
		{`{"kind":"k" "id":1}`, "expected a comma or the end at byte 12"},
		{`{kind:"k"}`, "expected a key in quotes at byte 1"},
		{`{"kind" "k"}`, "expected a colon at byte 8"},
		{`{"kind":"k","payload":}`, "expected a value at byte 22"},
		{`{"kind":"k","payload":{"a":01}}`, "expected a comma or the end at byte 28"},
		{`{"kind":"k","payload":` + deep + `}`, "nested too deep at byte 150"},
		{`{"kind":"k","payload":"` + "\xff" + `"}`, "string is not UTF-8 at byte 23"},
		{`{"kind":"` + "\xc3" + `"}`, "string is not UTF-8 at byte 9"},
		{"{\"kind\":\"a\nb\"}", "control character in a string at byte 10"},
		{`{"kind":"\u12"}`, "bad escape at byte 9"},
		{`{"kind":1}`, "expected a string at byte 8"},
		{`{"kind":nul}`, "expected a value at byte 8"},
		{`{"type":"shout","kind":"k"}`, "unknown type"},
		{`{"type":"","kind":"k"}`, "unknown type"},
		{`{"type":1}`, "expected a string at byte 8"},
		{`{"id":"1"}`, "expected a value at byte 6"},
		{`{"id":0,"kind":"k"}`, "id is 0"},
		{`{"id":-1}`, "expected a whole number at byte 6"},
		{`{"id":1.0}`, "expected a whole number at byte 6"},
		{`{"id":1e3}`, "expected a whole number at byte 6"},
		{`{"id":9007199254740992}`, "number over 9007199254740991 at byte 6"},
		{`{"code":4294967296}`, "number over 4294967295 at byte 8"},
		{`{"headers":[]}`, "expected an object at byte 11"},
		{`{"headers":{"a":1}}`, "expected a string at byte 16"},
		{`{"headers":{"a"}}`, "expected a colon at byte 15"},
		{`{"headers":{"a":null}}`, "expected a string at byte 16"},
		{`{"headers":{` + many(`"%d":""`, 65) + `}}`, "more than 64 headers"},
		{`{"codes":{"a":-1}}`, "expected a whole number at byte 14"},
		{`{"codes":{` + many(`"%d":1`, 4097) + `}}`, "more than 4096 codes"},
		{`{"kind":"k","data":"A"}`, "data is not base64"},
		{`{"kind":"k","data":"AAE"}`, "data is not base64"},
		{`{"kind":"k","data":"AAF="}`, "data is not base64"},
		{`{"kind":"k","data":"_-8="}`, "data is not base64"},
		{`{"kind":"k","data":"","payload":1}`, "a JSON payload and data together"},
		{`{"kind":"k","args":{}}`, "expected an array at byte 19"},
		{`{"kind":"k","args":[1]}`, "expected an object at byte 20"},
		{`{"kind":"k","args":[{"payload":1,"data":""}]}`, "a JSON payload and data together"},
		{`{"kind":"k","args":[{"payload":1}`, "unexpected end at byte 33"},
		{`{"kind":"k","args":[` + many(`{"x":%d}`, 65) + `]}`, "more than 64 args"},
		{`{"type":"error","error":"x"}`, "expected an object at byte 24"},
		{`{"type":"error","error":{"code":1}}`, "expected a string at byte 32"},
		{`{"type":"error","error":{"message":[]}}`, "expected a string at byte 35"},
		{`{"type":"error","error":{"data":"?"}}`, "data is not base64"},
		{`{"kind":"k","offset":1}`, "expected a string at byte 21"},
		{`{"kind":"k","recovered":1}`, "recovered is neither true nor false"},
		{`{"kind":"k","recovered":"true"}`, "recovered is neither true nor false"},
		{`{"kind":"k","recovered":tru}`, "expected a value at byte 24"},
		{`{"type":"call","kind":"k"}`, "no id"},
		{`{"type":"call","id":1}`, "neither kind nor code"},
		{`{"type":"reply"}`, "no id"},
		{`{"type":"publish","room":"r"}`, "neither kind nor code"},
	} {
		t.Run(fmt.Sprintf("%.40s", row.data), func(t *testing.T) {
			refuses(t, native.JSON, row.data, row.want)
		})
	}
}

func TestWrongFrames(t *testing.T) {
	var p wire.Packet
	host := wiretest.NewHost()
	_, err := native.NewSession(host, native.Proto).Decode(transport.Frame{Type: transport.Text, Data: []byte(`{"kind":"k"}`)}, &p)
	if got := malformedReason(t, err); got != "a text frame where envelopes are binary" {
		t.Error(got)
	}
	_, err = native.NewSession(host, native.JSON).Decode(transport.Frame{Type: transport.Binary, Data: []byte("\x1a\x01k")}, &p)
	if got := malformedReason(t, err); got != "a binary frame where envelopes are text" {
		t.Error(got)
	}
}
