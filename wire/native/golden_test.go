package native_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/wiretest"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

const goldenFile = "testdata/golden.json"

// golden is a frame in both forms, for implementations in other languages:
// docs/wire-native.md says how to use the file.
type golden struct {
	Name   string       `json:"name"`
	Packet goldenPacket `json:"packet"`
	Proto  string       `json:"proto"` // the binary frame in hex
	JSON   string       `json:"json"`  // the text frame
}

type goldenPacket struct {
	Type      string            `json:"type"`
	ID        uint64            `json:"id,omitempty"`
	Kind      string            `json:"kind,omitempty"`
	Code      uint32            `json:"code,omitempty"`
	Payload   *goldenPayload    `json:"payload,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Room      string            `json:"room,omitempty"`
	Error     *goldenError      `json:"error,omitempty"`
	Key       string            `json:"key,omitempty"`
	Codes     map[string]uint32 `json:"codes,omitempty"`
	Args      []*goldenPayload  `json:"args,omitempty"` // null: no payload
	Offset    string            `json:"offset,omitempty"`
	Recovered bool              `json:"recovered,omitempty"`
}

type goldenPayload struct {
	Type string `json:"type"`
	Hex  string `json:"hex"`
}

type goldenError struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Details *goldenPayload `json:"details,omitempty"`
}

func describe(p wire.Packet) goldenPacket {
	g := goldenPacket{
		Type: p.Type.String(), ID: p.ID, Kind: p.Kind, Code: p.Code, Payload: describePayload(p.Payload),
		Headers: p.Header, Room: p.Room, Key: p.Key, Codes: p.Codes,
		Offset: p.Position, Recovered: p.Recovered,
	}
	for _, a := range p.Args {
		g.Args = append(g.Args, describePayload(a))
	}
	if p.Err != nil {
		g.Error = &goldenError{Code: p.Err.Code, Message: p.Err.Message, Details: describePayload(p.Err.Details)}
	}
	return g
}

func describePayload(p codec.Payload) *goldenPayload {
	if p.Empty() {
		return nil
	}
	return &goldenPayload{Type: p.Type, Hex: hex.EncodeToString(p.Data)}
}

type namedPacket struct {
	name   string
	packet wire.Packet
}

// goldenPackets are what an implementation meets: each type, each content,
// each field, and the edges of each.
func goldenPackets() []namedPacket {
	data := func(t, d string) codec.Payload { return codec.Payload{Type: t, Data: []byte(d)} }
	text := data(codec.TypeJSON, `{"text":"Good morning"}`)
	return []namedPacket{
		{"message without payload", wire.Packet{Type: wire.Message, Kind: "tick"}},
		{"message with JSON", wire.Packet{Type: wire.Message, Kind: "chat.said", Payload: text}},
		{"message with JSON null", wire.Packet{Type: wire.Message, Kind: "k", Payload: data(codec.TypeJSON, "null")}},
		{"message with protobuf", wire.Packet{Type: wire.Message, Kind: "chat.Said", Payload: data(codec.TypeProtobuf, "\x0a\x02hi")}},
		{"message with protobuf of no bytes", wire.Packet{Type: wire.Message, Kind: "chat.Said", Payload: data(codec.TypeProtobuf, "")}},
		{"message with msgpack", wire.Packet{Type: wire.Message, Kind: "k", Payload: data(codec.TypeMsgpack, "\x81\xa4text\xa2hi")}},
		{"message with bytes", wire.Packet{Type: wire.Message, Kind: "k", Payload: data(codec.TypeBytes, "\x00\x01\xfe\xff")}},
		{"message with no bytes", wire.Packet{Type: wire.Message, Kind: "k", Payload: data(codec.TypeBytes, "")}},
		{"message with another content type", wire.Packet{Type: wire.Message, Kind: "k", Payload: data("text/plain", "hi")}},
		{"message with a numeric code", wire.Packet{Type: wire.Message, Code: 1<<32 - 1, Payload: text}},
		{"message with headers", wire.Packet{Type: wire.Message, Kind: "k", Header: map[string]string{"trace": "abc", "empty": "", "": "no name"}}},
		{"message with arguments", wire.Packet{Type: wire.Message, Kind: "k", Payload: data(codec.TypeJSON, "1"),
			Args: []codec.Payload{data(codec.TypeJSON, `"two"`), {}, data(codec.TypeBytes, "\x03"), data("text/plain", "four")}}},
		{"message delivered from a room", wire.Packet{Type: wire.Message, Kind: "chat.said", Room: "general", Payload: text}},
		{"strings that need care", wire.Packet{Type: wire.Message, Kind: "é\"\\\n\x00\u2028\U0001F600", Header: map[string]string{"\t": "\r"}}},
		{"call", wire.Packet{Type: wire.Call, ID: 1, Kind: "add", Payload: data(codec.TypeJSON, "[1,2]")}},
		{"call with the greatest id in JSON", wire.Packet{Type: wire.Call, ID: 1<<53 - 1, Kind: "add"}},
		{"call with an id of two bytes", wire.Packet{Type: wire.Call, ID: 300, Kind: "add"}},
		{"reply", wire.Packet{Type: wire.Reply, ID: 1, Payload: data(codec.TypeJSON, "3")}},
		{"reply without payload", wire.Packet{Type: wire.Reply, ID: 1}},
		{"error", wire.Packet{Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Code: "not_found", Message: "no handler for add"}}},
		{"error with details", wire.Packet{Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Code: "bad_request", Message: "no", Details: data(codec.TypeJSON, `{"field":"n"}`)}}},
		{"error with details in bytes", wire.Packet{Type: wire.Error, ID: 1, Err: &wire.ErrorBody{Code: "app.full", Details: data(codec.TypeBytes, "\xff")}}},
		{"subscribe", wire.Packet{Type: wire.Subscribe, ID: 2, Room: "general"}},
		{"subscribe with a position", wire.Packet{Type: wire.Subscribe, ID: 2, Room: "general", Position: "e1.41"}},
		{"reply to a subscribe", wire.Packet{Type: wire.Reply, ID: 2, Position: "e1.41"}},
		{"reply to a subscribe that recovered", wire.Packet{Type: wire.Reply, ID: 2, Position: "e1.44", Recovered: true}},
		{"message with a position", wire.Packet{Type: wire.Message, Kind: "chat.said", Room: "general", Position: "e1.42", Payload: text}},
		{"subscribe without answer", wire.Packet{Type: wire.Subscribe, Room: "general"}},
		{"unsubscribe", wire.Packet{Type: wire.Unsubscribe, ID: 3, Room: "general"}},
		{"publish", wire.Packet{Type: wire.Publish, ID: 4, Room: "general", Kind: "chat.said", Payload: text}},
		{"broadcast", wire.Packet{Type: wire.Broadcast, ID: 5, Kind: "chat.said", Payload: text}},
		{"hello", wire.Packet{Type: wire.Hello, Header: map[string]string{"authorization": "Bearer abc"}}},
		{"hello with codes and payload", wire.Packet{Type: wire.Hello, Payload: data(codec.TypeJSON, "{}"), Codes: map[string]uint32{"chat.say": 7, "add": 0}}},
		{"welcome", wire.Packet{Type: wire.Welcome, Key: "c0ffee", Codes: map[string]uint32{"chat.said": 300}}},
		{"ping", wire.Packet{Type: wire.Ping}},
		{"pong", wire.Packet{Type: wire.Pong}},
	}
}

func makeGolden(t *testing.T) []byte {
	t.Helper()
	host := wiretest.NewHost()
	var all []golden
	for _, c := range goldenPackets() {
		all = append(all, golden{
			Name:   c.name,
			Packet: describe(c.packet),
			Proto:  hex.EncodeToString(mustEncode(t, native.NewSession(host, native.Proto), &c.packet)),
			JSON:   string(mustEncode(t, native.NewSession(host, native.JSON), &c.packet)),
		})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	if *update {
		if err := os.WriteFile(goldenFile, makeGolden(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, makeGolden(t)) {
		t.Fatalf("%s is not what is encoded; if that is meant, run the test with -update", goldenFile)
	}
	var all []golden
	if err := json.Unmarshal(file, &all); err != nil {
		t.Fatal(err)
	}
	for i, g := range all {
		binary, err := hex.DecodeString(g.Proto)
		if err != nil {
			t.Fatal(err)
		}
		for form, frame := range map[native.Form][]byte{native.Proto: binary, native.JSON: []byte(g.JSON)} {
			p, err := decode(form, frame)
			if err != nil {
				t.Errorf("%s: %v", g.Name, err)
			} else if diff := wiretest.Diff(p, goldenPackets()[i].packet); diff != "" {
				t.Errorf("%s, %s: %s", g.Name, form, diff)
			}
		}
	}
}

// The specification's example is what is sent.
func TestDocumentedExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/wire-native.md")
	if err != nil {
		t.Fatal(err)
	}
	packed := strings.Join(strings.Fields(string(page)), "")
	host := wiretest.NewHost()
	frame := func(ft transport.FrameType, payload []byte) string {
		w := transport.NewWriter(framer, nil)
		if err := w.Frame(ft, payload); err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(w.Bytes())
	}
	want := []string{
		frame(transport.Text, []byte("polywire.v1.proto polywire.v1.json")),
		frame(transport.Text, []byte("polywire.v1.proto")),
	}
	for _, c := range goldenPackets() {
		switch c.name {
		case "call", "reply":
			want = append(want, frame(transport.Binary, mustEncode(t, native.NewSession(host, native.Proto), &c.packet)))
			fallthrough
		case "error":
			text := mustEncode(t, native.NewSession(host, native.JSON), &c.packet)
			want = append(want, strings.Join(strings.Fields(string(text)), ""))
		}
	}
	for _, w := range want {
		if !strings.Contains(packed, w) {
			t.Errorf("the specification does not have %s", w)
		}
	}
}
