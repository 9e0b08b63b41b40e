package socketio

import (
	"bytes"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// jsonSession speaks the wire as it is without a custom parser: a text packet,
// and a binary one for each attachment.
type jsonSession struct{ session }

//nolint:gochecknoglobals // asked for with every message and never changed: one slice for all sessions
var jsonTypes = []string{codec.TypeJSON, codec.TypeBytes, codec.TypeParts}

// ContentTypes returns JSON, bytes, which are an attachment, and JSON that has
// attachments.
func (*jsonSession) ContentTypes() []string { return jsonTypes }

// Decode reads a packet. Arguments stay in the frame, but for those of packets
// with attachments.
func (s *jsonSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type == transport.Binary {
		return s.attachment(f.Data, p)
	}
	if s.assembly.waiting() {
		return false, s.malformed(errPlaintext)
	}
	h, err := s.head(f.Data)
	if err != nil {
		return false, s.malformed(err)
	}
	switch h.typ {
	case typeConnect:
		err = s.connect(h, p)
	case typeDisconnect:
		p.Type = wire.Goodbye
		if p.Namespace, err = s.name(h.namespace); err == nil && len(h.rest) > 0 {
			err = errPayload
		}
	case typeConnectError:
		if !s.dialled {
			return false, misplaced(errFromClient)
		}
		err = s.refused(h, p)
	case typeBinaryEvent, typeBinaryAck:
		h.typ -= toBinary
		if h.attachments > 0 {
			return false, s.hold(h)
		}
		fallthrough
	default:
		err = s.elements(h, nil, p)
	}
	if err != nil {
		return false, s.malformed(err)
	}
	return !s.elsewhere(p.Namespace), nil
}

// head is what a text packet begins with.
type head struct {
	typ         byte
	attachments int
	namespace   []byte // empty: the main one
	id          uint64 // of the acknowledgement and one more; 0: none
	rest        []byte // the JSON text
}

// head reads what comes before the JSON text.
func (s *jsonSession) head(b []byte) (h head, err error) {
	if len(b) == 0 {
		return h, errEmpty
	}
	h.typ, b = b[0], b[1:]
	if h.typ < typeConnect || h.typ > typeBinaryAck {
		return h, errUnknownType
	}
	if h.typ >= typeBinaryEvent {
		if h.attachments, b, err = attachments(b, s.maxAttachments); err != nil {
			return h, err
		}
	}
	if len(b) > 0 && b[0] == '/' {
		end := bytes.IndexByte(b, ',')
		if end < 0 {
			h.namespace, b = b, nil
		} else {
			h.namespace, b = b[:end], b[end+1:]
		}
	}
	h.id, h.rest, err = ackID(b)
	return h, err
}

// attachments reads how many there are, and the hyphen.
func attachments(b []byte, limit int) (n int, rest []byte, err error) {
	for i, c := range b {
		switch {
		case c == '-' && i > 0:
			return n, b[i+1:], nil
		case c < '0' || c > '9':
			return 0, nil, errAttachments
		}
		if n = 10*n + int(c-'0'); n > limit {
			return 0, nil, errTooMany
		}
	}
	return 0, nil, errAttachments
}

// ackID reads the digits of an id and returns one more, zero if there are none.
func ackID(b []byte) (id uint64, rest []byte, err error) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		d := uint64(b[i] - '0')
		if i == 20 || id > (maxWireID-d)/10 {
			return 0, nil, errID
		}
		id = 10*id + d
	}
	if i == 0 {
		return 0, b, nil
	}
	return id + 1, b[i:], nil
}

// elements reads the arguments of an event or an acknowledgement, whose
// attachments are at hand.
func (s *jsonSession) elements(h head, parts [][]byte, p *wire.Packet) (err error) {
	if p.Namespace, err = s.name(h.namespace); err != nil {
		return err
	}
	if p.ID = h.id; h.typ == typeAck && p.ID == 0 {
		return errNoID
	}
	if err := s.array(h, parts, p); err != nil {
		return err
	}
	switch {
	case h.typ == typeAck && s.dialled:
		s.failure(p)
	case h.typ == typeAck:
	case s.roomEvents:
		roomEvent(p, jsonText)
	case s.recovering && p.ID == 0:
		p.Position = lastText(p, jsonText)
	}
	return nil
}

// usual reads what array does where it is an event with one argument, a plain
// name, and no white space around them. It returns false for any other, about
// which it says nothing.
func (s *jsonSession) usual(array []byte, p *wire.Packet) bool {
	const name = 2 // where it begins
	if len(array) < name || array[0] != '[' || array[1] != '"' {
		return false
	}
	end := jsonscan.Plain(array, name)
	if end < 0 || end+1 == len(array) || array[end+1] != ',' {
		return false
	}
	sc := jsonscan.Scanner{Data: array, Pos: end + 2}
	text, err := sc.Value()
	if err != nil || sc.Pos != len(array)-1 || array[sc.Pos] != ']' {
		return false
	}
	kind := s.host.Kind(array[name:end])
	if reserved(kind) {
		return false
	}
	if p.Type = wire.Message; p.ID != 0 {
		p.Type = wire.Call
	}
	p.Kind, p.Payload = kind, codec.Payload{Type: codec.TypeJSON, Data: text}
	return true
}

