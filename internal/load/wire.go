package load

import (
	"bytes"
	"fmt"

	"github.com/polywire/polywire/transport"
)

// The wires' names.
const (
	wireRaw        = "raw"
	wireNative     = "native"
	wireNativeJSON = "native-json"
)

// Wires lists the message languages that can be driven:
//
//   - raw: WebSocket messages that the server sends back; one that begins with
//     'B' it sends to everybody.
//   - native: Polywire's own wire in its binary form, over WebSocket, TCP and
//     unix sockets. Kind "echo" answers a call with its payload; a message of
//     kind "broadcast" makes the server send its payload as "news" to everybody.
//   - native-json: the same in its text form.
func Wires() []string { return []string{wireRaw, wireNative, wireNativeJSON} }

// class is what a message from the server is to a run.
type class uint8

const (
	unrelated class = iota
	answer          // to a request (Echo), or a delivery (Broadcast)
	failure         // a request's
)

// wire is what the engine must know of a message language, in one mode and
// with one payload. Implementations are immutable.
type wire interface {
	path() string        // where a ws URL has none
	subprotocol() string // asked for, and insisted on; empty for none
	frameType() transport.FrameType
	// appendRequest appends the content of a frame that asks for one answer,
	// or starts one broadcast. ids begin at 1.
	appendRequest(dst []byte, id uint64) []byte
	// classify says what a frame is, and whose answer: 0 on wires that answer
	// in order.
	classify(f transport.Frame) (class, uint64)
	// body is the payload as it stands in answers.
	body() []byte
}

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
	}
	return nil, fmt.Errorf("load: unknown wire %q", name)
}

type rawWire struct{ payload []byte }

func (*rawWire) path() string                                { return "/" }
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
