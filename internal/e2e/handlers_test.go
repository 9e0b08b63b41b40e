package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
)

// The handlers of README.md's table.

// handler is a handler that is registered under its event's name.
type handler = func(ctx context.Context, m *polywire.Message) (any, error)

// handle gives a namespace all handlers.
func handle(n *polywire.Namespace) {
	for kind, h := range map[string]handler{
		"echo":      echo,
		"silent":    func(context.Context, *polywire.Message) (any, error) { return polywire.NoReply(), nil },
		"fail":      fail,
		"id":        func(_ context.Context, m *polywire.Message) (any, error) { return m.Conn().ID(), nil },
		"handshake": func(_ context.Context, m *polywire.Message) (any, error) { return m.Conn().Value(seenKey), nil },
		"burst":     burst,
		"volatile":  volatile,
		"ask":       ask,
		"join":      inRoom((*polywire.Conn).Join),
		"leave":     inRoom(func(c *polywire.Conn, rooms ...string) error { c.Leave(rooms...); return nil }),
		"rooms":     rooms,
		"poll":      poll,
		"kick": func(_ context.Context, m *polywire.Message) (any, error) {
			return nil, m.Conn().Close(polywire.CloseForceDisconnect, "")
		},
		"break": func(_ context.Context, m *polywire.Message) (any, error) {
			return nil, m.Conn().Close(polywire.CloseForceReconnect, "")
		},
		"evict":    evict,
		"remember": remember,
		"recall": func(_ context.Context, m *polywire.Message) (any, error) {
			return map[string]any{"recovered": m.Conn().Resumed(), "value": m.Conn().Value(keptKey)}, nil
		},
		"*": caught,
	} {
		n.Handle(kind, h)
	}
	sends(n)
}

type key int

// Under these a connection keeps what the doorkeeper saw, and what it remembers.
const (
	seenKey key = iota
	keptKey
)

// sends are the handlers that send what they are told to some target.
func sends(n *polywire.Namespace) {
	inOne := func(target func(m *polywire.Message, room string) polywire.Target) handler {
		return func(ctx context.Context, m *polywire.Message) (any, error) {
			var room, kind string
			if err := m.Bind(&room, &kind); err != nil {
				return nil, err
			}
			return true, target(m, room).Send(ctx, kind, args(m, 2))
		}
	}
	inAll := func(target func(m *polywire.Message) polywire.Target) handler {
		return func(ctx context.Context, m *polywire.Message) (any, error) {
			var kind string
			if err := m.Bind(&kind); err != nil {
				return nil, err
			}
			return true, target(m).Send(ctx, kind, args(m, 1))
		}
	}
	for kind, h := range map[string]handler{
		"say": inOne(func(m *polywire.Message, room string) polywire.Target {
			return m.Conn().Namespace().Room(room)
		}),
		"others": inOne(func(m *polywire.Message, room string) polywire.Target { return m.Conn().Others(room) }),
		"except": except,
		"all":    inAll(func(m *polywire.Message) polywire.Target { return m.Conn().Namespace().All() }),
		"rest": inAll(func(m *polywire.Message) polywire.Target {
			return m.Conn().Namespace().All().ExceptConns(m.Conn())
		}),
	} {
		n.Handle(kind, h)
	}
}

// args returns a message's arguments from number first on, to send on.
func args(m *polywire.Message, first int) polywire.Args {
	var list polywire.Args
	for i, a := range m.Args() {
		if i >= first {
			list = append(list, a)
		}
	}
	return list
}

func echo(ctx context.Context, m *polywire.Message) (any, error) {
	if m.IsCall() {
		return args(m, 0), nil
	}
	return nil, m.Conn().Send(ctx, "echo", args(m, 0))
}

func caught(ctx context.Context, m *polywire.Message) (any, error) {
	list := append(polywire.Args{m.Kind()}, args(m, 0)...)
	if m.IsCall() {
		return list, nil
	}
	return nil, m.Conn().Send(ctx, "caught", list)
}

