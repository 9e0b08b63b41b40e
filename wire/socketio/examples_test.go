package socketio_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

var errNotAuthorized = &wire.ErrorBody{Code: "unauthorized", Message: "Not authorized"}

// example is a packet as it is on the wire. It is said by the side that it is
// from and understood by the other, unless only one of that is so.
type example struct {
	wire       string
	fromClient bool
	version    int // 0: both
	packet     wire.Packet
	onlyRead   bool // no encoder of ours writes it so
	reads      *wire.Packet
}

const token = `{"token":"123"}`

// The packets that examples are made of.

func message(ns, kind string, args ...codec.Payload) wire.Packet {
	p := wire.Packet{Type: wire.Message, Namespace: ns, Kind: kind}
	if len(args) > 0 {
		p.Payload, p.Args = args[0], args[1:]
	}
	return p
}

func call(id uint64, p wire.Packet) wire.Packet {
	p.Type, p.ID = wire.Call, id
	return p
}

func reply(ns string, id uint64, args ...codec.Payload) wire.Packet {
	p := message(ns, "", args...)
	p.Type, p.ID = wire.Reply, id
	return p
}

func refused(ns string, e wire.ErrorBody) wire.Packet {
	return wire.Packet{Type: wire.Refused, Namespace: ns, Err: &e}
}

func goodbye(ns string) wire.Packet { return wire.Packet{Type: wire.Goodbye, Namespace: ns} }

func hello(ns string, payload codec.Payload) wire.Packet {
	return wire.Packet{Type: wire.Hello, Namespace: ns, Payload: payload}
}

// keyed gives a packet of version 4 the id that both sides make.
func keyed(p wire.Packet) wire.Packet {
	p.Key = engineID
	if p.Namespace != "/" {
		p.Key = p.Namespace + "#" + engineID
	}
	return p
}

// examples are what the protocol's documents and official peers write.
func examples() []example {
	return slices.Concat(connecting5(), connecting4(), saidExamples(), binaryExamples(), ownExamples(), readExamples())
}

func connecting5() []example {
	none := codec.Payload{}
	welcome := wire.Packet{Type: wire.Welcome, Namespace: "/", Key: "wZX3oN0bSVIhsaknAAAI"}
	adminWelcome := wire.Packet{Type: wire.Welcome, Namespace: "/admin", Key: "oSO0OpakMV_3jnilAAAA"}
	resumable, resume, resumeRead := welcome, hello("/", json(token)), hello("/", json(`{"pid":"p","offset":"o","token":"123"}`))
	resumable.Resume = "secret"
	resume.Resume, resume.Position = "p", "o"
	resumeRead.Resume, resumeRead.Position = "p", "o"
	return []example{
		{wire: `0`, fromClient: true, version: 5, packet: hello("/", none)},
		{wire: `0` + token, fromClient: true, version: 5, packet: hello("/", json(token))},
		{wire: `0/admin,`, fromClient: true, version: 5, packet: hello("/admin", none)},
		{wire: `0/admin`, fromClient: true, version: 5, packet: hello("/admin", none), onlyRead: true},
		{wire: `0/admin,` + token, fromClient: true, version: 5, packet: hello("/admin", json(token))},
		{wire: `0/admin?x=1,`, fromClient: true, version: 5, packet: hello("/admin?x=1", none)},
		{wire: `0{"pid":"p","offset":"o","token":"123"}`, fromClient: true, version: 5, packet: resume, reads: &resumeRead},
		{wire: `0{"sid":"wZX3oN0bSVIhsaknAAAI"}`, version: 5, packet: welcome},
		{wire: `0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}`, version: 5, packet: adminWelcome},
		{wire: `0{"sid":"wZX3oN0bSVIhsaknAAAI","pid":"secret"}`, version: 5, packet: resumable},
		{wire: `4{"message":"Not authorized"}`, version: 5, packet: refused("/", *errNotAuthorized)},
		{
			wire: `4/admin,{"message":"x","data":{"code":"E1"}}`, version: 5,
			packet: refused("/admin", wire.ErrorBody{Code: "unauthorized", Message: "x", Details: json(`{"code":"E1"}`)}),
		},
		{
			wire: `4/random,{"message":"Invalid namespace"}`, version: 5,
			packet: refused("/random", wire.ErrorBody{Code: "not_found", Message: "Invalid namespace"}),
		},
		{wire: `4"Not authorized"`, version: 5, packet: refused("/", *errNotAuthorized), onlyRead: true},
	}
}

