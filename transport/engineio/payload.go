package engineio

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/polywire/polywire/transport"
)

const (
	// maxDigits bounds the length of a packet in payloads of version 3. No
	// payload is as long as the number that it can say.
	maxDigits = 10

	// The marks of entries in binary payloads of version 3.
	entryText   = 0x00
	entryBinary = 0x01
	entryLength = 0xff // after the digits
)

// decodePayload calls each for the packets of a poll's body, in order, until
// one is malformed or each fails: the packets before that have been delivered.
// octets says that the body's type is application/octet-stream, which exists
// in version 3 only. The body is changed: see decodeText.
func decodePayload(v version, octets bool, body []byte, each func(packet) error) error {
	switch {
	case len(body) == 0:
		return malformed("empty payload")
	case octets && v != v3:
		return malformed("binary payload")
	case octets:
		return decodeEntries(body, each)
	case v == v3:
		return decodeLengths(body, each)
	}
	for more := true; more; {
		var text []byte
		text, body, more = bytes.Cut(body, []byte{separator})
		if err := deliverText(v, text, each); err != nil {
			return err
		}
	}
	return nil
}

// deliverText gives each the packet that a part of a text payload is.
func deliverText(v version, text []byte, each func(packet) error) error {
	if !utf8.Valid(text) {
		return errNotText
	}
	p, err := decodeText(v, slices.Clip(text))
	if err != nil {
		return err
	}
	return each(p)
}

// decodeLengths decodes a text payload of version 3: packets with their length
// in UTF-16 code units before them.
func decodeLengths(body []byte, each func(packet) error) error {
	for len(body) > 0 {
		units, digits := int64(0), 0
		for digits < len(body) && digits <= maxDigits && body[digits] >= '0' && body[digits] <= '9' {
			units = units*10 + int64(body[digits]-'0')
			digits++
		}
		if digits == 0 || digits > maxDigits || digits == len(body) || body[digits] != ':' {
			return malformed("bad length")
		}
		body = body[digits+1:]
		size, ok := unitsBytes(body, units)
		if !ok {
			return malformed("packet shorter than its length")
		}
		text := body[:size]
		body = body[size:]
		if size == 0 {
			continue // what an encoder makes of no packets at all
		}
		if err := deliverText(v3, text, each); err != nil {
			return err
		}
	}
	return nil
}

// unitsBytes returns how many bytes of UTF-8 are a number of UTF-16 units.
func unitsBytes(text []byte, units int64) (size int, ok bool) {
	if units > int64(len(text)) { // no unit is less than a byte
		return 0, false
	}
	for units > 0 {
		if size >= len(text) {
			return 0, false
		}
		if text[size] < utf8.RuneSelf {
			size++
			units--
			continue
		}
		r, n := utf8.DecodeRune(text[size:])
		size += n
		units -= unitsOf(r)
	}
	return size, units == 0
}

// unitsOf returns how many UTF-16 units a character is.
func unitsOf(r rune) int64 {
	if r >= 1<<16 {
		return 2
	}
	return 1
}

// decodeEntries decodes a binary payload of version 3: each entry is a mark,
// the digits of its length as numbers, 0xff, and the packet.
func decodeEntries(body []byte, each func(packet) error) error {
	for len(body) > 0 {
		mark := body[0]
		if mark != entryText && mark != entryBinary {
			return malformed("unknown entry")
		}
		body = body[1:]
		length, digits := uint64(0), 0
		for digits < len(body) && digits <= maxDigits && body[digits] <= 9 {
			length = length*10 + uint64(body[digits])
			digits++
		}
		if digits == 0 || digits > maxDigits || digits == len(body) || body[digits] != entryLength {
			return malformed("bad length")
		}
		body = body[digits+1:]
		if length > uint64(len(body)) {
			return malformed("packet shorter than its length")
		}
		data := body[:length:length]
		body = body[length:]
		if mark == entryText {
			if err := deliverText(v3, data, each); err != nil {
				return err
			}
			continue
		}
		p, err := decodeBinary(v3, data)
		if err != nil {
			return err
		}
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// encodePayload appends the payload for neutral bytes: the body of a poll's
// answer, or of a POST. With noBinary, binary data is base64 in version 3 too,
// as it always is in version 4. A close frame becomes a close packet. octets
// says that the body is binary: application/octet-stream.
func encodePayload(dst []byte, v version, noBinary bool, neutral []byte) (body []byte, octets bool, err error) {
	if v == v3 && !noBinary {
		err = eachFrame(neutral, func(t transport.FrameType, _ []byte) error {
			octets = octets || t == transport.Binary
			return nil
		})
		if err != nil {
			return nil, false, err
		}
	}
	start := len(dst)
	err = eachFrame(neutral, func(t transport.FrameType, payload []byte) error {
		switch {
		case octets:
			dst = appendEntry(dst, t, payload)
		case v == v3:
			dst = appendLengthed(dst, t, payload)
		default:
			if len(dst) > start {
				dst = append(dst, separator)
			}
			dst = appendText(dst, v, t, payload)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return dst, octets, nil
}

// appendText appends the text form of a packet, given as in a neutral frame.
func appendText(dst []byte, v version, t transport.FrameType, payload []byte) []byte {
	switch t {
	case transport.Close:
		return append(dst, byte(kindClose))
	case transport.Binary:
		dst = append(dst, 'b')
		if v == v3 && len(payload) > 0 {
			dst = append(dst, payload[0]+'0')
			payload = payload[1:]
		}
		return base64.StdEncoding.AppendEncode(dst, payload)
	}
	return append(dst, payload...)
}

// appendLengthed appends an entry of a text payload of version 3.
func appendLengthed(dst []byte, t transport.FrameType, payload []byte) []byte {
	units := int64(0)
	switch t {
	case transport.Close:
		units = 1
	case transport.Binary:
		units = 2 + int64(base64.StdEncoding.EncodedLen(max(len(payload)-1, 0)))
	default:
		for _, r := range string(payload) {
			units += unitsOf(r)
		}
	}
	dst = strconv.AppendInt(dst, units, 10)
	dst = append(dst, ':')
	return appendText(dst, v3, t, payload)
}

// appendEntry appends an entry of a binary payload of version 3.
func appendEntry(dst []byte, t transport.FrameType, payload []byte) []byte {
	mark := byte(entryText)
	switch t {
	case transport.Binary:
		mark = entryBinary
	case transport.Close:
		payload = []byte{byte(kindClose)}
	}
	start := len(dst) + 1
	dst = append(dst, mark)
	dst = strconv.AppendInt(dst, int64(len(payload)), 10)
	for i := start; i < len(dst); i++ {
		dst[i] -= '0'
	}
	dst = append(dst, entryLength)
	return append(dst, payload...)
}