// array reads the JSON array of h.
func (s *jsonSession) array(h head, parts [][]byte, p *wire.Packet) (err error) {
	if h.typ == typeEvent && parts == nil && s.usual(h.rest, p) {
		return nil
	}
	sc := jsonscan.Scanner{Data: h.rest}
	if err := sc.Open('['); err != nil {
		return err
	}
	first := true
	if p.Type = wire.Reply; h.typ == typeEvent {
		if p.Type = wire.Message; p.ID != 0 {
			p.Type = wire.Call
		}
		if p.Kind, err = s.kind(&sc); err != nil {
			return err
		}
		first = false
	}
	var in *resolver
	if parts != nil {
		in = &resolver{parts: parts}
	}
	for n := 0; ; n++ {
		more, err := sc.More(']', first)
		if err != nil {
			return err
		}
		if !more {
			return sc.End()
		}
		first = false
		text, err := sc.Value()
		if err != nil {
			return err
		}
		argument := codec.Payload{Type: codec.TypeJSON, Data: text}
		if in != nil {
			if argument, err = in.resolve(text); err != nil {
				return err
			}
		}
		switch n {
		case 0:
			p.Payload = argument
		case MaxArgs:
			return errManyArgs
		default:
			p.Args = append(p.Args, argument)
		}
	}
}

// kind reads an event's name, the first element of its array.
func (s *jsonSession) kind(sc *jsonscan.Scanner) (string, error) {
	more, err := sc.More(']', true)
	if err != nil {
		return "", err
	}
	if !more {
		return "", errNoName
	}
	switch c := sc.Peek(); {
	case c == '"':
		b, err := sc.String()
		if err != nil {
			return "", err
		}
		kind := s.host.Kind(b)
		if reserved(kind) {
			return "", errReserved
		}
		return kind, nil
	case c == '-' || c >= '0' && c <= '9':
		b, err := sc.Value()
		if err != nil {
			return "", err
		}
		return s.host.Kind(b), nil
	}
	return "", errName
}

// connect reads the wish for a connection or, dialled, the answer to it.
func (s *jsonSession) connect(h head, p *wire.Packet) (err error) {
	var object []byte
	if len(h.rest) > 0 {
		if object, err = jsonObject(h.rest); err != nil {
			return err
		}
	}
	if s.version == 4 && !s.dialled {
		namespace, query, _ := bytes.Cut(h.namespace, []byte("?"))
		if !utf8.Valid(query) {
			return errNotUTF8
		}
		if p.Namespace, err = s.name(namespace); err != nil {
			return err
		}
		// The query alone is what clients of version 4 can say.
		if p.Payload, err = queryPayload(query, s.parser); err != nil {
			return err
		}
		s.helloOf(p)
		return nil
	}
	if p.Namespace, err = s.name(h.namespace); err != nil {
		return err
	}
	if s.dialled {
		return s.welcome(object, p)
	}
	if object != nil {
		p.Payload = codec.Payload{Type: codec.TypeJSON, Data: object}
		pid, hasPid := jsonMember(object, "pid")
		offset, hasOffset := jsonMember(object, "offset")
		if hasPid && hasOffset {
			p.Resume, p.Position = pid, offset
		}
	}
	s.helloOf(p)
	return nil
}

// welcome reads the answer to a connect.
func (s *jsonSession) welcome(object []byte, p *wire.Packet) error {
	p.Type = wire.Welcome
	if s.version == 4 {
		p.Key = s.key(p.Namespace)
		return nil
	}
	var ok bool
	if p.Key, ok = jsonMember(object, "sid"); !ok {
		return errNoSID
	}
	p.Resume, _ = jsonMember(object, "pid")
	s.recovering = p.Resume != ""
	return nil
}

// refused reads a connect error.
func (s *jsonSession) refused(h head, p *wire.Packet) (err error) {
	p.Type = wire.Refused
	if p.Namespace, err = s.name(h.namespace); err != nil {
		return err
	}
	sc := jsonscan.Scanner{Data: h.rest}
	text, err := sc.Value()
	if err == nil {
		err = sc.End()
	}
	if err != nil {
		return err
	}
	whole := codec.Payload{Type: codec.TypeJSON, Data: text}
	if message, ok := jsonText(whole); ok {
		p.Err = refusal(message, codec.Payload{})
		return nil
	}
	if text[0] != '{' && s.version != 4 {
		return errPayload
	}
	message, ok := "", false
	if text[0] == '{' {
		message, ok = jsonMember(text, "message")
	}
	if !ok { // of version 4 the data are all there is
		p.Err = refusal("", whole)
		return nil
	}
	details := codec.Payload{}
	if data := jsonValue(text, "data"); data != nil {
		details = codec.Payload{Type: codec.TypeJSON, Data: data}
	}
	p.Err = refusal(message, details)
	return nil
}