func connecting4() []example {
	admin := hello("/admin", codec.Payload{})
	query := hello("/admin", json(`{"token":"1234","uid":"abcd"}`))
	return []example{
		{wire: `0`, version: 4, packet: keyed(wire.Packet{Type: wire.Welcome, Namespace: "/"})},
		{wire: `0/admin,`, version: 4, packet: keyed(wire.Packet{Type: wire.Welcome, Namespace: "/admin"})},
		{wire: `0/admin,`, fromClient: true, version: 4, packet: admin, reads: new(keyed(admin))},
		{wire: `0/admin`, fromClient: true, version: 4, packet: keyed(admin), onlyRead: true},
		{wire: `0/admin?token=1234&uid=abcd,`, fromClient: true, version: 4, packet: query, reads: new(keyed(query))},
		{wire: `0/admin?token=1&uid=abcd&token=1234`, fromClient: true, version: 4, packet: keyed(query), onlyRead: true},
		{wire: `0`, fromClient: true, version: 4, packet: keyed(hello("/", codec.Payload{})), onlyRead: true},
		{wire: `4/admin,"Not authorized"`, version: 4, packet: refused("/admin", *errNotAuthorized)},
		{
			wire: `4{"why":1}`, version: 4, packet: refused("/", wire.ErrorBody{Code: "unauthorized", Message: "Not authorized", Details: json(`{"why":1}`)}),
			reads: new(refused("/", wire.ErrorBody{Code: "unauthorized", Details: json(`{"why":1}`)})),
		},
		{
			wire: `4/x,{"message":"Invalid namespace"}`, version: 4, onlyRead: true,
			packet: refused("/x", wire.ErrorBody{Code: "not_found", Message: "Invalid namespace"}),
		},
	}
}

func saidExamples() []example {
	offset := message("/", "hello", json(`"world"`))
	offset.Position = "PXJ0k2a"
	offsetRead := message("/", "hello", json(`"world"`), json(`"PXJ0k2a"`))
	return []example{
		{wire: `1`, packet: goodbye("/")},
		{wire: `1/admin,`, packet: goodbye("/admin")},
		{wire: `1/admin,`, fromClient: true, packet: goodbye("/admin")},
		{wire: `1/admin`, fromClient: true, packet: goodbye("/admin"), onlyRead: true},
		{wire: `2["foo"]`, packet: message("/", "foo")},
		{wire: `2["foo"]`, fromClient: true, packet: message("/", "foo")},
		{wire: `2/admin,["bar"]`, fromClient: true, packet: message("/admin", "bar")},
		{wire: `212["foo"]`, fromClient: true, packet: call(13, message("/", "foo"))},
		{wire: `20["foo"]`, fromClient: true, packet: call(1, message("/", "foo"))},
		{wire: `2/admin,456["project:delete",123]`, packet: call(457, message("/admin", "project:delete", json("123")))},
		{wire: `3/admin,13["bar"]`, fromClient: true, packet: reply("/admin", 14, json(`"bar"`))},
		{wire: `312[]`, fromClient: true, packet: reply("/", 13)},
		{wire: `312[]`, packet: reply("/", 13)},
		{wire: `2["auth",{}]`, packet: message("/", "auth", json("{}"))},
		{wire: `2["message-back",1,"2",{"3":[true]}]`, packet: message("/", "message-back", json("1"), json(`"2"`), json(`{"3":[true]}`))},
		{wire: `3456[1,"2",{"3":[false]}]`, packet: reply("/", 457, json("1"), json(`"2"`), json(`{"3":[false]}`))},
		{wire: `2["hello","world","PXJ0k2a"]`, packet: offset, reads: &offsetRead},
		{wire: `2["k",null,1]`, packet: message("/", "k", codec.Payload{}, json("1")), reads: new(message("/", "k", json("null"), json("1")))},
		{wire: `2["<é😀&\"\\>",12345678901234567890.50]`, packet: message("/", `<é😀&"\>`, json("12345678901234567890.50"))},
	}
}

