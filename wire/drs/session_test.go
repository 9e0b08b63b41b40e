package drs_test

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/wiretest"
)

// known is a session of the suite: numbers and keys, which are the wire's own,
// are taken off what it decodes.
type known struct {
	wire.Session

	t *testing.T
}

func (s known) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	ok, err := s.Session.Decode(f, p)
	switch {
	case err != nil || !ok, p.Type == wire.Reply, p.Type == wire.Error, p.Type == wire.Ping:
		return ok, err
	case p.ID == 0:
		s.t.Errorf("a %s without a number", p.Type)
	}
	parts := strings.Split(p.Key, "-")
	p.ID, p.Key = 0, ""
	if len(parts) == 3 {
		p.ID, _ = strconv.ParseUint(parts[2], 16, 64) // of a damaged one: 0
	} else if p.Type == wire.Call {
		p.Type = wire.Message
	}
	return ok, err
}

func TestSessions(t *testing.T) {
	unsayable := []wire.Packet{
		{Type: wire.Message},
		{Type: wire.Message, Code: 7},
		{Type: wire.Message, Kind: "\xff"},
		{Type: wire.Message, Kind: "k", Args: make([]codec.Payload, 1)},
		{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeProtobuf}},
		{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`1,2`)}},
		{Type: wire.Message, Kind: "k", Payload: codec.Payload{Type: codec.TypeMsgpack, Data: []byte{1, 2}}},
		{Type: wire.Call, Kind: "k"},
		{Type: wire.Call, ID: 1},
		{Type: wire.Reply, Key: "\xff"},
		{Type: wire.Error},
		{Type: wire.Subscribe},
		{Type: wire.Publish, Kind: "k"},
		{Type: wire.Publish, Room: "r"},
		{Type: wire.Broadcast},
		{Type: wire.Subscribe, Room: "\xff"},
		{Type: wire.Publish, Room: "r", Kind: "k", Payload: codec.Payload{Type: codec.TypeProtobuf}},
		{Type: wire.Hello},
		{Type: wire.Welcome},
		{Type: wire.Goodbye},
	}
	for encoding, frame := range map[drs.Encoding]transport.FrameType{drs.JSON: transport.Text, drs.Msgpack: transport.Binary} {
		t.Run(encoding.String(), func(t *testing.T) {
			wiretest.Run(t, wiretest.Wire{
				New: func(host wire.Host) (client, server wire.Session) {
					p := drs.New(drs.WithEncoding(encoding), drs.WithKeys("t"), drs.WithRoomActions())
					return known{p.NewSession(host, true), t}, known{p.NewSession(host, false), t}
				},
				FrameType: frame,
				Adapt:     adapt,
				Arrives:   arrives,
				Unsayable: unsayable,
			})
		})
	}
}

// adapt makes a packet one of DRS: no headers, no introduction, one argument.
func adapt(toServer bool, p *wire.Packet) bool {
	p.Header, p.Args, p.Codes = nil, nil, nil
	switch p.Type {
	case wire.Hello, wire.Welcome, wire.Pong:
		return false
	case wire.Subscribe, wire.Unsubscribe, wire.Publish, wire.Broadcast:
		return toServer
	case wire.Reply, wire.Error:
		p.Key = "t-000000000000-" + strconv.FormatUint(p.ID, 16)
	case wire.Ping:
		p.Key = "now"
	case wire.Message:
		p.Room = ""
	}
	return true
}

func arrives(_ bool, p *wire.Packet) {
	if p.Type == wire.Reply || p.Type == wire.Error {
		p.Key = ""
	}
	if p.Type == wire.Error && p.Err.Message == "" {
		e := *p.Err
		e.Message = e.Code // what people see
		p.Err = &e
	}
}

func jsonFrame(text string) transport.Frame {
	return transport.Frame{Type: transport.Text, Data: []byte(text)}
}

func binaryFrame(data string) transport.Frame {
	return transport.Frame{Type: transport.Binary, Data: []byte(data)}
}

