package goomerang_test

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native/nativepb"
	"github.com/polywire/polywire/wire/wiretest"
)

// numbered is a session of the suite: what it decodes has the number that the
// caller's uuid says, in place of the wire's own, and what it answers has the
// uuid of the caller's number.
type numbered struct {
	wire.Session

	t      testing.TB
	caller wire.Session
}

func (n numbered) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	ok, err := n.Session.Decode(f, p)
	switch {
	case err != nil || !ok:
	case p.Type == wire.Reply, p.Type == wire.Error, p.Type == wire.Message:
	case p.Key != "":
		var answer wire.Packet // to whom the uuid says something
		if _, err := n.caller.Decode(binaryFrame(sync36(p.Key)+"\x12\x15google.protobuf.Empty\x20\x01"), &answer); err == nil {
			p.ID, p.Key = answer.ID, ""
		}
	}
	return ok, err
}

func sync36(uuid string) string { return "\x0a" + lp(uuid) }

func (n numbered) Encode(w *transport.Writer, p *wire.Packet) error {
	q := *p
	if (p.Type == wire.Reply || p.Type == wire.Error) && p.ID != 0 {
		q.Key = uuidOf(n.t, n.caller, p.ID)
	}
	return n.Session.Encode(w, &q)
}

// uuidOf is the uuid of a session's call, or of what it would be if it made calls.
func uuidOf(t testing.TB, s wire.Session, id uint64) string {
	frames, err := wiretest.Encode(s, &wire.Packet{Type: wire.Call, ID: id, Kind: kindText})
	if err != nil {
		t.Fatal(err)
	}
	return string(frames[0].Data[2:38])
}

func binaryFrame(data string) transport.Frame {
	return transport.Frame{Type: transport.Binary, Data: []byte(data)}
}

func unsayable() []wire.Packet {
	proto := codec.Payload{Type: codec.TypeProtobuf}
	return []wire.Packet{
		{Type: wire.Message},
		{Type: wire.Message, Code: 7},
		{Type: wire.Message, Kind: "x.Unknown"},
		{Type: wire.Message, Kind: kindText, Payload: codec.Payload{Type: codec.TypeProtobuf, Name: "x.Unknown"}},
		{Type: wire.Message, Kind: kindText, Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte("1")}},
		{Type: wire.Message, Kind: kindText, Payload: codec.Payload{Data: []byte("1")}},
		{Type: wire.Message, Kind: kindText, Args: make([]codec.Payload, 1)},
		{Type: wire.Message, Kind: kindText, Header: map[string]string{"\xff": ""}},
		{Type: wire.Message, Kind: kindText, Header: map[string]string{"": "\xff"}},
		{Type: wire.Message, Kind: kindText, Header: manyHeaders(goomerang.MaxHeaders + 1)},
		{Type: wire.Call, Kind: kindText},
		{Type: wire.Call, ID: 1},
		{Type: wire.Call, ID: 1 << 62, Kind: kindText},
		{Type: wire.Reply, Payload: proto},
		{Type: wire.Reply, Key: "\xff"},
		{Type: wire.Error},
		{Type: wire.Subscribe, Room: "\xff"},
		{Type: wire.Publish, Room: "r"},
		{Type: wire.Publish, Room: "\xff", Kind: kindText},
		{Type: wire.Broadcast, Kind: "x.Unknown"},
		{Type: wire.Hello},
		{Type: wire.Welcome},
		{Type: wire.Ping},
		{Type: wire.Pong},
	}
}

func manyHeaders(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("h", i)] = "v"
	}
	return m
}

func TestSessions(t *testing.T) {
	for _, ours := range []bool{false, true} {
		t.Run(fmt.Sprint("Polywire on both sides ", ours), func(t *testing.T) {
			refused := unsayable()
			if !ours {
				refused = append(refused, wire.Packet{Type: wire.Call, ID: 1, Kind: kindText})
			}
			wiretest.Run(t, wiretest.Wire{
				New: func(host wire.Host) (client, server wire.Session) {
					p := fixed()
					client = p.NewSession(host, goomerang.Side{Dialled: true, Polywire: ours})
					server = p.NewSession(host, goomerang.Side{Polywire: ours})
					return numbered{client, t, server}, numbered{server, t, client}
				},
				FrameType: transport.Binary,
				Adapt:     func(toServer bool, p *wire.Packet) bool { return adapt(ours, toServer, p) },
				Arrives:   arrives,
				Unsayable: refused,
			})
		})
	}
}