func binaryExamples() []example {
	two := message("/admin", "baz", raw("\x01\x02\x03\x04"), raw("\x05"))
	inside := parts(`{"a":[{"_placeholder":true,"num":0}],"b":{"_placeholder":true,"num":1}}`, "\x01", "\x02")
	deep := message("/", "baz", inside, json("1"), raw("\x03"))
	return []example{
		{wire: `51-["baz",{"_placeholder":true,"num":0}] | 01 02 03 04`, packet: message("/", "baz", raw("\x01\x02\x03\x04"))},
		{
			wire:   `52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}] | 01020304 | 05`,
			packet: two, fromClient: true,
		},
		{
			wire:   `51-/cool,23["a",{"_placeholder":true,"num":0}] | 00`,
			packet: call(24, message("/cool", "a", raw("\x00"))), fromClient: true,
		},
		{wire: `61-15["bar",{"_placeholder":true,"num":0}] | ff`, packet: reply("/", 16, json(`"bar"`), raw("\xff"))},
		{
			wire:   `53-["baz",{"a":[{"_placeholder":true,"num":0}],"b":{"_placeholder":true,"num":1}},1,{"_placeholder":true,"num":2}] | 01 | 02 | 03`,
			packet: deep,
		},
	}
}

// ownExamples are of this server's own making, in official packets.
func ownExamples() []example {
	return []example{
		{
			wire:   `37[{"error":{"code":"not_found","message":"no such thing"}}]`,
			packet: wire.Packet{Type: wire.Error, Namespace: "/", ID: 8, Err: &wire.ErrorBody{Code: "not_found", Message: "no such thing"}},
		},
		{
			wire:   `61-7[{"error":{"code":"c","message":"","details":{"_placeholder":true,"num":0}}}] | ab`,
			packet: wire.Packet{Type: wire.Error, Namespace: "/", ID: 8, Err: &wire.ErrorBody{Code: "c", Details: raw("\xab")}},
		},
		{
			wire: `37[{"error":{"code":"c","message":"m"}}]`, fromClient: true, onlyRead: true,
			packet: reply("/", 8, json(`{"error":{"code":"c","message":"m"}}`)),
		},
		{wire: `27["$subscribe","news"]`, fromClient: true, packet: wire.Packet{Type: wire.Subscribe, Namespace: "/", ID: 8, Room: "news"}},
		{wire: `2["$unsubscribe","news"]`, fromClient: true, packet: wire.Packet{Type: wire.Unsubscribe, Namespace: "/", Room: "news"}},
		{
			wire: `27["$publish","news","said",1,2]`, fromClient: true,
			packet: wire.Packet{Type: wire.Publish, Namespace: "/", ID: 8, Room: "news", Kind: "said", Payload: json("1"), Args: []codec.Payload{json("2")}},
		},
		{wire: `2["$broadcast","said"]`, fromClient: true, packet: wire.Packet{Type: wire.Broadcast, Namespace: "/", Kind: "said"}},
	}
}