func packets(s wire.Session, f transport.Frame) (p wire.Packet, ok bool, err error) {
	ok, err = s.Decode(f, &p)
	return p, ok, err
}

func inJSON(text string) codec.Payload {
	return codec.Payload{Type: codec.TypeJSON, Data: []byte(text)}
}

func inMsgpack(data string) codec.Payload {
	return codec.Payload{Type: codec.TypeMsgpack, Data: []byte(data)}
}

// read has one row for each thing that a peer may say, and what it is to the
// core. Packets of requests have ID 1, as the first of their link.
type read struct {
	name string
	in   string
	want *wire.Packet // nil: means nothing
}

func readJSON() []read {
	call := func(kind, key string, body codec.Payload) *wire.Packet {
		return &wire.Packet{Type: wire.Call, ID: 1, Kind: kind, Key: key, Payload: body}
	}
	failed := func(code, message string, fault bool, details codec.Payload) *wire.Packet {
		return &wire.Packet{Type: wire.Error, ID: 0x1f, Err: &wire.ErrorBody{Code: code, Message: message, Fault: fault, Details: details}}
	}
	return []read{
		{"a command", `{"key":"k1","action":"a","body":{"n":1}}`, call("a", "k1", inJSON(`{"n":1}`))},
		{"with version and newline", `{"version":2,"key":"k1","action":"a","body":[1]}` + "\n", call("a", "k1", inJSON(`[1]`))},
		{"without a key", `{"action":"a","body":1.50}`, call("a", "", inJSON(`1.50`))},
		{"without a body", `{"action":"a","key":"k"}`, call("a", "k", codec.Payload{})},
		{"null body", `{"action":"a","key":"k","body":null}`, call("a", "k", inJSON(`null`))},
		{"null key", `{"action":"a","key":null,"body":""}`, call("a", "", inJSON(`""`))},
		{"pretty", "{\n  \"action\" : \"a\" ,\n  \"body\" : { \"n\" : 1e2 }\n}", call("a", "", inJSON(`{ "n" : 1e2 }`))},
		{"escaped names and values", `{"\u0061ction":"\u0061\n","key":"\""}`, call("a\n", `"`, codec.Payload{})},
		{"the last one counts", `{"action":"a","action":"b","body":1,"body":2}`, call("b", "", inJSON(`2`))},
		{"big numbers untouched", `{"action":"a","body":123456789012345678901234567890.1e-7}`, call("a", "", inJSON(`123456789012345678901234567890.1e-7`))},
		{"unknown reserved action", `{"action":"drs.other","key":"k"}`, call("drs.other", "k", codec.Payload{})},
		{"room action without the option", `{"action":"drs.subscribe","key":"k","body":{"room":"r"}}`, call("drs.subscribe", "k", inJSON(`{"room":"r"}`))},
		{"ping", `{"action":"drs.ping","key":"p"}`, &wire.Packet{Type: wire.Ping, Key: "p"}},
		{"ping without a key", `{"action":"drs.ping"}`, &wire.Packet{Type: wire.Ping}},

		{"response", `{"key":"t-000000000007-1f","action":"drs.response","body":{"a":1}}`, &wire.Packet{Type: wire.Reply, ID: 0x1f, Payload: inJSON(`{"a":1}`)}},
		{"empty response", `{"key":"t-000000000007-1f","action":"drs.response"}`, &wire.Packet{Type: wire.Reply, ID: 0x1f}},
		{"response to a fired command", `{"key":"t-000000000007","action":"drs.response","body":1}`, nil},
		{"response with a foreign key", `{"key":"other","action":"drs.response","body":1}`, nil},
		{"response without a key", `{"action":"drs.response","body":1}`, nil},
		{"response to a heartbeat", `{"key":"heartbeat","action":"drs.response","body":1700000000000}`, nil},
		{"exception to a heartbeat", `{"key":"heartbeat","action":"drs.exception","body":{"message":"No handlers for this action"}}`, nil},
		{"foreign keys like ours", `{"key":"t-000000000007-","action":"drs.response"}`, nil},
		{"foreign keys like ours 2", `{"key":"t-000000000007-1F","action":"drs.response"}`, nil},
		{"foreign keys like ours 3", `{"key":"t-7-1f","action":"drs.response"}`, nil},
		{"foreign keys like ours 4", `{"key":"t-000000000007-11111111111111111","action":"drs.response"}`, nil},
		{"foreign keys like ours 5", `{"key":"u-000000000007-1f","action":"drs.response"}`, nil},
		{"a key of many commands", `{"key":"t-1000000000007-1f","action":"drs.response"}`, &wire.Packet{Type: wire.Reply, ID: 0x1f}},
		{"error", `{"key":"t-000000000007-1f","action":"drs.error","body":{"message":"no"}}`, failed("drs_error", "no", false, codec.Payload{})},
		{"error of newer versions", `{"key":"t-000000000007-1f","action":"drs.error","body":{"message":"no","kind":"error"}}`, failed("drs_error", "no", false, codec.Payload{})},
		{"error of ours", `{"key":"t-000000000007-1f","action":"drs.error","body":{"message":"n\u006f","kind":"error","code":"conflict","details":[1]}}`,
			failed("conflict", "no", false, inJSON(`[1]`))},
		{"error with text for details", `{"key":"t-000000000007-1f","action":"drs.error","body":{"message":"no","details":"x","body":"y"}}`,
			failed("drs_error", "no", false, inJSON(`"x"`))},
		{"error without a body", `{"key":"t-000000000007-1f","action":"drs.error"}`, failed("drs_error", "", false, codec.Payload{})},
		{"error of another form", `{"key":"t-000000000007-1f","action":"drs.error","body":"oh"}`, failed("drs_error", "", false, inJSON(`"oh"`))},
		{"error with other members", `{"key":"t-000000000007-1f","action":"drs.error","body":{"message":1,"code":[]}}`, failed("drs_error", "", false, codec.Payload{})},
		{"error of a fired command", `{"key":"t-000000000007","action":"drs.error","body":{"message":"no"}}`, nil},
		{"exception", `{"key":"t-000000000007-1f","action":"drs.exception","body":{"message":"boom"}}`, failed("internal", "boom", true, codec.Payload{})},
		{"no handlers", `{"key":"t-000000000007-1f","action":"drs.exception","body":{"message":"No handlers for this action"}}`,
			failed("not_found", "No handlers for this action", true, codec.Payload{})},
	}
}

