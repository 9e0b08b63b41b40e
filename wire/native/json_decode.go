package native

import (
	"encoding/base64"
	"errors"
	"math"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/content"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/wire"
)

var (
	errTwoPayloads = errors.New("a JSON payload and data together")
	errBase64      = errors.New("data is not base64")
	errZeroID      = errors.New("id is 0")
	errNotBool     = errors.New("recovered is neither true nor false")
)

// jsonFields are the members that are put into the packet when all have been
// read: their order is free.
type jsonFields struct {
	typ                     []byte
	kind, room, key, offset []byte
	payload                 jsonArgument
	details                 jsonArgument // of the error
}

// jsonArgument is a payload in JSON, or in base64 what is not JSON.
type jsonArgument struct {
	json        []byte
	base64      []byte // nil when absent
	contentType []byte
}

// jsonReader reads one envelope into a packet.
type jsonReader struct {
	jsonscan.Scanner
	jsonFields
	p *wire.Packet
}

// decodeJSON reads an envelope. kind makes strings of routing names.
func decodeJSON(data []byte, kind func([]byte) string, p *wire.Packet) error {
	r := jsonReader{Scanner: jsonscan.Scanner{Data: data}, p: p}
	if err := r.object(inEnvelope); err != nil {
		return err
	}
	if err := r.End(); err != nil {
		return err
	}
	if err := r.setType(); err != nil {
		return err
	}
	if len(r.kind) > 0 {
		p.Kind = kind(r.kind)
	}
	p.Room, p.Key, p.Position = string(r.room), string(r.key), string(r.offset)
	var err error
	if p.Payload, err = r.payload.payload(); err != nil {
		return err
	}
	if p.Err != nil {
		if p.Err.Details, err = r.details.payload(); err != nil {
			return err
		}
	}
	return finish(p)
}

// object is which of an envelope's objects is being read. A function value in
// its place would put the reader on the heap.
type object uint8

const (
	inEnvelope object = iota
	inHeaders
	inCodes
	inError
)

// object consumes one of the objects.
func (r *jsonReader) object(in object) error {
	if err := r.Open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := r.More('}', first)
		if err != nil || !more {
			return err
		}
		key, err := r.Key()
		if err != nil {
			return err
		}
		switch in {
		case inHeaders:
			err = r.header(key)
		case inCodes:
			err = r.code(key)
		case inError:
			err = r.errorMember(key)
		default:
			err = r.member(key)
		}
		if err != nil {
			return err
		}
	}
}

// member consumes the value of a key of the envelope. null is as good as
// absent, where it is not a payload.
func (r *jsonReader) member(key []byte) error {
	if string(key) == "payload" {
		return r.value(&r.payload.json)
	}
	if null, err := r.Null(); null || err != nil {
		return err
	}
	switch string(key) {
	case "type":
		return r.str(&r.typ)
	case "id":
		return r.id()
	case "kind":
		return r.str(&r.kind)
	case "code":
		return r.uint32(&r.p.Code)
	case "data":
		return r.str(&r.payload.base64)
	case "contentType":
		return r.str(&r.payload.contentType)
	case "headers":
		clear(r.p.Header)
		return r.object(inHeaders)
	case "room":
		return r.str(&r.room)
	case "error":
		r.p.Err, r.details = new(wire.ErrorBody), jsonArgument{}
		return r.object(inError)
	case "key":
		return r.str(&r.key)
	case "codes":
		clear(r.p.Codes)
		return r.object(inCodes)
	case "args":
		return r.args()
	case "offset":
		return r.str(&r.offset)
	case "recovered":
		return r.recovered()
	}
	return r.ignore()
}

func (r *jsonReader) ignore() error {
	_, err := r.Value()
	return err
}

func (r *jsonReader) value(v *[]byte) (err error) {
	*v, err = r.Value()
	return err
}

// str consumes a string; v is not nil after it.
func (r *jsonReader) str(v *[]byte) (err error) {
	*v, err = r.String()
	return err
}

func (r *jsonReader) uint32(v *uint32) error {
	n, err := r.Uint(math.MaxUint32)
	*v = uint32(n)
	return err
}

func (r *jsonReader) id() error {
	n, err := r.Uint(maxJSONID)
	if err == nil && n == 0 {
		err = errZeroID
	}
	r.p.ID = n
	return err
}

