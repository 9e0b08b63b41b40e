package native_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/native/nativepb"
	"github.com/polywire/polywire/wire/wiretest"
)

func TestSessions(t *testing.T) {
	tooMany := map[string]string{}
	tooManyCodes := map[string]uint32{}
	for i := range native.MaxCodes + 1 {
		tooManyCodes[fmt.Sprint(i)] = 1
		if i <= native.MaxHeaders {
			tooMany[fmt.Sprint(i)] = ""
		}
	}
	unsayable := []wire.Packet{
		{Type: wire.Message},
		{Type: wire.Call, Kind: "k"},
		{Type: wire.Call, ID: 1},
		{Type: wire.Reply},
		{Type: wire.Error, ID: 1},
		{Type: wire.Publish, Room: "r"},
		{Type: wire.Message, Kind: "\xff"},
		{Type: wire.Message, Kind: "k", Header: map[string]string{"a": "\xff"}},
		{Type: wire.Message, Kind: "k", Header: tooMany},
		{Type: wire.Message, Kind: "k", Args: make([]codec.Payload, native.MaxArgs+1)},
		{Type: wire.Hello, Codes: tooManyCodes},
	}
	unsayableJSON := append([]wire.Packet{
		{Type: wire.Call, Kind: "k", ID: 1 << 53},
		{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`{}}`)}},
		{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeJSON}},
		{Type: wire.Message, Kind: "k", Args: []codec.Payload{{Type: codec.TypeJSON, Data: []byte("\"\xff\"")}}},
		{Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Details: codec.Payload{Type: codec.TypeJSON, Data: []byte(`1,2`)}}},
	}, unsayable...)
	for _, w := range []struct {
		form      native.Form
		frame     transport.FrameType
		unsayable []wire.Packet
	}{
		{native.Proto, transport.Binary, unsayable},
		{native.JSON, transport.Text, unsayableJSON},
	} {
		t.Run(w.form.String(), func(t *testing.T) {
			wiretest.Run(t, wiretest.Wire{
				New: func(host wire.Host) (client, server wire.Session) {
					return native.NewSession(host, w.form), native.NewSession(host, w.form)
				},
				FrameType: w.frame,
				Positions: true,
				Unsayable: w.unsayable,
			})
		})
	}
}

// The binary form is byte for byte what protobuf's own encoder makes, and both
// decoders agree.
func TestProtoLikeGenerated(t *testing.T) {
	r := newRandom(7)
	s := native.NewSession(wiretest.NewHost(), native.Proto)
	for range 2000 {
		p := r.packet()
		got, want := mustEncode(t, s, &p), marshal(t, generated(&p))
		if !bytes.Equal(got, want) {
			t.Fatalf("%+v\n got %x\nwant %x", p, got, want)
		}
		back, err := decode(native.Proto, want)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if diff := wiretest.Diff(back, p); diff != "" {
			t.Fatal(diff)
		}
	}
}

