package api

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/polywire/polywire"
	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
)

// ListConnections lists connections.
func (s *service) ListConnections(ctx context.Context, in *v1.ListConnectionsRequest) (*v1.ListConnectionsResponse, error) {
	limit, err := page(in.GetLimit())
	if err != nil {
		return nil, err
	}
	to := s.srv.All()
	switch {
	case in.GetRoom() != "" && in.GetUser() != "":
		return nil, invalid("room and user exclude each other")
	case in.GetRoom() != "":
		if err := s.checkName("room", in.GetRoom()); err != nil {
			return nil, err
		}
		to = s.srv.Room(in.GetRoom())
	case in.GetUser() != "":
		to = s.srv.Room(UserRoom(s.srv, in.GetUser()))
	}
	ctx, cancel := context.WithTimeout(ctx, maxNodeWait)
	defer cancel()
	members, err := to.Members(ctx)
	out := &v1.ListConnectionsResponse{Total: int32(len(members))}
	if out.MissingNodes, err = missingNodes(err); err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(m polywire.Member) bool { return m.ID() <= in.GetAfter() })
	slices.SortFunc(members, func(a, b polywire.Member) int { return strings.Compare(a.ID(), b.ID()) })
	for i, m := range members {
		if i == limit {
			out.Next = some(members[i-1].ID())
			break
		}
		out.Connections = append(out.Connections, connection(m))
	}
	return out, nil
}

func connection(m polywire.Member) *v1.Connection {
	c := &v1.Connection{
		Id: m.ID(), Node: m.Node(), Wire: m.Wire(), User: some(valid(m.User())), Address: some(m.RemoteAddr()), Opened: stamp(m.OpenedAt()),
	}
	for _, room := range m.Rooms() {
		if room != m.ID() && !strings.HasPrefix(room, userRoomPrefix) {
			c.Rooms = append(c.Rooms, valid(room))
		}
	}
	return c
}

// ReadConnection reads one connection.
func (s *service) ReadConnection(ctx context.Context, in *v1.ReadConnectionRequest) (*v1.ReadConnectionResponse, error) {
	if err := s.checkName("connection", in.GetConnection()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxNodeWait)
	defer cancel()
	members, err := s.srv.Room(in.GetConnection()).Members(ctx)
	for _, m := range members {
		if m.ID() == in.GetConnection() {
			return &v1.ReadConnectionResponse{Connection: connection(m)}, nil
		}
	}
	if err != nil { // it may be there
		return nil, err
	}
	return nil, problemf(codeNotFound, "no such connection")
}

// roomsQuestion is what servers ask each other: the next rooms by their names.
type roomsQuestion struct {
	Prefix string `json:"prefix"`
	After  string `json:"after"`
	Limit  int    `json:"limit"`
}

type roomsAnswer struct {
	Names  []string `json:"names"`
	Counts []int    `json:"counts"`
}

func (s *service) roomsHere(ctx context.Context, q roomsQuestion) (a roomsAnswer, err error) {
	names := s.srv.Rooms()
	i, there := slices.BinarySearch(names, q.After)
	if there && q.After != "" {
		i++
	}
	for _, name := range names[i:] {
		if len(a.Names) >= min(q.Limit, maxPage+1) {
			break
		}
		if !strings.HasPrefix(name, q.Prefix) || strings.HasPrefix(name, userRoomPrefix) {
			continue
		}
		n, err := s.srv.Room(name).Local().Count(ctx)
		if err != nil {
			return a, err
		}
		a.Names, a.Counts = append(a.Names, name), append(a.Counts, n)
	}
	return a, nil
}

// ListRooms lists rooms. The first of all servers are among the first of each.
func (s *service) ListRooms(ctx context.Context, in *v1.ListRoomsRequest) (*v1.ListRoomsResponse, error) {
	limit, err := page(in.GetLimit())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxNodeWait)
	defer cancel()
	q := roomsQuestion{in.GetPrefix(), in.GetAfter(), limit + 1}
	here, err := s.roomsHere(ctx, q)
	if err != nil {
		return nil, err
	}
	answers := []polywire.Answer[roomsAnswer]{{Value: here}}
	out := &v1.ListRoomsResponse{}
	if out.MissingNodes, err = missingNodes(s.srv.Nodes().Call(ctx, kindRooms, q, polywire.Collect(&answers))); err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for _, a := range answers {
		if a.Err != nil || len(a.Value.Names) != len(a.Value.Counts) {
			out.MissingNodes = append(out.MissingNodes, a.Node)
			continue
		}
		for i, name := range a.Value.Names {
			counts[name] += a.Value.Counts[i]
		}
	}
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i == limit {
			out.Next = some(names[i-1])
			break
		}
		out.Rooms = append(out.Rooms, &v1.Room{Name: valid(name), Connections: int32(counts[name])})
	}
	return out, nil
}

