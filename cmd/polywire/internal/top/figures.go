package top

import "time"

// Figures are what the console's API says of a server. What it did not say is nil.
type Figures struct {
	At       time.Time `json:"at"` // here
	Server   string    `json:"server"`
	Error    string    `json:"error,omitempty"` // why the server could not be asked; all else is of before
	Overview *Overview `json:"overview,omitempty"`
	Nodes    *Nodes    `json:"nodes,omitempty"`
	Queues   *Queues   `json:"queues,omitempty"`
	Webhooks *Webhooks `json:"webhooks,omitempty"`
	Busiest  *Busiest  `json:"busiest,omitempty"`
}

// Overview is the console's.
type Overview struct {
	Node    string    `json:"node"`
	Name    string    `json:"name,omitempty"`
	Version string    `json:"version,omitempty"`
	State   string    `json:"state"`
	Started time.Time `json:"started"`
	Uptime  float64   `json:"uptime_ms"`
	Parts   struct {
		Queues   bool `json:"queues"`
		Webhooks bool `json:"webhooks"`
		Cluster  bool `json:"cluster"`
	} `json:"parts"`
	Now   Now   `json:"now"`
	Point Point `json:"point"`
}

// Now is how things are, and totals since the start.
type Now struct {
	Connections      int64  `json:"connections"`
	Asleep           int64  `json:"asleep"`
	Rooms            int64  `json:"rooms"`
	Memberships      int64  `json:"memberships"`
	QueuedBytes      int64  `json:"queued_bytes"`
	Accepted         int64  `json:"accepted"`
	Refused          int64  `json:"refused"`
	Dropped          int64  `json:"dropped"`
	Slow             int64  `json:"slow"`
	Nodes            int64  `json:"nodes"`
	ClusterAvailable bool   `json:"cluster_available"`
	Wires            []Wire `json:"wires"`
}

// Wire is the figures of one.
type Wire struct {
	Wire        string `json:"wire"`
	Connections int64  `json:"connections"`
	Accepted    int64  `json:"accepted"`
	MessagesIn  int64  `json:"messages_in"`
	MessagesOut int64  `json:"messages_out"`
	QueuedBytes int64  `json:"queued_bytes"`
}

// Point is one second.
type Point struct {
	AtMS        int64    `json:"at_ms"`
	Accepted    float64  `json:"accepted"`
	Refused     float64  `json:"refused"`
	MessagesIn  float64  `json:"messages_in"`
	MessagesOut float64  `json:"messages_out"`
	BytesIn     float64  `json:"bytes_in"`
	BytesOut    float64  `json:"bytes_out"`
	Handled     float64  `json:"handled"`
	Failed      float64  `json:"failed"`
	P50         *float64 `json:"p50_ms"`
	P99         *float64 `json:"p99_ms"`
	Dropped     float64  `json:"dropped"`
	Memory      int64    `json:"memory_bytes"`
	Heap        int64    `json:"heap_bytes"`
	Goroutines  int64    `json:"goroutines"`
}

// Nodes are the servers of a cluster.
type Nodes struct {
	Available bool     `json:"available"`
	Nodes     []Node   `json:"nodes"`
	Missing   []string `json:"missing_nodes,omitempty"`
}

// Node is one of them. One that did not answer has no figures.
type Node struct {
	ID          string `json:"id"`
	Name        string `json:"name,omitempty"`
	Self        bool   `json:"self,omitempty"`
	Connections *int64 `json:"connections,omitempty"`
	Rooms       *int64 `json:"rooms,omitempty"`
	QueuedBytes *int64 `json:"queued_bytes,omitempty"`
	Slow        *int64 `json:"slow,omitempty"`
}

// Queues are those of the server's broker.
type Queues struct {
	Available  bool `json:"available"`
	Connection *struct {
		State  string `json:"state"`
		Reason string `json:"reason,omitempty"`
	} `json:"connection,omitempty"`
	Queues []Queue `json:"queues"`
	Next   string  `json:"next,omitempty"`
}

// Queue is one.
type Queue struct {
	Name    string `json:"name"`
	Waiting *int64 `json:"waiting,omitempty"`
	Delayed *int64 `json:"delayed,omitempty"`
	Unacked *int64 `json:"unacked,omitempty"`
	Dead    *int64 `json:"dead,omitempty"`
	Error   string `json:"error,omitempty"`
	Handler *struct {
		Paused   bool    `json:"paused"`
		Trouble  string  `json:"trouble,omitempty"`
		DoneRate float64 `json:"done_rate"`
	} `json:"handler,omitempty"`
}

// Webhooks are the outgoing ones.
type Webhooks struct {
	Available bool       `json:"available"`
	Accepted  int64      `json:"accepted"`
	Attempts  int64      `json:"attempts"`
	Delivered int64      `json:"delivered"`
	Retried   int64      `json:"retried"`
	Failed    int64      `json:"failed"`
	Watching  string     `json:"watching,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint gets webhooks.
type Endpoint struct {
	ID           string     `json:"id"`
	Host         string     `json:"host"`
	Disabled     bool       `json:"disabled"`
	FailingSince *time.Time `json:"failing_since,omitempty"`
	Breaker      string     `json:"breaker,omitempty"`
	Running      int64      `json:"running"`
	Waiting      int64      `json:"waiting"`
	Delivered    int64      `json:"delivered"`
	Failed       int64      `json:"failed"`
}

// Busiest are the connections that come first in an order.
type Busiest struct {
	By          string       `json:"by"`
	Connections []Connection `json:"connections"`
	Matched     int64        `json:"matched"`
}

// Connection is one.
type Connection struct {
	ID          string `json:"id"`
	Wire        string `json:"wire"`
	User        string `json:"user,omitempty"`
	Address     string `json:"address,omitempty"`
	MessagesIn  int64  `json:"messages_in"`
	MessagesOut int64  `json:"messages_out"`
	QueuedBytes int64  `json:"queued_bytes"`
	Idle        *int64 `json:"idle_ms,omitempty"`
}