// readExamples are what official decoders take and no encoder writes.
func readExamples() []example {
	return []example{
		{wire: `2[5,"x"]`, fromClient: true, packet: message("/", "5", json(`"x"`)), onlyRead: true},
		{wire: `2 [ "a" , 1 ] `, fromClient: true, packet: message("/", "a", json("1")), onlyRead: true},
		{wire: `2/,["a"]`, fromClient: true, packet: message("/", "a"), onlyRead: true},
		{wire: `2["\u0061\n"]`, fromClient: true, packet: message("/", "a\n"), onlyRead: true},
		{wire: `2["error"]`, fromClient: true, packet: message("/", "error"), onlyRead: true},
		{wire: `50-["x"]`, fromClient: true, packet: message("/", "x"), onlyRead: true},
		{wire: `60-7["x"]`, fromClient: true, packet: reply("/", 8, json(`"x"`)), onlyRead: true},
		{wire: `2["$publish","news"]`, fromClient: true, packet: message("/", "$publish", json(`"news"`)), onlyRead: true},
		{wire: `2["$subscribe",1]`, fromClient: true, packet: message("/", "$subscribe", json(`1`)), onlyRead: true},
		{wire: `218446744073709551614["a"]`, fromClient: true, packet: call(1<<64-1, message("/", "a")), onlyRead: true},
		{wire: `52-["x",{"num":1,"_placeholder":true,"more":[]}] | 01 | 02`, fromClient: true, packet: message("/", "x", raw("\x02")), onlyRead: true},
		{
			wire:   `51-["x",[{"_placeholder":true,"num":0}],{"_placeholder":true,"num":0}] | 01`,
			packet: message("/", "x", parts(`[{"_placeholder":true,"num":0}]`, "\x01"), raw("\x01")), fromClient: true, onlyRead: true,
		},
		{
			wire:   `52-["x",[{"_placeholder":true,"num":1}],{"_placeholder":false,"num":9},{"_placeholder":"true"}] | 01 | 02`,
			packet: message("/", "x", parts(`[{"_placeholder":true,"num":0}]`, "\x02"), json(`{"_placeholder":false,"num":9}`), json(`{"_placeholder":"true"}`)), fromClient: true, onlyRead: true,
		},
		{
			wire:   `52-["x",[{"_placeholder":true,"num":1},{"num":1,"_placeholder":true,"x":{"_placeholder":true,"num":0}}]] | 01 | 02`,
			packet: message("/", "x", parts(`[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`, "\x02")), fromClient: true, onlyRead: true,
		},
		{wire: `51-["x"] | 01`, fromClient: true, packet: message("/", "x"), onlyRead: true},
		{wire: `0{"pid":1,"offset":"o"}`, fromClient: true, version: 5, onlyRead: true, packet: wire.Packet{Type: wire.Hello, Namespace: "/", Payload: json(`{"pid":1,"offset":"o"}`)}},
		{wire: `0{"pid":"p"}`, fromClient: true, version: 5, onlyRead: true, packet: wire.Packet{Type: wire.Hello, Namespace: "/", Payload: json(`{"pid":"p"}`)}},
	}
}

// ends returns the session that says an example and the one that reads it.
func (x example) ends(version int) (from, to wire.Session) {
	roomEvents := []socketio.Option{socketio.WithRoomEvents()}
	server := end{version: version, options: roomEvents}
	client := end{version: version, dialled: true, namespace: x.packet.Namespace}
	if x.fromClient {
		return client.session(), server.session()
	}
	return server.session(), client.session()
}

func TestExamples(t *testing.T) {
	for _, x := range examples() {
		for _, version := range []int{4, 5} {
			if x.version != 0 && x.version != version {
				continue
			}
			from, to := x.ends(version)
			if !x.onlyRead {
				frames, err := wiretest.Encode(from, &x.packet)
				want := wireOf(framesOf(t, x.wire))
				if err != nil || wireOf(frames) != want {
					t.Errorf("said %s (%v), want %s", wireOf(frames), err, want)
				}
			}
			want := x.packet
			if x.reads != nil {
				want = *x.reads
			}
			got, err := wiretest.Decode(to, framesOf(t, x.wire))
			if err != nil {
				t.Errorf("%s: %v", x.wire, err)
			} else if diff := wiretest.Diff(got, want); diff != "" {
				t.Errorf("%s: %s", x.wire, diff)
			}
		}
	}
}

// In version 4 a client is in the main namespace without a word.
func TestVersion4Hello(t *testing.T) {
	for _, parser := range []socketio.Parser{socketio.JSON, socketio.Msgpack} {
		s := end{version: 4, dialled: true, options: []socketio.Option{socketio.WithParser(parser)}}.session()
		frames, err := wiretest.Encode(s, &wire.Packet{Type: wire.Hello})
		if err != nil || len(frames) != 0 {
			t.Errorf("%s: %s, %v", parser, wireOf(frames), err)
		}
		p := wire.Packet{Type: wire.Hello, Header: map[string]string{"token": "1"}}
		if frames, err := wiretest.Encode(s, &p); err == nil {
			t.Errorf("%s: %s for a hello with credentials", parser, wireOf(frames))
		}
	}
}

