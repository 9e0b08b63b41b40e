package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire"
	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
	"github.com/polywire/polywire/cmd/polywire/internal/shown"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// service does what polywire.proto says.
type service struct {
	srv    *polywire.Server
	queues *queue.Broker // nil: none
	forms  *shown.Forms

	publishWait time.Duration // at most
}

// The kinds by which servers of a cluster ask each other.
const (
	kindRooms = "polywire.api.rooms"
	kindStats = "polywire.api.stats"
)

// userRoomPrefix begins the names of rooms that no client may subscribe to.
const userRoomPrefix = "$user:"

// UserRoom is the room in which all connections of a user are, in the main
// namespace of a server with an API.
func UserRoom(srv *polywire.Server, user string) string {
	room := userRoomPrefix + user
	if len(room) <= srv.Configuration().MaxRoomNameBytes {
		return room
	}
	sum := sha256.Sum256([]byte(user))
	return userRoomPrefix + "#" + hex.EncodeToString(sum[:])
}

// IsUserRoom reports whether a room is one of those, which nobody made.
func IsUserRoom(room string) bool { return strings.HasPrefix(room, userRoomPrefix) }

func newService(srv *polywire.Server, queues *queue.Broker) (*service, error) {
	forms, err := shown.New()
	if err != nil {
		return nil, err
	}
	s := &service{srv: srv, queues: queues, forms: forms}
	srv.Hook(polywire.Hooks{Connect: func(c *polywire.Conn) {
		if user := c.User(); user != "" {
			_ = c.Join(UserRoom(srv, user)) // or it has gone again
		}
	}})
	srv.Nodes().Handle(kindRooms, func(ctx context.Context, m *polywire.NodeMessage) (any, error) {
		var q roomsQuestion
		if err := m.Bind(&q); err != nil {
			return nil, err
		}
		return s.roomsHere(ctx, q)
	})
	srv.Nodes().Handle(kindStats, func(context.Context, *polywire.NodeMessage) (any, error) { return s.statsHere(), nil })
	return s, nil
}

// Bounds of what is asked for.
const (
	maxPage      = 1000
	defaultPage  = 100
	maxNames     = 100 // of rooms, users and connections in one target
	maxHeaders   = 64
	maxHeadBytes = 16 << 10
	maxKindBytes = 255
	maxNodeWait  = 5 * time.Second
)

// page checks a limit.
func page(limit int32) (int, error) {
	if limit < 0 || limit > maxPage {
		return 0, invalid("limit: want 1 to %d", maxPage)
	}
	if limit == 0 {
		return defaultPage, nil
	}
	return int(limit), nil
}

// duration reads a time with its unit; empty: zero.
func duration(name, text string, most time.Duration) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > most {
		return 0, invalid("%s: want a time with its unit, as 500ms or 5s, at most %v", name, most)
	}
	return d, nil
}

// checkName checks the name of a room, or an id.
func (s *service) checkName(what, name string) error {
	if most := s.srv.Configuration().MaxRoomNameBytes; name == "" || len(name) > most {
		return invalid("%s: want 1 to %d bytes", what, most)
	}
	if !utf8.ValidString(name) {
		return invalid("%s: it is not UTF-8", what)
	}
	return nil
}

func (s *service) checkNames(what string, names []string) error {
	if len(names) > maxNames {
		return invalid("%s: at most %d", what, maxNames)
	}
	for _, name := range names {
		if err := s.checkName(what, name); err != nil {
			return err
		}
	}
	return nil
}