// The JSON form of a packet says the same as its binary form.
func TestJSONLikeProto(t *testing.T) {
	r := newRandom(8)
	s := native.NewSession(wiretest.NewHost(), native.JSON)
	for range 2000 {
		p := r.packet()
		text := mustEncode(t, s, &p)
		if !json.Valid(text) {
			t.Fatalf("%s is not JSON", text)
		}
		back, err := decode(native.JSON, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := wiretest.Diff(back, p); diff != "" {
			t.Fatalf("%s: %s", text, diff)
		}
	}
}

// What protobuf asks of decoders, in encodings that no encoder of ours makes.
func TestProtoRules(t *testing.T) {
	kind := []byte("\x1a\x01k")
	join := func(parts ...string) []byte { return append(bytes.Clone(kind), strings.Join(parts, "")...) }
	for name, data := range map[string][]byte{
		"the last one counts":          join("\x1a\x02k2", "\x1a\x02k3", "\x10\x01", "\x10\x02", "\x08\x01"),
		"an empty one counts too":      join("\x4a\x01r", "\x4a\x00"),
		"unknown fields":               join("\xa0\x06\x01", "\xa1\x06........", "\xa5\x06....", "\xa2\x06\x02ab", "\xf8\xff\xff\xff\x0f\x00"),
		"long varints":                 join("\x08\x81\x80\x80\x00", "\x10\x85\x80\x00"),
		"headers merge":                join("\x42\x06\x0a\x01a\x12\x01b", "\x42\x06\x0a\x01c\x12\x01d", "\x42\x06\x0a\x01a\x12\x01e"),
		"entries with parts missing":   join("\x42\x00", "\x42\x03\x0a\x01a", "\x42\x03\x12\x01b", "\x62\x00", "\x62\x02\x10\x05"),
		"entries with unknown fields":  join("\x42\x05\x0a\x01a\x18\x01", "\x62\x04\x18\x01\x10\x05"),
		"entries backwards":            join("\x42\x06\x12\x01b\x0a\x01a"),
		"errors merge":                 join("\x52\x03\x0a\x01c", "\x52\x03\x12\x01m", "\x52\x05\x1a\x03\x0a\x01d", "\x52\x04\x1a\x02\x10\x04"),
		"unknown in error and details": join("\x52\x06\x20\x01\x1a\x02\x20\x01"),
		"packed arguments":             join("\x6a\x00", "\x6a\x02\x10\x01", "\x6a\x05\x10\x05\x1a\x01t", "\x6a\x03\x0a\x01x"),
		"content before payload":       join("\x30\x01", "\x2a\x01\x31"),
		"content type without other":   join("\x30\x01", "\x3a\x01t", "\x2a\x01\x31"),
		"other without content type":   join("\x30\x05", "\x2a\x01x"),
		"other that is JSON":           join("\x30\x05", "\x3a\x10application/json", "\x2a\x011"),
		"bytes without content":        join("\x2a\x01x"),
		"content without bytes":        join("\x30\x02"),
		"greatest numbers":             join("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x20\xff\xff\xff\xff\x0f"),
		"error without body":           []byte("\x08\x03\x10\x01"),
	} {
		var e nativepb.Envelope
		if err := proto.Unmarshal(data, &e); err != nil {
			t.Errorf("%s: the generated code says %v", name, err)
			continue
		}
		got, err := decode(native.Proto, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := wiretest.Diff(got, packetOf(&e)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What the JSON form allows, in texts that no encoder of ours makes.
func TestJSONRules(t *testing.T) {
	data := func(t, d string) codec.Payload { return codec.Payload{Type: t, Data: []byte(d)} }
	for text, want := range map[string]wire.Packet{
		`{"kind":"k"}`:        {Type: wire.Message, Kind: "k"},
		`{"id":7,"kind":"k"}`: {Type: wire.Call, ID: 7, Kind: "k"},
		` { "kind" : "k" , "type":"call",` + "\n\t" + `"id":9007199254740991}` + "\r\n": {Type: wire.Call, ID: 1<<53 - 1, Kind: "k"},
		`{"kind":"k","payload":null}`:                                               {Type: wire.Message, Kind: "k", Payload: data(codec.TypeJSON, "null")},
		`{"kind":"k","payload": [1, {"a":"\ud83d"}] }`:                              {Type: wire.Message, Kind: "k", Payload: data(codec.TypeJSON, `[1, {"a":"\ud83d"}]`)},
		`{"kind":"k","data":"AAE="}`:                                                {Type: wire.Message, Kind: "k", Payload: data(codec.TypeBytes, "\x00\x01")},
		`{"kind":"k","data":""}`:                                                    {Type: wire.Message, Kind: "k", Payload: data(codec.TypeBytes, "")},
		`{"kind":"k","data":"\u0041AE=","contentType":"x/y"}`:                       {Type: wire.Message, Kind: "k", Payload: data("x/y", "\x00\x01")},
		`{"kind":"k","payload":1,"contentType":"x/y"}`:                              {Type: wire.Message, Kind: "k", Payload: data(codec.TypeJSON, "1")},
		`{"\u006bind":"\ud83d\ude00\n"}`:                                            {Type: wire.Message, Kind: "\U0001F600\n"},
		`{"kind":"a","kind":"b","id":1,"id":2}`:                                     {Type: wire.Call, Kind: "b", ID: 2},
		`{"kind":"k","unknown":{"deep":[true]},"":0}`:                               {Type: wire.Message, Kind: "k"},
		`{"kind":"k","type":null,"id":null,"headers":null,"data":null,"args":null}`: {Type: wire.Message, Kind: "k"},
		`{"code":5}`: {Type: wire.Message, Code: 5},
		`{"kind":"k","headers":{"a":"b"},"headers":{"c":"d","c":"\""}}`:                    {Type: wire.Message, Kind: "k", Header: map[string]string{"c": `"`}},
		`{"type":"welcome","key":"x","codes":{"a":0,"b":4294967295}}`:                      {Type: wire.Welcome, Key: "x", Codes: map[string]uint32{"a": 0, "b": 1<<32 - 1}},
		`{"type":"error","id":1}`:                                                          {Type: wire.Error, ID: 1, Err: &wire.ErrorBody{}},
		`{"type":"error","id":1,"error":{"code":"c","message":"m","details":[1],"x":2}}`:   {Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Code: "c", Message: "m", Details: data(codec.TypeJSON, "[1]")}},
		`{"type":"error","id":1,"error":{"code":"c","data":"AAE=","message":null}}`:        {Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Code: "c", Details: data(codec.TypeBytes, "\x00\x01")}},
		`{"type":"error","id":1,"error":{"code":"c","data":"AAE="},"error":{"details":1}}`: {Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Details: data(codec.TypeJSON, "1")}},
		`{"kind":"k","payload":1,"args":[{"payload":2},{},{"data":"AA==","x":null,"contentType":"x/y"}]}`: {
			Type: wire.Message, Kind: "k", Payload: data(codec.TypeJSON, "1"),
			Args: []codec.Payload{data(codec.TypeJSON, "2"), {}, data("x/y", "\x00")},
		},
		`{"kind":"k","args":[{"payload":1}],"args":[]}`:                      {Type: wire.Message, Kind: "k"},
		`{"type":"subscribe","room":"r","id":1}`:                             {Type: wire.Subscribe, Room: "r", ID: 1},
		`{"type":"reply","id":1,"offset":"a","recovered":true,"offset":"b"}`: {Type: wire.Reply, ID: 1, Position: "b", Recovered: true},
		`{"type":"reply","id":1,"recovered":true,"recovered":false}`:         {Type: wire.Reply, ID: 1},
		`{"type":"reply","id":1,"offset":null,"recovered":null}`:             {Type: wire.Reply, ID: 1},
		`{"type":"ping"}`: {Type: wire.Ping},
	} {
		got, err := decode(native.JSON, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := wiretest.Diff(got, want); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestPayloadStaysInPlace(t *testing.T) {
	for _, f := range []native.Form{native.Proto, native.JSON} {
		p := wire.Packet{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"a":1}`)}}
		data := mustEncode(t, native.NewSession(wiretest.NewHost(), f), &p)
		got, err := decode(f, data)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(data, []byte(`{"a":1}`))
		if &got.Payload.Data[0] != &data[at] {
			t.Errorf("%s: the payload was copied", f)
		}
		if cap(got.Payload.Data) != len(got.Payload.Data) {
			t.Errorf("%s: appending to the payload would write into the frame", f)
		}
	}
}

func TestFormats(t *testing.T) {
	host := wiretest.NewHost()
	for f, want := range map[native.Form]string{native.Proto: "native/proto", native.JSON: "native/json"} {
		if got := native.NewSession(host, f).Format(); got != want {
			t.Errorf("%s: format %q", f, got)
		}
	}
	if got := native.NewSession(host, native.Proto).ContentTypes(); got != nil {
		t.Errorf("the binary form says %v only", got)
	}
	if got := fmt.Sprint(native.NewSession(host, native.JSON).ContentTypes()); got != "[application/json application/octet-stream]" {
		t.Errorf("the JSON form says %v", got)
	}
}

func TestUnsayableErrorsSayWhy(t *testing.T) {
	p := wire.Packet{Type: wire.Call, Kind: "k", ID: 1 << 53}
	_, err := encode(native.NewSession(wiretest.NewHost(), native.JSON), &p)
	if err == nil || err.Error() != "native: call cannot be sent: id over 2^53-1" {
		t.Errorf("%v", err)
	}
}

// malformedReason returns the reason of a violation with the code 3501.
func malformedReason(t *testing.T, err error) string {
	t.Helper()
	var violation *wire.ProtocolError
	if !errors.As(err, &violation) {
		t.Fatalf("%v is not a *wire.ProtocolError", err)
	}
	if violation.Code != wire.CloseBadRequest || len(violation.Reason) > 123 {
		t.Errorf("code %d, %d bytes of reason", violation.Code, len(violation.Reason))
	}
	reason, ok := strings.CutPrefix(violation.Reason, "malformed envelope: ")
	if !ok {
		t.Errorf("reason %q", violation.Reason)
	}
	return reason
}

// A place in a history costs nothing where there is none, and no allocation to say.
func TestPlacesAreFree(t *testing.T) {
	for _, form := range []native.Form{native.Proto, native.JSON} {
		s := native.NewSession(wiretest.NewHost("k"), form)
		without := wire.Packet{Type: wire.Message, Kind: "k", Room: "room", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte("1")}}
		with := without
		with.Position = "e1.42"
		buf := make([]byte, 0, 256)
		var w transport.Writer
		for _, p := range []*wire.Packet{&without, &with} {
			if n := testing.AllocsPerRun(100, func() {
				w.Reset(framer, buf)
				if err := s.Encode(&w, p); err != nil {
					t.Error(err)
				}
			}); n != 0 {
				t.Errorf("%s, place %q: %v allocations to encode", form, p.Position, n)
			}
		}
		var p wire.Packet
		decoding := func(sent *wire.Packet) float64 {
			f := transport.Frame{Type: transport.Binary, Data: mustEncode(t, s, sent)}
			if form == native.JSON {
				f.Type = transport.Text
			}
			return testing.AllocsPerRun(100, func() {
				p.Reset()
				if _, err := s.Decode(f, &p); err != nil {
					t.Error(err)
				}
			})
		}
		if n := decoding(&without); n != 1 { // the room's name
			t.Errorf("%s: %v allocations to decode a message of a room", form, n)
		}
		if n := decoding(&with); n != 2 { // the place, too
			t.Errorf("%s: %v allocations to decode one with a place", form, n)
		}
	}
}