// failure makes an error of an answer that is one: {"error":{...}} and nothing
// else.
func (s *jsonSession) failure(p *wire.Packet) {
	if len(p.Args) > 0 {
		return
	}
	switch p.Payload.Type {
	case codec.TypeJSON:
		if e, details, ok := jsonError(p.Payload.Data); ok {
			if details != nil {
				e.Details = codec.Payload{Type: codec.TypeJSON, Data: details}
			}
			p.Type, p.Payload, p.Err = wire.Error, codec.Payload{}, e
		}
	case codec.TypeParts:
		text, parts, err := codec.SplitParts(p.Payload.Data)
		if err != nil {
			return // it has just been made
		}
		e, details, ok := jsonError(text)
		if !ok || details == nil {
			return
		}
		in := resolver{parts: parts}
		if e.Details, err = in.resolve(details); err == nil {
			p.Type, p.Payload, p.Err = wire.Error, codec.Payload{}, e
		}
	}
}

// jsonError reads an answer that is an error; ok is false for any other.
func jsonError(text []byte) (e *wire.ErrorBody, details []byte, ok bool) {
	if !bytes.HasPrefix(text, []byte(`{"error":{`)) {
		return nil, nil, false // as almost all answers
	}
	var inner []byte
	if !onlyMembers(text, func(key string, value []byte) bool {
		inner = value
		return key == "error"
	}) || inner == nil {
		return nil, nil, false
	}
	e = new(wire.ErrorBody)
	var code, message bool
	if !onlyMembers(inner, func(key string, value []byte) bool {
		switch key {
		case "code":
			e.Code, code = jsonText(codec.Payload{Type: codec.TypeJSON, Data: value})
		case "message":
			e.Message, message = jsonText(codec.Payload{Type: codec.TypeJSON, Data: value})
		case "details":
			details = value
		default:
			return false
		}
		return true
	}) {
		return nil, nil, false
	}
	return e, details, code && message
}

// onlyMembers calls f for each member of an object and reports whether f has
// said yes to all of them; false for what is no object.
func onlyMembers(text []byte, f func(key string, value []byte) bool) bool {
	sc := jsonscan.Scanner{Data: text}
	if sc.Open('{') != nil {
		return false
	}
	for first := true; ; first = false {
		more, err := sc.More('}', first)
		if err != nil || !more {
			return err == nil
		}
		key, err := sc.Key()
		if err != nil {
			return false
		}
		value, err := sc.Value()
		if err != nil || !f(string(key), value) {
			return false
		}
	}
}

// jsonObject checks that text is an object and returns it without the white
// space around it.
func jsonObject(text []byte) ([]byte, error) {
	sc := jsonscan.Scanner{Data: text}
	if sc.Peek() != '{' {
		return nil, errPayload
	}
	object, err := sc.Value()
	if err != nil {
		return nil, err
	}
	return object, sc.End()
}

// jsonValue returns a member of a valid object, nil if it has none of the name.
func jsonValue(object []byte, name string) (value []byte) {
	sc := jsonscan.Scanner{Data: object}
	if sc.Open('{') != nil {
		return nil
	}
	for first := true; ; first = false {
		more, err := sc.More('}', first)
		if err != nil || !more {
			return value
		}
		key, err := sc.Key()
		if err != nil {
			return nil
		}
		v, err := sc.Value()
		if err != nil {
			return nil
		}
		if string(key) == name {
			value = v // of equal names the last counts
		}
	}
}

// jsonMember returns a member that is a string.
func jsonMember(object []byte, name string) (string, bool) {
	return jsonText(codec.Payload{Type: codec.TypeJSON, Data: jsonValue(object, name)})
}

// jsonText returns what an argument says that is a string.
func jsonText(p codec.Payload) (string, bool) {
	if p.Type != codec.TypeJSON || len(p.Data) == 0 || p.Data[0] != '"' {
		return "", false
	}
	sc := jsonscan.Scanner{Data: p.Data}
	b, err := sc.String()
	return string(b), err == nil
}

// lastText returns the last argument if it is a string.
func lastText(p *wire.Packet, text func(codec.Payload) (string, bool)) string {
	last := p.Payload
	if len(p.Args) > 0 {
		last = p.Args[len(p.Args)-1]
	}
	s, _ := text(last)
	return s
}
