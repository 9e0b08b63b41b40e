package load

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/polywire/polywire/transport"
)

// The wires' names.
const (
	wireRaw        = "raw"
	wireNative     = "native"
	wireNativeJSON = "native-json"
	wireSocketIO   = "socketio"
	wirePolling    = "socketio-polling"
	wireDRS        = "drs"
	wireGoomerang  = "goomerang"
)

// Wires lists the message languages that can be driven:
//
//   - raw: WebSocket messages that the server sends back; one that begins with
//     'B' it sends to everybody.
//   - native: Polywire's own wire in its binary form, over WebSocket, TCP and
//     unix sockets. Kind "echo" answers a call with its payload; a message of
//     kind "broadcast" makes the server send its payload as "news" to everybody.
//   - native-json: the same in its text form.
//   - socketio: Socket.IO 5 on Engine.IO 4 over WebSocket, in the main
//     namespace. Event "echo" is acknowledged with its argument; event
//     "broadcast" makes the server send its argument as "news" to everybody.
//   - socketio-polling: the same by long polling, one request at a time on
//     each session, without broadcasts.
//   - drs: commands of DRS in JSON, over WebSocket, TCP and unix sockets.
//     Action "echo" is answered with its body; action "broadcast" makes the
//     server fire its body as "news" to everybody.
//   - goomerang: frames of Goomerang over WebSocket, around messages
//     google.protobuf.BytesValue. A sync send is answered with its message; a
//     BroadcastCmd makes the server send the message to everybody.
func Wires() []string {
	return []string{wireRaw, wireNative, wireNativeJSON, wireSocketIO, wirePolling, wireDRS, wireGoomerang}
}

// class is what a message from the server is to a run.
type class uint8

const (
	unrelated class = iota
	answer          // to a request (Echo), or a delivery (Broadcast)
	failure         // a request's
	heartbeat       // of the wire's own, to be answered
)

// wire is what the engine must know of a message language, in one mode and
// with one payload. Implementations are immutable.
type wire interface {
	// path is what to ask for; given is what the URL has, or empty.
	path(given string) string
	subprotocol() string // asked for, and insisted on; empty for none
	// stream returns what makes frames on TCP and unix sockets; nil where the
	// wire is not spoken there.
	stream(maxBytes int) framing
	// open does what comes before the first request, after the link's opening.
	open(l *line) error
	// hello is the content of the frame with which a client may introduce
	// itself after open; nil for none.
	hello() []byte
	frameType() transport.FrameType
	// appendRequest appends the content of a frame that asks for one answer,
	// or starts one broadcast. ids begin at 1.
	appendRequest(dst []byte, id uint64) []byte
	// classify says what a frame is, and whose answer: 0 on wires that answer
	// in order.
	classify(f transport.Frame) (class, uint64)
	// appendPong appends the content of the answer to a heartbeat.
	appendPong(dst, ping []byte) []byte
	// body is the payload as it stands in answers.
	body() []byte
}

// simple is for wires without an opening and heartbeats of their own.
type simple struct{}

func (simple) open(*line) error                { return nil }
func (simple) stream(int) framing              { return nil }
func (simple) appendPong(dst, _ []byte) []byte { return dst }

func newWire(name string, m Mode, payloadBytes int) (wire, error) {
	payload := bytes.Repeat([]byte("x"), payloadBytes)
	switch name {
	case wireRaw:
		if m == Broadcast {
			payload[0] = 'B'
		}
		return &rawWire{payload: payload}, nil
	case wireNative:
		return newNativeWire(m, payload), nil
	case wireNativeJSON:
		return newJSONWire(m, payload), nil
	case wireSocketIO:
		return newSocketIOWire("websocket", m, payload), nil
	case wirePolling:
		return newSocketIOWire("polling", m, payload), nil
	case wireDRS:
		return newDRSWire(m, payload), nil
	case wireGoomerang:
		return newGoomerangWire(m, payload), nil
	}
	return nil, fmt.Errorf("load: unknown wire %q", name)
}

type rawWire struct {
	simple

	payload []byte
}

func (*rawWire) path(given string) string                    { return cmp.Or(given, "/") }
func (*rawWire) hello() []byte                               { return nil }
func (*rawWire) subprotocol() string                         { return "" }
func (*rawWire) frameType() transport.FrameType              { return transport.Binary }
func (w *rawWire) appendRequest(dst []byte, _ uint64) []byte { return append(dst, w.payload...) }
func (w *rawWire) body() []byte                              { return w.payload }

func (w *rawWire) classify(f transport.Frame) (class, uint64) {
	if len(f.Data) != len(w.payload) || f.Data[0] != w.payload[0] {
		return unrelated, 0
	}
	return answer, 0
}