func readMsgpack() []read {
	return []read{
		{"a command", "\x83\xa3key\xa2k1\xa6action\xa1a\xa4body\x81\xa1n\x01",
			&wire.Packet{Type: wire.Call, ID: 1, Kind: "a", Key: "k1", Payload: inMsgpack("\x81\xa1n\x01")}},
		{"bytes", "\x82\xa6action\xa1a\xa4body\xc4\x02\xff\x00",
			&wire.Packet{Type: wire.Call, ID: 1, Kind: "a", Payload: codec.Payload{Type: codec.TypeBytes, Data: []byte("\xff\x00")}}},
		{"nil body and key", "\x83\xa6action\xa1a\xa4body\xc0\xa3key\xc0", &wire.Packet{Type: wire.Call, ID: 1, Kind: "a", Payload: inMsgpack("\xc0")}},
		{"unknown members", "\x84\xa7version\x01\x05\x06\xa6action\xa1a\xd9\x01x\x90", &wire.Packet{Type: wire.Call, ID: 1, Kind: "a"}},
		{"ping", "\x82\xa3key\xa1p\xa6action\xa8drs.ping", &wire.Packet{Type: wire.Ping, Key: "p"}},
		{"response", "\x83\xa3key\xb1t-000000000007-1f\xa6action\xacdrs.response\xa4body\x07", &wire.Packet{Type: wire.Reply, ID: 0x1f, Payload: inMsgpack("\x07")}},
		{"response to a fired command", "\x82\xa3key\xaet-000000000007\xa6action\xacdrs.response", nil},
		{"error", "\x83\xa3key\xb1t-000000000007-1f\xa6action\xa9drs.error\xa4body\x83\xa7message\xa2no\xa4code\xa1c\xa7details\xa1x",
			&wire.Packet{Type: wire.Error, ID: 0x1f, Err: &wire.ErrorBody{Code: "c", Message: "no", Details: inMsgpack("\xa1x")}}},
		{"error of another form", "\x83\xa3key\xb1t-000000000007-1f\xa6action\xa9drs.error\xa4body\xa2oh",
			&wire.Packet{Type: wire.Error, ID: 0x1f, Err: &wire.ErrorBody{Code: "drs_error", Details: inMsgpack("\xa2oh")}}},
		{"exception", "\x83\xa3key\xb1t-000000000007-1f\xa6action\xaddrs.exception\xa4body\x81\xa7message\xa4boom",
			&wire.Packet{Type: wire.Error, ID: 0x1f, Err: &wire.ErrorBody{Code: "internal", Message: "boom", Fault: true}}},
	}
}

