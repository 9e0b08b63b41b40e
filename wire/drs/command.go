package drs

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// What DRS says of itself.
const (
	actionResponse  = "drs.response"
	actionError     = "drs.error"
	actionException = "drs.exception"
	actionPing      = "drs.ping"

	// noHandler is what an exception says of an action that nobody handles.
	noHandler = "No handlers for this action"
)

// What Polywire's peers may say besides.
const (
	actionSubscribe   = "drs.subscribe"
	actionUnsubscribe = "drs.unsubscribe"
	actionPublish     = "drs.publish"
	actionBroadcast   = "drs.broadcast"
)

// Codes of received failures that carry none, but for the core's own.
const (
	codeError     = "drs_error"
	codeException = "internal"
	codeNotFound  = "not_found"
)

// What is wrong with a command.
var (
	errNoAction  = errors.New("no action")
	errAction    = errors.New("the action is not a string")
	errKey       = errors.New("the key is not a string")
	errNoCommand = errors.New("not a command")
	errNoID      = errors.New("no id")
	errNoRoom    = errors.New("no room")
	errNotUTF8   = errors.New("not UTF-8")
	errTextUTF8  = errors.New("text is not UTF-8")
	errArguments = errors.New("several arguments")
	errNoError   = errors.New("no error in it")
	errWords     = errors.New("this wire has no words for it")
	errContent   = errors.New("a payload of another content type")
	errNumeric   = errors.New("a numeric code in place of a kind")
)

// malformed is the end of a link whose other side sent something wrong. What
// it says never quotes the frame, so it is short.
func malformed(what error) error {
	return &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "malformed command: " + what.Error()}
}

// unsayable is a packet that this wire has no words for.
func unsayable(t wire.Type, why error) error {
	return fmt.Errorf("drs: %s cannot be sent: %w", t, why)
}

// command is one on the wire. Key and action are what they say, the body is a
// value of the encoding; nil where there is none.
type command struct {
	key, action, body []byte
}

// fields are the members of a body that mean something in reserved actions.
type fields struct {
	message, code, room, action []byte // what they say; nil where they are no strings
	details, body               []byte // values
}

// words is what encodings differ in, but for the reading of whole commands.
type words interface {
	// fields returns the members of a body, and false when it has none.
	fields(body []byte) (fields, bool)
	// payload is a value as the core takes it. Nil is none.
	payload(value []byte) codec.Payload
}

// packet makes a packet of a command, and returns false where it means nothing
// to the core.
func (s *session) packet(c *command, w words, p *wire.Packet) (bool, error) {
	if bytes.HasPrefix(c.action, []byte("drs.")) {
		if done, ok, err := s.reserved(c, w, p); done {
			return ok, err
		}
	}
	p.Type, p.Kind = wire.Call, s.host.Kind(c.action)
	p.Payload = w.payload(c.body)
	s.number(c, p)
	return true, nil
}

// number gives a command the number that the core tells calls by: keys need
// not be there, nor be different.
func (s *session) number(c *command, p *wire.Packet) {
	s.last++
	p.ID, p.Key = s.last, s.kept.Of(c.key)
}

// reserved makes a packet of one of DRS's own actions; done is false for others.
func (s *session) reserved(c *command, w words, p *wire.Packet) (done, ok bool, err error) {
	switch string(c.action) {
	case actionResponse, actionError, actionException:
		return true, s.answer(c, w, p), nil
	case actionPing:
		p.Type, p.Key = wire.Ping, string(c.key)
		return true, true, nil
	}
	if !s.rooms {
		return false, false, nil
	}
	switch string(c.action) {
	case actionSubscribe:
		p.Type = wire.Subscribe
	case actionUnsubscribe:
		p.Type = wire.Unsubscribe
	case actionPublish:
		p.Type = wire.Publish
	case actionBroadcast:
		p.Type = wire.Broadcast
	default:
		return false, false, nil
	}
	f, _ := w.fields(c.body)
	switch p.Type {
	case wire.Publish, wire.Broadcast:
		if len(f.action) == 0 {
			return true, false, errNoAction
		}
		p.Kind, p.Payload = s.host.Kind(f.action), w.payload(f.body)
	}
	if p.Type != wire.Broadcast {
		if len(f.room) == 0 {
			return true, false, errNoRoom
		}
		p.Room = string(f.room)
	}
	s.number(c, p)
	return true, true, nil
}

// answer makes a packet of an answer, and returns false when nobody waits for it.
func (s *session) answer(c *command, w words, p *wire.Packet) bool {
	if p.ID = s.keys.call(c.key); p.ID == 0 {
		return false
	}
	if string(c.action) == actionResponse {
		p.Type, p.Payload = wire.Reply, w.payload(c.body)
		return true
	}
	p.Type, p.Err = wire.Error, &wire.ErrorBody{Code: codeError, Fault: string(c.action) == actionException}
	f, ok := w.fields(c.body)
	if !ok {
		f.details = c.body
	}
	p.Err.Message, p.Err.Details = string(f.message), w.payload(f.details)
	switch {
	case len(f.code) > 0:
		p.Err.Code = string(f.code)
	case p.Err.Fault && p.Err.Message == noHandler:
		p.Err.Code = codeNotFound
	case p.Err.Fault:
		p.Err.Code = codeException
	}
	return true
}