// A client's header goes with its payload, whose members count more.
func TestHelloHeader(t *testing.T) {
	p := wire.Packet{Type: wire.Hello, Resume: "p", Header: map[string]string{"token": "1", "b": "é&=,"}}
	for _, row := range []struct {
		version int
		payload codec.Payload
		want    string
	}{
		{5, codec.Payload{}, `0/admin,{"pid":"p","b":"é&=,","token":"1"}`},
		{5, json(` { } `), `0/admin,{"pid":"p","b":"é&=,","token":"1"}`},
		{5, json(`{"token":2,"c":[]}`), `0/admin,{"pid":"p","b":"é&=,","token":2,"c":[]}`},
		{5, json(`{"token":2,"b":1,"pid":null}`), `0/admin,{"token":2,"b":1,"pid":null}`},
		{4, json(`{"token":2,"c":[1],"d":"x y"}`), `0/admin?b=%C3%A9%26%3D%2C&token=2&c=%5B1%5D&d=x+y,`},
		{4, codec.Payload{}, `0/admin?b=%C3%A9%26%3D%2C&token=1,`},
	} {
		p.Payload = row.payload
		frames, err := wiretest.Encode(end{version: row.version, dialled: true, namespace: "/admin"}.session(), &p)
		if err != nil || wireOf(frames) != row.want {
			t.Errorf("%s, %v; want %s", wireOf(frames), err, row.want)
		}
	}
	for _, payload := range []codec.Payload{json(`1`), json(`{`), raw("x"), json(`{} 1`)} {
		p.Payload = payload
		if frames, err := wiretest.Encode(end{dialled: true}.session(), &p); err == nil {
			t.Errorf("%s for the payload %s", wireOf(frames), payload.Data)
		}
	}
}

// A client whose connection can be resumed notes the place of each message.
func TestOffsets(t *testing.T) {
	s := end{dialled: true}.session()
	for _, row := range []struct{ wire, offset string }{
		{`2["a","b"]`, ""},
		{`0{"sid":"x","pid":"secret"}`, ""},
		{`2["a",1,"b"]`, "b"},
		{`2["a","b"]`, "b"},
		{`2["a","b",1]`, ""},
		{`2["a"]`, ""},
		{`25["a","b"]`, ""},
		{`0{"sid":"x"}`, ""},
		{`2["a","b"]`, ""},
	} {
		var p wire.Packet
		if ok, err := s.Decode(text(row.wire), &p); !ok || err != nil || p.Position != row.offset {
			t.Errorf("%s: %v, %v, offset %q", row.wire, ok, err, p.Position)
		}
	}
}

// What is about a namespace that was not dialled is dropped.
func TestOtherNamespaces(t *testing.T) {
	s := end{version: 4, dialled: true, namespace: "/admin"}.session()
	for _, frames := range []string{`0`, `2["a"]`, `51-/other,["a",{"_placeholder":true,"num":0}] | 00`, `1/other,`} {
		for _, f := range framesOf(t, frames) {
			var p wire.Packet
			if ok, err := s.Decode(f, &p); ok || err != nil {
				t.Errorf("%s: %v, %v", frames, ok, err)
			}
		}
	}
}

