package socketio_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/wiretest"
)

// flavour is a pair of sessions for the suite.
type flavour struct {
	version   int
	parser    socketio.Parser
	namespace string
}

func (f flavour) String() string { return fmt.Sprintf("%d%s%s", f.version, f.parser, f.namespace) }

func flavours() []flavour {
	var all []flavour
	for _, version := range []int{5, 4} {
		for _, parser := range []socketio.Parser{socketio.JSON, socketio.Msgpack} {
			for _, namespace := range []string{"/", "/admin é"} {
				all = append(all, flavour{version, parser, namespace})
			}
		}
	}
	return all
}

func (f flavour) key() string {
	if f.namespace == "/" {
		return engineID
	}
	return f.namespace + "#" + engineID
}

// nothing is what stands in place of a missing argument, or of no details.
func (f flavour) nothing() codec.Payload {
	if f.parser == socketio.Msgpack {
		return pack("\xc0")
	}
	return json("null")
}

// adapt turns the suite's packets into what the wire can say.
func (f flavour) adapt(toServer bool, p *wire.Packet) bool {
	p.Header, p.Codes = nil, nil
	if p.Type != wire.Subscribe && p.Type != wire.Unsubscribe && p.Type != wire.Publish {
		p.Room = ""
	}
	own := codec.TypeJSON
	if f.parser == socketio.Msgpack {
		own = codec.TypeMsgpack
	}
	switch p.Type {
	case wire.Ping, wire.Pong:
		return false
	case wire.Hello:
		if f.version == 4 {
			p.Payload, p.Resume, p.Position = codec.Payload{}, "", ""
		}
		return toServer && (f.version == 5 || f.namespace != "/") && (p.Payload.Empty() || p.Payload.Type == own) &&
			(p.Resume == "" || p.Payload.Empty())
	case wire.Welcome:
		p.Payload = codec.Payload{}
		if f.version == 4 {
			p.Key, p.Resume = f.key(), ""
		}
		return !toServer
	case wire.Refused:
		p.Err.Code = "unauthorized"
		if f.version == 4 {
			p.Err.Details = codec.Payload{}
		}
		return !toServer && (p.Err.Details.Empty() || p.Err.Details.Type == own)
	case wire.Error:
		return !toServer
	}
	return true
}

// arrives turns a packet into what comes of it.
func (f flavour) arrives(toServer bool, p *wire.Packet) {
	args := slices.Clone(p.Args)
	if p.Type == wire.Message && p.Position != "" {
		offset := json(`"` + p.Position + `"`)
		if f.parser == socketio.Msgpack {
			offset = pack("\xa5" + p.Position)
		}
		args = append(args, offset)
		p.Position = ""
	}
	if len(args) > 0 && p.Payload.Empty() && len(p.Args) == 0 {
		p.Payload, args = args[0], args[1:]
	}
	for i := range args {
		if args[i].Empty() {
			args[i] = f.nothing()
		}
	}
	if len(args) > 0 && p.Payload.Empty() {
		p.Payload = f.nothing()
	}
	p.Args = args
	if p.Type != wire.Hello {
		return
	}
	if f.version == 4 {
		p.Key = f.key()
	}
	switch {
	case p.Resume == "":
	case f.parser == socketio.Msgpack:
		p.Payload = pack("\x82\xa3pid\xa6secret\xa6offset\xa5place")
	default:
		p.Payload = json(`{"pid":"secret","offset":"place"}`)
	}
}

func TestSessions(t *testing.T) {
	payload := func(p codec.Payload) wire.Packet { return wire.Packet{Type: wire.Message, Kind: "k", Payload: p} }
	for _, f := range flavours() {
		t.Run(f.String(), func(t *testing.T) {
			w := wiretest.Wire{
				New: func(host wire.Host) (client, server wire.Session) {
					p := socketio.New(socketio.WithParser(f.parser), socketio.WithRoomEvents())
					o := socketio.SessionOptions{Version: f.version, EngineID: engineID}
					server = p.NewSession(host, o)
					o.Dialled, o.Namespace = true, f.namespace
					return p.NewSession(host, o), server
				},
				Adapt: f.adapt, Arrives: f.arrives, Namespace: f.namespace,
				Unsayable: append([]wire.Packet{
					{Type: wire.Ping},
					{Type: wire.Pong},
					{Type: wire.Hello},
					{Type: wire.Refused},
					{Type: wire.Message},
					{Type: wire.Message, Code: 7},
					{Type: wire.Message, Kind: "connect"},
					{Type: wire.Call, ID: 1, Kind: "newListener"},
					{Type: wire.Message, Kind: "\xff"},
					{Type: wire.Message, Kind: "k", Position: "\xff"},
					{Type: wire.Call, Kind: "k"},
					{Type: wire.Reply},
					{Type: wire.Error, Err: &wire.ErrorBody{}},
					{Type: wire.Error, ID: 1},
					{Type: wire.Publish, Kind: "k"},
					{Type: wire.Publish, Room: "r"},
					{Type: wire.Subscribe},
					{Type: wire.Message, Kind: "k", Namespace: "admin"},
					{Type: wire.Message, Kind: "k", Namespace: "/a,b"},
					{Type: wire.Message, Kind: "k", Namespace: "/\xff"},
					{Type: wire.Message, Kind: "k", Namespace: "/" + strings.Repeat("a", 512)},
					{Type: wire.Message, Kind: "k", Args: make([]codec.Payload, socketio.MaxArgs)},
					payload(codec.Payload{Type: "text/plain", Data: []byte("x")}),
					payload(codec.Payload{Data: []byte("x")}),
				}, f.unsayable()...),
			}
			if f.parser == socketio.Msgpack {
				w.FrameType = 2
			}
			wiretest.Run(t, w)
		})
	}
}

