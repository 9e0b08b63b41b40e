package console

import (
	"cmp"
	"runtime"
	"slices"
	"time"

	"github.com/polywire/polywire"
)

// now is what there is at a time, and totals since the start.
type now struct {
	Connections      int       `json:"connections"`
	Asleep           int       `json:"asleep"`
	Rooms            int       `json:"rooms"`
	Memberships      int       `json:"memberships"`
	QueuedBytes      int64     `json:"queued_bytes"`
	Accepted         uint64    `json:"accepted"`
	Refused          uint64    `json:"refused"`
	MessagesIn       uint64    `json:"messages_in"`
	MessagesOut      uint64    `json:"messages_out"`
	BytesIn          uint64    `json:"bytes_in"`
	BytesOut         uint64    `json:"bytes_out"`
	Dropped          uint64    `json:"dropped"`
	Slow             uint64    `json:"slow"`
	Nodes            int       `json:"nodes"`
	ClusterAvailable bool      `json:"cluster_available"`
	Wires            []wireNow `json:"wires"`
}

type wireNow struct {
	Wire        string `json:"wire"`
	Connections int    `json:"connections"`
	Accepted    uint64 `json:"accepted"`
	MessagesIn  uint64 `json:"messages_in"`
	MessagesOut uint64 `json:"messages_out"`
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"`
	QueuedBytes int64  `json:"queued_bytes"`
}

func nowOf(srv *polywire.Server, s polywire.Stats) now {
	n := now{
		Connections: s.Connections, Asleep: s.Asleep, Rooms: s.Rooms, Memberships: s.Memberships, QueuedBytes: s.QueuedBytes,
		Accepted: s.Accepted, Refused: s.Refused, MessagesIn: s.MessagesIn, MessagesOut: s.MessagesOut,
		BytesIn: s.BytesIn, BytesOut: s.BytesOut, Dropped: s.Dropped, Slow: s.Slow,
		Nodes: max(s.Cluster.Nodes, 1), ClusterAvailable: srv.Nodes().Available(), Wires: []wireNow{},
	}
	for name, w := range s.Wires {
		n.Wires = append(n.Wires, wireNow{
			Wire: name, Connections: w.Connections, Accepted: w.Accepted, MessagesIn: w.MessagesIn, MessagesOut: w.MessagesOut,
			BytesIn: w.BytesIn, BytesOut: w.BytesOut, QueuedBytes: w.QueuedBytes,
		})
	}
	slices.SortFunc(n.Wires, func(a, b wireNow) int { return cmp.Compare(a.Wire, b.Wire) })
	return n
}

type overviewAnswer struct {
	Node     string        `json:"node"`
	Name     string        `json:"name,omitempty"`
	Version  string        `json:"version"`
	Go       string        `json:"go"`
	State    string        `json:"state"`
	Started  time.Time     `json:"started"`
	UptimeMS int64         `json:"uptime_ms"`
	AtMS     int64         `json:"at_ms"`
	Parts    overviewParts `json:"parts"`
	Now      now           `json:"now"`
	Point    point         `json:"point"`
}

// overviewParts are the views that there is something for.
type overviewParts struct {
	Queues   bool `json:"queues"`
	Webhooks bool `json:"webhooks"`
	Settings bool `json:"settings"`
	Cluster  bool `json:"cluster"`
}

func (c *Console) overview(r *request) (any, error) {
	srv, at := r.Server, time.Now()
	stats := srv.Stats()
	out := overviewAnswer{
		Node: srv.Nodes().ID(), Version: c.o.Version, Go: runtime.Version(), State: srv.State().String(),
		Started: c.started.UTC(), UptimeMS: at.Sub(c.started).Milliseconds(), AtMS: at.UnixMilli(),
		Parts: overviewParts{r.Queues != nil, r.Webhooks != nil, c.o.Settings != nil, stats.Cluster.Nodes > 0},
		Now:   nowOf(srv, stats),
	}
	for _, n := range srv.Nodes().List() {
		if n.ID == out.Node {
			out.Name = clip(n.Name, maxTextBytes)
		}
	}
	if f := c.latest.Load(); f != nil {
		out.Point = f.point
	}
	return out, nil
}
