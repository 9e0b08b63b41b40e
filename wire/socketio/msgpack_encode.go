package socketio

import (
	"fmt"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/msgscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// Encode writes a packet as a binary frame. In version 4 a client's Hello for
// the main namespace is no frame at all, as in text.
func (s *msgpackSession) Encode(w *transport.Writer, p *wire.Packet) error {
	namespace, err := s.target(p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	b := w.Begin()
	switch p.Type {
	case wire.Hello:
		if s.version == 4 && namespace == mainNamespace && s.dialled {
			if len(p.Header) > 0 || !p.Payload.Empty() {
				return unsayable(p.Type, errMainHasNoAuth)
			}
			return nil
		}
		b, err = s.appendHello(b, namespace, p)
	case wire.Welcome:
		b, err = s.appendWelcome(b, namespace, p)
	case wire.Refused:
		b, err = s.appendRefused(b, namespace, p)
	case wire.Goodbye:
		b = appendMembers(b, typeDisconnect, namespace, 0)
	default:
		b, err = appendEvent(b, namespace, p)
	}
	if err != nil {
		return unsayable(p.Type, err)
	}
	return w.End(b, transport.Binary)
}

// appendMembers appends the map that a packet is, with its type and namespace;
// so many members are yet to come.
func appendMembers(b []byte, typ byte, namespace string, more int) []byte {
	b = msgscan.AppendMapHeader(b, 2+more)
	b = append(msgscan.AppendStr(b, "type"), typ-typeConnect)
	return msgscan.AppendStr(msgscan.AppendStr(b, "nsp"), namespace)
}

func appendEvent(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	y, err := sayingOf(p)
	if err != nil {
		return b, err
	}
	more, elements := 1, y.spoken+y.count()
	if y.id != 0 {
		more++
	}
	if y.err != nil {
		elements++
	}
	if y.offset != "" {
		elements++
	}
	b = appendMembers(b, y.typ, namespace, more)
	b = msgscan.AppendArrayHeader(msgscan.AppendStr(b, "data"), elements)
	for _, word := range y.words[:y.spoken] {
		b = msgscan.AppendStr(b, word)
	}
	for i := range y.count() {
		if b, err = appendMsgpack(b, y.arg(i)); err != nil {
			return b, err
		}
	}
	if y.err != nil {
		if b, err = appendFailure(b, y.err); err != nil {
			return b, err
		}
	}
	if y.offset != "" {
		b = msgscan.AppendStr(b, y.offset)
	}
	if y.id != 0 {
		b = msgscan.AppendUint(msgscan.AppendStr(b, "id"), y.id-1)
	}
	return b, nil
}

// appendMsgpack appends an argument, which is checked: it may come from a peer,
// and must not break out of the array.
func appendMsgpack(b []byte, a codec.Payload) ([]byte, error) {
	switch {
	case a.Empty():
		return append(b, 0xc0), nil
	case a.Type == codec.TypeBytes:
		return msgscan.AppendBin(b, a.Data), nil
	case a.Type != codec.TypeMsgpack:
		return b, errContentType
	}
	ext, err := msgscan.Valid(a.Data)
	if err != nil {
		return b, fmt.Errorf("%w: %w", errNotMsgpack, err)
	}
	if ext {
		return append(b, dated(a.Data)...), nil
	}
	return append(b, a.Data...), nil
}

func isMsgpack(data []byte) bool {
	_, err := msgscan.Valid(data)
	return err == nil
}

// appendFailure appends the argument of an answer that is an error.
func appendFailure(b []byte, e *wire.ErrorBody) ([]byte, error) {
	members := 2
	if !e.Details.Empty() {
		members++
	}
	b = msgscan.AppendStr(msgscan.AppendMapHeader(b, 1), "error")
	b = msgscan.AppendStr(msgscan.AppendMapHeader(b, members), "code")
	b = msgscan.AppendStr(msgscan.AppendStr(b, validUTF8(e.Code)), "message")
	b = msgscan.AppendStr(b, validUTF8(e.Message))
	if members == 2 {
		return b, nil
	}
	return appendMsgpack(msgscan.AppendStr(b, "details"), e.Details)
}

func (s *msgpackSession) appendHello(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	if !s.dialled {
		return b, errWrongSide
	}
	var object []byte
	pairs := 0
	if !p.Payload.Empty() {
		if p.Payload.Type != codec.TypeMsgpack || !isMsgpack(p.Payload.Data) || !msgscan.Is(p.Payload.Data, msgscan.Map) {
			return b, errNotMsgpack
		}
		object, pairs = p.Payload.Data, int(mpLen(p.Payload))
	}
	var members []member
	if s.version != 4 && p.Resume != "" {
		members = append(members, member{"pid", p.Resume})
		if p.Position != "" {
			members = append(members, member{"offset", p.Position})
		}
	}
	for _, k := range sortedKeys(p.Header) {
		members = append(members, member{k, p.Header[k]})
	}
	if s.version == 4 {
		if object != nil {
			return b, errPayload // its names and values are not all strings
		}
		return appendMembers(b, typeConnect, string(appendQuery([]byte(namespace), p.Header, nil)), 0), nil
	}
	own := members[:0]
	for _, m := range members {
		if msgpackMember(object, m.key).Empty() {
			own = append(own, m)
		}
	}
	if len(own)+pairs == 0 && object == nil {
		return appendMembers(b, typeConnect, namespace, 0), nil
	}
	if len(own)+pairs > MaxArgs {
		return b, errManyArgs
	}
	b = appendMembers(b, typeConnect, namespace, 1)
	b = msgscan.AppendMapHeader(msgscan.AppendStr(b, "data"), len(own)+pairs)
	for _, m := range own {
		b = msgscan.AppendStr(msgscan.AppendStr(b, validUTF8(m.key)), validUTF8(m.value))
	}
	if object != nil {
		r := msgscan.Reader{Data: object}
		if _, err := r.Head(); err != nil {
			return b, err
		}
		b = append(b, object[r.Pos:]...)
	}
	return b, nil
}

func (s *msgpackSession) appendWelcome(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	if s.dialled {
		return b, errWrongSide
	}
	if s.version == 4 {
		return appendMembers(b, typeConnect, namespace, 0), nil
	}
	pairs := 1
	if p.Resume != "" {
		pairs++
	}
	b = appendMembers(b, typeConnect, namespace, 1)
	b = msgscan.AppendMapHeader(msgscan.AppendStr(b, "data"), pairs)
	b = msgscan.AppendStr(msgscan.AppendStr(b, "sid"), validUTF8(p.Key))
	if p.Resume != "" {
		b = msgscan.AppendStr(msgscan.AppendStr(b, "pid"), validUTF8(p.Resume))
	}
	return b, nil
}

// appendRefused appends a connect error. Details of another type are left out,
// as in text.
func (s *msgpackSession) appendRefused(b []byte, namespace string, p *wire.Packet) ([]byte, error) {
	switch {
	case s.dialled:
		return b, errWrongSide
	case p.Err == nil:
		return b, errNoError
	}
	b = msgscan.AppendStr(appendMembers(b, typeConnectError, namespace, 1), "data")
	details := p.Err.Details
	told := details.Type == codec.TypeBytes || details.Type == codec.TypeMsgpack && isMsgpack(details.Data)
	if s.version == 4 {
		if told {
			return appendMsgpack(b, details)
		}
		return msgscan.AppendStr(b, spoken(p.Err)), nil
	}
	if !told {
		return msgscan.AppendStr(msgscan.AppendStr(msgscan.AppendMapHeader(b, 1), "message"), spoken(p.Err)), nil
	}
	b = msgscan.AppendStr(msgscan.AppendStr(msgscan.AppendMapHeader(b, 2), "message"), spoken(p.Err))
	return appendMsgpack(msgscan.AppendStr(b, "data"), details)
}