func (r *jsonReader) recovered() error {
	v, err := r.Value()
	if err != nil {
		return err
	}
	switch string(v) {
	case "true":
		r.p.Recovered = true
	case "false":
		r.p.Recovered = false
	default:
		return errNotBool
	}
	return nil
}

// setType finds the type when all members are known: a message, and a call if
// it has an id, where nothing is said.
func (r *jsonReader) setType() error {
	r.p.Type = typeNamed(r.typ)
	switch {
	case r.p.Type != 0:
		return nil
	case r.typ != nil:
		return errUnknownType
	case r.p.ID != 0:
		r.p.Type = wire.Call
	default:
		r.p.Type = wire.Message
	}
	return nil
}

// typeNamed returns the type of a name, zero where there is none.
func typeNamed(name []byte) wire.Type {
	switch string(name) {
	case "message":
		return wire.Message
	case "call":
		return wire.Call
	case "reply":
		return wire.Reply
	case "error":
		return wire.Error
	case "subscribe":
		return wire.Subscribe
	case "unsubscribe":
		return wire.Unsubscribe
	case "publish":
		return wire.Publish
	case "broadcast":
		return wire.Broadcast
	case "hello":
		return wire.Hello
	case "welcome":
		return wire.Welcome
	case "ping":
		return wire.Ping
	case "pong":
		return wire.Pong
	}
	return 0
}

func (r *jsonReader) header(key []byte) error {
	var v []byte
	if err := r.str(&v); err != nil {
		return err
	}
	return addHeader(r.p, key, v)
}

func (r *jsonReader) code(key []byte) error {
	var v uint32
	if err := r.uint32(&v); err != nil {
		return err
	}
	return addCode(r.p, key, v)
}

func (r *jsonReader) errorMember(key []byte) error {
	if string(key) == "details" {
		return r.value(&r.details.json)
	}
	if null, err := r.Null(); null || err != nil {
		return err
	}
	var s []byte
	switch string(key) {
	case "code":
		err := r.str(&s)
		r.p.Err.Code = string(s)
		return err
	case "message":
		err := r.str(&s)
		r.p.Err.Message = string(s)
		return err
	case "data":
		return r.str(&r.details.base64)
	case "contentType":
		return r.str(&r.details.contentType)
	}
	return r.ignore()
}

func (r *jsonReader) args() error {
	r.p.Args = r.p.Args[:0]
	if err := r.Open('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := r.More(']', first)
		if err != nil || !more {
			return err
		}
		if err := r.arg(); err != nil {
			return err
		}
	}
}

// arg consumes an object that has a payload as the envelope has one.
func (r *jsonReader) arg() error {
	if err := r.Open('{'); err != nil {
		return err
	}
	var a jsonArgument
	for first := true; ; first = false {
		more, err := r.More('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := r.argMember(&a); err != nil {
			return err
		}
	}
	payload, err := a.payload()
	if err != nil {
		return err
	}
	return addArg(r.p, payload)
}

func (r *jsonReader) argMember(a *jsonArgument) error {
	key, err := r.Key()
	if err != nil {
		return err
	}
	if string(key) == "payload" {
		return r.value(&a.json)
	}
	if null, err := r.Null(); null || err != nil {
		return err
	}
	switch string(key) {
	case "data":
		return r.str(&a.base64)
	case "contentType":
		return r.str(&a.contentType)
	}
	return r.ignore()
}

// payload says what the argument is.
func (a *jsonArgument) payload() (codec.Payload, error) {
	switch {
	case a.json != nil && a.base64 != nil:
		return codec.Payload{}, errTwoPayloads
	case a.json != nil:
		return codec.Payload{Type: codec.TypeJSON, Data: a.json}, nil
	case a.base64 == nil:
		return codec.Payload{}, nil
	}
	// Not in place: the frame's memory may be shared.
	data := make([]byte, base64.StdEncoding.DecodedLen(len(a.base64)))
	n, err := base64.StdEncoding.Strict().Decode(data, a.base64)
	if err != nil {
		return codec.Payload{}, errBase64
	}
	return codec.Payload{Type: content.Name(a.contentType), Data: data[:n]}, nil
}
