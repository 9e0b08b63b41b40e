package native

import (
	"errors"
	"fmt"
	"slices"

	"github.com/polywire/polywire/wire"
)

// Bounds of an envelope, both ways. A few bytes on the wire make an entry of
// a map or slice in memory: the bounds keep that ratio out of strangers' hands
// and are far above what people send. Bytes are bounded by the message size.
const (
	MaxHeaders = 64   // entries of headers
	MaxArgs    = 64   // arguments after the first
	MaxCodes   = 4096 // numeric codes that a side may tell
)

// maxJSONID is the greatest integer that every JSON peer has (ECMAScript's
// Number.MAX_SAFE_INTEGER).
const maxJSONID = 1<<53 - 1

// What is wrong with an envelope, whichever form it has.
var (
	errNoKind      = errors.New("neither kind nor code")
	errNoID        = errors.New("no id")
	errManyHeaders = fmt.Errorf("more than %d headers", MaxHeaders)
	errManyArgs    = fmt.Errorf("more than %d args", MaxArgs)
	errManyCodes   = fmt.Errorf("more than %d codes", MaxCodes)
	errUnknownType = errors.New("unknown type")
	errNotUTF8     = errors.New("not UTF-8")
)

// malformed is the end of a link whose other side sent something wrong. What
// it says never quotes the frame, so it is short.
func malformed(what error) error {
	return &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "malformed envelope: " + what.Error()}
}

// unsayable is a packet that this wire has no words for.
func unsayable(t wire.Type, why error) error {
	return fmt.Errorf("native: %s cannot be sent: %w", t, why)
}

// check says what every envelope must have, whichever form it is in.
func check(p *wire.Packet) error {
	switch p.Type {
	case wire.Message, wire.Publish, wire.Broadcast, wire.Call:
		if p.Kind == "" && p.Code == 0 {
			return errNoKind
		}
		if p.Type == wire.Call && p.ID == 0 {
			return errNoID
		}
	case wire.Reply:
		if p.ID == 0 {
			return errNoID
		}
	}
	return nil
}

// checkOut is check for packets to send.
func checkOut(p *wire.Packet) error {
	switch {
	case p.Type < wire.Message || p.Type > wire.Pong:
		return errUnknownType
	case p.Type == wire.Error && p.Err == nil:
		return errors.New("no error in it")
	case len(p.Header) > MaxHeaders:
		return errManyHeaders
	case len(p.Args) > MaxArgs:
		return errManyArgs
	case len(p.Codes) > MaxCodes:
		return errManyCodes
	}
	return check(p)
}

// finish completes a decoded packet.
func finish(p *wire.Packet) error {
	if p.Type == wire.Error && p.Err == nil {
		p.Err = new(wire.ErrorBody)
	}
	return check(p)
}

// sortedKeys appends the keys of m to buf, in order: equal packets are equal
// bytes.
func sortedKeys[V any](buf []string, m map[string]V) []string {
	for k := range m {
		buf = append(buf, k)
	}
	slices.Sort(buf)
	return buf
}
