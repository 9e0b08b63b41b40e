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

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
)

// roomFlags say what is kept and told of rooms.
type roomFlags struct {
	history  []string
	presence []string
	recovery bool

	kept []polywire.History // of history
}

func (f *roomFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.history, "history", nil, "keep the latest messages of rooms, for who comes back: `pattern:size=100,age=5m,storage=memory`,\n"+
		"also bytes=64m for all rooms together, storage=disk; a pattern is a room's name, or its beginning and *; may be repeated")
	flags.StringArrayVar(&f.presence, "presence", nil, "tell the members of rooms who comes and goes; `pattern` as of --history; may be repeated")
	flags.BoolVar(&f.recovery, "recovery", false, "let Socket.IO clients resume their sessions with what they have missed, at any server of a cluster")
}

// keep reports whether messages are kept.
func (f *roomFlags) keep() bool { return f.recovery || len(f.history) > 0 }

// onDisk reports whether some are to be on a disk.
func (f *roomFlags) onDisk() bool {
	return slices.ContainsFunc(f.kept, func(h polywire.History) bool { return h.Storage == cluster.OnDisk })
}

// options takes the flags apart.
func (f *roomFlags) options() ([]polywire.Option, error) {
	var opts []polywire.Option
	for _, text := range f.history {
		pattern, h, err := parseHistory(text)
		if err != nil {
			return nil, fmt.Errorf("--history %q: %w", text, err)
		}
		f.kept = append(f.kept, h)
		opts = append(opts, polywire.WithHistory(pattern, h))
	}
	if len(f.presence) > 0 {
		opts = append(opts, polywire.WithPresence(f.presence...))
	}
	if f.recovery {
		opts = append(opts, polywire.WithRecovery(polywire.Recovery{}))
	}
	return opts, nil
}

// parseHistory takes pattern:name=value,... apart. A pattern may have colons.
func parseHistory(text string) (pattern string, h polywire.History, err error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || !strings.Contains(text[i:], "=") {
		return text, h, nil
	}
	for setting := range strings.SplitSeq(text[i+1:], ",") {
		name, value, _ := strings.Cut(setting, "=")
		if err := setHistory(&h, name, value); err != nil {
			return "", h, fmt.Errorf("%q: %w", setting, err)
		}
	}
	return text[:i], h, nil
}

func setHistory(h *polywire.History, name, value string) (err error) {
	positive := true
	switch name {
	case "size":
		h.Size, err = strconv.Atoi(value)
		positive = h.Size > 0
	case "age":
		h.Age, err = time.ParseDuration(value)
		positive = h.Age > 0
	case "bytes":
		h.Bytes, err = parseBytes(value)
		positive = h.Bytes > 0
	case "storage":
		switch value {
		case "memory":
		case "disk":
			h.Storage = cluster.OnDisk
		default:
			err = errors.New("want memory or disk")
		}
	default:
		err = errors.New("want size, age, bytes or storage")
	}
	if err == nil && !positive {
		err = errors.New("want more than nothing")
	}
	return err
}

// parseBytes reads a number with k, m or g behind it.
func parseBytes(text string) (int64, error) {
	shift := 0
	if i := strings.IndexAny(text, "kmg"); i >= 0 && i == len(text)-1 {
		shift = 10 * (1 + strings.IndexByte("kmg", text[i]))
		text = text[:i]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n > 1<<62>>shift {
		err = strconv.ErrRange
	}
	return n << shift, err
}

// handleRooms lets clients ask who is in a room into which they could come,
// and say something of themselves in it.
func handleRooms(srv *polywire.Server) {
	srv.Handle(kindPresence, polywire.HandlerFunc(func(ctx context.Context, m *polywire.Message) (any, error) {
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
		who, err := m.Conn().Namespace().Room(room).Presence(ctx)
		if err != nil { // some of them would be taken for all
			return nil, polywire.Errorf(polywire.CodeUnavailable, "not all servers have said who is there: %v", err)
		}
		if who == nil {
			who = []polywire.Presence{}
		}
		return who, nil
	}))
	srv.Handle(kindPresenceSet, polywire.HandlerFunc(func(_ context.Context, m *polywire.Message) (any, error) {
		var value json.RawMessage
		if err := m.Bind(&value); err != nil {
			return nil, err
		}
		if len(value) == 0 || string(value) == "null" {
			return nil, m.Conn().SetPresence(nil)
		}
		return nil, m.Conn().SetPresence(value)
	}))
}
