// Package natsack brings JetStream's confirmations to those who published. It does what
// the requests of nats.go do, on subjects that are used again: a server keeps for a
// while what it found out about a subject, and one of its own for each message costs it
// dearly.
package natsack

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// Book knows what is unconfirmed on one connection; a T stands for each message. Its
// methods may be called at the same time.
type Book[T any] struct {
	nc     *nats.Conn
	prefix string // of the subjects that confirmations come on
	heard  func(what T, err error)

	mu     sync.Mutex
	closed bool // the connection was, or is about to be
	next   uint64
	slots  map[uint64]*slot[T]
	free   []*slot[T]
}

// slot is the place of one confirmation at a time. Its book's mutex guards it.
type slot[T any] struct {
	number  uint64
	subject string
	turn    uint64 // how often it was used
	waiting bool
	what    T
	last    []byte // said twice, it does not confirm the message behind its own
}

// Wait is for one answer.
type Wait[T any] struct {
	slot *slot[T]
	turn uint64
}

// New returns a book for as long as the connection is not closed. heard is called for
// each message, in the order of the answers and one at a time, with nil when it is
// stored. Otherwise, with nats.ErrNoResponders it reached no stream, and with a
// *jetstream.APIError it was refused; with [ErrAnswer] and nats.ErrConnectionClosed it
// is not known. That the connection is lost for a while is not heard: [Book.Take].
func New[T any](nc *nats.Conn, heard func(what T, err error)) (*Book[T], error) {
	b := &Book[T]{nc: nc, prefix: nc.NewInbox() + ".", heard: heard, slots: make(map[uint64]*slot[T])}
	sub, err := nc.Subscribe(b.prefix+"*", b.hear)
	if err != nil {
		return nil, err
	}
	sub.SetClosedHandler(func(string) { b.close() })
	return b, sub.SetPendingLimits(-1, -1) // each is waited for
}

// Send publishes a message, whose reply subject it sets. After an error nothing is
// heard of it; it is nil where [Book.Take] was first.
func (b *Book[T]) Send(m *nats.Msg, what T) (Wait[T], error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return Wait[T]{}, nats.ErrConnectionClosed
	}
	var s *slot[T]
	if n := len(b.free); n > 0 {
		s, b.free = b.free[n-1], b.free[:n-1]
	} else {
		s = &slot[T]{number: b.next, subject: b.prefix + strconv.FormatUint(b.next, 36)}
		b.next++
		b.slots[s.number] = s
	}
	s.turn++
	s.what, s.waiting = what, true
	w := Wait[T]{s, s.turn}
	b.mu.Unlock()
	m.Reply = s.subject
	if err := b.nc.PublishMsg(m); err != nil && b.Drop(w) {
		return w, err
	}
	return w, nil
}

// hear is called with each confirmation.
func (b *Book[T]) hear(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(b.prefix):], 36, 64)
	if err != nil {
		return
	}
	b.mu.Lock()
	s := b.slots[number]
	if s == nil || !s.waiting {
		b.mu.Unlock()
		return // given up meanwhile, or said again
	}
	what := s.what
	repeated := len(s.last) > 0 && bytes.Equal(s.last, m.Data)
	if repeated || !unique(m.Data) {
		b.strike(s) // the next answer might be the same without being this one
	} else {
		var none T
		s.waiting, s.what, s.last = false, none, m.Data
		b.free = append(b.free, s)
	}
	b.mu.Unlock()
	if repeated {
		b.heard(what, fmt.Errorf("%w: it was said before", ErrAnswer))
	} else {
		b.heard(what, check(m))
	}
}

// close ends all waits.
func (b *Book[T]) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	for _, what := range b.Take(func(T) bool { return true }) {
		b.heard(what, nats.ErrConnectionClosed)
	}
}

// strike ends the use of a subject.
func (b *Book[T]) strike(s *slot[T]) {
	s.waiting = false
	delete(b.slots, s.number)
}

// Drop gives up a wait; false: its answer came, or was taken.
func (b *Book[T]) Drop(w Wait[T]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.slot.waiting || w.slot.turn != w.turn {
		return false
	}
	b.strike(w.slot)
	return true
}

// Take gives up the waits that which picks, and returns what stands for them. which
// must not call the book.
func (b *Book[T]) Take(which func(T) bool) []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken []T
	for _, s := range b.slots {
		if s.waiting && which(s.what) {
			b.strike(s)
			taken = append(taken, s.what)
		}
	}
	return taken
}
