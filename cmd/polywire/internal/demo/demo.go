// Package demo is the chat behind `polywire demo`: its kinds, its page, and a
// bot that answers.
package demo

import (
	"cmp"
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/sdk/js"
)

//go:embed web
var web embed.FS

const (
	historySize  = 50
	maxTextRunes = 2000
	maxNameRunes = 40
	maxRooms     = 200
	// roomPrefix keeps the chat's rooms apart from others of the server.
	roomPrefix = "chat:"
)

// Member is somebody in a room.
type Member struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Bot  bool   `json:"bot"`
}

// Said is a message in a room.
type Said struct {
	Room string    `json:"room"`
	ID   string    `json:"id"`
	From Member    `json:"from"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// Change says who came, went, or has another name.
type Change struct {
	Room   string `json:"room"`
	Member Member `json:"member"`
}

// RoomInfo is a room in the list of rooms.
type RoomInfo struct {
	Name    string `json:"name"`
	Members int    `json:"members"`
}

// RoomList is the list of rooms.
type RoomList struct {
	Rooms []RoomInfo `json:"rooms"`
}

// Chat is the state of the demo.
type Chat struct {
	logger *slog.Logger
	srv    *polywire.Server

	mu    sync.Mutex
	rooms map[string]*room
	began string // with the number of a message: its id, also after a restart
	last  int    // number of the latest message
	bots  sync.WaitGroup
}

type room struct {
	members map[*polywire.Conn]Member
	history []Said
}

// New returns an empty chat.
func New(logger *slog.Logger) *Chat {
	return &Chat{logger: logger, began: strconv.FormatInt(time.Now().UnixMilli(), 36), rooms: map[string]*room{"lobby": {members: make(map[*polywire.Conn]Member)}}}
}

// Options are what the server needs for the chat.
func (c *Chat) Options() []polywire.Option {
	return []polywire.Option{
		polywire.WithPlugins(c),
		polywire.WithMaxMessageBytes(64 << 10),
		polywire.WithPublishPolicy(mayPublish),
		polywire.WithHooks(polywire.Hooks{
			Disconnect: func(conn *polywire.Conn, _ *polywire.CloseError) { c.gone(conn) },
		}),
	}
}

// mayPublish lets clients publish to rooms of their own, not to the chat's.
func mayPublish(_ context.Context, _ *polywire.Conn, room, _ string) error {
	if strings.HasPrefix(room, roomPrefix) {
		return polywire.Errorf(polywire.CodeForbidden, "chat.say is for that")
	}
	return nil
}

// Activate implements [polywire.Plugin].
func (c *Chat) Activate(*polywire.Server) error { return nil }

// Deactivate waits for the bot.
func (c *Chat) Deactivate(context.Context) error {
	c.bots.Wait()
	return nil
}

// Register adds the chat's handlers and its page to a server.
func (c *Chat) Register(srv *polywire.Server) {
	c.srv = srv
	polywire.HandleFunc(srv, "chat.join", c.join)
	polywire.HandleFunc(srv, "chat.leave", c.leave)
	polywire.HandleFunc(srv, "chat.say", c.say)
	polywire.HandleFunc(srv, "chat.rename", c.rename)
	polywire.HandleFunc(srv, "chat.rooms", func(context.Context, *struct{}) (*RoomList, error) { return c.list(), nil })
	polywire.HandleFunc(srv, "demo.ping", func(context.Context, *struct{}) (*pong, error) { return &pong{time.Now()}, nil })
	page, err := fs.Sub(web, "web")
	if err != nil {
		c.logger.Error("demo: page", "error", err)
		return
	}
	srv.HandleHTTP("/", secure(http.FileServerFS(page)))
	srv.HandleHTTP("/sdk/", secure(http.StripPrefix("/sdk/", http.FileServerFS(js.Files()))))
}

// secure keeps the page to what it brings along.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

type pong struct {
	At time.Time `json:"at"`
}

type joinRequest struct {
	Room string `json:"room"`
	Name string `json:"name"`
}

type joined struct {
	Room    string   `json:"room"`
	You     string   `json:"you"`
	Members []Member `json:"members"`
	History []Said   `json:"history"`
}

func (c *Chat) join(ctx context.Context, in *joinRequest) (*joined, error) {
	conn := polywire.MessageFrom(ctx).Conn()
	name, err := cleanName(in.Name)
	if err != nil {
		return nil, err
	}
	if in.Room, err = cleanRoom(in.Room); err != nil {
		return nil, err
	}
	me := Member{ID: conn.ID(), Name: name, Bot: conn.Value(botKey{}) != nil}
	c.mu.Lock()
	r := c.rooms[in.Room]
	if r == nil {
		if len(c.rooms) >= maxRooms {
			c.mu.Unlock()
			return nil, polywire.Errorf(polywire.CodeTooManyRequests, "there are %d rooms already", maxRooms)
		}
		r = &room{members: make(map[*polywire.Conn]Member)}
		c.rooms[in.Room] = r
	}
	_, again := r.members[conn]
	r.members[conn] = me
	out := &joined{Room: in.Room, You: me.ID, Members: r.list(), History: slices.Clone(r.history)}
	c.mu.Unlock()
	if out.History == nil {
		out.History = []Said{}
	}
	// The room of the chat, and the one of the same name, for `polywire sub`.
	if err := conn.Join(roomPrefix + in.Room); err != nil {
		return nil, err
	}
	if !again {
		c.tell(ctx, in.Room, "chat.joined", Change{in.Room, me}, conn)
		c.listChanged(ctx)
	}
	return out, nil
}

type roomRequest struct {
	Room string `json:"room"`
}

func (c *Chat) leave(ctx context.Context, in *roomRequest) (*struct{}, error) {
	c.remove(ctx, polywire.MessageFrom(ctx).Conn(), in.Room)
	return &struct{}{}, nil
}

type sayRequest struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

type saidReply struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

func (c *Chat) say(ctx context.Context, in *sayRequest) (*saidReply, error) {
	conn := polywire.MessageFrom(ctx).Conn()
	text := strings.TrimSpace(strings.ToValidUTF8(in.Text, ""))
	if text == "" || utf8.RuneCountInString(text) > maxTextRunes {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "a message has 1 to %d characters", maxTextRunes)
	}
	c.mu.Lock()
	r := c.rooms[in.Room]
	if r == nil {
		c.mu.Unlock()
		return nil, polywire.Errorf(polywire.CodeNotFound, "no room %q", in.Room)
	}
	from, ok := r.members[conn]
	if !ok { // somebody with a command line
		from = Member{ID: conn.ID(), Name: "guest " + conn.ID()[len(conn.ID())-4:]}
	}
	c.last++
	said := Said{Room: in.Room, ID: c.began + "-" + strconv.Itoa(c.last), From: from, Text: text, At: time.Now().UTC()}
	if r.history = append(r.history, said); len(r.history) > historySize {
		r.history = slices.Delete(r.history, 0, len(r.history)-historySize)
	}
	c.mu.Unlock()
	c.tell(ctx, in.Room, "chat.said", said)
	return &saidReply{said.ID, said.At}, nil
}

type renameRequest struct {
	Name string `json:"name"`
}

func (c *Chat) rename(ctx context.Context, in *renameRequest) (*struct{}, error) {
	conn := polywire.MessageFrom(ctx).Conn()
	name, err := cleanName(in.Name)
	if err != nil {
		return nil, err
	}
	var changes []Change
	c.mu.Lock()
	for n, r := range c.rooms {
		if m, ok := r.members[conn]; ok {
			m.Name = name
			r.members[conn] = m
			changes = append(changes, Change{n, m})
		}
	}
	c.mu.Unlock()
	for _, change := range changes {
		c.tell(ctx, change.Room, "chat.renamed", change)
	}
	return &struct{}{}, nil
}

// botKey marks the bot's connection.
type botKey struct{}

func (c *Chat) markBot(id string) {
	if conn := c.srv.Conn(id); conn != nil {
		conn.SetValue(botKey{}, true)
	}
}

// gone takes a connection that has ended out of all rooms.
func (c *Chat) gone(conn *polywire.Conn) {
	c.mu.Lock()
	var in []string
	for n, r := range c.rooms {
		if _, ok := r.members[conn]; ok {
			in = append(in, n)
		}
	}
	c.mu.Unlock()
	for _, n := range in {
		c.remove(context.Background(), conn, n)
	}
}

func (c *Chat) remove(ctx context.Context, conn *polywire.Conn, name string) {
	c.mu.Lock()
	r := c.rooms[name]
	if r == nil {
		c.mu.Unlock()
		return
	}
	who, ok := r.members[conn]
	delete(r.members, conn)
	if len(r.members) == 0 && name != "lobby" {
		delete(c.rooms, name)
	}
	c.mu.Unlock()
	conn.Leave(roomPrefix + name)
	if ok {
		c.tell(ctx, name, "chat.left", Change{name, who})
		c.listChanged(ctx)
	}
}

// tell sends to a chat room, and to those who subscribed to the room's plain name.
func (c *Chat) tell(ctx context.Context, name, kind string, v any, except ...*polywire.Conn) {
	if err := c.srv.To(roomPrefix+name, name).ExceptConns(except...).Send(ctx, kind, v); err != nil {
		c.logger.Error("demo", "kind", kind, "error", err)
	}
}

func (c *Chat) listChanged(ctx context.Context) {
	if err := c.srv.All().Send(ctx, "chat.rooms", c.list()); err != nil {
		c.logger.Error("demo", "kind", "chat.rooms", "error", err)
	}
}

func (c *Chat) list() *RoomList {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &RoomList{Rooms: []RoomInfo{}}
	for n, r := range c.rooms {
		l.Rooms = append(l.Rooms, RoomInfo{n, len(r.members)})
	}
	slices.SortFunc(l.Rooms, func(a, b RoomInfo) int { return cmp.Compare(a.Name, b.Name) })
	return l
}

func (r *room) list() []Member {
	all := make([]Member, 0, len(r.members))
	for _, m := range r.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all
}

func cleanName(s string) (string, error) {
	s = clean(s)
	if s == "" || utf8.RuneCountInString(s) > maxNameRunes {
		return "", polywire.Errorf(polywire.CodeBadRequest, "a name has 1 to %d characters", maxNameRunes)
	}
	return s, nil
}

func cleanRoom(s string) (string, error) {
	s = clean(s)
	if s == "" || utf8.RuneCountInString(s) > maxNameRunes {
		return "", polywire.Errorf(polywire.CodeBadRequest, "a room's name has 1 to %d characters", maxNameRunes)
	}
	return s, nil
}

// clean takes out what cannot be seen, and joins white space.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}