func TestRead(t *testing.T) {
	for _, encoding := range []drs.Encoding{drs.JSON, drs.Msgpack} {
		rows, frame := readJSON(), jsonFrame
		if encoding == drs.Msgpack {
			rows, frame = readMsgpack(), binaryFrame
		}
		for _, row := range rows {
			t.Run(encoding.String()+"/"+row.name, func(t *testing.T) {
				s := drs.New(drs.WithKeys("t"), drs.WithEncoding(encoding)).NewSession(wiretest.NewHost(), false)
				got, ok, err := packets(s, frame(row.in))
				if err != nil || ok != (row.want != nil) {
					t.Fatal(got, ok, err)
				}
				if !ok {
					return
				}
				if diff := wiretest.Diff(got, *row.want); diff != "" {
					t.Error(diff)
				}
				if got.Err != nil && got.Err.Fault != row.want.Err.Fault {
					t.Errorf("fault: %v", got.Err.Fault)
				}
			})
		}
	}
}

// Each command of a link has a number of its own, whatever their keys are.
func TestNumbers(t *testing.T) {
	s := drs.New().NewSession(wiretest.NewHost(), false)
	for want := uint64(1); want < 5; want++ {
		if p, ok, err := packets(s, jsonFrame(`{"key":"same","action":"a"}`)); !ok || err != nil || p.ID != want || p.Key != "same" {
			t.Errorf("%+v, %v, %v", p, ok, err)
		}
	}
}

