package drs

import (
	"fmt"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/msgscan"
)

// msgpackWords are commands in MessagePack: the same members in a map.
type msgpackWords struct{}

// readMsgpack reads a command, by the rules of readJSON.
func readMsgpack(data []byte, c *command) error {
	r := msgscan.Reader{Data: data}
	h, err := r.Head()
	if err != nil {
		return err
	}
	if h.Kind != msgscan.Map {
		return errNoCommand
	}
	for range h.N {
		key, err := r.Value()
		if err != nil {
			return err
		}
		value, err := r.Value()
		if err != nil {
			return err
		}
		name, _ := msgscan.Text(key)
		switch string(name) {
		case "key":
			c.key, err = msgpackText(value, errKey)
		case "action":
			c.action, err = msgpackText(value, errAction)
		case "body":
			c.body = value
		}
		if err != nil {
			return err
		}
	}
	if len(c.action) == 0 {
		return errNoAction
	}
	return r.End()
}

// msgpackText returns what a string or nil says; wrong is the error of anything else.
func msgpackText(value []byte, wrong error) ([]byte, error) {
	text, ok := msgscan.Text(value)
	if !ok && !msgscan.Is(value, msgscan.Nil) {
		return nil, wrong
	}
	return text, nil
}

// fields reads a body, which is valid.
func (msgpackWords) fields(body []byte) (f fields, ok bool) {
	r := msgscan.Reader{Data: body}
	h, err := r.Head()
	if err != nil || h.Kind != msgscan.Map {
		return f, false
	}
	for range h.N {
		key, err := r.Value()
		if err != nil {
			return f, false
		}
		value, err := r.Value()
		if err != nil {
			return f, false
		}
		name, _ := msgscan.Text(key)
		text, _ := msgscan.Text(value)
		f.set(name, text, value)
	}
	return f, true
}

func (msgpackWords) payload(value []byte) codec.Payload {
	if value == nil {
		return codec.Payload{}
	}
	if data, ok := msgscan.Bytes(value, msgscan.Bin); ok {
		return codec.Payload{Type: codec.TypeBytes, Data: data}
	}
	return codec.Payload{Type: codec.TypeMsgpack, Data: value}
}

// appendMsgpack appends a command. The action comes last: what ends in UTF-8
// cannot end like the transport's mark of the stream's end.
func appendMsgpack(b []byte, y *saying, k *keys) (_ []byte, err error) {
	var room [64]byte
	members, key := 1, append(room[:0], y.key...)
	if y.fresh {
		key = k.next(key[:0], y.id)
	}
	if len(key) > 0 {
		members++
	}
	body := y.time || y.failure != nil || y.inside.there || !y.payload.Empty()
	if body {
		members++
	}
	b = msgscan.AppendMapHeader(b, members)
	if len(key) > 0 {
		b = msgscan.AppendStr(msgscan.AppendStr(b, "key"), key)
	}
	if body {
		b = msgscan.AppendStr(b, "body")
	}
	switch {
	case y.time:
		b = msgscan.AppendUint(b, uint64(max(0, time.Now().UnixMilli())))
	case y.failure != nil:
		b = appendMsgpackFailure(b, y)
	case y.inside.there:
		b, err = appendMsgpackRoom(b, y)
	case body:
		b, err = appendMsgpackValue(b, y.payload)
	}
	return msgscan.AppendStr(msgscan.AppendStr(b, "action"), y.action), err
}

// appendMsgpackValue appends a payload, which is checked as in JSON.
func appendMsgpackValue(b []byte, p codec.Payload) ([]byte, error) {
	switch p.Type {
	case codec.TypeBytes:
		return msgscan.AppendBin(b, p.Data), nil
	case codec.TypeMsgpack:
	default:
		return b, errContent
	}
	if _, err := msgscan.Valid(p.Data); err != nil {
		return b, fmt.Errorf("payload is not MessagePack: %w", err)
	}
	return append(b, p.Data...), nil
}

// appendMsgpackFailure is appendJSONFailure in MessagePack.
func appendMsgpackFailure(b []byte, y *saying) []byte {
	message, code := spoken(y.failure)
	members := 1
	if y.action == actionError {
		members++
		if code != "" {
			members++
		}
	}
	details := y.failure.Details
	told := y.action == actionError && details.Type == codec.TypeBytes
	if y.action == actionError && details.Type == codec.TypeMsgpack {
		_, err := msgscan.Valid(details.Data)
		told = err == nil
	}
	if told {
		members++
	}
	b = msgscan.AppendMapHeader(b, members)
	b = msgscan.AppendStr(msgscan.AppendStr(b, "message"), message)
	if y.action == actionException {
		return b
	}
	b = msgscan.AppendStr(msgscan.AppendStr(b, "kind"), "error")
	if code != "" {
		b = msgscan.AppendStr(msgscan.AppendStr(b, "code"), code)
	}
	if told {
		b, _ = appendMsgpackValue(msgscan.AppendStr(b, "details"), details) // was looked at
	}
	return b
}

func appendMsgpackRoom(b []byte, y *saying) (_ []byte, err error) {
	members := 0
	for _, there := range []bool{y.inside.room != "", y.inside.action != "", !y.payload.Empty()} {
		if there {
			members++
		}
	}
	b = msgscan.AppendMapHeader(b, members)
	if y.inside.room != "" {
		b = msgscan.AppendStr(msgscan.AppendStr(b, "room"), y.inside.room)
	}
	if y.inside.action != "" {
		b = msgscan.AppendStr(msgscan.AppendStr(b, "action"), y.inside.action)
	}
	if !y.payload.Empty() {
		b, err = appendMsgpackValue(msgscan.AppendStr(b, "body"), y.payload)
	}
	return b, err
}