// Presence tells who is in a room.
func (s *service) Presence(ctx context.Context, in *v1.PresenceRequest) (*v1.PresenceResponse, error) {
	if err := s.checkName("room", in.GetRoom()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxNodeWait)
	defer cancel()
	who, err := s.srv.Room(in.GetRoom()).Presence(ctx)
	out := &v1.PresenceResponse{}
	if out.MissingNodes, err = missingNodes(err); err != nil {
		return nil, err
	}
	for _, p := range who {
		m := &v1.Member{Connection: p.ID, Node: cmp.Or(p.Node, s.srv.Nodes().ID()), User: some(valid(p.User)), Since: stamp(p.Since)}
		if validJSON(p.Value) {
			m.Value = &v1.Json{Text: p.Value}
		}
		out.Members = append(out.Members, m)
	}
	return out, nil
}

// History lists the latest messages of a room.
func (s *service) History(ctx context.Context, in *v1.HistoryRequest) (*v1.HistoryResponse, error) {
	limit, err := page(in.GetLimit())
	if err != nil {
		return nil, err
	}
	if err := s.checkName("room", in.GetRoom()); err != nil {
		return nil, err
	}
	kept, err := s.srv.Room(in.GetRoom()).History(ctx, limit)
	if err != nil {
		return nil, err
	}
	out := &v1.HistoryResponse{}
	for _, k := range kept {
		m := &v1.HistoryMessage{Position: k.Position, Kind: valid(k.Kind)}
		for name, value := range k.Header {
			if m.Header == nil {
				m.Header = make(map[string]string, len(k.Header))
			}
			m.Header[valid(name)] = valid(value)
		}
		if len(k.Args) > 0 {
			s.putKept(m, k.Args[0])
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}

func (s *service) putKept(m *v1.HistoryMessage, p polywire.Payload) {
	switch f := s.form(p); {
	case f.json != nil:
		m.Payload = &v1.HistoryMessage_Json{Json: f.json}
	case f.text != nil:
		m.Payload = &v1.HistoryMessage_Text{Text: *f.text}
	case f.bytes != nil:
		m.Payload = &v1.HistoryMessage_Bytes{Bytes: f.bytes}
	}
}

// ListNodes lists the servers.
func (s *service) ListNodes(context.Context, *v1.ListNodesRequest) (*v1.ListNodesResponse, error) {
	nodes := s.srv.Nodes()
	out := &v1.ListNodesResponse{Self: nodes.ID(), Available: nodes.Available()}
	for _, n := range nodes.List() {
		out.Nodes = append(out.Nodes, &v1.Node{Id: n.ID, Name: some(valid(n.Name)), Started: someStamp(n.Started), Services: n.Services})
	}
	return out, nil
}

// figures are a server's, as others get to know them.
type figures struct {
	polywire.Stats

	Rooms int `json:"rooms"`
}

func (s *service) statsHere() figures { return figures{s.srv.Stats(), len(s.srv.Rooms())} }

// Stats reads the figures of all servers.
func (s *service) Stats(ctx context.Context, _ *v1.StatsRequest) (*v1.StatsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, maxNodeWait)
	defer cancel()
	answers := []polywire.Answer[figures]{{Node: s.srv.Nodes().ID(), Value: s.statsHere()}}
	out := &v1.StatsResponse{}
	var err error
	if out.MissingNodes, err = missingNodes(s.srv.Nodes().Call(ctx, kindStats, nil, polywire.Collect(&answers))); err != nil {
		return nil, err
	}
	for _, a := range answers {
		if a.Err != nil {
			out.MissingNodes = append(out.MissingNodes, a.Node)
			continue
		}
		f := a.Value
		out.Nodes = append(out.Nodes, &v1.NodeStats{
			Node: a.Node, Connections: int64(f.Connections), Accepted: f.Accepted, Refused: f.Refused,
			MessagesIn: f.MessagesIn, MessagesOut: f.MessagesOut, BytesIn: f.BytesIn, BytesOut: f.BytesOut,
			Dropped: f.Dropped, Slow: f.Slow, QueuedBytes: f.QueuedBytes, Rooms: int64(f.Rooms),
		})
	}
	if len(out.GetNodes()) == 0 {
		return nil, errors.New("no server has figures")
	}
	slices.SortFunc(out.GetNodes(), func(a, b *v1.NodeStats) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return out, nil
}
