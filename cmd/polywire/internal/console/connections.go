package console

import (
	"cmp"
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/api"
)

// Bounds of lists.
const (
	usualPage  = 100
	maxPage    = 500
	maxInRooms = 200 // names of rooms of one connection
)

// connectionsQuestion is for each node: the next connections in some order.
type connectionsQuestion struct {
	Text      string `json:"text,omitempty"`
	Wire      string `json:"wire,omitempty"`
	User      string `json:"user,omitempty"`
	Room      string `json:"room,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Node      string `json:"node,omitempty"`
	Sort      string `json:"sort,omitempty"`
	After     string `json:"after,omitempty"`
	Limit     int    `json:"limit"`
}

type connectionsHere struct {
	Matched     int          `json:"matched"`
	Connections []connection `json:"connections"`
}

// connection is what is shown of one.
type connection struct {
	ID          string    `json:"id"`
	Node        string    `json:"node"`
	Wire        string    `json:"wire"`
	Namespace   string    `json:"namespace"`
	User        string    `json:"user,omitempty"`
	Address     string    `json:"address,omitempty"`
	Opened      time.Time `json:"opened"`
	OpenMS      int64     `json:"open_ms"`
	IdleMS      int64     `json:"idle_ms"`
	Rooms       int       `json:"rooms"`
	MessagesIn  uint64    `json:"messages_in"`
	MessagesOut uint64    `json:"messages_out"`
	BytesIn     uint64    `json:"bytes_in"`
	BytesOut    uint64    `json:"bytes_out"`
	QueuedBytes int64     `json:"queued_bytes"`
}

func viewConnection(c *polywire.Conn) connection {
	s, open := c.Stats(), time.Since(c.OpenedAt())
	return connection{
		ID: clip(c.ID(), maxTextBytes), Node: c.Server().Nodes().ID(), Wire: c.Wire(), Namespace: clip(c.Namespace().Name(), maxTextBytes),
		User: clip(c.User(), maxTextBytes), Address: clip(address(c), maxTextBytes), Opened: c.OpenedAt().UTC(),
		OpenMS: open.Milliseconds(), IdleMS: min(s.Quiet, open).Milliseconds(), Rooms: len(namesOfRooms(c)),
		MessagesIn: s.MessagesIn, MessagesOut: s.MessagesOut, BytesIn: s.BytesIn, BytesOut: s.BytesOut, QueuedBytes: s.QueuedBytes,
	}
}

func address(c *polywire.Conn) string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// namesOfRooms leaves out the rooms that nobody joined: the connection's own
// and that of its user.
func namesOfRooms(c *polywire.Conn) []string {
	id := c.ID()
	return slices.DeleteFunc(c.Rooms(), func(room string) bool { return room == id || api.IsUserRoom(room) })
}

// orders say what comes first; that of ids can be paged through.
func orders() map[string]func(a, b *ranked) int {
	most := func(of func(s *polywire.ConnStats) int64) func(a, b *ranked) int {
		return func(a, b *ranked) int {
			return cmp.Or(cmp.Compare(of(&b.stats), of(&a.stats)), strings.Compare(a.id, b.id))
		}
	}
	return map[string]func(a, b *ranked) int{
		"":       func(a, b *ranked) int { return strings.Compare(a.id, b.id) },
		"id":     func(a, b *ranked) int { return strings.Compare(a.id, b.id) },
		"queued": most(func(s *polywire.ConnStats) int64 { return s.QueuedBytes }),
		"in":     most(func(s *polywire.ConnStats) int64 { return int64(s.MessagesIn) }),
		"out":    most(func(s *polywire.ConnStats) int64 { return int64(s.MessagesOut) }),
		"idle":   most(func(s *polywire.ConnStats) int64 { return int64(s.Quiet) }),
		"newest": func(a, b *ranked) int { return cmp.Or(b.opened.Compare(a.opened), strings.Compare(a.id, b.id)) },
	}
}

// paged reports whether an order can be gone on with after an id.
func paged(order string) bool { return order == "" || order == "id" }

// ranked is what an order looks at.
type ranked struct {
	conn   *polywire.Conn
	id     string
	stats  polywire.ConnStats
	opened time.Time
}

// connections finds those of this node.
func (h here) connections(_ context.Context, q connectionsQuestion) (out connectionsHere, err error) {
	if q.Node != "" && q.Node != h.srv.Nodes().ID() {
		return out, nil
	}
	order := orders()[q.Sort]
	if order == nil {
		return out, wrong("sort: want id, queued, in, out, newest or idle")
	}
	var found []ranked
	text := strings.ToLower(q.Text)
	for _, c := range h.among(q) {
		if !q.picks(c, text) {
			continue
		}
		out.Matched++
		r := ranked{conn: c, id: c.ID(), opened: c.OpenedAt()}
		if paged(q.Sort) && r.id <= q.After {
			continue
		}
		if !paged(q.Sort) {
			r.stats = c.Stats()
		}
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b ranked) int { return order(&a, &b) })
	for _, r := range found[:min(len(found), q.Limit, maxPage+1)] {
		out.Connections = append(out.Connections, viewConnection(r.conn))
	}
	return out, nil
}

// among returns the connections to look at.
func (h here) among(q connectionsQuestion) []*polywire.Conn {
	if q.Room != "" && (q.Namespace == "" || q.Namespace == "/") {
		return h.srv.Room(q.Room).Local().Conns()
	}
	return h.srv.Conns()
}

// picks reports whether a connection is wanted; text is in lower case.
func (q *connectionsQuestion) picks(c *polywire.Conn, text string) bool {
	switch {
	case q.Wire != "" && c.Wire() != q.Wire,
		q.User != "" && c.User() != q.User,
		q.Namespace != "" && c.Namespace().Name() != q.Namespace,
		q.Room != "" && q.Room != c.ID() && !c.In(q.Room):
		return false
	case text == "":
		return true
	}
	return slices.ContainsFunc([]string{c.ID(), c.User(), address(c)}, func(s string) bool {
		return strings.Contains(strings.ToLower(s), text)
	})
}

type connectionsAnswer struct {
	Connections  []connection `json:"connections"`
	Matched      int          `json:"matched"`
	Next         string       `json:"next,omitempty"`
	MissingNodes []string     `json:"missing_nodes,omitempty"`
}

// connections lists those of all nodes: the first of all are among the first of each.
func (c *Console) connections(r *request) (any, error) {
	limit, err := r.limit(usualPage, maxPage)
	if err != nil {
		return nil, err
	}
	q := connectionsQuestion{
		Text: r.values.Get("q"), Wire: r.values.Get("wire"), User: r.values.Get("user"), Room: r.values.Get("room"),
		Namespace: r.values.Get("namespace"), Node: r.values.Get("node"), Sort: r.values.Get("sort"), After: r.values.Get("after"), Limit: limit + 1,
	}
	if q.After != "" && !paged(q.Sort) {
		return nil, wrong("after goes with the order of ids")
	}
	all, missing, err := everywhere(r.Context(), r.Server, kindConnections, q, here{r.Server}.connections)
	if err != nil {
		return nil, err
	}
	out := connectionsAnswer{Connections: []connection{}, MissingNodes: missing}
	for _, a := range all {
		out.Matched += a.value.Matched
		out.Connections = append(out.Connections, a.value.Connections...)
	}
	order := orders()[q.Sort]
	slices.SortStableFunc(out.Connections, func(a, b connection) int {
		x, y := a.ranked(), b.ranked()
		return order(&x, &y)
	})
	if len(out.Connections) > limit {
		out.Connections = out.Connections[:limit]
		if paged(q.Sort) {
			out.Next = out.Connections[limit-1].ID
		}
	}
	return out, nil
}

// ranked is what an order looks at of a connection that may be elsewhere.
func (c *connection) ranked() ranked {
	return ranked{id: c.ID, opened: c.Opened, stats: polywire.ConnStats{
		MessagesIn: c.MessagesIn, MessagesOut: c.MessagesOut, QueuedBytes: c.QueuedBytes, Quiet: time.Duration(c.IdleMS) * time.Millisecond,
	}}
}

// connectionDetail is all that is shown of one.
type connectionDetail struct {
	connection

	RoomNames []string  `json:"room_names"`
	TLS       string    `json:"tls,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Resumed   bool      `json:"resumed,omitempty"`
}

