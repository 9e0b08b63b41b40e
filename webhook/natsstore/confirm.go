package natsstore

import (
	"bytes"
	"context"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// confirmations brings the answers to what a store writes. It does what nats.go's
// requests do, on subjects that are used again: a server keeps for a while what it
// found out about a subject, and one of its own for each message costs it dearly.
type confirmations struct {
	nc *nats.Conn

	mu     sync.Mutex
	prefix string // of the subjects they come on; empty: not subscribed yet
	closed bool   // the connection was, or is about to be
	next   uint64
	slots  map[uint64]*slot
	free   []*slot
}

// slot is the place of one confirmation at a time.
type slot struct {
	number  uint64
	subject string
	answer  chan *nats.Msg // nil: none will come, the connection was closed

	waiting bool   // guarded by the confirmations' mutex, as is last
	last    []byte // said twice, it does not confirm the message behind its own
}

// take returns a slot that nobody uses. release or abandon has to follow.
func (c *confirmations) take() (*slot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nats.ErrConnectionClosed
	}
	if c.prefix == "" {
		prefix := c.nc.NewInbox() + "."
		sub, err := c.nc.Subscribe(prefix+"*", c.hear)
		if err != nil {
			return nil, err
		}
		sub.SetClosedHandler(func(string) { c.close() })
		c.prefix, c.slots = prefix, make(map[uint64]*slot)
	}
	var s *slot
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
	} else {
		s = &slot{number: c.next, subject: c.prefix + strconv.FormatUint(c.next, 36), answer: make(chan *nats.Msg, 1)}
		c.next++
		c.slots[s.number] = s
	}
	s.waiting = true
	return s, nil
}

// hear is called with each confirmation.
func (c *confirmations) hear(m *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number, err := strconv.ParseUint(m.Subject[len(c.prefix):], 36, 64)
	if err != nil {
		return
	}
	s := c.slots[number]
	if s == nil || !s.waiting || len(s.last) > 0 && bytes.Equal(s.last, m.Data) {
		return
	}
	s.waiting = false
	s.answer <- m
}

// release is for a slot whose confirmation has come, with what it was.
func (c *confirmations) release(s *slot, last []byte) {
	c.mu.Lock()
	s.last = last
	c.free = append(c.free, s)
	c.mu.Unlock()
}

// abandon is for a slot that is not to be used again: what comes late, or may come
// again, is about a message of before.
func (c *confirmations) abandon(s *slot) {
	c.mu.Lock()
	delete(c.slots, s.number)
	c.mu.Unlock()
}

// close ends all waits.
func (c *confirmations) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, s := range c.slots {
		if s.waiting {
			s.waiting = false
			s.answer <- nil
		}
	}
}

// request sends a message that is to be stored. nil: it is; nats.ErrNoResponders: it
// reached no server that would.
func (c *confirmations) request(ctx context.Context, m *nats.Msg) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := c.take()
	if err != nil {
		return err
	}
	m.Reply = s.subject
	if err := c.nc.PublishMsg(m); err != nil {
		c.abandon(s)
		return err
	}
	var answer *nats.Msg
	select {
	case answer = <-s.answer:
	case <-ctx.Done():
		c.abandon(s)
		return ctx.Err()
	}
	switch {
	case answer == nil:
		err = nats.ErrConnectionClosed
	case len(answer.Data) == 0 && answer.Header.Get(headerStatus) == statusNobody:
		err = nats.ErrNoResponders
	default:
		err = confirmed(answer.Data)
	}
	if err != nil || bytes.Contains(answer.Data, []byte(`"duplicate"`)) {
		c.abandon(s) // the next answer may be the same without being this one
		return err
	}
	c.release(s, answer.Data)
	return nil
}
