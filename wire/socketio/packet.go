package socketio

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// Bounds of a packet, both ways. Bytes are bounded by the message size.
const (
	MaxNamespaceBytes = 512  // of a namespace's name, with its slash
	MaxArgs           = 1024 // arguments of an event or an answer
)

// The packet types, as the first byte of a text packet. A binary event is an
// event with attachments, a binary acknowledgement likewise.
const (
	typeConnect      byte = '0'
	typeDisconnect   byte = '1'
	typeEvent        byte = '2'
	typeAck          byte = '3'
	typeConnectError byte = '4'
	typeBinaryEvent  byte = '5'
	typeBinaryAck    byte = '6'

	toBinary = typeBinaryEvent - typeEvent
)

// mainNamespace is the one whose name is not said.
const mainNamespace = "/"

// maxWireID is the greatest id of an acknowledgement, so that the number of a
// call, which is one more, has room.
const maxWireID = math.MaxUint64 - 1

// The events that say what Socket.IO has no packets for.
const (
	eventSubscribe   = "$subscribe"
	eventUnsubscribe = "$unsubscribe"
	eventPublish     = "$publish"
	eventBroadcast   = "$broadcast"
)

// What is wrong with a packet.
var (
	errEmpty         = errors.New("an empty packet")
	errUnknownType   = errors.New("unknown packet type")
	errAttachments   = errors.New("illegal attachments")
	errTooMany       = errors.New("too many attachments")
	errTooLarge      = errors.New("attachments are too large")
	errTooLate       = errors.New("attachments did not arrive in time")
	errPlaintext     = errors.New("got plaintext data when reconstructing a packet")
	errBinary        = errors.New("got binary data when not reconstructing a packet")
	errNamespace     = errors.New("namespace is not UTF-8 or longer than 512 bytes")
	errID            = errors.New("acknowledgement id is too large")
	errNoID          = errors.New("acknowledgement without an id")
	errNoName        = errors.New("event without a name")
	errName          = errors.New("event name is neither a string nor a number")
	errReserved      = errors.New("reserved event name")
	errManyArgs      = fmt.Errorf("more than %d arguments", MaxArgs)
	errPayload       = errors.New("invalid payload")
	errNotUTF8       = errors.New("not UTF-8")
	errNoSID         = errors.New("the answer to a connect has no sid")
	errFromClient    = errors.New("a connect error from a client")
	errManyQueries   = fmt.Errorf("more than %d values in the query", maxQueryValues)
	errBadNamespace  = errors.New("no name of a namespace")
	errNoError       = errors.New("no error in it")
	errWrongSide     = errors.New("it is the other side's to say")
	errLikePart      = errors.New("JSON that looks like an attachment's placeholder beside attachments")
	errContentType   = errors.New("a payload of another type")
	errNotMsgpack    = errors.New("payload is not MessagePack")
	errMainHasNoAuth = errors.New("protocol 4 has no credentials for the main namespace: put them into the URL's query")
)

// malformed is the end of a link whose other side sent what cannot be
// understood. What it says never quotes the frame.
func (d *dialect) malformed(what error) error {
	reason := "forced close"
	if d.dialled {
		reason = "parse error"
	}
	return &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: reason, Err: what}
}

// misplaced is the end of a link whose other side may not send what it sent.
func misplaced(what error) error {
	return &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "forced server close", Err: what}
}

// unsayable is a packet that this wire has no words for.
func unsayable(t wire.Type, why error) error {
	return fmt.Errorf("socketio: %s cannot be sent: %w", t, why)
}

// reserved reports whether an event may not have this name, which means
// something else in every official client and server.
func reserved(name string) bool {
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

// saying is an event or an acknowledgement as both parsers write it: words,
// then arguments, then the offset.
type saying struct {
	typ     byte
	id      uint64 // of the acknowledgement and one more; 0: none
	words   [3]string
	spoken  int // how many of words there are
	payload codec.Payload
	args    []codec.Payload
	offset  string
	err     *wire.ErrorBody // the only argument, of an acknowledgement
}

// sayingOf turns a packet into what is said of it.
func sayingOf(p *wire.Packet) (saying, error) {
	y := saying{typ: typeEvent, id: p.ID, payload: p.Payload, args: p.Args}
	switch p.Type {
	case wire.Message, wire.Call:
		if reserved(p.Kind) {
			return y, errReserved
		}
		if p.Type == wire.Message {
			y.id, y.offset = 0, p.Position
		} else if p.ID == 0 {
			return y, errNoID
		}
		y.speak(p.Kind)
	case wire.Reply, wire.Error:
		y.typ = typeAck
		if p.ID == 0 {
			return y, errNoID
		}
		if p.Type == wire.Error {
			if p.Err == nil {
				return y, errNoError
			}
			y.err, y.payload, y.args = p.Err, codec.Payload{}, nil
		}
	case wire.Subscribe, wire.Unsubscribe:
		y.payload, y.args = codec.Payload{}, nil
		y.speak(eventSubscribe, p.Room)
		if p.Type == wire.Unsubscribe {
			y.words[0] = eventUnsubscribe
		}
	case wire.Publish:
		y.speak(eventPublish, p.Room, p.Kind)
	case wire.Broadcast:
		y.speak(eventBroadcast, p.Kind)
	default:
		return y, errUnknownType
	}
	return y, y.check()
}

func (y *saying) speak(words ...string) { y.spoken = copy(y.words[:], words) }

// check is about what every saying must keep to.
func (y *saying) check() error {
	for _, w := range y.words[:y.spoken] {
		if w == "" {
			return errNoName
		}
		if !utf8.ValidString(w) {
			return errNotUTF8
		}
	}
	if !utf8.ValidString(y.offset) {
		return errNotUTF8
	}
	if y.spoken+y.count() > MaxArgs {
		return errManyArgs
	}
	return nil
}

// count is how many arguments there are.
func (y *saying) count() int {
	if len(y.args) == 0 && y.payload.Empty() {
		return 0
	}
	return 1 + len(y.args)
}

// arg returns one of the arguments.
func (y *saying) arg(i int) codec.Payload {
	if i == 0 {
		return y.payload
	}
	return y.args[i-1]
}

// roomEvent turns an event of this wire's own into the packet that it says.
// One that is not complete stays an event.
func roomEvent(p *wire.Packet, text func(codec.Payload) (string, bool)) {
	if p.Kind == "" || p.Kind[0] != '$' {
		return
	}
	var words [2]string
	want := 1
	var t wire.Type
	switch p.Kind {
	case eventSubscribe:
		t = wire.Subscribe
	case eventUnsubscribe:
		t = wire.Unsubscribe
	case eventPublish:
		t, want = wire.Publish, 2
	case eventBroadcast:
		t = wire.Broadcast
	default:
		return
	}
	payload, args := p.Payload, p.Args
	for i := range words[:want] {
		word, ok := text(payload)
		if !ok || word == "" {
			return
		}
		words[i] = word
		payload = codec.Payload{}
		if len(args) > 0 {
			payload, args = args[0], args[1:]
		}
	}
	room, kind := words[0], words[1]
	switch t {
	case wire.Broadcast:
		room, kind = "", words[0]
	case wire.Subscribe, wire.Unsubscribe:
		kind, payload, args = "", codec.Payload{}, nil
	}
	if reserved(kind) {
		return
	}
	p.Type, p.Room, p.Kind, p.Payload, p.Args = t, room, kind, payload, args
}
