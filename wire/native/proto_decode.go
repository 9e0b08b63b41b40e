package native

import (
	"errors"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/content"
	"github.com/polywire/polywire/wire"
)

// Field numbers of polywire.v1.Envelope.
const (
	fieldType        = 1
	fieldID          = 2
	fieldKind        = 3
	fieldCode        = 4
	fieldPayload     = 5
	fieldContent     = 6
	fieldContentType = 7
	fieldHeaders     = 8
	fieldRoom        = 9
	fieldError       = 10
	fieldKey         = 11
	fieldCodes       = 12
	fieldArgs        = 13
	fieldOffset      = 14
	fieldRecovered   = 15
)

var errContent = errors.New("unknown content")

// protoFields are the fields of an envelope that are put into the packet when
// all have been read: the last occurrence counts.
type protoFields struct {
	typ, recovered          uint64
	kind, room, key, offset []byte
	payload                 argument
	details                 argument // of the error
}

// argument is a payload as both forms carry it.
type argument struct {
	data        []byte
	content     uint64
	contentType []byte
}

// decodeProto reads an envelope. kind makes strings of routing names.
func decodeProto(data []byte, kind func([]byte) string, p *wire.Packet) error {
	var f protoFields
	r := protoReader(data)
	for len(r) > 0 {
		num, wireType, err := r.tag()
		if err != nil {
			return err
		}
		if err := f.read(&r, num, wireType, p); err != nil {
			return inField(num, err)
		}
	}
	if f.typ > uint64(wire.Pong-wire.Message) {
		return inField(fieldType, errUnknownType)
	}
	p.Type = wire.Type(f.typ) + wire.Message
	if len(f.kind) > 0 {
		p.Kind = kind(f.kind)
	}
	p.Room, p.Key = string(f.room), string(f.key)
	p.Position, p.Recovered = string(f.offset), f.recovered != 0
	var err error
	if p.Payload, err = f.payload.payload(); err != nil {
		return inField(fieldContent, err)
	}
	if p.Err != nil {
		if p.Err.Details, err = f.details.payload(); err != nil {
			return inField(fieldError, err)
		}
	}
	return finish(p)
}

// read consumes one field.
func (f *protoFields) read(r *protoReader, num uint32, wireType uint8, p *wire.Packet) error {
	switch num {
	case fieldType:
		return r.uint64(wireType, &f.typ)
	case fieldID:
		return r.uint64(wireType, &p.ID)
	case fieldKind:
		return r.str(wireType, &f.kind)
	case fieldCode:
		return r.uint32(wireType, &p.Code)
	case fieldPayload:
		return r.bytes(wireType, &f.payload.data)
	case fieldContent:
		return r.uint64(wireType, &f.payload.content)
	case fieldContentType:
		return r.str(wireType, &f.payload.contentType)
	case fieldHeaders:
		return readHeader(r, wireType, p)
	case fieldRoom:
		return r.str(wireType, &f.room)
	case fieldError:
		return f.readError(r, wireType, p)
	case fieldKey:
		return r.str(wireType, &f.key)
	case fieldCodes:
		return readCode(r, wireType, p)
	case fieldArgs:
		return readArg(r, wireType, p)
	case fieldOffset:
		return r.str(wireType, &f.offset)
	case fieldRecovered:
		return r.uint64(wireType, &f.recovered)
	}
	return r.skip(wireType)
}

// readHeader consumes an entry of the map, whose fields are 1 and 2.
func readHeader(r *protoReader, wireType uint8, p *wire.Packet) error {
	var entry, key, value []byte
	if err := r.bytes(wireType, &entry); err != nil {
		return err
	}
	for e := protoReader(entry); len(e) > 0; {
		num, wireType, err := e.tag()
		if err != nil {
			return err
		}
		switch num {
		case 1:
			err = e.str(wireType, &key)
		case 2:
			err = e.str(wireType, &value)
		default:
			err = e.skip(wireType)
		}
		if err != nil {
			return err
		}
	}
	return addHeader(p, key, value)
}

func addHeader(p *wire.Packet, key, value []byte) error {
	if p.Header == nil {
		p.Header = make(map[string]string)
	}
	p.Header[string(key)] = string(value)
	if len(p.Header) > MaxHeaders {
		return errManyHeaders
	}
	return nil
}

func readCode(r *protoReader, wireType uint8, p *wire.Packet) error {
	var entry, key []byte
	var value uint32
	if err := r.bytes(wireType, &entry); err != nil {
		return err
	}
	for e := protoReader(entry); len(e) > 0; {
		num, wireType, err := e.tag()
		if err != nil {
			return err
		}
		switch num {
		case 1:
			err = e.str(wireType, &key)
		case 2:
			err = e.uint32(wireType, &value)
		default:
			err = e.skip(wireType)
		}
		if err != nil {
			return err
		}
	}
	return addCode(p, key, value)
}

func addCode(p *wire.Packet, key []byte, value uint32) error {
	if p.Codes == nil {
		p.Codes = make(map[string]uint32)
	}
	p.Codes[string(key)] = value
	if len(p.Codes) > MaxCodes {
		return errManyCodes
	}
	return nil
}

func readArg(r *protoReader, wireType uint8, p *wire.Packet) error {
	var a argument
	if err := a.read(r, wireType); err != nil {
		return err
	}
	payload, err := a.payload()
	if err != nil {
		return err
	}
	return addArg(p, payload)
}

func addArg(p *wire.Packet, payload codec.Payload) error {
	if len(p.Args) == MaxArgs {
		return errManyArgs
	}
	p.Args = append(p.Args, payload)
	return nil
}

// readError consumes an error; one that comes twice is merged, as protobuf has it.
func (f *protoFields) readError(r *protoReader, wireType uint8, p *wire.Packet) error {
	var data, code, message []byte
	if err := r.bytes(wireType, &data); err != nil {
		return err
	}
	if p.Err == nil {
		p.Err = new(wire.ErrorBody)
	}
	for e := protoReader(data); len(e) > 0; {
		num, wireType, err := e.tag()
		if err != nil {
			return err
		}
		switch num {
		case 1:
			err = e.str(wireType, &code)
		case 2:
			err = e.str(wireType, &message)
		case 3:
			err = f.details.read(&e, wireType)
		default:
			err = e.skip(wireType)
		}
		if err != nil {
			return err
		}
	}
	if code != nil {
		p.Err.Code = string(code)
	}
	if message != nil {
		p.Err.Message = string(message)
	}
	return nil
}

// read consumes an Argument message and merges it into a.
func (a *argument) read(r *protoReader, wireType uint8) error {
	var data []byte
	if err := r.bytes(wireType, &data); err != nil {
		return err
	}
	for e := protoReader(data); len(e) > 0; {
		num, wireType, err := e.tag()
		if err != nil {
			return err
		}
		switch num {
		case 1:
			err = e.bytes(wireType, &a.data)
		case 2:
			err = e.uint64(wireType, &a.content)
		case 3:
			err = e.str(wireType, &a.contentType)
		default:
			err = e.skip(wireType)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// payload says what the argument is.
func (a *argument) payload() (codec.Payload, error) {
	p, known := content.Payload(a.content, a.contentType, a.data)
	if !known {
		return codec.Payload{}, errContent
	}
	return p, nil
}
