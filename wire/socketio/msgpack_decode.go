package socketio

import (
	"bytes"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/msgscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// msgpackSession speaks the wire with the parser of socket.io-msgpack-parser:
// each packet is a binary message, the map {type, nsp, data, id}. Binary
// values stand among the others.
type msgpackSession struct{ session }

//nolint:gochecknoglobals // asked for with every message and never changed: one slice for all sessions
var msgpackTypes = []string{codec.TypeMsgpack, codec.TypeBytes}

// ContentTypes returns MessagePack and bytes.
func (*msgpackSession) ContentTypes() []string { return msgpackTypes }

// Decode reads a packet; arguments stay in the frame.
func (s *msgpackSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Binary {
		return false, s.malformed(errNotMsgpack)
	}
	m, err := readMap(f.Data)
	if err != nil {
		return false, s.malformed(err)
	}
	if m.typ == typeConnectError && !s.dialled {
		return false, misplaced(errFromClient)
	}
	if err := s.packet(m, p); err != nil {
		return false, s.malformed(err)
	}
	return !s.elsewhere(p.Namespace), nil
}

// mpPacket is a packet's members.
type mpPacket struct {
	typ       byte // as in text packets
	namespace []byte
	data      []byte // a value; nil: none
	id        uint64 // of the acknowledgement and one more; 0: none
}

// readMap reads the members of a packet. Unknown ones are ignored, and nil and
// undefined are as good as absent where an absent value is allowed.
func readMap(b []byte) (m mpPacket, err error) {
	r := msgscan.Reader{Data: b}
	h, err := r.Head()
	if err != nil {
		return m, err
	}
	if h.Kind != msgscan.Map {
		return m, errPayload
	}
	for range h.N {
		key, err := r.Value()
		if err != nil {
			return m, err
		}
		value, err := r.Value()
		if err != nil {
			return m, err
		}
		if err := m.member(key, value); err != nil {
			return m, err
		}
	}
	switch {
	case m.typ == 0:
		return m, errUnknownType
	case len(m.namespace) == 0:
		return m, errNamespace
	}
	return m, r.End()
}

func (m *mpPacket) member(key, value []byte) error {
	name, _ := msgscan.Text(key)
	switch string(name) {
	case "type":
		t, ok := msgscan.Uint(value)
		if !ok || t > 4 {
			return errUnknownType
		}
		m.typ = typeConnect + byte(t)
	case "nsp":
		var ok bool
		if m.namespace, ok = msgscan.Text(value); !ok {
			return errNamespace
		}
	case "data":
		if m.data = value; absent(value) {
			m.data = nil
		}
	case "id":
		id, ok := msgscan.Uint(value)
		switch {
		case absent(value):
			m.id = 0
		case !ok || id > maxWireID:
			return errID
		default:
			m.id = id + 1
		}
	}
	return nil
}

// packet makes the packet of its members.
func (s *msgpackSession) packet(m mpPacket, p *wire.Packet) (err error) {
	namespace := m.namespace
	var query []byte
	if m.typ == typeConnect && s.version == 4 && !s.dialled {
		namespace, query, _ = bytes.Cut(namespace, []byte("?"))
	}
	if p.Namespace, err = s.name(namespace); err != nil {
		return err
	}
	switch m.typ {
	case typeConnect:
		return s.connect(m.data, query, p)
	case typeDisconnect:
		p.Type = wire.Goodbye
		if m.data != nil {
			return errPayload
		}
		return nil
	case typeConnectError:
		return s.refused(m.data, p)
	}
	if p.ID = m.id; m.typ == typeAck && p.ID == 0 {
		return errNoID
	}
	if err := s.elements(m, p); err != nil {
		return err
	}
	switch {
	case m.typ == typeAck && s.dialled:
		s.failure(p)
	case m.typ == typeAck:
	case s.roomEvents:
		roomEvent(p, msgpackText)
	case s.recovering && p.ID == 0:
		p.Position = lastText(p, msgpackText)
	}
	return nil
}

// elements reads the arguments of an event or an acknowledgement.
func (s *msgpackSession) elements(m mpPacket, p *wire.Packet) (err error) {
	r := msgscan.Reader{Data: m.data}
	h, err := r.Head()
	if err != nil || h.Kind != msgscan.Array {
		return errPayload
	}
	n := h.N
	if p.Type = wire.Reply; m.typ == typeEvent {
		if p.Type = wire.Message; p.ID != 0 {
			p.Type = wire.Call
		}
		if n == 0 {
			return errNoName
		}
		n--
		if p.Kind, err = s.kind(&r); err != nil {
			return err
		}
	}
	if n > MaxArgs {
		return errManyArgs
	}
	if n > 1 {
		p.Args = make([]codec.Payload, n-1)
	}
	for i := range n {
		value, err := r.Value()
		if err != nil {
			return err
		}
		if r.Ext {
			value, r.Ext = plain(value), false
		}
		argument := msgpackArgument(value)
		if i == 0 {
			p.Payload = argument
		} else {
			p.Args[i-1] = argument
		}
	}
	return nil
}

func msgpackArgument(value []byte) codec.Payload {
	if data, ok := msgscan.Bytes(value, msgscan.Bin); ok {
		return codec.Payload{Type: codec.TypeBytes, Data: data}
	}
	return codec.Payload{Type: codec.TypeMsgpack, Data: value}
}

// kind reads an event's name.
func (s *msgpackSession) kind(r *msgscan.Reader) (string, error) {
	value, err := r.Value()
	if err != nil {
		return "", err
	}
	if text, ok := msgscan.Text(value); ok {
		kind := s.host.Kind(text)
		if reserved(kind) {
			return "", errReserved
		}
		return kind, nil
	}
	if number, ok := msgscan.Number(value); ok {
		return number, nil
	}
	return "", errName
}

// connect reads the wish for a connection or, dialled, the answer to it.
func (s *msgpackSession) connect(data, query []byte, p *wire.Packet) (err error) {
	if data != nil && !msgscan.Is(data, msgscan.Map) {
		return errPayload
	}
	if s.dialled {
		p.Type = wire.Welcome
		if s.version == 4 {
			p.Key = s.key(p.Namespace)
			return nil
		}
		sid, ok := msgpackText(msgpackMember(data, "sid"))
		if !ok {
			return errNoSID
		}
		p.Key = sid
		p.Resume, _ = msgpackText(msgpackMember(data, "pid"))
		s.recovering = p.Resume != ""
		return nil
	}
	if s.version == 4 {
		p.Payload, err = queryPayload(query, s.parser)
		s.helloOf(p)
		return err
	}
	if data != nil {
		p.Payload = codec.Payload{Type: codec.TypeMsgpack, Data: plain(data)}
		pid, hasPid := msgpackText(msgpackMember(data, "pid"))
		offset, hasOffset := msgpackText(msgpackMember(data, "offset"))
		if hasPid && hasOffset {
			p.Resume, p.Position = pid, offset
		}
	}
	s.helloOf(p)
	return nil
}

// refused reads a connect error.
func (s *msgpackSession) refused(data []byte, p *wire.Packet) error {
	p.Type = wire.Refused
	whole := codec.Payload{Type: codec.TypeMsgpack, Data: data}
	if message, ok := msgpackText(whole); ok {
		p.Err = refusal(message, codec.Payload{})
		return nil
	}
	if data == nil || !msgscan.Is(data, msgscan.Map) && s.version != 4 {
		return errPayload
	}
	message, ok := msgpackText(msgpackMember(data, "message"))
	if !ok {
		p.Err = refusal("", whole)
		return nil
	}
	p.Err = refusal(message, msgpackMember(data, "data"))
	return nil
}

// failure makes an error of an answer that is one.
func (s *msgpackSession) failure(p *wire.Packet) {
	if len(p.Args) > 0 || mpLen(p.Payload) != 1 {
		return
	}
	inner := msgpackMember(p.Payload.Data, "error")
	code, hasCode := msgpackText(msgpackMember(inner.Data, "code"))
	message, hasMessage := msgpackText(msgpackMember(inner.Data, "message"))
	details := msgpackMember(inner.Data, "details")
	if n := mpLen(inner); !hasCode || !hasMessage || n != 2 && (n != 3 || details.Empty()) {
		return
	}
	p.Type, p.Payload = wire.Error, codec.Payload{}
	p.Err = &wire.ErrorBody{Code: code, Message: message, Details: details}
}

// mpLen returns how many pairs a map has, zero for what is none.
func mpLen(p codec.Payload) uint64 {
	r := msgscan.Reader{Data: p.Data}
	if h, err := r.Head(); err == nil && p.Type == codec.TypeMsgpack && h.Kind == msgscan.Map {
		return h.N
	}
	return 0
}

// msgpackMember returns a member of a map that is valid, the empty payload if
// it has none of the name.
func msgpackMember(data []byte, name string) (p codec.Payload) {
	r := msgscan.Reader{Data: data}
	h, err := r.Head()
	if err != nil || h.Kind != msgscan.Map {
		return p
	}
	for range h.N {
		key, err := r.Value()
		if err != nil {
			return p
		}
		value, err := r.Value()
		if err != nil {
			return p
		}
		if text, ok := msgscan.Text(key); ok && string(text) == name {
			p = msgpackArgument(value) // of equal names the last counts
		}
	}
	return p
}

// msgpackText returns what an argument says that is a string.
func msgpackText(p codec.Payload) (string, bool) {
	if p.Type != codec.TypeMsgpack || len(p.Data) == 0 {
		return "", false
	}
	text, ok := msgscan.Text(p.Data)
	return string(text), ok
}
