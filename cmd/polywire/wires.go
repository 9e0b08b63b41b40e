package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// wirePlaces are HTTP paths other than the usual ones. The zero value has none.
type wirePlaces struct {
	native   []string // besides the usual one
	socketio string
	events   string
}

// everyWire lists the wires that this program speaks.
func everyWire(at wirePlaces) []wire.Protocol {
	io := []socketio.Option{socketio.WithRoomEvents()}
	if at.socketio != "" {
		io = append(io, socketio.WithPath(at.socketio))
	}
	var events []sse.Option
	if at.events != "" {
		events = append(events, sse.WithPath(at.events))
	}
	return []wire.Protocol{
		native.New(native.WithPath(native.DefaultPath, at.native...)),
		socketio.New(io...),
		drs.New(drs.WithRoomActions()),
		goomerang.New(),
		sse.New(events...),
	}
}

// wireFlags say which wires a server speaks, and at which further paths.
type wireFlags struct {
	at      wirePlaces
	without []string
}

// wires returns those that are left.
func (f *wireFlags) wires() ([]wire.Protocol, error) {
	wires := everyWire(f.at)
	for _, name := range f.without {
		left := slices.DeleteFunc(slices.Clone(wires), func(w wire.Protocol) bool { return w.Name() == name })
		if len(left) == len(wires) {
			return nil, fmt.Errorf("--without %q: there is no such wire, or it is given twice", name)
		}
		wires = left
	}
	if len(wires) == 0 {
		return nil, errors.New("--without: no wire is left")
	}
	return wires, nil
}

func isPath(p string) bool { return strings.HasPrefix(p, "/") && !strings.ContainsAny(p, "?# ") }
