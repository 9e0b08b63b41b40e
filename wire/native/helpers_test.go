package native_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/native/nativepb"
	"github.com/polywire/polywire/wire/wiretest"
)

// encode returns the one frame's data.
func encode(s wire.Session, p *wire.Packet) ([]byte, error) {
	frames, err := wiretest.Encode(s, p)
	if err != nil {
		return nil, err
	}
	return frames[0].Data, nil
}

func mustEncode(t testing.TB, s wire.Session, p *wire.Packet) []byte {
	t.Helper()
	data, err := encode(s, p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(f native.Form, data []byte) (wire.Packet, error) {
	frame := transport.Frame{Type: transport.Binary, Data: data}
	if f == native.JSON {
		frame.Type = transport.Text
	}
	var p wire.Packet
	ok, err := native.NewSession(wiretest.NewHost(), f).Decode(frame, &p)
	if err == nil && !ok {
		err = errors.New("no packet")
	}
	return p, err
}

// generated turns a packet into the generated message.
func generated(p *wire.Packet) *nativepb.Envelope {
	e := &nativepb.Envelope{
		Type: nativepb.Type(p.Type - wire.Message), Id: p.ID, Kind: p.Kind, Code: p.Code,
		Headers: p.Header, Room: p.Room, Key: p.Key, Codes: p.Codes,
		Offset: p.Position, Recovered: p.Recovered,
	}
	a := generatedArgument(p.Payload)
	e.Payload, e.Content, e.ContentType = a.Payload, a.Content, a.ContentType
	for _, arg := range p.Args {
		e.Args = append(e.Args, generatedArgument(arg))
	}
	if p.Err != nil {
		e.Error = &nativepb.Error{Code: p.Err.Code, Message: p.Err.Message}
		if !p.Err.Details.Empty() {
			e.Error.Details = generatedArgument(p.Err.Details)
		}
	}
	return e
}

func generatedArgument(p codec.Payload) *nativepb.Argument {
	a := &nativepb.Argument{Payload: p.Data}
	switch p.Type {
	case "":
		if len(p.Data) > 0 {
			a.Content = nativepb.Content_BYTES
		}
	case codec.TypeJSON:
		a.Content = nativepb.Content_JSON
	case codec.TypeProtobuf:
		a.Content = nativepb.Content_PROTOBUF
	case codec.TypeMsgpack:
		a.Content = nativepb.Content_MSGPACK
	case codec.TypeBytes:
		a.Content = nativepb.Content_BYTES
	default:
		a.Content, a.ContentType = nativepb.Content_OTHER, p.Type
	}
	return a
}

// packetOf turns the generated message into a packet, by the rules of the
// specification.
func packetOf(e *nativepb.Envelope) wire.Packet {
	p := wire.Packet{
		Type: wire.Type(e.GetType()) + wire.Message, ID: e.GetId(), Kind: e.GetKind(), Code: e.GetCode(),
		Header: e.GetHeaders(), Room: e.GetRoom(), Key: e.GetKey(), Codes: e.GetCodes(),
		Payload:  payloadOf(e.GetPayload(), e.GetContent(), e.GetContentType()),
		Position: e.GetOffset(), Recovered: e.GetRecovered(),
	}
	for _, a := range e.GetArgs() {
		p.Args = append(p.Args, payloadOf(a.GetPayload(), a.GetContent(), a.GetContentType()))
	}
	if e.GetError() != nil || p.Type == wire.Error {
		d := e.GetError().GetDetails()
		p.Err = &wire.ErrorBody{
			Code: e.GetError().GetCode(), Message: e.GetError().GetMessage(),
			Details: payloadOf(d.GetPayload(), d.GetContent(), d.GetContentType()),
		}
	}
	return p
}

func payloadOf(data []byte, c nativepb.Content, contentType string) codec.Payload {
	types := []string{"", codec.TypeJSON, codec.TypeProtobuf, codec.TypeMsgpack, codec.TypeBytes, contentType}
	p := codec.Payload{Type: types[c], Data: data}
	if p.Type == "" && (len(data) > 0 || c == nativepb.Content_OTHER) {
		p.Type = codec.TypeBytes
	}
	return p
}

// random makes packets that the wire can say.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 1))} }

func (r random) packet() wire.Packet {
	p := wire.Packet{
		Type: wire.Type(1 + r.IntN(12)), ID: 1 + r.Uint64N(1<<53-1)>>r.IntN(53), Kind: "k" + r.text(),
		Code: r.Uint32() >> r.IntN(32), Room: r.text(), Key: r.text(), Payload: r.payload(),
	}
	if r.IntN(2) == 0 {
		p.Position, p.Recovered = r.text(), r.IntN(2) == 0
	}
	for range r.IntN(4) {
		p.Args = append(p.Args, r.payload())
	}
	if r.IntN(2) == 0 {
		p.Header = map[string]string{}
		for range r.IntN(native.MaxHeaders) {
			p.Header[r.text()] = r.text()
		}
	}
	if r.IntN(4) == 0 {
		p.Codes = map[string]uint32{}
		for range r.IntN(100) {
			p.Codes[r.text()] = r.Uint32()
		}
	}
	if p.Type == wire.Error || r.IntN(8) == 0 {
		p.Err = &wire.ErrorBody{Code: r.text(), Message: r.text(), Details: r.payload()}
	}
	return p
}

func (r random) text() string {
	alphabet := []rune("abc\"\\\n\x00\x7fé€😀")
	s := make([]rune, r.IntN(12))
	for i := range s {
		s[i] = alphabet[r.IntN(len(alphabet))]
	}
	if r.IntN(20) == 0 {
		return string(s) + string(make([]byte, 200))
	}
	return string(s)
}

func (r random) payload() codec.Payload {
	data := make([]byte, r.IntN(300))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	switch r.IntN(6) {
	case 0:
		return codec.Payload{}
	case 1:
		return codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"n":` + strconv.Itoa(r.Int()) + `,"s":["\u00e9"]}`)}
	case 2:
		return codec.Payload{Type: codec.TypeProtobuf, Data: data}
	case 3:
		return codec.Payload{Type: codec.TypeMsgpack, Data: data}
	case 4:
		return codec.Payload{Type: codec.TypeBytes, Data: data}
	}
	return codec.Payload{Type: "application/x-" + strconv.Itoa(r.IntN(9)), Data: data}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
