package console

import (
	"context"
	"time"
)

// maxNodes is how many nodes are listed.
const maxNodes = 1000

// nodeFigures are those of one node.
type nodeFigures struct {
	Connections int    `json:"connections"`
	Rooms       int    `json:"rooms"`
	Accepted    uint64 `json:"accepted"`
	Refused     uint64 `json:"refused"`
	MessagesIn  uint64 `json:"messages_in"`
	MessagesOut uint64 `json:"messages_out"`
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"`
	QueuedBytes int64  `json:"queued_bytes"`
	Dropped     uint64 `json:"dropped"`
	Slow        uint64 `json:"slow"`
}

func (h here) figures(context.Context, struct{}) (nodeFigures, error) {
	s := h.srv.Stats()
	return nodeFigures{
		Connections: s.Connections, Rooms: s.Rooms, Accepted: s.Accepted, Refused: s.Refused, MessagesIn: s.MessagesIn, MessagesOut: s.MessagesOut,
		BytesIn: s.BytesIn, BytesOut: s.BytesOut, QueuedBytes: s.QueuedBytes, Dropped: s.Dropped, Slow: s.Slow,
	}, nil
}

type node struct {
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Services []string  `json:"services,omitempty"`
	Self     bool      `json:"self,omitempty"`
	*nodeFigures
}

type clusterFigures struct {
	Published uint64 `json:"published"`
	Received  uint64 `json:"received"`
	Failed    uint64 `json:"failed"`
	Malformed uint64 `json:"malformed"`
	Questions uint64 `json:"questions"`
	Missing   uint64 `json:"missing"`
	Feeds     int    `json:"feeds"`
}

type nodesAnswer struct {
	Self         string          `json:"self"`
	Available    bool            `json:"available"`
	Nodes        []node          `json:"nodes"`
	MissingNodes []string        `json:"missing_nodes,omitempty"`
	Cluster      *clusterFigures `json:"cluster,omitempty"`
}

func (c *Console) nodes(r *request) (any, error) {
	all, missing, err := everywhere(r.Context(), r.Server, kindFigures, struct{}{}, here{r.Server}.figures)
	if err != nil {
		return nil, err
	}
	known := r.Server.Nodes()
	out := nodesAnswer{Self: known.ID(), Available: known.Available(), Nodes: []node{}, MissingNodes: missing}
	by := make(map[string]*nodeFigures)
	for i := range all {
		by[all[i].node] = &all[i].value
	}
	list := known.List()
	for _, n := range list[:min(len(list), maxNodes)] {
		one := node{ID: n.ID, Name: clip(n.Name, maxTextBytes), Started: n.Started.UTC(), Self: n.ID == out.Self, nodeFigures: by[n.ID]}
		for _, s := range n.Services[:min(len(n.Services), maxRooms)] {
			one.Services = append(one.Services, clip(s, maxTextBytes))
		}
		out.Nodes = append(out.Nodes, one)
	}
	if s := r.Server.Stats().Cluster; s.Nodes > 0 {
		out.Cluster = &clusterFigures{s.Published, s.Received, s.Failed, s.Malformed, s.Questions, s.Missing, s.Feeds}
	}
	return out, nil
}
