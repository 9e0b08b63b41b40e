package polywire

import (
	"context"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
)

// follower reads a topic of a log as it grows: each message once, in order and
// without holes.
type follower struct {
	n     *node
	log   cluster.Log
	topic string
	to    followed

	mu      sync.Mutex
	changed sync.Cond
	known   bool     // at is true
	loading bool     // somebody asks the log; what comes meanwhile waits
	behind  bool     // what comes before pending could not be had yet
	failed  bool     // the log did not answer the last time
	at      position // of the last message
	pending []cluster.Message
	after   []func() // to do when the lock is free
}

// followed is what a follower reads for. Its methods are called with the
// follower's lock held.
type followed interface {
	// addMessage takes the next message.
	addMessage(m *cluster.Message)
	// begin forgets what was read: it goes on after an offset. lost: messages
	// in between are lost.
	begin(offset uint64, lost bool)
}

// follow begins to read; call it once.
func (f *follower) follow(n *node, log cluster.Log, topic string, to followed) {
	f.n, f.log, f.topic, f.to = n, log, topic, to
	log.Interest(topic, true)
	f.startLoading()
}

// later does something as soon as the lock is free. f.mu is held.
func (f *follower) later(do func()) { f.after = append(f.after, do) }

// unlock frees the lock, and does what had to wait for that.
func (f *follower) unlock() {
	after := f.after
	f.after = nil
	f.mu.Unlock()
	for _, do := range after {
		do()
	}
}

// maxPending is how many messages wait while the log is asked; more are a hole.
const maxPending = 10_000

// receive takes a message that the log sends.
func (f *follower) receive(m cluster.Message) {
	f.mu.Lock()
	defer f.unlock()
	if f.loading || f.behind {
		if len(f.pending) < maxPending {
			f.pending = append(f.pending, m)
		}
		return
	}
	f.take(m)
}

// take adds a message if it is the next one; one with others missing before it
// waits until those are here. f.mu is held, and loading is false.
func (f *follower) take(m cluster.Message) {
	switch {
	case !f.known || m.At.Epoch != f.at.Epoch:
		f.restart(position{Epoch: m.At.Epoch, Offset: m.Prev}, f.known)
	case m.At.Offset <= f.at.Offset:
		return
	case m.Prev > f.at.Offset:
		f.pending = append(f.pending, m)
		f.startLoading()
		return
	}
	f.next(&m)
}

func (f *follower) next(m *cluster.Message) {
	f.at.Offset = m.At.Offset
	f.to.addMessage(m)
}

// restart goes on at another place. f.mu is held.
func (f *follower) restart(at position, lost bool) {
	f.known, f.at = true, at
	f.to.begin(at.Offset, lost)
}

func (f *follower) startLoading() {
	f.loading = true
	f.n.goes.Go(f.load)
}

// awaitLoaded waits while somebody asks the log. f.mu is held.
func (f *follower) awaitLoaded() {
	for f.loading {
		f.changed.Wait()
	}
}

// The pace of asking a log that does not answer.
const (
	loadTimeout = 5 * time.Second
	loadPause   = 200 * time.Millisecond
	loadTries   = 3
)

// load asks the log where the topic is, or for what was missed. loading is true.
func (f *follower) load() {
	f.n.sync()
	f.mu.Lock()
	from := f.at
	f.mu.Unlock()
	page, err := f.ask(from)
	f.mu.Lock()
	defer f.unlock()
	f.failed = err != nil
	switch {
	case f.failed:
		f.behind = f.known && len(f.pending) > 0 // the next check tries again
	case !f.known:
		f.restart(page.Top, false)
	case page.Complete:
		f.behind = false
		for i := range page.Messages {
			if m := &page.Messages[i]; m.At.Offset > f.at.Offset {
				f.next(m)
			}
		}
	default:
		f.behind = false
		f.restart(page.Top, true)
	}
	f.settle()
}

// settle ends the asking, and takes what has come meanwhile. f.mu is held.
func (f *follower) settle() {
	f.loading = false
	if !f.behind {
		pending := f.pending
		f.pending = nil
		for i, m := range pending {
			if f.take(m); f.loading { // another hole: the rest waits for that
				f.pending = append(f.pending, pending[i+1:]...)
				break
			}
		}
	}
	f.changed.Broadcast()
}

// ask asks the log, more than once if it has to.
func (f *follower) ask(from position) (page cluster.Page, err error) {
	for i := range loadTries {
		ctx, cancel := context.WithTimeout(f.n.ctx, loadTimeout)
		page, err = f.log.After(ctx, f.topic, from)
		cancel()
		if err == nil || f.n.ctx.Err() != nil || !f.n.up.Load() {
			return page, err
		}
		if i < loadTries-1 {
			select {
			case <-time.After(loadPause):
			case <-f.n.ctx.Done():
			}
		}
	}
	return page, err
}

// check asks the log for what was missed at the end.
func (f *follower) check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.loading && f.n.up.Load() { // else it is checked when that is back
		f.startLoading()
	}
}

// isBehind reports whether there is something to ask the log for.
func (f *follower) isBehind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.behind || !f.known
}