func TestRoomActions(t *testing.T) {
	with := drs.New(drs.WithRoomActions())
	server, client := with.NewSession(wiretest.NewHost(), false), with.NewSession(wiretest.NewHost(), true)
	for i, row := range []struct {
		in   string
		want wire.Packet
	}{
		{`{"key":"k","action":"drs.subscribe","body":{"room":"r"}}`, wire.Packet{Type: wire.Subscribe, Room: "r"}},
		{`{"key":"k","action":"drs.unsubscribe","body":{"room":"r"}}`, wire.Packet{Type: wire.Unsubscribe, Room: "r"}},
		{`{"key":"k","action":"drs.publish","body":{"room":"r","action":"a","body":{"n":1}}}`, wire.Packet{Type: wire.Publish, Room: "r", Kind: "a", Payload: inJSON(`{"n":1}`)}},
		{`{"key":"k","action":"drs.broadcast","body":{"action":"a","body":"x"}}`, wire.Packet{Type: wire.Broadcast, Kind: "a", Payload: inJSON(`"x"`)}},
	} {
		row.want.ID, row.want.Key = uint64(i+1), "k"
		got, ok, err := packets(server, jsonFrame(row.in))
		if diff := wiretest.Diff(got, row.want); !ok || err != nil || diff != "" {
			t.Errorf("%s: %s, %v, %v", row.in, diff, ok, err)
		}
		if got, ok, err := packets(client, jsonFrame(row.in)); got.Type != wire.Call || !ok || err != nil {
			t.Errorf("to a client, %s: %+v, %v, %v", row.in, got, ok, err)
		}
	}
	for in, want := range map[string]string{
		`{"action":"drs.subscribe"}`:                              "no room",
		`{"action":"drs.subscribe","body":"r"}`:                   "no room",
		`{"action":"drs.subscribe","body":{"room":7}}`:            "no room",
		`{"action":"drs.publish","body":{"room":"r"}}`:            "no action",
		`{"action":"drs.publish","body":{"action":"a"}}`:          "no room",
		`{"action":"drs.broadcast","body":{}}`:                    "no action",
		`{"action":"drs.broadcast","body":{"action":{"a":"b"}}}`:  "no action",
		`{"action":"drs.unsubscribe","body":{"action":"a"}}`:      "no room",
		`{"action":"drs.unsubscribe","body":[{"room":"a"}]}`:      "no room",
		`{"action":"drs.publish","body":{"room":"","action":""}}`: "no action",
	} {
		if _, ok, err := packets(server, jsonFrame(in)); ok || err == nil || !strings.HasSuffix(reason(t, err), want) {
			t.Errorf("%s: %v, %v, want %q", in, ok, err, want)
		}
	}
}

// reason returns that of a violation with the code 3501.
func reason(t *testing.T, err error) string {
	t.Helper()
	var violation *wire.ProtocolError
	if !errors.As(err, &violation) || violation.Code != wire.CloseBadRequest || len(violation.Reason) > 123 {
		t.Fatalf("%v", err)
	}
	return violation.Reason
}

// said has one row for each thing that the core may say, and how it looks. The
// keys of sent commands have the number 1, as the first of their protocol. The
// tests run at the beginning of the year 2000.
type said struct {
	name   string
	packet wire.Packet
	json   string
	msg    string // as Msgpack; empty: not tried
}

