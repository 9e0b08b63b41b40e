package console

import (
	"context"
	"slices"
	"strings"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/api"
)

// maxNamespaces is how many names of namespaces are told.
const maxNamespaces = 200

// roomsQuestion is for each node: the next rooms by their names.
type roomsQuestion struct {
	Text      string `json:"text,omitempty"`
	Namespace string `json:"namespace"`
	After     string `json:"after,omitempty"`
	Limit     int    `json:"limit"`
}

type roomsHere struct {
	Rooms      []room   `json:"rooms"`
	Namespaces []string `json:"namespaces"`
}

type room struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Members   int    `json:"members"`
}

// namespaces returns those in which connections are, the main one always. It
// makes none.
func (h here) namespaces() map[string]*polywire.Namespace {
	all := map[string]*polywire.Namespace{"/": h.srv.Namespace("/")}
	for _, c := range h.srv.Conns() {
		ns := c.Namespace()
		all[ns.Name()] = ns
	}
	return all
}

// rooms finds those of this node.
func (h here) rooms(ctx context.Context, q roomsQuestion) (out roomsHere, err error) {
	all := h.namespaces()
	for name := range all {
		out.Namespaces = append(out.Namespaces, name)
	}
	slices.Sort(out.Namespaces)
	out.Namespaces = out.Namespaces[:min(len(out.Namespaces), maxNamespaces)]
	ns := all[q.Namespace]
	if ns == nil {
		return out, nil
	}
	text := strings.ToLower(q.Text)
	for _, name := range ns.Rooms() { // sorted
		if len(out.Rooms) >= min(q.Limit, maxPage+1) {
			break
		}
		if name <= q.After && q.After != "" || api.IsUserRoom(name) || !strings.Contains(strings.ToLower(name), text) {
			continue
		}
		n, err := ns.Room(name).Local().Count(ctx)
		if err != nil {
			return out, err
		}
		out.Rooms = append(out.Rooms, room{name, q.Namespace, n})
	}
	return out, nil
}

type roomsAnswer struct {
	Rooms        []room   `json:"rooms"`
	Namespaces   []string `json:"namespaces"`
	Next         string   `json:"next,omitempty"`
	MissingNodes []string `json:"missing_nodes,omitempty"`
}

// rooms lists those of all nodes: the first of all are among the first of each.
func (c *Console) rooms(r *request) (any, error) {
	limit, err := r.limit(usualPage, maxPage)
	if err != nil {
		return nil, err
	}
	q := roomsQuestion{Text: r.values.Get("q"), Namespace: r.values.Get("namespace"), After: r.values.Get("after"), Limit: limit + 1}
	if q.Namespace == "" {
		q.Namespace = "/"
	}
	all, missing, err := everywhere(r.Context(), r.Server, kindRooms, q, here{r.Server}.rooms)
	if err != nil {
		return nil, err
	}
	out := roomsAnswer{Rooms: []room{}, MissingNodes: missing}
	members := make(map[string]int)
	for _, a := range all {
		out.Namespaces = append(out.Namespaces, a.value.Namespaces...)
		for _, one := range a.value.Rooms {
			members[one.Name] += one.Members
		}
	}
	slices.Sort(out.Namespaces)
	out.Namespaces = slices.Compact(out.Namespaces)
	out.Namespaces = out.Namespaces[:min(len(out.Namespaces), maxNamespaces)]
	for name, n := range members {
		out.Rooms = append(out.Rooms, room{name, q.Namespace, n})
	}
	slices.SortFunc(out.Rooms, func(a, b room) int { return strings.Compare(a.Name, b.Name) })
	if len(out.Rooms) > limit {
		out.Rooms = out.Rooms[:limit]
		out.Next = out.Rooms[limit-1].Name
	}
	return out, nil
}