// target returns whom a request means; single: one connection and nobody else.
func (s *service) target(t *v1.Target) (to polywire.Target, single bool, err error) {
	for what, names := range map[string][]string{"rooms": t.GetRooms(), "connections": t.GetConnections(), "except_rooms": t.GetExceptRooms()} {
		if err := s.checkNames("target."+what, names); err != nil {
			return to, false, err
		}
	}
	if len(t.GetUsers()) > maxNames {
		return to, false, invalid("target.users: at most %d", maxNames)
	}
	rooms := slices.Concat(t.GetRooms(), t.GetConnections())
	for _, u := range t.GetUsers() {
		if u == "" || !utf8.ValidString(u) {
			return to, false, invalid("target.users: want names")
		}
		rooms = append(rooms, UserRoom(s.srv, u))
	}
	switch {
	case t.GetAll() && len(rooms) > 0:
		return to, false, invalid("target: all and others exclude each other")
	case t.GetAll():
		to = s.srv.All()
	case len(rooms) == 0:
		return to, false, invalid("target: want all, rooms, users or connections")
	default:
		to = s.srv.To(rooms...)
	}
	if len(t.GetExceptRooms()) > 0 {
		to = to.Except(t.GetExceptRooms()...)
	}
	to, err = pick(to, t)
	return to, len(rooms) == 1 && len(t.GetConnections()) == 1, err
}

func pick(to polywire.Target, t *v1.Target) (polywire.Target, error) {
	if t.GetKey() != "" && t.GetPick() != "key" {
		return to, invalid("target.key is for pick: key")
	}
	switch t.GetPick() {
	case "":
		return to, nil
	case "random":
		return to.Pick(polywire.Random()), nil
	case "least_loaded":
		return to.Pick(polywire.LeastLoaded()), nil
	case "key":
		if t.GetKey() == "" {
			return to, invalid("target.key is missing")
		}
		return to.Pick(polywire.ByKey(t.GetKey())), nil
	}
	return to, invalid("target.pick: want random, least_loaded or key")
}

func checkKind(kind string) error {
	if kind == "" || len(kind) > maxKindBytes || !utf8.ValidString(kind) {
		return invalid("kind: want 1 to %d bytes", maxKindBytes)
	}
	return nil
}

func checkHeader(header map[string]string) error {
	size := 0
	for name, value := range header {
		if name == "" || strings.ContainsAny(name+value, "\r\n\x00") {
			return invalid("header %.50q: names are not empty, and there are no line ends", name)
		}
		size += len(name) + len(value)
	}
	if len(header) > maxHeaders || size > maxHeadBytes {
		return invalid("header: at most %d names and %d bytes", maxHeaders, maxHeadBytes)
	}
	return nil
}

// payloadIn is the payload of a request; a text is one as JSON has it.
func payloadIn(json *v1.Json, text *string, bytes []byte) (polywire.Payload, error) {
	switch {
	case json != nil:
		if !validJSON(json.GetText()) {
			return polywire.Payload{}, invalid("json: it is no JSON value")
		}
		return polywire.Payload{Type: codec.TypeJSON, Data: json.GetText()}, nil
	case text != nil:
		return polywire.Payload{Type: codec.TypeJSON, Data: appendString(nil, *text)}, nil
	case bytes != nil:
		return polywire.Payload{Type: codec.TypeBytes, Data: bytes}, nil
	}
	return polywire.Payload{}, nil
}

// form is a payload in the form in which it is told: one of the three, or none.
type form struct {
	json  *v1.Json
	text  *string
	bytes []byte
}

func (s *service) form(p polywire.Payload) form {
	f := s.forms.Of("", p)
	out := form{text: f.Text, bytes: f.Bytes}
	if f.JSON != nil {
		out.json = &v1.Json{Text: f.JSON}
	}
	return out
}

func validJSON(b []byte) bool { return shown.ValidJSON(b) }

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// some returns nil for an empty text.
func some(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// valid replaces what is not UTF-8 in what comes from outside.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func someStamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := stamp(t)
	return &text
}

// missingNodes takes the answers of those that answered for good.
func missingNodes(err error) ([]string, error) {
	if partial, ok := errors.AsType[*polywire.PartialError](err); ok {
		return partial.Nodes, nil
	}
	return nil, err
}
