package polywire

import (
	"context"
	"time"
)

const (
	drainTick = 100 * time.Millisecond // between two groups
	drainMin  = 10                     // links of a group at least
)

// Drain sends the peers away before a [Server.Shutdown], in small groups spread
// over a time, so that they do not come to another server all at once. Each is
// told like by Shutdown once its running handlers are done. Where they are few
// it takes less: at least a hundred a second are told. Meanwhile new
// connections are refused as by [WithMaxConnections], and whoever was not told
// yet is served as before. Listeners and HTTP routes of the application's own
// stay until the Shutdown.
//
// It returns when all were told, or with ctx's error when that ends; a server
// that is not running has nobody to tell. There is no way back.
func (s *Server) Drain(ctx context.Context, over time.Duration) error {
	s.leaving.Store(true)
	end := time.Now().Add(over)
	for s.State() == StateRunning {
		var left []*link
		s.conns.eachLink(func(l *link) {
			if l.dial == nil && !l.draining.Load() { // what was dialled here ends with the Shutdown
				left = append(left, l)
			}
		})
		if len(left) == 0 {
			return nil
		}
		if err := s.drain(ctx, left, max(1, int(time.Until(end)/drainTick))); err != nil {
			return err
		}
	}
	return nil
}

// drain tells links in so many groups.
func (s *Server) drain(ctx context.Context, left []*link, groups int) error {
	size := max(drainMin, (len(left)+groups-1)/groups)
	for {
		group := left[:min(size, len(left))]
		left = left[len(group):]
		for _, l := range group {
			l.drain()
		}
		if len(left) == 0 {
			return nil
		}
		if err := s.pause(ctx, drainTick); err != nil {
			return err
		}
	}
}

// pause waits, until ctx or the server ends.
func (s *Server) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
	case <-t.C:
	}
	return nil
}