func fail(_ context.Context, m *polywire.Message) (any, error) {
	e := new(polywire.Error)
	if err := m.Bind(&e.Code, &e.Message, &e.Details); err != nil {
		return nil, err
	}
	return nil, e
}

func burst(ctx context.Context, m *polywire.Message) (any, error) {
	var n int
	if err := m.Bind(&n); err != nil {
		return nil, err
	}
	for i := range n {
		if err := m.Conn().Send(ctx, "burst", polywire.Args{i, strings.Repeat("🚀", i%4)}); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func volatile(ctx context.Context, m *polywire.Message) (any, error) {
	var n int
	if err := m.Bind(&n); err != nil {
		return nil, err
	}
	for i := range n {
		if err := m.Conn().Send(ctx, "flash", i, polywire.Volatile()); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// answers is what ask and poll acknowledge.
type answers = map[string]any

func ask(ctx context.Context, m *polywire.Message) (any, error) {
	var millis int
	var kind string
	if err := m.Bind(&millis, &kind); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(millis)*time.Millisecond)
	defer cancel()
	var got [8]polywire.Payload
	into := make([]any, len(got))
	for i := range got {
		into[i] = &got[i]
	}
	err := m.Conn().Call(ctx, kind, args(m, 2), polywire.Into(into...))
	if errors.Is(err, context.DeadlineExceeded) {
		return answers{"answers": []any{}, "timedOut": true}, nil
	}
	list := []any{}
	for _, p := range got {
		if p.Empty() {
			break
		}
		var v any
		if err := unmarshal(p, &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return answers{"answers": list, "timedOut": false}, err
}

// unmarshal decodes what no method of the message does.
func unmarshal(p polywire.Payload, v any) error {
	codecs, err := codec.NewSet(msgpack.Codec{})
	if err != nil {
		return err
	}
	return codecs.Unmarshal(p, v)
}

func poll(ctx context.Context, m *polywire.Message) (any, error) {
	var room, kind string
	var millis int
	if err := m.Bind(&room, &millis, &kind); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(millis)*time.Millisecond)
	defer cancel()
	var collected []polywire.Answer[any]
	err := m.Conn().Namespace().Room(room).Call(ctx, kind, args(m, 3), polywire.Collect(&collected))
	if errors.Is(err, polywire.ErrNoConnections) {
		err = nil
	}
	list, late := []any{}, false
	for _, a := range collected {
		switch {
		case a.Err == nil:
			list = append(list, a.Value)
		case errors.Is(a.Err, context.DeadlineExceeded):
			late = true
		default:
			return nil, a.Err
		}
	}
	return answers{"answers": list, "timedOut": late}, err
}

func inRoom(f func(c *polywire.Conn, rooms ...string) error) handler {
	return func(_ context.Context, m *polywire.Message) (any, error) {
		var room string
		if err := m.Bind(&room); err != nil {
			return nil, err
		}
		return true, f(m.Conn(), room)
	}
}

func rooms(_ context.Context, m *polywire.Message) (any, error) {
	list := append([]string{}, m.Conn().Rooms()...)
	slices.Sort(list)
	return list, nil
}

func except(ctx context.Context, m *polywire.Message) (any, error) {
	var in, without names
	var kind string
	if err := m.Bind(&in, &without, &kind); err != nil {
		return nil, err
	}
	return true, m.Conn().Namespace().To(in...).Except(without...).Send(ctx, kind, args(m, 3))
}

// names are a name or a list of names.
type names []string

// UnmarshalJSON implements [json.Unmarshaler].
func (n *names) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*n = names{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(n))
}

func evict(ctx context.Context, m *polywire.Message) (any, error) {
	var room string
	if err := m.Bind(&room); err != nil {
		return nil, err
	}
	return true, m.Conn().Namespace().Room(room).Disconnect(ctx, polywire.CloseForceDisconnect, "")
}

func remember(_ context.Context, m *polywire.Message) (any, error) {
	var value any
	if err := m.Bind(&value); err != nil {
		return nil, err
	}
	m.Conn().SetValue(keptKey, value)
	return value, nil
}
