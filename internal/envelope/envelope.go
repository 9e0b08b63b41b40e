// Package envelope is what servers of a cluster say to each other: a message
// with whom it is for, a question to a target's members, an answer to one.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/polywire/polywire/codec"
)

// Op says what an envelope asks of its receiver.
type Op uint8

// The operations. Zero is invalid.
const (
	Send       Op = iota + 1 // to the target's members
	Call                     // the target's members; they answer
	Probe                    // who did not get the Call with this ID says so
	Members                  // describe the target's members
	Count                    // count them
	Join                     // put them into Names
	Leave                    // take them out of Names
	Disconnect               // close them with Code and Text
	Answer                   // to the question with this ID
	NodeSend                 // to the node's own handlers
	NodeCall                 // to the node's own handlers; they answer
	Presence                 // somebody has joined or left a room, or says something new of himself
	Session                  // what is to be known of a connection that may come back
	last
)

// Target is the selection of connections that an operation is for.
type Target struct {
	Namespace   string
	Template    int // number of the template that makes the namespaces, from 1; 0: Namespace names one
	Everybody   bool
	Rooms       []string
	IDs         []string
	ExceptRooms []string
	ExceptIDs   []string
}

// Fault is a failed request.
type Fault struct {
	Code, Message string
	Details       codec.Payload
}

// Item is one member's part of an answer.
type Item struct {
	ID     string
	Fault  *Fault
	Header map[string]string
	Args   []codec.Payload
}

// Envelope is one message between nodes. What does not belong to its Op is zero.
type Envelope struct {
	Op     Op
	ID     uint64 // of a question
	Flags  uint8
	Target Target

	Kind   string
	Header map[string]string
	Args   []codec.Payload

	Names   []string
	Code    uint32
	Text    string
	Millis  uint64 // time for an answer; the age of something
	Expect  uint64 // Answer: one more than the number of Items that come in all; 0: not said here
	Items   []Item
	Secrets []string
	Sent    uint64 // Unix microseconds, by the sender's clock; 0: it does not tell
}

// ErrMalformed is wrapped by the errors of Parse.
var ErrMalformed = errors.New("envelope: malformed")

// version is the first byte of each envelope.
const version = 1

// The fields of an envelope; each begins with its number.
const (
	fieldID = iota + 1
	fieldFlags
	fieldNamespace
	fieldTemplate
	fieldEverybody
	fieldRoom
	fieldMember
	fieldExceptRoom
	fieldExceptMember
	fieldKind
	fieldHeader
	fieldArg
	fieldName
	fieldCode
	fieldText
	fieldMillis
	fieldExpect
	fieldItem
	fieldSecret
	fieldSent
)

// Append appends the bytes of e.
func Append(b []byte, e *Envelope) []byte {
	b = append(b, version, byte(e.Op))
	b = appendNumber(b, fieldID, e.ID)
	b = appendNumber(b, fieldFlags, uint64(e.Flags))
	t := &e.Target
	b = appendText(b, fieldNamespace, t.Namespace)
	b = appendNumber(b, fieldTemplate, uint64(t.Template))
	if t.Everybody {
		b = appendNumber(b, fieldEverybody, 1)
	}
	b = appendTexts(b, fieldRoom, t.Rooms)
	b = appendTexts(b, fieldMember, t.IDs)
	b = appendTexts(b, fieldExceptRoom, t.ExceptRooms)
	b = appendTexts(b, fieldExceptMember, t.ExceptIDs)
	b = appendText(b, fieldKind, e.Kind)
	b = appendContent(b, e.Header, e.Args)
	b = appendTexts(b, fieldName, e.Names)
	b = appendNumber(b, fieldCode, uint64(e.Code))
	b = appendText(b, fieldText, e.Text)
	b = appendNumber(b, fieldMillis, e.Millis)
	b = appendNumber(b, fieldExpect, e.Expect)
	b = appendNumber(b, fieldSent, e.Sent)
	for i := range e.Items {
		b = appendItem(b, &e.Items[i])
	}
	return appendTexts(b, fieldSecret, e.Secrets)
}

func appendNumber(b []byte, field byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, field), n)
}

func appendText(b []byte, field byte, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, field), s)
}