func sayings() []said {
	failed := func(e wire.ErrorBody) wire.Packet { return wire.Packet{Type: wire.Error, ID: 3, Key: "k", Err: &e} }
	return []said{
		{"fire", wire.Packet{Type: wire.Message, Kind: "a"}, `{"key":"t-000000000001","action":"a"}`,
			"\x82\xa3key\xaet-000000000001\xa6action\xa1a"},
		{"fire with a body", wire.Packet{Type: wire.Message, Kind: "a\"", Room: "r", Payload: inJSON(`{ "n": 1.0 }`)},
			`{"key":"t-000000000001","action":"a\"","body":{ "n": 1.0 }}`, ""},
		{"call", wire.Packet{Type: wire.Call, ID: 255, Kind: "a", Payload: inJSON(`null`)},
			`{"key":"t-000000000001-ff","action":"a","body":null}`, ""},
		{"call in MessagePack", wire.Packet{Type: wire.Call, ID: 255, Kind: "a", Payload: inMsgpack("\xc0")}, "",
			"\x83\xa3key\xb1t-000000000001-ff\xa4body\xc0\xa6action\xa1a"},
		{"fire bytes", wire.Packet{Type: wire.Message, Kind: "a", Payload: codec.Payload{Type: codec.TypeBytes, Data: []byte("\xc1")}}, "",
			"\x83\xa3key\xaet-000000000001\xa4body\xc4\x01\xc1\xa6action\xa1a"},
		{"response", wire.Packet{Type: wire.Reply, ID: 3, Key: "k\"", Payload: inJSON(`[1]`)},
			`{"key":"k\"","action":"drs.response","body":[1]}`, ""},
		{"empty response", wire.Packet{Type: wire.Reply, ID: 3, Key: "k"}, `{"key":"k","action":"drs.response"}`,
			"\x82\xa3key\xa1k\xa6action\xacdrs.response"},
		{"response without a key", wire.Packet{Type: wire.Reply, ID: 3}, `{"action":"drs.response"}`,
			"\x81\xa6action\xacdrs.response"},
		{"error", failed(wire.ErrorBody{Code: "conflict", Message: "taken", Details: inJSON(`{"by":7}`)}),
			`{"key":"k","action":"drs.error","body":{"message":"taken","kind":"error","code":"conflict","details":{"by":7}}}`,
			"\x83\xa3key\xa1k\xa4body\x83\xa7message\xa5taken\xa4kind\xa5error\xa4code\xa8conflict\xa6action\xa9drs.error"},
		{"error with a code only", failed(wire.ErrorBody{Code: "conflict"}),
			`{"key":"k","action":"drs.error","body":{"message":"conflict","kind":"error","code":"conflict"}}`, ""},
		{"error with a message only", failed(wire.ErrorBody{Message: "a\xffb"}),
			`{"key":"k","action":"drs.error","body":{"message":"a` + "\uFFFD" + `b","kind":"error"}}`,
			"\x83\xa3key\xa1k\xa4body\x82\xa7message\xa5a\uFFFDb\xa4kind\xa5error\xa6action\xa9drs.error"},
		{"error with other details", failed(wire.ErrorBody{Code: "c", Message: "m", Details: inMsgpack("\x07")}),
			`{"key":"k","action":"drs.error","body":{"message":"m","kind":"error","code":"c"}}`,
			"\x83\xa3key\xa1k\xa4body\x84\xa7message\xa1m\xa4kind\xa5error\xa4code\xa1c\xa7details\x07\xa6action\xa9drs.error"},
		{"error of a handler that has not found something", failed(wire.ErrorBody{Code: "not_found", Message: "no such user"}),
			`{"key":"k","action":"drs.error","body":{"message":"no such user","kind":"error","code":"not_found"}}`, ""},
		{"exception", failed(wire.ErrorBody{Code: "internal", Message: "internal error", Fault: true, Details: inJSON(`1`)}),
			`{"key":"k","action":"drs.exception","body":{"message":"internal error"}}`,
			"\x83\xa3key\xa1k\xa4body\x81\xa7message\xaeinternal error\xa6action\xaddrs.exception"},
		{"no handlers", failed(wire.ErrorBody{Code: "not_found", Message: `no handler for "x"`, Fault: true}),
			`{"key":"k","action":"drs.exception","body":{"message":"No handlers for this action"}}`, ""},
		{"pong", wire.Packet{Type: wire.Pong, Key: "k"}, `{"key":"k","action":"drs.response","body":946684800000}`,
			"\x83\xa3key\xa1k\xa4body\xcf\x00\x00\x00\xdc\x6a\xcf\xac\x00\xa6action\xacdrs.response"},
		{"pong without a key", wire.Packet{Type: wire.Pong}, `{"action":"drs.response","body":946684800000}`, ""},
		{"ping", wire.Packet{Type: wire.Ping}, `{"key":"t-000000000001","action":"drs.ping"}`, ""},
		{"subscribe", wire.Packet{Type: wire.Subscribe, ID: 1, Room: "r\n"}, `{"key":"t-000000000001-1","action":"drs.subscribe","body":{"room":"r\n"}}`,
			"\x83\xa3key\xb0t-000000000001-1\xa4body\x81\xa4room\xa2r\n\xa6action\xaddrs.subscribe"},
		{"unsubscribe", wire.Packet{Type: wire.Unsubscribe, Room: "r"}, `{"key":"t-000000000001","action":"drs.unsubscribe","body":{"room":"r"}}`, ""},
		{"publish", wire.Packet{Type: wire.Publish, ID: 1, Room: "r", Kind: "a", Payload: inJSON(`1`)},
			`{"key":"t-000000000001-1","action":"drs.publish","body":{"room":"r","action":"a","body":1}}`, ""},
		{"publish nothing", wire.Packet{Type: wire.Publish, ID: 1, Room: "r", Kind: "a"},
			`{"key":"t-000000000001-1","action":"drs.publish","body":{"room":"r","action":"a"}}`,
			"\x83\xa3key\xb0t-000000000001-1\xa4body\x82\xa4room\xa1r\xa6action\xa1a\xa6action\xabdrs.publish"},
		{"broadcast", wire.Packet{Type: wire.Broadcast, ID: 1, Kind: "a", Payload: inJSON(`1`)},
			`{"key":"t-000000000001-1","action":"drs.broadcast","body":{"action":"a","body":1}}`, ""},
	}
}

