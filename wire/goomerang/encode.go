package goomerang

import (
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// What packets cannot be said, and why.
var (
	errNotLinked = errors.New("its kind is not the name of a message that is linked in")
	errWords     = errors.New("this wire has no words for it")
	errArguments = errors.New("several arguments")
	errContent   = errors.New("a payload that is not protobuf")
	errNoID      = errors.New("no id")
	errBigID     = errors.New("an id over 62 bits")
	errNoError   = errors.New("no error in it")
	errNoCalls   = errors.New("Goomerang's clients take no calls")
)

// The commands' kinds, and the prefix of the headers that belong to the message
// inside.
const (
	commands       = "goomerang.protocol."
	subscribeCmd   = commands + "SubscribeCmd"
	unsubscribeCmd = commands + "UnsubscribeCmd"
	publishCmd     = commands + "PublishCmd"
	broadcastCmd   = commands + "BroadcastCmd"

	innerPrefix = "message-"
)

// emptyKind is the message of a reply that says nothing but that it is one.
const emptyKind = "google.protobuf.Empty"

// saying is a packet in the words of a Frame.
type saying struct {
	key     string // uuid of an answer
	id      uint64 // of the call that a new uuid is for; 0: none
	sync    bool
	kind    string
	headers map[string]string
	prefix  string // of the headers' names
	payload []byte

	// A command's payload, in place of that above.
	command  bool
	topic    string
	inner    string
	innerHas bool // a message, perhaps an empty one
	failure  *wire.ErrorBody
}

// say puts a packet into the words of a Frame; y is empty.
func (s *session) say(y *saying, p *wire.Packet) (err error) {
	y.headers, y.payload = p.Header, p.Payload.Data
	switch {
	case len(p.Args) > 0:
		return errArguments
	case len(p.Header) > MaxHeaders:
		return errManyHeaders
	case p.Payload.Type != codec.TypeProtobuf && !p.Payload.Empty():
		return errContent
	case p.ID > maxCallID:
		return errBigID
	}
	switch p.Type {
	case wire.Message:
		y.kind, err = s.kind(p)
	case wire.Call:
		y.kind, err = s.kind(p)
		y.sync, y.id = true, p.ID
		switch {
		case !s.Dialled && !s.Polywire:
			err = errNoCalls
		case p.ID == 0:
			err = errNoID
		}
	case wire.Reply:
		y.sync, y.key, y.kind = true, p.Key, emptyKind
		if !p.Payload.Empty() {
			y.kind, err = s.kind(p)
		}
	case wire.Error:
		y.sync, y.key, y.kind, y.failure = true, p.Key, failureKind, p.Err
		if p.Err == nil {
			err = errNoError
		}
	default:
		err = s.sayCommand(y, p)
	}
	if err == nil && !utf8.ValidString(y.key) {
		err = errNotUTF8
	}
	return err
}

// sayCommand is say for what concerns rooms.
func (s *session) sayCommand(y *saying, p *wire.Packet) (err error) {
	y.command, y.topic, y.prefix = true, p.Room, innerPrefix
	y.sync, y.id = s.Polywire && p.ID != 0, p.ID
	switch p.Type {
	case wire.Subscribe:
		y.kind = subscribeCmd
	case wire.Unsubscribe:
		y.kind = unsubscribeCmd
	case wire.Publish:
		y.kind, y.innerHas = publishCmd, true
	case wire.Broadcast:
		y.kind, y.innerHas, y.topic = broadcastCmd, true, ""
	default:
		return errWords
	}
	if y.innerHas {
		y.inner, err = s.kind(p)
	}
	if err == nil && !utf8.ValidString(y.topic) {
		err = errNotUTF8
	}
	return err
}

// kind returns the full name of a packet's message.
func (s *session) kind(p *wire.Packet) (string, error) {
	name := p.Payload.Name
	if name == "" {
		name = p.Kind
	}
	if !s.wire.names.has(name) {
		return name, errNotLinked
	}
	return name, nil
}

// commandSize is the size of a command's payload.
func (y *saying) commandSize() int {
	size := textSize(fieldTopic, y.topic)
	if y.innerHas {
		size += textSize(fieldInner, y.inner)
		if len(y.payload) > 0 {
			size += protowire.SizeTag(fieldMessage) + protowire.SizeBytes(len(y.payload))
		}
	}
	return size
}

// A tag below 16 is one byte: the number and what follows.
const (
	varint = byte(protowire.VarintType)
	length = byte(protowire.BytesType)
)

// append appends a Frame, its fields in the order of their numbers and
// headers in the order of their names.
func (y *saying) append(dst []byte, u *uuids, now time.Time) ([]byte, error) {
	switch {
	case y.sync && y.id != 0:
		dst = u.append(append(dst, fieldUUID<<3|length, uuidBytes), y.id)
	case y.sync:
		dst = appendText(dst, fieldUUID, y.key)
	}
	dst = appendText(dst, fieldKind, y.kind)
	payload, size := y.payload, len(y.payload)
	switch {
	case y.command:
		size = y.commandSize()
	case y.failure != nil:
		payload = appendFailure(nil, y.failure)
		size = len(payload)
	}
	if size > 0 {
		dst = appendVarint(append(dst, fieldPayloadSize<<3|varint), uint64(size))
	}
	if y.sync {
		dst = append(dst, fieldSync<<3|varint, 1)
	}
	dst = appendTime(dst, now)
	var ok bool
	if dst, ok = appendHeaders(dst, y.headers, y.prefix); !ok {
		return dst, errNotUTF8
	}
	if size == 0 {
		return dst, nil
	}
	dst = appendVarint(append(dst, fieldPayload<<3|length), uint64(size))
	if !y.command {
		return append(dst, payload...), nil
	}
	dst = appendText(dst, fieldTopic, y.topic)
	if y.innerHas {
		dst = appendText(dst, fieldInner, y.inner)
		if len(y.payload) > 0 {
			dst = append(appendVarint(append(dst, fieldMessage<<3|length), uint64(len(y.payload))), y.payload...)
		}
	}
	return dst, nil
}

// appendTime appends the time of creation, a google.protobuf.Timestamp.
func appendTime(dst []byte, now time.Time) []byte {
	seconds, nanos := uint64(now.Unix()), uint64(now.Nanosecond())
	size := 1 + protowire.SizeVarint(seconds)
	if nanos > 0 {
		size += 1 + protowire.SizeVarint(nanos)
	}
	dst = protowire.AppendVarint(append(dst, fieldCreation<<3|length, byte(size), 1<<3|varint), seconds)
	if nanos > 0 {
		dst = protowire.AppendVarint(append(dst, 2<<3|varint), nanos)
	}
	return dst
}

// appendHeaders appends the map; its entries have both fields always, as
// protobuf's own encoders write them. False: something is not UTF-8.
func appendHeaders(dst []byte, headers map[string]string, prefix string) ([]byte, bool) {
	if len(headers) == 0 {
		return dst, true
	}
	var buf [MaxHeaders]string
	keys := buf[:0]
	for k := range headers {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v := headers[k]
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return dst, false
		}
		name := len(prefix) + len(k)
		dst = protowire.AppendTag(dst, fieldHeaders, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(2+protowire.SizeBytes(name)+protowire.SizeBytes(len(v))))
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.BytesType), uint64(name))
		dst = append(append(dst, prefix...), k...)
		dst = protowire.AppendString(protowire.AppendTag(dst, 2, protowire.BytesType), v)
	}
	return dst, true
}

// appendVarint is protowire.AppendVarint, without a call where a byte is enough.
func appendVarint(dst []byte, v uint64) []byte {
	if v < 0x80 {
		return append(dst, byte(v))
	}
	return protowire.AppendVarint(dst, v)
}

// appendText appends a string field, whose number is below 16; an empty one is left out.
func appendText(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return append(appendVarint(append(dst, byte(num)<<3|length), uint64(len(s))), s...)
}

func textSize(num protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(s))
}