// adapt makes a packet one of Goomerang: no introduction, one argument.
func adapt(ours, toServer bool, p *wire.Packet) bool {
	p.Args, p.Codes = nil, nil
	if p.Kind != "" {
		p.Kind = kindText
	}
	if !p.Payload.Empty() {
		p.Payload.Name = kindText
	}
	switch p.Type {
	case wire.Hello, wire.Welcome, wire.Ping, wire.Pong:
		return false
	case wire.Call:
		return ours || toServer
	case wire.Reply, wire.Error:
		return ours || !toServer
	case wire.Message:
		p.Room = ""
	case wire.Subscribe, wire.Unsubscribe, wire.Publish, wire.Broadcast:
		if !ours {
			p.ID = 0
		}
	}
	return true
}

// arrives is what becomes of a packet: a message without fields is a message.
func arrives(_ bool, p *wire.Packet) {
	switch p.Type {
	case wire.Message, wire.Call, wire.Publish, wire.Broadcast:
		p.Payload.Type = codec.TypeProtobuf
	}
}

// generated describes a Frame and the commands to the protobuf runtime.
func generated(t testing.TB) (frame, command protoreflect.MessageDescriptor) {
	t.Helper()
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: new(name), Number: new(number), Type: kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	text, data := descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES
	number, message := descriptorpb.FieldDescriptorProto_TYPE_INT64, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	creation, headers := field("creation", 5, message), field("headers", 6, message)
	creation.TypeName = new(".goomerang.protocol.Time")
	headers.TypeName, headers.Label = new(".goomerang.protocol.Frame.HeadersEntry"), descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("goomerang_test.proto"), Package: new("goomerang.protocol"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{
				Name: new("Frame"),
				Field: []*descriptorpb.FieldDescriptorProto{
					field("uuid", 1, text), field("kind", 2, text), field("payloadSize", 3, number),
					field("is_sync", 4, descriptorpb.FieldDescriptorProto_TYPE_BOOL), creation, headers, field("payload", 7, data),
				},
				NestedType: []*descriptorpb.DescriptorProto{{
					Name:    new("HeadersEntry"),
					Field:   []*descriptorpb.FieldDescriptorProto{field("key", 1, text), field("value", 2, text)},
					Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
				}},
			},
			{Name: new("Cmd"), Field: []*descriptorpb.FieldDescriptorProto{field("topic", 1, text), field("kind", 2, text), field("message", 3, data)}},
			{Name: new("Time"), Field: []*descriptorpb.FieldDescriptorProto{field("seconds", 1, number), field("nanos", 2, descriptorpb.FieldDescriptorProto_TYPE_INT32)}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().ByName("Frame"), file.Messages().ByName("Cmd")
}

// What is written by hand is what protobuf's own encoder writes.
func TestAgainstRuntime(t *testing.T) {
	frame, cmd := generated(t)
	s := fixed().NewSession(wiretest.NewHost(), goomerang.Side{Dialled: true, Polywire: true})
	data := codec.Payload{Type: codec.TypeProtobuf, Data: []byte(hi)}
	long := codec.Payload{Type: codec.TypeProtobuf, Data: bytes.Repeat([]byte(hi), 9000)}
	failure := &wire.ErrorBody{Code: "conflict", Message: "taken", Details: long}
	for i, p := range []wire.Packet{
		{Type: wire.Message, Kind: kindText},
		{Type: wire.Message, Kind: kindText, Payload: long, Header: manyHeaders(goomerang.MaxHeaders)},
		{Type: wire.Message, Kind: "not said", Payload: codec.Payload{Type: codec.TypeProtobuf, Name: kindText}},
		{Type: wire.Call, ID: 1<<62 - 1, Kind: kindText, Payload: data, Header: map[string]string{"": "", "a": "é"}},
		{Type: wire.Reply, Key: uuid},
		{Type: wire.Reply, Key: "", Payload: codec.Payload{Type: codec.TypeProtobuf, Data: []byte(hi), Name: kindText}},
		{Type: wire.Error, Key: uuid, Err: failure},
		{Type: wire.Error, Err: &wire.ErrorBody{}},
		{Type: wire.Subscribe, Room: "r"},
		{Type: wire.Subscribe, ID: 3},
		{Type: wire.Unsubscribe, Room: string(bytes.Repeat([]byte("é"), 200)), Header: map[string]string{"a": "b"}},
		{Type: wire.Publish, Room: "r", Kind: kindText, Payload: long, Header: manyHeaders(3)},
		{Type: wire.Publish, ID: 1, Kind: kindText},
		{Type: wire.Broadcast, Kind: kindText, Payload: data},
	} {
		frames, err := wiretest.Encode(s, &p)
		if err != nil {
			t.Fatal(i, err)
		}
		m := dynamicpb.NewMessage(frame)
		if err := proto.Unmarshal(frames[0].Data, m); err != nil || len(m.GetUnknown()) > 0 {
			t.Fatalf("%d: %v, unknown %q", i, err, m.GetUnknown())
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil || !bytes.Equal(again, frames[0].Data) {
			t.Errorf("%d:\n got %q\nwant %q, %v", i, frames[0].Data, again, err)
		}
		payload := m.Get(frame.Fields().ByName("payload")).Bytes()
		if size := m.Get(frame.Fields().ByName("payloadSize")).Int(); size != int64(len(payload)) {
			t.Errorf("%d: a payload of %d bytes is said to have %d", i, len(payload), size)
		}
		if p.Type < wire.Subscribe {
			continue
		}
		c := dynamicpb.NewMessage(cmd)
		if err := proto.Unmarshal(payload, c); err != nil || len(c.GetUnknown()) > 0 || c.Get(cmd.Fields().ByName("topic")).String() != p.Room {
			t.Errorf("%d: %v, %v", i, c, err)
		}
		if again, err = (proto.MarshalOptions{Deterministic: true}).Marshal(c); err != nil || !bytes.Equal(again, payload) {
			t.Errorf("%d:\n got %q\nwant %q, %v", i, payload, again, err)
		}
	}
}

// The error of a failed call is the message of that name.
func TestErrorIsNativeMessage(t *testing.T) {
	server := fixed().NewSession(wiretest.NewHost(), goomerang.Side{})
	for content, details := range map[nativepb.Content]codec.Payload{
		nativepb.Content_NONE:     {},
		nativepb.Content_JSON:     {Type: codec.TypeJSON, Data: []byte(`{}`)},
		nativepb.Content_PROTOBUF: {Type: codec.TypeProtobuf},
		nativepb.Content_MSGPACK:  {Type: codec.TypeMsgpack, Data: []byte{1}},
		nativepb.Content_BYTES:    {Type: codec.TypeBytes, Data: []byte("x")},
		nativepb.Content_OTHER:    {Type: "text/plain", Data: []byte("x")},
	} {
		frames, err := wiretest.Encode(server, &wire.Packet{
			Type: wire.Error, Key: uuid, Err: &wire.ErrorBody{Code: "conflict", Message: "taken", Details: details},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, payload, _ := bytes.Cut(frames[0].Data, []byte(created))
		_, n := protowire.ConsumeVarint(payload[1:])
		var e nativepb.Error
		if err := proto.Unmarshal(payload[1+n:], &e); err != nil {
			t.Fatal(err)
		}
		if e.GetCode() != "conflict" || e.GetMessage() != "taken" || e.GetDetails().GetContent() != content ||
			!bytes.Equal(e.GetDetails().GetPayload(), details.Data) || content == nativepb.Content_OTHER && e.GetDetails().GetContentType() != details.Type {
			t.Errorf("%s: %v", content, &e)
		}
		// And it is read as it was said.
		s := fixed().NewSession(wiretest.NewHost(), goomerang.Side{Dialled: true})
		answer := "\x0a" + lp(uuidOf(t, s, 5)) + string(frames[0].Data[len(sync):])
		var p wire.Packet
		ok, err := s.Decode(binaryFrame(answer), &p)
		if !ok || err != nil || p.ID != 5 || p.Type != wire.Error || p.Err.Code != "conflict" || p.Err.Details.Type != details.Type ||
			!bytes.Equal(p.Err.Details.Data, details.Data) {
			t.Errorf("%s: %+v, %v", content, p, err)
		}
	}
}
