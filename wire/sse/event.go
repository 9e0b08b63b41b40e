package sse

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/wire"
)

// closeKind is the event that says why the server ends the stream.
const closeKind = "$close"

var (
	errNoKind   = errors.New("a message without a kind")
	errReserved = errors.New("the kinds " + closeKind + " and " + recoveredKind + " are reserved")
	errLines    = errors.New("a line break or NUL in a field of one line")
	errNotUTF8  = errors.New("text is not UTF-8")
)

// appendEvent appends the lines of a message's event, without the empty one
// that ends it. Nothing in p and id can end a line but those of this function.
func appendEvent(b []byte, p *wire.Packet, id string) ([]byte, error) {
	switch p.Kind {
	case "":
		return b, errNoKind
	case closeKind, recoveredKind:
		return b, errReserved
	}
	b, err := appendField(b, "event: ", p.Kind)
	if err == nil && id != "" {
		b, err = appendField(b, "id: ", id)
	}
	if err == nil && p.Room != "" {
		if !utf8.ValidString(p.Room) {
			return b, errNotUTF8
		}
		b = append(jsonscan.AppendString(append(b, "room: "...), p.Room), '\n')
	}
	if err == nil && len(p.Header) > 0 {
		b, err = appendHeaders(b, p.Header)
	}
	if err != nil {
		return b, err
	}
	return appendData(b, p.Payload)
}

// appendField appends a field whose value is on one line.
func appendField(b []byte, name, value string) ([]byte, error) {
	switch {
	case strings.ContainsAny(value, "\r\n\x00"):
		return b, errLines
	case !utf8.ValidString(value):
		return b, errNotUTF8
	}
	return append(append(append(b, name...), value...), '\n'), nil
}

// appendHeaders appends an object in the order of its keys, since equal
// packets are equal bytes.
func appendHeaders(b []byte, header map[string]string) ([]byte, error) {
	b = append(b, "headers: "...)
	sep := byte('{')
	for _, k := range slices.Sorted(maps.Keys(header)) {
		v := header[k]
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return b, errNotUTF8
		}
		b = jsonscan.AppendString(append(b, sep), k)
		b = jsonscan.AppendString(append(b, ':'), v)
		sep = ','
	}
	return append(b, '}', '\n'), nil
}

// appendData appends a payload: JSON as it is, anything else as a JSON string
// of its base64 with its content type in front.
func appendData(b []byte, p codec.Payload) ([]byte, error) {
	switch {
	case p.Empty():
		return append(b, "data:\n"...), nil
	case p.Type == codec.TypeJSON:
		if err := jsonscan.Valid(p.Data); err != nil {
			return b, fmt.Errorf("payload is not JSON: %w", err)
		}
		return appendLines(b, p.Data), nil
	}
	contentType := p.Type
	if contentType == "" {
		contentType = codec.TypeBytes
	}
	b, err := appendField(b, "type: ", contentType)
	if err != nil {
		return b, err
	}
	b = append(b, `data: "`...)
	b = base64.StdEncoding.AppendEncode(b, p.Data)
	return append(b, '"', '\n'), nil
}

// appendLines appends a data field for each line of text. Receivers put them
// together with LF, whichever line ends there were: to JSON it is all the same.
func appendLines(b, text []byte) []byte {
	for {
		end := len(text)
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			end = i
		}
		if i := bytes.IndexByte(text[:end], '\r'); i >= 0 {
			end = i
		}
		b = append(append(append(b, "data: "...), text[:end]...), '\n')
		if end == len(text) {
			return b
		}
		if text[end] == '\r' && end+1 < len(text) && text[end+1] == '\n' {
			end++
		}
		text = text[end+1:]
	}
}

// appendClose appends the event of an end, without the empty line.
func appendClose(b []byte, code uint16, reason string) []byte {
	b = append(b, "event: "+closeKind+"\ndata: {\"code\":"...)
	b = strconv.AppendUint(b, uint64(code), 10)
	b = append(b, `,"reason":`...)
	b = jsonscan.AppendString(b, strings.ToValidUTF8(reason, "\ufffd"))
	return append(b, '}', '\n')
}

// event is what the lines of one event say. Its slices are in those lines
// where that is possible.
type event struct {
	kind, room, headers, contentType []byte
	id                               []byte
	hasID                            bool
	data                             []byte
	lines                            int // of data
}

// parseEvent reads the lines of an event (WHATWG HTML, section 9.2.6). Fields
// that it does not know are none.
func parseEvent(text []byte) event {
	var e event
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.kind = value
		case "data":
			e.addData(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				e.id, e.hasID = value, true
			}
		case "room":
			e.room = value
		case "headers":
			e.headers = value
		case "type":
			e.contentType = value
		}
	}
	return e
}

// addData puts a further line behind those before.
func (e *event) addData(line []byte) {
	switch e.lines++; e.lines {
	case 1:
		e.data = line
		return
	case 2:
		e.data = append(make([]byte, 0, 2*(len(e.data)+len(line))+1), e.data...)
	}
	e.data = append(append(e.data, '\n'), line...)
}

// cutLine returns the first line without its end, and what is behind it.
func cutLine(text []byte) (line, rest []byte) {
	i := lineEnd(text)
	if i < 0 {
		return text, nil
	}
	line, rest = text[:i], text[i+1:]
	if text[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	return line, rest
}

// lineEnd returns where the first CR or LF is, -1 if there is none.
func lineEnd(b []byte) int {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return bytes.IndexByte(b, '\r')
	}
	if j := bytes.IndexByte(b[:i], '\r'); j >= 0 {
		return j
	}
	return i
}