// Where the option is not set, events are events.
func TestNoRoomEvents(t *testing.T) {
	var p wire.Packet
	if ok, err := (end{}).session().Decode(text(`2["$subscribe","news"]`), &p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := wire.Packet{Type: wire.Message, Namespace: "/", Kind: "$subscribe", Payload: json(`"news"`)}
	if diff := wiretest.Diff(p, want); diff != "" {
		t.Error(diff)
	}
}

// Timestamps of MessagePack are dates to JavaScript, and the other way round.
func TestMsgpackTimes(t *testing.T) {
	msgpack := []socketio.Option{socketio.WithParser(socketio.Msgpack)}
	for _, row := range []struct{ said, wire, read string }{
		{"\xd6\xff\x65\x53\xf1\x00", "\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x00", "\xd7\xff\x00\x00\x00\x00\x65\x53\xf1\x00"},
		{"\x91\xd7\xff\x1d\x53\x53\x02\x65\x53\xf1\x00", "\x91\xd7\x00\x00\x00\x09\x5b\xcf\xe5\x68\x7b", "\x91\xd7\xff\x1d\x53\x53\x02\x65\x53\xf1\x00"},
		{"\xc7\x0c\xff\x3b\x8b\x87\xc0\xff\xff\xff\xff\xff\xff\xff\xff", "\xd7\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\xc7\x0c\xff\x3b\x8b\x87\xc0\xff\xff\xff\xff\xff\xff\xff\xff"},
		// What no Date can say, what is no time, and other extensions stay.
		{"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "", ""},
		{"\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", "", ""},
		{"\xd4\xff\x00", "", ""},
		{"\xd4\x05\x00", "", ""},
		{"\xc7\x00\x05", "", ""},
		{"\xd4\x00\x01", "", ""},
	} {
		if row.wire == "" {
			row.wire, row.read = row.said, row.said
		}
		p := message("/", "k", pack(row.said), pack("\x01"))
		frames, err := wiretest.Encode(end{options: msgpack}.session(), &p)
		if err != nil {
			t.Fatal(err)
		}
		if want := "\x93\xa1k" + row.wire + "\x01"; !strings.HasSuffix(string(frames[0].Data), want) {
			t.Errorf("%x is said as %x, want %x", row.said, frames[0].Data, want)
		}
		got, err := wiretest.Decode(end{dialled: true, options: msgpack}.session(), frames)
		if err != nil {
			t.Fatal(err)
		}
		if diff := wiretest.Diff(got, message("/", "k", pack(row.read), pack("\x01"))); diff != "" {
			t.Error(diff)
		}
	}
}

// The same packets in MessagePack, as hex.
func TestMsgpackExamples(t *testing.T) {
	nsp := hex.EncodeToString([]byte("\xa3nsp\xa1/"))
	head := func(members, typ string) string { return members + hex.EncodeToString([]byte("\xa4type")) + typ + nsp }
	str := func(s string) string { return hex.EncodeToString([]byte(s)) }
	for _, x := range []example{
		{wire: head("82", "00"), fromClient: true, packet: wire.Packet{Type: wire.Hello, Namespace: "/"}},
		{
			wire: head("83", "00") + str("\xa4data\x81\xa5token\xa3123"), fromClient: true,
			packet: wire.Packet{Type: wire.Hello, Namespace: "/", Payload: pack("\x81\xa5token\xa3123")},
		},
		{wire: head("83", "00") + str("\xa4data\x81\xa3sid\xa1x"), packet: wire.Packet{Type: wire.Welcome, Namespace: "/", Key: "x"}},
		{wire: head("82", "01"), packet: wire.Packet{Type: wire.Goodbye, Namespace: "/"}},
		{wire: head("83", "02") + str("\xa4data\x91\xa3foo"), packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "foo"}},
		{
			wire:   head("84", "02") + str("\xa4data\x94\xa3foo\x01\xc4\x02\xfe\xff\x81\xa1a\xc4\x01\x00\xa2id\xcd\x01\x00"),
			packet: wire.Packet{Type: wire.Call, Namespace: "/", ID: 257, Kind: "foo", Payload: pack("\x01"), Args: []codec.Payload{raw("\xfe\xff"), pack("\x81\xa1a\xc4\x01\x00")}},
		},
		{wire: head("84", "03") + str("\xa4data\x90\xa2id\x0c"), packet: wire.Packet{Type: wire.Reply, Namespace: "/", ID: 13}, fromClient: true},
		{
			wire:   head("83", "04") + str("\xa4data\x81\xa7message\xaeNot authorized"),
			packet: wire.Packet{Type: wire.Refused, Namespace: "/", Err: errNotAuthorized},
		},
		{
			wire:   head("83", "04") + str("\xa4data\x82\xa7message\xaeNot authorized\xa4data\x07"),
			packet: wire.Packet{Type: wire.Refused, Namespace: "/", Err: &wire.ErrorBody{Code: "unauthorized", Message: "Not authorized", Details: pack("\x07")}},
		},
		{
			wire:   head("84", "03") + str("\xa4data\x91\x81\xa5error\x83\xa4code\xa1c\xa7message\xa1m\xa7details\xc4\x01\x00\xa2id\x00"),
			packet: wire.Packet{Type: wire.Error, Namespace: "/", ID: 1, Err: &wire.ErrorBody{Code: "c", Message: "m", Details: raw("\x00")}},
		},
		{
			wire:   head("84", "02") + str("\xa4data\x93\xaa$subscribe\xa4news\x01\xa2id\x00"),
			packet: wire.Packet{Type: wire.Subscribe, Namespace: "/", ID: 1, Room: "news"}, fromClient: true, onlyRead: true,
		},
		// Another order, longer forms, unknown members, nil for what is absent.
		{
			wire:   str("\xde\x00\x07\xa2id\xc0\xd9\x04data\xdc\x00\x01\xd9\x01k\x01\xc3\xa4more\x81\x01\xd4\x01\x00\xa4type\xd3\x00\x00\x00\x00\x00\x00\x00\x02\xa3nsp\xa1/\xa7options\xca\x00\x00\x00\x00"),
			packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "k"}, fromClient: true, onlyRead: true,
		},
		{wire: head("83", "02") + str("\xa4data\x91\xfe"), packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "-2"}, onlyRead: true},
		{wire: head("83", "02") + str("\xa4data\x91\xd1\xff\x00"), packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "-256"}, onlyRead: true},
		{wire: head("83", "02") + str("\xa4data\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "18446744073709551615"}, onlyRead: true},
		{wire: head("83", "02") + str("\xa4data\x91\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"), packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "1.5"}, onlyRead: true},
		{wire: head("83", "02") + str("\xa4data\x91\xca\x3f\xc0\x00\x00"), packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "1.5"}, onlyRead: true},
		// The official parser's undefined and Date.
		{
			wire: head("83", "02") + str("\xa4data\x92\xa1k\x83\xa1u\xd4\x00\x00\xa1d\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b\xa1p\xd7\x00\xff\xff\xff\xff\xff\xff\xff\xff"),
			packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "k", Payload: pack("\x83\xa1u\xc0" +
				"\xa1d\xd7\xff\x1d\x53\x53\x00\x65\x53\xf1\x00" + "\xa1p\xc7\x0c\xff\x3b\x8b\x87\xc0\xff\xff\xff\xff\xff\xff\xff\xff")},
			onlyRead: true,
		},
		{
			wire: head("83", "00") + str("\xa4data\x81\xa1a\xd4\x00\x00"), fromClient: true,
			packet: wire.Packet{Type: wire.Hello, Namespace: "/", Payload: pack("\x81\xa1a\xc0")}, onlyRead: true,
		},
		{wire: head("83", "00") + str("\xa4data\xd4\x00\x00"), fromClient: true, packet: wire.Packet{Type: wire.Hello, Namespace: "/"}, onlyRead: true},
		{
			wire:   head("84", "02") + str("\xa4data\x93\xa1k\xd4\x00\x00\x01\xa2id\xd4\x00\x00"),
			packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "k", Payload: pack("\xc0"), Args: []codec.Payload{pack("\x01")}}, onlyRead: true,
		},
		// Its typed arrays, also as long as undefined and Date are.
		{
			wire: head("83", "02") + str("\xa4data\x95\xa1k\xc7\x01\x00\x00\xc8\x00\x02\x00ab\xc7\x00\x00\x91\xc7\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01"),
			packet: wire.Packet{Type: wire.Message, Namespace: "/", Kind: "k", Payload: raw("\x00"), Args: []codec.Payload{
				raw("ab"), raw(""), pack("\x91\xc4\x08\x00\x00\x00\x00\x00\x00\x00\x01"),
			}},
			onlyRead: true,
		},
		{wire: head("83", "01") + str("\xa4data\xc0"), packet: wire.Packet{Type: wire.Goodbye, Namespace: "/"}, onlyRead: true},
	} {
		x.checkMsgpack(t)
	}
}

func (x example) checkMsgpack(t *testing.T) {
	t.Helper()
	msgpack := []socketio.Option{socketio.WithParser(socketio.Msgpack), socketio.WithRoomEvents()}
	from, to := end{options: msgpack}.session(), end{dialled: true, options: msgpack}.session()
	if x.fromClient {
		from, to = to, from
	}
	if !x.onlyRead {
		frames, err := wiretest.Encode(from, &x.packet)
		if err != nil || len(frames) != 1 || hex.EncodeToString(frames[0].Data) != x.wire {
			t.Errorf("said %s (%v), want %s", wireOf(frames), err, x.wire)
		}
	}
	data, err := hex.DecodeString(x.wire)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Packet
	if ok, err := to.Decode(binary(string(data)), &got); err != nil || !ok {
		t.Errorf("%s: %v, %v", x.wire, ok, err)
	} else if diff := wiretest.Diff(got, x.packet); diff != "" {
		t.Errorf("%s: %s", x.wire, diff)
	}
}
