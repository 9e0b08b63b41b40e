package health

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/queue"
)

// Server is ready while the server takes connections; a cluster whose engine
// cannot be reached is a warning: connections of this node go on.
func Server(s *polywire.Server) Check {
	return func(context.Context) error {
		if state := s.State(); state != polywire.StateRunning {
			return fmt.Errorf("the server is %s", state)
		}
		if !s.Nodes().Available() {
			return Degraded(errors.New("the cluster's engine cannot be reached"))
		}
		return nil
	}
}

// QueueLive is a check of being alive; see [queue.Health].
func QueueLive(b *queue.Broker) Check {
	return func(context.Context) error {
		h := b.Health()
		if !h.Live {
			return problems(h)
		}
		return nil
	}
}

// Queue is a check of being ready; see [queue.Health].
func Queue(b *queue.Broker) Check {
	return func(context.Context) error {
		switch h := b.Health(); {
		case !h.Ready:
			return problems(h)
		case h.Degraded:
			return Degraded(problems(h))
		}
		return nil
	}
}

func problems(h queue.Health) error { return errors.New(strings.Join(h.Problems, "; ")) }