func TestSay(t *testing.T) {
	for _, row := range sayings() {
		for encoding, want := range map[drs.Encoding]string{drs.JSON: row.json, drs.Msgpack: row.msg} {
			if want == "" {
				continue
			}
			t.Run(encoding.String()+"/"+row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // whose time begins with the year 2000
					s := drs.New(drs.WithKeys("t"), drs.WithEncoding(encoding)).NewSession(wiretest.NewHost(), false)
					frames, err := wiretest.Encode(s, &row.packet)
					if err != nil || len(frames) != 1 || string(frames[0].Data) != want {
						t.Errorf("%v\n got %q\nwant %q", err, frames[0].Data, want)
					}
				})
			})
		}
	}
}

// Keys ascend, are not those of another run, and tell calls from the rest.
func TestKeys(t *testing.T) {
	key := func(s wire.Session) string {
		frames, err := wiretest.Encode(s, &wire.Packet{Type: wire.Message, Kind: "a"})
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := packets(s, frames[0])
		if err != nil {
			t.Fatal(err)
		}
		return p.Key
	}
	first, other := drs.New(), drs.New()
	one, two := first.NewSession(wiretest.NewHost(), true), first.NewSession(wiretest.NewHost(), true)
	last := ""
	for range 100 {
		for _, s := range []wire.Session{one, two} {
			k := key(s)
			if k <= last {
				t.Fatalf("%s after %s", k, last)
			}
			last = k
		}
	}
	if a, b := last, key(other.NewSession(wiretest.NewHost(), true)); a[:len(a)-12] == b[:len(b)-12] {
		t.Errorf("%s and %s begin alike", a, b)
	}
	if err := drs.New(drs.WithKeys("\xff")).Check(); err == nil {
		t.Error("keys may be anything")
	}
	if err := drs.New(drs.WithEncoding(7)).Check(); err == nil || !strings.Contains(err.Error(), "encoding 7") {
		t.Error(err)
	}
	if err := drs.New(drs.WithKeys("node-1"), drs.WithEncoding(drs.Msgpack)).Check(); err != nil {
		t.Error(err)
	}
}

func TestBodiesStayInPlace(t *testing.T) {
	for encoding, f := range map[drs.Encoding]transport.Frame{
		drs.JSON:    jsonFrame(`{"action":"k","body":{"a":1}}`),
		drs.Msgpack: binaryFrame("\x82\xa6action\xa1k\xa4body\x81\xa1a\x01"),
	} {
		s := drs.New(drs.WithEncoding(encoding)).NewSession(wiretest.NewHost("k"), false)
		p, ok, err := packets(s, f)
		if err != nil || !ok {
			t.Fatal(err)
		}
		if at := bytes.Index(f.Data, p.Payload.Data); at < 0 || &p.Payload.Data[0] != &f.Data[at] || cap(p.Payload.Data) != len(p.Payload.Data) {
			t.Errorf("%s: the body was copied, or what comes after it may be written over", encoding)
		}
		p.Reset()
		if n := testing.AllocsPerRun(100, func() { _, _ = s.Decode(f, &p) }); n > 0 {
			t.Errorf("%s: decoding a known action without a key: %v allocations", encoding, n)
		}
	}
}
