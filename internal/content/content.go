// Package content has the numbers by which messages of polywire.v1 say what a
// payload is, for each wire that carries such messages.
package content

import "github.com/polywire/polywire/codec"

// Values of polywire.v1.Content.
const (
	None     = 0
	JSON     = 1
	Protobuf = 2
	Msgpack  = 3
	Bytes    = 4
	Other    = 5 // and a field with its name
)

// Of returns the number of a payload's type.
func Of(p codec.Payload) uint64 {
	switch p.Type {
	case "":
		if len(p.Data) == 0 {
			return None
		}
		return Bytes
	case codec.TypeJSON:
		return JSON
	case codec.TypeProtobuf:
		return Protobuf
	case codec.TypeMsgpack:
		return Msgpack
	case codec.TypeBytes:
		return Bytes
	}
	return Other
}

// Payload returns what data is by its number, and by its name when that is
// Other; false, and bytes, for numbers that nobody knows. Content is said beside
// the data, so that a message without fields, which protobuf encodes as no
// bytes, is a payload.
func Payload(number uint64, name, data []byte) (p codec.Payload, known bool) {
	p = codec.Payload{Type: codec.TypeBytes, Data: data}
	switch number {
	case None:
		if len(data) == 0 {
			return codec.Payload{}, true
		}
	case JSON:
		p.Type = codec.TypeJSON
	case Protobuf:
		p.Type = codec.TypeProtobuf
	case Msgpack:
		p.Type = codec.TypeMsgpack
	case Bytes:
	case Other:
		p.Type = Name(name)
	default:
		return p, false
	}
	return p, true
}

// Name returns a content type as a string, without allocating for the usual
// ones. No type at all is bytes.
func Name(b []byte) string {
	switch string(b) {
	case "", codec.TypeBytes:
		return codec.TypeBytes
	case codec.TypeJSON:
		return codec.TypeJSON
	case codec.TypeProtobuf:
		return codec.TypeProtobuf
	case codec.TypeMsgpack:
		return codec.TypeMsgpack
	}
	return string(b)
}
