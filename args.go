package polywire

import (
	"fmt"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// Args are several arguments of one message, to send or to return from a
// handler. The native wire (up to 65 of them) and Socket.IO carry them one by
// one; wires with a single argument get one JSON array.
type Args []any

// into are the places for several arguments of an answer.
type into []any

// Into is an out of [Conn.Call] for an answer with several arguments, decoded
// in order into the pointers; those beyond the last argument are left alone.
func Into(pointers ...any) any { return into(pointers) }

// fill puts the encoding of v into a packet, in content types that the wire
// can say.
func (l *link) fill(p *wire.Packet, v any) error { return l.fillAs(p, p.Kind, v) }

// fillAs is fill for packets that do not carry the kind.
func (l *link) fillAs(p *wire.Packet, kind string, v any) error {
	if err := l.encode(p, kind, v); err != nil {
		return err
	}
	return l.srv.checkSize(p, kind)
}

func (l *link) encode(p *wire.Packet, kind string, v any) (err error) {
	args, several := v.(Args)
	if !several {
		p.Payload, err = l.srv.cfg.codecs.MarshalFor(kind, v, l.typesFor(kind))
		return err
	}
	switch {
	case len(args) == 0:
		return nil
	case len(args) == 1:
		return l.encode(p, kind, args[0])
	case !l.arguments:
		return l.fillArray(p, kind, args)
	}
	for i, v := range args {
		one, err := l.srv.cfg.codecs.MarshalFor(kind, v, l.typesFor(kind))
		if err != nil {
			return fmt.Errorf("argument %d: %w", i+1, err)
		}
		if i == 0 {
			p.Payload = one
		} else {
			p.Args = append(p.Args, one)
		}
	}
	return nil
}

// fillArray makes one JSON array of several arguments.
func (l *link) fillArray(p *wire.Packet, kind string, args Args) error {
	set := l.srv.cfg.codecs
	array := []byte{'['}
	for i, v := range args {
		one, err := set.MarshalFor(kind, v, []string{codec.TypeJSON})
		if err != nil {
			return fmt.Errorf("argument %d: %w", i+1, err)
		}
		if i > 0 {
			array = append(array, ',')
		}
		if one.Empty() {
			one.Data = []byte("null")
		}
		array = append(array, one.Data...)
	}
	var err error
	p.Payload, err = set.MarshalFor(kind, Payload{Type: codec.TypeJSON, Data: append(array, ']')}, l.typesFor(kind))
	return err
}

// bindAll decodes the arguments of an answer.
func (s *Server) bindAll(first Payload, rest []Payload, out into) error {
	for i, v := range out {
		p := first
		if i > 0 {
			if i > len(rest) {
				return nil
			}
			p = rest[i-1]
		}
		if v == nil {
			continue
		}
		if err := s.bindReply(p, nil, v); err != nil {
			return fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	return nil
}

// bindArgs decodes the arguments of a message for its handler.
func (s *Server) bindArgs(kind string, first Payload, rest []Payload, into []any) error {
	for i, v := range into {
		p := first
		if i > 0 {
			if i > len(rest) {
				return nil
			}
			p = rest[i-1]
		}
		if err := s.cfg.codecs.Unmarshal(p, v); err != nil {
			return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("argument %d of %q: %v", i+1, kind, err)}
		}
	}
	return nil
}
