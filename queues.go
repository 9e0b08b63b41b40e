package polywire

import (
	"context"
	"errors"
	"fmt"

	"github.com/polywire/polywire/queue"
)

// WithQueues gives the server a broker for [Server.HandleQueue]. The server
// shuts it down: when it is shut down itself, after its connections, so that
// handlers may enqueue to their end. Default: none.
func WithQueues(b *queue.Broker) Option {
	return optionFunc(func(c *config) error {
		if b == nil {
			return errors.New("no broker for queues")
		}
		c.queues = b
		return nil
	})
}

// Queues returns the broker that the server was given, nil if none.
func (s *Server) Queues() *queue.Broker { return s.cfg.queues }

// errPanicked is what hooks get to know; the broker keeps value and stack.
const errPanicked = faultError("polywire: the handler of a delivery panicked")

// queueHandler is a registration that takes effect when the server starts.
type queueHandler struct {
	queue   string
	handler Handler
	options queue.HandleOptions
}

// HandleQueue gives the messages of a queue to a handler, behind the server's
// middleware and pipes like any other message: at least once each. A message's
// kind is its own, or the queue's name where it has none; it has no connection,
// see [Message.Delivery]. The result is ignored; an error makes it come again,
// as o says (the zero value is good), but for [queue.Discard]. Register before
// the server starts, which needs [WithQueues].
func (s *Server) HandleQueue(name string, h Handler, o queue.HandleOptions) {
	switch {
	case s.State() != StateNew:
		s.misconfigured("handler for queue %q registered after the start", name)
	case s.cfg.queues == nil:
		s.misconfigured("handler for queue %q, and no broker: see WithQueues", name)
	case h == nil:
		s.misconfigured("no handler for queue %q", name)
	default:
		s.queueHandlers = append(s.queueHandlers, queueHandler{name, h, o})
	}
}

// consume begins to handle queues.
func (s *Server) consume() error {
	for _, q := range s.queueHandlers {
		h := s.around(q.handler)
		err := s.cfg.queues.Handle(q.queue, func(ctx context.Context, d *queue.Delivery) error {
			return s.deliver(ctx, h, d)
		}, q.options)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return nil
}

// deliver handles one delivery.
func (s *Server) deliver(ctx context.Context, h Handler, d *queue.Delivery) error {
	m := &Message{kind: d.Kind, header: d.Header, payload: d.Payload, rare: &rareMessage{srv: s, delivery: d}}
	if m.kind == "" {
		m.kind = d.Queue
	}
	if hook := s.hooks.BeforeHandle; hook != nil {
		hook(m)
	}
	began := s.clock()
	done := false
	var result any
	var err error
	defer func() { // also when it panics, which the broker takes care of
		if hook := s.hooks.AfterHandle; hook != nil {
			if !done {
				err = errPanicked
			}
			hook(m, s.clock()-began, result, err)
		}
	}()
	result, err = h(context.WithValue(ctx, messageKey{}, m), m)
	done = true
	return err
}