type idQuestion struct {
	ID     string `json:"id"`
	Code   uint16 `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// connection reads one of this node; nil: it is not here.
func (h here) connection(_ context.Context, q idQuestion) (*connectionDetail, error) {
	c := h.srv.Conn(q.ID)
	if c == nil {
		return nil, nil
	}
	d := &connectionDetail{connection: viewConnection(c), RoomNames: []string{}, Resumed: c.Resumed()}
	names := namesOfRooms(c)
	for _, name := range names[:min(len(names), maxInRooms)] {
		d.RoomNames = append(d.RoomNames, clip(name, maxTextBytes))
	}
	if state := c.TLS(); state != nil {
		d.TLS = tls.VersionName(state.Version)
	}
	if id := c.Identity(); id != nil {
		d.Expires = id.Expires.UTC()
	}
	return d, nil
}

type connectionAnswer struct {
	Connection *connectionDetail `json:"connection"`
}

func (c *Console) connection(r *request) (any, error) {
	id := r.values.Get("id")
	if id == "" {
		return nil, wrong("id is missing")
	}
	all, missing, err := everywhere(r.Context(), r.Server, kindConnection, idQuestion{ID: id}, here{r.Server}.connection)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.value != nil {
			return connectionAnswer{a.value}, nil
		}
	}
	return nil, notThere("connection", missing)
}

// notThere says that nobody has something, or that somebody may.
func notThere(what string, missing []string) error {
	if len(missing) > 0 {
		return missingNodes(missing)
	}
	return notFound(what)
}

// disconnect ends a connection of this node; false: it is not here.
func (h here) disconnect(_ context.Context, q idQuestion) (bool, error) {
	c := h.srv.Conn(q.ID)
	if c == nil {
		return false, nil
	}
	_ = c.Close(polywire.CloseCode(q.Code), q.Reason) // or it has ended by itself
	return true, nil
}

type disconnectRequest struct {
	ID     string `json:"id"`
	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type disconnected struct {
	Disconnected bool `json:"disconnected"`
}

func (c *Console) disconnect(r *request) (any, error) {
	in, err := bind[disconnectRequest](r)
	switch {
	case err != nil:
		return nil, err
	case in.ID == "" || len(in.ID) > maxQueryBytes:
		return nil, wrong("id: want 1 to %d bytes", maxQueryBytes)
	case in.Code != 0 && (in.Code < 3000 || in.Code > 4999):
		return nil, wrong("code: want 3000 to 4999")
	case len(in.Reason) > 123: // RFC 6455, 5.5
		return nil, wrong("reason: at most 123 bytes")
	}
	q := idQuestion{in.ID, uint16(cmp.Or(in.Code, int(polywire.CloseForceDisconnect))), in.Reason}
	all, missing, err := everywhere(r.Context(), r.Server, kindDisconnect, q, here{r.Server}.disconnect)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.value {
			c.o.Logger.Info("a connection was ended by the console", "conn", in.ID, "code", q.Code, "from", r.RemoteAddr)
			return disconnected{true}, nil
		}
	}
	return nil, notThere("connection", missing)
}
