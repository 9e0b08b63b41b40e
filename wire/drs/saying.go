package drs

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// saying is a packet in the words of a command.
type saying struct {
	key    string // of an answer
	fresh  bool   // a new key
	id     uint64 // of the call that a new key is for; 0: nobody waits
	action string

	// The body is one of these, or none.
	payload codec.Payload
	failure *wire.ErrorBody
	time    bool      // the present one
	inside  roomWords // of a room action
}

// roomWords is what the body of a room action says, beside the saying's payload.
type roomWords struct {
	there        bool
	room, action string // empty: left out
}

// sayingOf returns what a packet is in the words of commands.
func sayingOf(p *wire.Packet) (saying, error) {
	y := saying{payload: p.Payload}
	if len(p.Args) > 0 {
		return y, errArguments
	}
	switch p.Type {
	case wire.Message:
		y.fresh, y.action = true, p.Kind
	case wire.Call:
		y.fresh, y.id, y.action = true, p.ID, p.Kind
	case wire.Reply:
		y.key, y.action = p.Key, actionResponse
	case wire.Pong:
		y.key, y.action, y.time = p.Key, actionResponse, true
	case wire.Ping:
		y.key, y.fresh, y.action = p.Key, p.Key == "", actionPing
	case wire.Error:
		if p.Err == nil {
			return y, errNoError
		}
		y.key, y.action, y.failure = p.Key, actionError, p.Err
		if p.Err.Fault {
			y.action = actionException
		}
	default:
		if err := y.aboutRoom(p); err != nil {
			return y, err
		}
	}
	switch {
	case y.action == "" && p.Code != 0:
		return y, errNumeric // which nobody was told, on this wire
	case y.action == "":
		return y, errNoAction
	case p.Type == wire.Call && p.ID == 0:
		return y, errNoID
	case !utf8.ValidString(cmp.Or(y.key, y.action)): // what has a key is in DRS's own words
		return y, errNotUTF8
	}
	return y, nil
}

// aboutRoom makes the sayings of those who use rooms by themselves.
func (y *saying) aboutRoom(p *wire.Packet) error {
	y.fresh, y.id = true, p.ID
	switch p.Type {
	case wire.Subscribe:
		y.action = actionSubscribe
	case wire.Unsubscribe:
		y.action = actionUnsubscribe
	case wire.Publish:
		y.action = actionPublish
	case wire.Broadcast:
		y.action = actionBroadcast
	default:
		return errWords
	}
	y.inside = roomWords{there: true}
	if p.Type != wire.Broadcast {
		if y.inside.room = p.Room; p.Room == "" {
			return errNoRoom
		}
	}
	if p.Type == wire.Publish || p.Type == wire.Broadcast {
		if y.inside.action = p.Kind; p.Kind == "" {
			return errNoAction
		}
	}
	if !utf8.ValidString(p.Room) || !utf8.ValidString(p.Kind) {
		return errNotUTF8
	}
	return nil
}

// spoken returns what an answer says of a failure, in words that go into any command.
func spoken(e *wire.ErrorBody) (message, code string) {
	message, code = strings.ToValidUTF8(e.Message, "\uFFFD"), strings.ToValidUTF8(e.Code, "\uFFFD")
	switch {
	case e.Fault && e.Code == codeNotFound:
		message = noHandler
	case message == "":
		message = code
	}
	return message, code
}
