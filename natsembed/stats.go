package natsembed

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Ready returns nil while streams can be made and used: the server runs, and in
// a cluster it knows the leader that a majority elected. It is cheap enough
// for every probe. After Shutdown it is [ErrClosed].
func (s *Server) Ready() error {
	return s.health(&server.HealthzOptions{JSMetaOnly: s.opts.Cluster != nil, JSEnabledOnly: s.opts.Cluster == nil})
}

// Health is Ready, and looks at each stream and consumer that this server
// keeps: whether it was recovered, can be written, and is up with its leader.
// The error names the first that is not; after Shutdown it is [ErrClosed].
func (s *Server) Health() error { return s.health(nil) }

func (s *Server) health(o *server.HealthzOptions) error {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	switch {
	case stopped:
		return ErrClosed
	case s.opts.NoJetStream:
		o = &server.HealthzOptions{JSServerOnly: true}
	}
	if h := s.ns.Healthz(o); h.Error != "" {
		return errors.New("natsembed: " + h.Error)
	}
	return nil
}

// Stats are figures for metrics, as they are now unless they say otherwise.
type Stats struct {
	Connections   int   // of clients, those of Connect too
	Subscriptions int   // of this server's clients
	SlowConsumers int64 // clients cut off since the start because they did not read
	Nodes         int   // servers of the cluster that this one is connected with, itself too

	MessagesIn, MessagesOut int64 // since the start, with those of other nodes
	BytesIn, BytesOut       int64 // of these

	StoreBytes, MaxStoreBytes   uint64 // streams on this server's disk, and their bound
	MemoryBytes, MaxMemoryBytes uint64 // streams in its memory, and their bound
	Streams, Consumers          int    // that this server keeps
	Messages                    uint64 // in these streams
	APIErrors                   uint64 // requests about streams that failed since the start

	Leader string // the node that leads the cluster's streams; empty: none, or alone
}

// Stats returns the server's figures. It goes through all streams, so call it
// as often as metrics are collected. After Shutdown the error is [ErrClosed].
func (s *Server) Stats() (Stats, error) {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped {
		return Stats{}, ErrClosed
	}
	v, err := s.ns.Varz(nil)
	if err != nil {
		return Stats{}, fmt.Errorf("natsembed: %w", err)
	}
	st := Stats{
		Connections: v.Connections, Subscriptions: int(v.Subscriptions), SlowConsumers: v.SlowConsumers,
		Nodes:      s.nodes(),
		MessagesIn: v.InMsgs, MessagesOut: v.OutMsgs, BytesIn: v.InBytes, BytesOut: v.OutBytes,
	}
	if s.opts.NoJetStream {
		return st, nil
	}
	j, err := s.ns.Jsz(nil)
	if err != nil {
		return Stats{}, fmt.Errorf("natsembed: %w", err)
	}
	st.StoreBytes, st.MaxStoreBytes = j.Store, uint64(max(j.Config.MaxStore, 0))
	st.MemoryBytes, st.MaxMemoryBytes = j.Memory, uint64(max(j.Config.MaxMemory, 0))
	st.Streams, st.Consumers, st.Messages, st.APIErrors = j.Streams, j.Consumers, j.Messages, j.API.Errors
	if j.Meta != nil {
		st.Leader = j.Meta.Leader
	}
	return st, nil
}

// nodes counts this server and those that it has routes to.
func (s *Server) nodes() int {
	return 1 + s.ns.NumRemotes()
}
