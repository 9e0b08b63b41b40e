package drs

import (
	"fmt"
	"strconv"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/wire"
)

// jsonWords are commands in JSON.
type jsonWords struct{}

// readJSON reads a command; its parts refer to data, unless they have escapes.
// Of equal names the last counts, unknown ones are ignored, and null is as good
// as absent, where it is not a body.
func readJSON(data []byte, c *command) error {
	sc := jsonscan.Scanner{Data: data}
	if err := sc.Open('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := sc.More('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		name, err := sc.Key()
		if err != nil {
			return err
		}
		switch string(name) {
		case "key":
			c.key, err = jsonText(&sc, errKey)
		case "action":
			c.action, err = jsonText(&sc, errAction)
		case "body":
			c.body, err = sc.Value()
		default:
			_, err = sc.Value()
		}
		if err != nil {
			return err
		}
	}
	if len(c.action) == 0 {
		return errNoAction
	}
	return sc.End()
}

// jsonText reads a string or null; wrong is the error of anything else.
func jsonText(sc *jsonscan.Scanner, wrong error) ([]byte, error) {
	if sc.Peek() == '"' {
		return sc.String()
	}
	if null, err := sc.Null(); null || err != nil {
		return nil, err
	}
	return nil, wrong
}

// fields reads a body, which is valid.
func (jsonWords) fields(body []byte) (f fields, ok bool) {
	sc := jsonscan.Scanner{Data: body}
	if sc.Open('{') != nil {
		return f, false
	}
	for first := true; ; first = false {
		if more, err := sc.More('}', first); err != nil || !more {
			return f, err == nil
		}
		name, err := sc.Key()
		if err != nil {
			return f, false
		}
		var text, value []byte
		if sc.Peek() == '"' && string(name) != "body" && string(name) != "details" {
			text, err = sc.String()
		} else {
			value, err = sc.Value()
		}
		if err != nil {
			return f, false
		}
		f.set(name, text, value)
	}
}

// set notes a member, with what it says if it is a string.
func (f *fields) set(name, text, value []byte) {
	switch string(name) {
	case "message":
		f.message = text
	case "code":
		f.code = text
	case "room":
		f.room = text
	case "action":
		f.action = text
	case "details":
		f.details = value
	case "body":
		f.body = value
	}
}

func (jsonWords) payload(value []byte) codec.Payload {
	if value == nil {
		return codec.Payload{}
	}
	return codec.Payload{Type: codec.TypeJSON, Data: value}
}

// appendJSONReply appends what appendJSON would of an answer that has come of
// a handler.
func appendJSONReply(b []byte, p *wire.Packet) ([]byte, error) {
	b = append(b, '{')
	if p.Key != "" {
		b = jsonscan.AppendString(append(b, `"key":`...), p.Key)
		b = append(b, ',')
	}
	b = append(b, `"action":"`+actionResponse+`"`...)
	var err error
	if !p.Payload.Empty() {
		b, err = appendJSONValue(append(b, `,"body":`...), p.Payload)
	}
	return append(b, '}'), err
}

// appendJSON appends a command.
func appendJSON(b []byte, y *saying, k *keys) ([]byte, error) {
	b = append(b, '{')
	switch {
	case y.fresh:
		var room [64]byte
		b = jsonscan.AppendString(append(b, `"key":`...), k.next(room[:0], y.id))
		b = append(b, ',')
	case y.key != "":
		b = jsonscan.AppendString(append(b, `"key":`...), y.key)
		b = append(b, ',')
	}
	b = append(b, `"action":`...)
	if y.action == actionResponse {
		b = append(b, `"`+actionResponse+`"`...)
	} else {
		b = jsonscan.AppendString(b, y.action)
	}
	var err error
	switch {
	case y.time:
		b = strconv.AppendInt(append(b, `,"body":`...), time.Now().UnixMilli(), 10)
	case y.failure != nil:
		b = appendJSONFailure(append(b, `,"body":`...), y)
	case y.inside.there:
		b, err = appendJSONRoom(append(b, `,"body":`...), y)
	case !y.payload.Empty():
		b, err = appendJSONValue(append(b, `,"body":`...), y.payload)
	}
	return append(b, '}'), err
}

// appendJSONValue appends a payload, which is checked: it may come from a peer,
// and must not break out of the command.
func appendJSONValue(b []byte, p codec.Payload) ([]byte, error) {
	if p.Type != codec.TypeJSON {
		return b, errContent
	}
	if err := jsonscan.Valid(p.Data); err != nil {
		return b, fmt.Errorf("payload is not JSON: %w", err)
	}
	return append(b, p.Data...), nil
}

// appendJSONFailure appends the body of an answer that is none. Details that
// are not JSON are left out.
func appendJSONFailure(b []byte, y *saying) []byte {
	message, code := spoken(y.failure)
	b = jsonscan.AppendString(append(b, `{"message":`...), message)
	if y.action == actionException {
		return append(b, '}')
	}
	b = append(b, `,"kind":"error"`...)
	if code != "" {
		b = jsonscan.AppendString(append(b, `,"code":`...), code)
	}
	if d := y.failure.Details; !d.Empty() && d.Type == codec.TypeJSON && jsonscan.Valid(d.Data) == nil {
		b = append(append(b, `,"details":`...), d.Data...)
	}
	return append(b, '}')
}

func appendJSONRoom(b []byte, y *saying) (_ []byte, err error) {
	b = append(b, '{')
	if y.inside.room != "" {
		b = jsonscan.AppendString(append(b, `"room":`...), y.inside.room)
	}
	if y.inside.action != "" {
		if y.inside.room != "" {
			b = append(b, ',')
		}
		b = jsonscan.AppendString(append(b, `"action":`...), y.inside.action)
		if !y.payload.Empty() {
			b, err = appendJSONValue(append(b, `,"body":`...), y.payload)
		}
	}
	return append(b, '}'), err
}