func appendTexts(b []byte, field byte, texts []string) []byte {
	for _, s := range texts {
		b = appendString(append(b, field), s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

func appendContent(b []byte, header map[string]string, args []codec.Payload) []byte {
	for k, v := range header {
		b = appendString(appendString(append(b, fieldHeader), k), v)
	}
	for _, a := range args {
		b = appendPayload(append(b, fieldArg), a)
	}
	return b
}

func appendPayload(b []byte, p codec.Payload) []byte {
	return appendBytes(appendString(appendString(b, p.Type), p.Name), p.Data)
}

// appendItem appends an item with its length before it.
func appendItem(b []byte, it *Item) []byte {
	var inner []byte
	inner = appendString(inner, it.ID)
	if it.Fault != nil {
		inner = append(inner, 1)
		inner = appendString(appendString(inner, it.Fault.Code), it.Fault.Message)
		inner = appendPayload(inner, it.Fault.Details)
	} else {
		inner = append(inner, 0)
	}
	inner = appendContent(inner, it.Header, it.Args)
	return appendBytes(append(b, fieldItem), inner)
}

// parser takes an envelope's bytes apart; after an error it yields zeros.
type parser struct {
	b   []byte
	err error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	p.b = nil
}

func (p *parser) byte() byte {
	if len(p.b) == 0 {
		p.fail("too short")
		return 0
	}
	c := p.b[0]
	p.b = p.b[1:]
	return c
}

func (p *parser) number() uint64 {
	n, size := binary.Uvarint(p.b)
	if size <= 0 {
		p.fail("a number")
		return 0
	}
	p.b = p.b[size:]
	return n
}

func (p *parser) bytes() []byte {
	n := p.number()
	if n > uint64(len(p.b)) {
		p.fail("a length beyond the end")
		return nil
	}
	data := p.b[:n:n]
	p.b = p.b[n:]
	return data
}

func (p *parser) text() string { return string(p.bytes()) }

func (p *parser) payload() codec.Payload {
	return codec.Payload{Type: p.text(), Name: p.text(), Data: p.bytes()}
}

func (p *parser) header(h *map[string]string) {
	if *h == nil {
		*h = make(map[string]string)
	}
	k := p.text()
	(*h)[k] = p.text()
}

// Parse reads an envelope into e, which is empty. Args refer to b. It
// allocates no more than a small multiple of b.
func Parse(b []byte, e *Envelope) error {
	p := parser{b: b}
	if v := p.byte(); p.err == nil && v != version {
		p.fail(fmt.Sprintf("version %d", v))
	}
	e.Op = Op(p.byte())
	if p.err == nil && (e.Op == 0 || e.Op >= last) {
		p.fail(fmt.Sprintf("operation %d", e.Op))
	}
	for len(p.b) > 0 {
		p.field(e)
	}
	return p.err
}

func (p *parser) field(e *Envelope) {
	t := &e.Target
	switch f := p.byte(); f {
	case fieldID:
		e.ID = p.number()
	case fieldFlags:
		e.Flags = uint8(p.bounded(math.MaxUint8))
	case fieldNamespace:
		t.Namespace = p.text()
	case fieldTemplate:
		t.Template = int(p.bounded(math.MaxInt32))
	case fieldEverybody:
		t.Everybody = p.number() != 0
	case fieldRoom:
		t.Rooms = append(t.Rooms, p.text())
	case fieldMember:
		t.IDs = append(t.IDs, p.text())
	case fieldExceptRoom:
		t.ExceptRooms = append(t.ExceptRooms, p.text())
	case fieldExceptMember:
		t.ExceptIDs = append(t.ExceptIDs, p.text())
	case fieldKind:
		e.Kind = p.text()
	case fieldHeader:
		p.header(&e.Header)
	case fieldArg:
		e.Args = append(e.Args, p.payload())
	case fieldName:
		e.Names = append(e.Names, p.text())
	case fieldCode:
		e.Code = uint32(p.bounded(math.MaxUint32))
	case fieldText:
		e.Text = p.text()
	case fieldMillis:
		e.Millis = p.bounded(math.MaxInt64 / 1_000_000)
	case fieldExpect:
		e.Expect = p.bounded(math.MaxInt32)
	case fieldItem:
		e.Items = append(e.Items, p.item())
	case fieldSecret:
		e.Secrets = append(e.Secrets, p.text())
	case fieldSent:
		e.Sent = p.bounded(math.MaxInt64)
	default:
		p.fail(fmt.Sprintf("field %d", f))
	}
}

func (p *parser) bounded(most uint64) uint64 {
	n := p.number()
	if n > most {
		p.fail("a number out of range")
		return 0
	}
	return n
}

func (p *parser) item() (it Item) {
	inner := parser{b: p.bytes()}
	if p.err != nil {
		return it
	}
	it.ID = inner.text()
	if inner.byte() == 1 {
		it.Fault = &Fault{Code: inner.text(), Message: inner.text(), Details: inner.payload()}
	}
	for len(inner.b) > 0 {
		switch f := inner.byte(); f {
		case fieldHeader:
			inner.header(&it.Header)
		case fieldArg:
			it.Args = append(it.Args, inner.payload())
		default:
			inner.fail(fmt.Sprintf("field %d of an item", f))
		}
	}
	if inner.err != nil {
		p.err, p.b = inner.err, nil
	}
	return it
}
