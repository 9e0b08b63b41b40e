package natscluster

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/cluster"
)

// interest is a topic of the bus or of a log that the node wants, or wanted.
type interest struct {
	topic   string
	subject string // subscribed to
	place   placer // nil: of the bus
	of      *interests
	seen    sight // of logs; under interests.mu

	want  bool // under interests.mu, as is dirty
	dirty bool // want has changed since it was applied

	sub *nats.Subscription // the worker's, on its session
	on  *session
}

// sight is the last message of a topic that the receiver was given.
type sight struct {
	at   cluster.Position
	time string // of the message
	gaps uint64 // what Bus.gaps was when it, or the interest, came
}

// placer finds out where in a log a message stands.
type placer func(it *item, in *interest, msg *cluster.Message) verdict

type verdict int

const (
	wanted verdict = iota
	unwanted
	malformed
)

// interests are what a node wants. One goroutine subscribes, so that stating
// an interest never waits for the network.
type interests struct {
	b    *Bus
	wake chan struct{}

	mu      sync.Mutex
	all     map[string]*interest // by subject
	dirty   []*interest
	on      int // how many are wanted
	waiters []chan error
	applies []chan struct{}
}

func newInterests(b *Bus) *interests {
	return &interests{b: b, wake: make(chan struct{}, 1), all: make(map[string]*interest)}
}

// set states an interest.
func (is *interests) set(subject, topic string, place placer, on bool) {
	is.mu.Lock()
	it := is.all[subject]
	if it == nil {
		if !on {
			is.mu.Unlock()
			return
		}
		it = &interest{topic: topic, subject: subject, place: place, of: is}
		is.all[subject] = it
	}
	if it.want != on {
		it.want = on
		if on {
			is.on++
			it.seen = sight{gaps: is.b.gaps.Load()}
		} else {
			is.on--
		}
		is.touch(it)
	}
	is.mu.Unlock()
	is.kick()
}

// touch puts an interest on the worker's list. The lock is held.
func (is *interests) touch(it *interest) {
	if !it.dirty {
		it.dirty = true
		is.dirty = append(is.dirty, it)
	}
}

func (is *interests) kick() {
	select {
	case is.wake <- struct{}{}:
	default:
	}
}

// find returns the interest of a subscription. It is there until what came
// before its end has been delivered.
func (is *interests) find(subject string) *interest {
	is.mu.Lock()
	defer is.mu.Unlock()
	return is.all[subject]
}

// forget drops an interest that has ended, unless it has begun again.
func (is *interests) forget(subject string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	if it := is.all[subject]; it != nil && !it.want {
		delete(is.all, subject)
	}
}

// count returns how many topics are wanted.
func (is *interests) count() int {
	is.mu.Lock()
	defer is.mu.Unlock()
	return is.on
}

// moved puts everything on the list: there is a new session.
func (is *interests) moved() {
	is.mu.Lock()
	for _, it := range is.all {
		is.touch(it)
	}
	is.mu.Unlock()
	is.kick()
}

// applied waits until what was stated before has been sent to NATS.
func (is *interests) applied(ctx context.Context) error {
	done := make(chan struct{})
	is.mu.Lock()
	is.applies = append(is.applies, done)
	is.mu.Unlock()
	is.kick()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-is.b.ctx.Done():
		return cluster.ErrClosed
	}
}

// sync returns a channel that gets an answer when what was stated before holds.
func (is *interests) sync() <-chan error {
	done := make(chan error, 1)
	is.mu.Lock()
	is.waiters = append(is.waiters, done)
	is.mu.Unlock()
	is.kick()
	return done
}

// run is the worker. Everybody who came while it was busy is served by one
// round: one flush, one question to each other server.
func (is *interests) run() {
	for {
		select {
		case <-is.wake:
		case <-is.b.ctx.Done():
			return
		}
		is.mu.Lock()
		dirty, waiters, applies := is.dirty, is.waiters, is.applies
		is.dirty, is.waiters, is.applies = nil, nil, nil
		is.mu.Unlock()
		s := is.b.sess.Load()
		for _, it := range dirty {
			is.apply(s, it)
		}
		for _, done := range applies {
			close(done)
		}
		if len(waiters) > 0 {
			is.round(s, waiters)
		}
	}
}

// apply subscribes or unsubscribes.
func (is *interests) apply(s *session, it *interest) {
	is.mu.Lock()
	want := it.want
	it.dirty = false
	is.mu.Unlock()
	if it.sub != nil && (!want || it.on != s) {
		if it.on == s {
			_ = it.sub.Unsubscribe() // an error says that the connection is closed
		}
		it.sub = nil
	}
	if !want {
		is.b.inbox.last(it.subject)
	}
	if want && it.sub == nil {
		var err error
		if it.sub, err = s.nc.ChanSubscribe(it.subject, is.b.inbox.in); err != nil {
			it.sub = nil // the connection is closed: moved comes
			return
		}
		it.on = s
	}
}

// flushTimeout bounds a round: NATS is then about to be noticed as away.
const flushTimeout = 4 * time.Second

// round lets waiters know when NATS, and the nodes at its other servers, know
// all that has been sent.
func (is *interests) round(s *session, waiters []chan error) {
	answer := func(err error) {
		for _, w := range waiters {
			w <- err
		}
	}
	if !is.b.up.Load() {
		answer(cluster.ErrUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(is.b.ctx, flushTimeout)
	defer cancel()
	if err := s.nc.FlushWithContext(ctx); err != nil {
		answer(cluster.ErrUnavailable)
		return
	}
	is.b.members.probe(answer)
}
