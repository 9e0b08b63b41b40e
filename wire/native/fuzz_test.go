package native_test

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/native/nativepb"
	"github.com/polywire/polywire/wire/wiretest"
)

// bounded decodes and checks the memory that it took: a small multiple of the
// frame, and what 64 arguments, 64 headers and the runtime's tables need.
func bounded(t *testing.T, f native.Form, data []byte) (wire.Packet, error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p, err := decode(f, data)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10+32*uint64(len(data)) {
		t.Fatalf("%d bytes took %d", len(data), used)
	}
	var violation *wire.ProtocolError
	if err != nil && !errors.As(err, &violation) {
		t.Fatalf("%v is not a *wire.ProtocolError", err)
	}
	return p, err
}

func FuzzProto(f *testing.F) {
	r := newRandom(1)
	for range 20 {
		p := r.packet()
		f.Add(marshal(f, generated(&p)))
	}
	f.Add([]byte("\x42\x06\x0a\x01a\x12\x01b\x52\x05\x1a\x03\x0a\x01d\x6a\x00\xa2\x06\x02ab"))
	f.Add([]byte("\x08\x02\x10\x01\x72\x01a\x78\x02\x72\x01b\x78\x80\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := bounded(t, native.Proto, data)
		var e nativepb.Envelope
		generatedErr := proto.Unmarshal(data, &e)
		if err != nil {
			if generatedErr == nil && !stricter(err) {
				t.Fatalf("%x: %v, but the generated code takes it", data, err)
			}
			return
		}
		if generatedErr != nil {
			t.Fatalf("%x: only the generated code says %v", data, generatedErr)
		}
		if diff := wiretest.Diff(got, packetOf(&e)); diff != "" {
			t.Fatalf("%x: %s", data, diff)
		}
		again, err := encode(native.NewSession(wiretest.NewHost(), native.Proto), &got)
		if err != nil {
			t.Fatalf("%x: %v", data, err)
		}
		back, err := decode(native.Proto, again)
		if err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		if diff := wiretest.Diff(back, got); diff != "" {
			t.Fatalf("%x: %s", again, diff)
		}
	})
}

// stricter reports whether the reason is one of those for which the
// specification refuses what protobuf would take: known fields of another wire
// type and groups are unknown fields to protobuf, and numbers are cut.
func stricter(err error) bool {
	for _, reason := range []string{
		"wrong wire type", "group, or unknown wire type", "does not fit in 32 bits", "unknown type", "unknown content",
		"no id", "neither kind nor code", "more than 64 headers", "more than 64 args", "more than 4096 codes",
	} {
		if strings.Contains(err.Error(), reason) {
			return true
		}
	}
	return false
}

func FuzzJSON(f *testing.F) {
	r := newRandom(2)
	s := native.NewSession(wiretest.NewHost(), native.JSON)
	for range 20 {
		p := r.packet()
		f.Add(mustEncode(f, s, &p))
	}
	f.Add([]byte(`{"\u006bind":"\ud83d\ude00","payload":[1e5],"kind":"b","args":[{},{"data":"AA=="}],"x":{}}`))
	f.Add([]byte(`{"type":"error","error":{"code":"c","details":null}}`))
	f.Add([]byte(`{"type":"reply","id":1,"offset":"e.1","recovered": true }`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := bounded(t, native.JSON, text)
		if err != nil {
			return
		}
		if !json.Valid(text) || !utf8.Valid(text) {
			t.Fatalf("%q was taken and is not JSON", text)
		}
		again, err := encode(s, &got)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		back, err := decode(native.JSON, again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := wiretest.Diff(back, got); diff != "" {
			t.Fatalf("%s: %s", again, diff)
		}
	})
}

// jsonEnvelope is the JSON form as encoding/json reads it.
type jsonEnvelope struct {
	Type    string            `json:"type"`
	ID      uint64            `json:"id"`
	Kind    string            `json:"kind"`
	Room    string            `json:"room"`
	Key     string            `json:"key"`
	Code    uint32            `json:"code"`
	Payload json.RawMessage   `json:"payload"`
	Data    []byte            `json:"data"`
	Headers map[string]string `json:"headers"`
}

// FuzzJSONStrings compares what strings say with encoding/json, in envelopes
// whose structure is given.
func FuzzJSONStrings(f *testing.F) {
	f.Add(`plain`, `\ud83d\ude00`)
	f.Add(`\u0000\"`, `\ud83d`)
	f.Add(`"}`, `é`)
	f.Fuzz(func(t *testing.T, kind, value string) {
		text := []byte(`{"kind":"k` + kind + `","headers":{"` + kind + `":"` + value + `"}}`)
		var want jsonEnvelope
		got, err := decode(native.JSON, text)
		if wantErr := json.Unmarshal(text, &want); wantErr != nil || !utf8.Valid(text) {
			if err == nil {
				t.Fatalf("%q: only encoding/json says %v", text, wantErr)
			}
			return
		}
		if err != nil {
			if strings.Count(string(text), `"`) == 8 {
				t.Fatalf("%q: only we say %v", text, err)
			}
			return // more members than were given
		}
		if strings.Count(string(text), `"`) == 8 && (got.Kind != want.Kind || len(got.Header) != 1 || len(want.Headers) != 1) {
			t.Fatalf("%q: %q and %v, want %q and %v", text, got.Kind, got.Header, want.Kind, want.Headers)
		}
		for k, v := range got.Header {
			if w, ok := want.Headers[k]; !ok || w != v {
				t.Fatalf("%q: %q is %q, want %q", text, k, v, w)
			}
		}
	})
}
