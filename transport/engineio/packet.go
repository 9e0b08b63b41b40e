// Package engineio is Engine.IO, versions 4 and 3, as a transport, for both
// sides: the layer below Socket.IO that begins with HTTP long-polling and goes
// over to a WebSocket where there is one. The protocol is described at
// https://socket.io/docs/v4/engine-io-protocol/.
package engineio

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// version is the protocol's version: what the EIO parameter of a request says.
type version uint8

const (
	v3 version = 3
	v4 version = 4
)

// kind is what a packet is: the digit that it begins with.
type kind byte

const (
	kindOpen    kind = '0'
	kindClose   kind = '1'
	kindPing    kind = '2'
	kindPong    kind = '3'
	kindMessage kind = '4'
	kindUpgrade kind = '5'
	kindNoop    kind = '6'
)

// probe is the data of the ping and the pong that try a transport out.
const probe = "probe"

// packet is one packet. data refers to what it was decoded from.
type packet struct {
	kind   kind
	binary bool
	data   []byte
}

var (
	// errParse is what everything is that cannot be decoded.
	errParse = errors.New("engineio: malformed packet")
	// errNotText is the errParse of text that is not UTF-8.
	errNotText = fmt.Errorf("%w: text is not UTF-8", errParse)
)

// malformed returns an errParse that says what is wrong.
func malformed(what string) error { return fmt.Errorf("%w: %s", errParse, what) }

// openPacket is the data of the first packet of a session: exactly these keys.
// The times are in milliseconds. Servers before engine.io 6.2 say no maxPayload.
type openPacket struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"` // never nil: null is not a list
	PingInterval int64    `json:"pingInterval"`
	PingTimeout  int64    `json:"pingTimeout"`
	MaxPayload   int64    `json:"maxPayload"`
}

// decodeText decodes a packet in text form: a text frame of a WebSocket, a
// packet of a text payload. Base64 is decoded where it stands: text is changed.
func decodeText(v version, text []byte) (packet, error) {
	switch {
	case len(text) == 0:
		return packet{}, malformed("empty")
	case isKind(text[0]):
		return packet{kind: kind(text[0]), data: text[1:]}, nil
	case text[0] != 'b':
		return packet{}, malformed("unknown type")
	}
	p := packet{kind: kindMessage, binary: true}
	text = text[1:]
	if v == v3 {
		if len(text) == 0 || !isKind(text[0]) {
			return packet{}, malformed("unknown type of binary data")
		}
		p.kind = kind(text[0])
		text = text[1:]
	}
	var err error
	p.data, err = decodeBase64(text)
	return p, err
}

// decodeBinary decodes a packet in binary form: a binary frame of a WebSocket,
// a binary entry of a payload of version 3.
func decodeBinary(v version, data []byte) (packet, error) {
	if v != v3 {
		return packet{kind: kindMessage, binary: true, data: data}, nil
	}
	if len(data) == 0 || !isKind(data[0]+'0') {
		return packet{}, malformed("unknown type of binary data")
	}
	return packet{kind: kind(data[0] + '0'), binary: true, data: data[1:]}, nil
}

func isKind(b byte) bool { return b >= byte(kindOpen) && b <= byte(kindNoop) }

// decodeBase64 decodes text where it stands. Peers use both alphabets, and not
// all of them pad.
func decodeBase64(text []byte) ([]byte, error) {
	for i := 0; i < 2 && len(text) > 0 && text[len(text)-1] == '='; i++ {
		text = text[:len(text)-1]
	}
	for i, c := range text {
		switch c {
		case '-':
			text[i] = '+'
		case '_':
			text[i] = '/'
		case '\r', '\n': // which the decoder would skip
			return nil, malformed("bad base64")
		}
	}
	// The decoder writes three bytes for four that it has read.
	n, err := base64.RawStdEncoding.Decode(text, text)
	if err != nil {
		return nil, malformed("bad base64")
	}
	return text[:n:n], nil
}
