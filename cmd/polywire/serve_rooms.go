package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

// roomFlags say what is kept and told of rooms.
type roomFlags struct {
	kept     []historyRule
	presence []string
	recovery bool
}

// historyRule is what is kept of the rooms of a pattern.
type historyRule struct {
	pattern string
	polywire.History
}

// keep reports whether messages are kept.
func (f *roomFlags) keep() bool { return f.recovery || len(f.kept) > 0 }

// onDisk reports whether some are to be on a disk.
func (f *roomFlags) onDisk() bool {
	return slices.ContainsFunc(f.kept, func(h historyRule) bool { return h.Storage == cluster.OnDisk })
}

// options returns the server's.
func (f *roomFlags) options() []polywire.Option {
	var opts []polywire.Option
	for _, r := range f.kept {
		opts = append(opts, polywire.WithHistory(r.pattern, r.History))
	}
	if len(f.presence) > 0 {
		opts = append(opts, polywire.WithPresence(f.presence...))
	}
	if f.recovery {
		opts = append(opts, polywire.WithSessions(polywire.Sessions{}))
	}
	return opts
}

func historyForm() config.Form {
	return config.Form{
		Want: "pattern:size=100,age=5m,bytes=64m,storage=memory",
		Fields: []config.Field{
			{Name: "pattern", Doc: "a room's name, or its beginning and *", Required: true},
			{Name: "size", Doc: "how many messages of a room; 100 unless given", Check: config.PositiveInt},
			{Name: "age", Doc: "how old they may be; 5m unless given", Check: config.PositiveDuration},
			{Name: "bytes", Doc: "of all rooms of the pattern together", Check: config.PositiveBytes},
			{Name: "storage", Doc: "memory or disk", Check: config.Words("memory", "disk")},
		},
		Split: splitHistory,
	}
}

// splitHistory takes pattern:name=value,... apart. A pattern may have colons.
func splitHistory(text string) ([]config.Pair, error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || !strings.Contains(text[i:], "=") {
		return []config.Pair{{Name: "pattern", Value: text}}, nil
	}
	pairs := []config.Pair{{Name: "pattern", Value: text[:i]}}
	for setting := range strings.SplitSeq(text[i+1:], ",") {
		name, value, _ := strings.Cut(setting, "=")
		pairs = append(pairs, config.Pair{Name: name, Value: value})
	}
	return pairs, nil
}

func buildHistory(pairs []config.Pair) (r historyRule, err error) {
	r.pattern = pairs[0].Value
	for _, p := range pairs[1:] {
		if err := setHistory(&r.History, p.Name, p.Value); err != nil {
			return r, fmt.Errorf("%q: %w", p.Name+"="+p.Value, err)
		}
	}
	return r, nil
}

func setHistory(h *polywire.History, name, value string) (err error) {
	switch name {
	case "size":
		if err = config.PositiveInt(value); err == nil {
			h.Size, err = strconv.Atoi(value)
		}
	case "age":
		if err = config.PositiveDuration(value); err == nil {
			h.Age, err = time.ParseDuration(value)
		}
	case "bytes":
		if err = config.PositiveBytes(value); err == nil {
			h.Bytes, err = config.ParseBytes(value)
		}
	case "storage":
		if err = config.Words("memory", "disk")(value); err == nil && value == "disk" {
			h.Storage = cluster.OnDisk
		}
	default:
		err = errors.New("want size, age, bytes or storage")
	}
	return err
}

// handleRooms lets clients ask who is in a room into which they could come,
// and say something of themselves in it.
func handleRooms(srv *polywire.Server, allowed func(ctx context.Context, c *polywire.Conn, room string) error) {
	srv.Handle(kindPresence, func(ctx context.Context, m *polywire.Message) (any, error) {
		var room string
		if err := m.Bind(&room); err != nil {
			return nil, err
		}
		if room == "" || len(room) > srv.Configuration().MaxRoomNameBytes {
			return nil, polywire.Errorf(polywire.CodeBadRequest, "want the name of a room")
		}
		if strings.HasPrefix(room, "$") { // as for subscribing
			return nil, polywire.Errorf(polywire.CodeForbidden, "rooms that begin with \"$\" are reserved")
		}
		if err := allowed(ctx, m.Conn(), room); err != nil {
			return nil, err
		}
		who, err := m.Conn().Namespace().Room(room).Presence(ctx)
		if err != nil { // some of them would be taken for all
			return nil, polywire.Errorf(polywire.CodeUnavailable, "not all servers have said who is there: %v", err)
		}
		if who == nil {
			who = []polywire.Presence{}
		}
		return who, nil
	})
	srv.Handle(kindPresenceSet, func(_ context.Context, m *polywire.Message) (any, error) {
		var value json.RawMessage
		if err := m.Bind(&value); err != nil {
			return nil, err
		}
		if len(value) == 0 || string(value) == "null" {
			return nil, m.Conn().SetPresence(nil)
		}
		return nil, m.Conn().SetPresence(value)
	})
}