// unsayable are packets that one parser can say and the other cannot.
func (f flavour) unsayable() []wire.Packet {
	payload := func(p ...codec.Payload) wire.Packet {
		return wire.Packet{Type: wire.Message, Kind: "k", Payload: p[0], Args: p[1:]}
	}
	details := wire.Packet{Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Details: json("1")}}
	if f.parser == socketio.Msgpack {
		return []wire.Packet{
			payload(json("1")), payload(parts("1")), payload(pack("")), payload(pack("\x01\x01")), payload(pack("\x91")),
			payload(pack("\xa1\xff")), payload(pack("\xc1")), details,
		}
	}
	details.Err.Details = pack("\x01")
	tooMany := make([]codec.Payload, socketio.DefaultMaxAttachments+1)
	for i := range tooMany {
		tooMany[i] = raw("")
	}
	like := `{"a":[{"\u005fplaceholder":true,"num":0}]}`
	return []wire.Packet{
		payload(pack("\x01")), payload(json("")), payload(json(`{}}`)), payload(json(`1,2`)), payload(json("\"\xff\"")),
		payload(json(strings.Repeat("[", 200) + strings.Repeat("]", 200))), payload(tooMany...), details,
		payload(json(like), raw("x")), payload(raw("x"), json(`{"num":99,"_placeholder":true}`)),
		payload(parts(`{"a":{"_placeholder":true,"num":1}}`, "x")), payload(parts(`{"a":1`, "x")),
		payload(parts(`{"a":{"_placeholder":true,"num":0}}`)),
		payload(codec.Payload{Type: codec.TypeParts, Data: []byte("\x05")}),
	}
}

// JSON that looks like a placeholder harms nobody where there are no attachments.
func TestLikeness(t *testing.T) {
	p := wire.Packet{Type: wire.Message, Kind: "k", Payload: json(`{"_placeholder":true,"num":0}`)}
	frames, err := wiretest.Encode(end{}.session(), &p)
	if err != nil || wireOf(frames) != `2["k",{"_placeholder":true,"num":0}]` {
		t.Errorf("%s, %v", wireOf(frames), err)
	}
}

func TestPayloadsStayInPlace(t *testing.T) {
	frame := text(`2["k",{"a":1},"b"]`)
	var p wire.Packet
	if ok, err := (end{}).session("k").Decode(frame, &p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	at := bytes.Index(frame.Data, []byte(`{"a":1}`))
	if &p.Payload.Data[0] != &frame.Data[at] || &p.Args[0].Data[1] != &frame.Data[at+9] {
		t.Error("an argument was copied")
	}
	if cap(p.Payload.Data) != len(p.Payload.Data) || cap(p.Args[0].Data) != len(p.Args[0].Data) {
		t.Error("appending to an argument would write into the frame")
	}
}

func TestFormats(t *testing.T) {
	for want, e := range map[string]end{
		"socketio/5":                {},
		"socketio/4":                {version: 4},
		"socketio/5/msgpack":        {options: []socketio.Option{socketio.WithParser(socketio.Msgpack)}},
		"socketio/5 attachments=3":  {options: []socketio.Option{socketio.WithMaxAttachments(3)}},
		"socketio/5 /admin":         {dialled: true, namespace: "/admin"},
		"socketio/4/msgpack /admin": {version: 4, namespace: "/admin", options: []socketio.Option{socketio.WithParser(socketio.Msgpack)}},
	} {
		if got := e.session().Format(); got != want {
			t.Errorf("format %q, want %q", got, want)
		}
	}
	if got := fmt.Sprint(end{}.session().ContentTypes()); got != fmt.Sprint([]string{codec.TypeJSON, codec.TypeBytes, codec.TypeParts}) {
		t.Errorf("the JSON parser says %v", got)
	}
	e := end{options: []socketio.Option{socketio.WithParser(socketio.Msgpack)}}
	if got := fmt.Sprint(e.session().ContentTypes()); got != fmt.Sprint([]string{codec.TypeMsgpack, codec.TypeBytes}) {
		t.Errorf("the MessagePack parser says %v", got)
	}
}

// More namespaces than a session remembers are fine.
func TestManyNamespaces(t *testing.T) {
	s := end{}.session()
	for range 3 {
		for i := range 20 {
			var p wire.Packet
			want := fmt.Sprintf("/n%d", i)
			if ok, err := s.Decode(text("2"+want+`,["k"]`), &p); !ok || err != nil || p.Namespace != want {
				t.Fatalf("%v, %v, %q", ok, err, p.Namespace)
			}
		}
	}
}
