package queuetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/polywire/polywire/queue"
)

// ledger notes what was accepted by a broker, and what became of it.
type ledger struct {
	mu       sync.Mutex
	accepted map[string]bool
	attempts map[string][]attempt
	done     map[string]int
	dead     map[string]int
	running  int
	most     int // that ran at a time
}

// attempt is one run of a handler.
type attempt struct {
	d          queue.Delivery
	start, end time.Time
	err        error
}

func newLedger() *ledger {
	return &ledger{
		accepted: make(map[string]bool), attempts: make(map[string][]attempt),
		done: make(map[string]int), dead: make(map[string]int),
	}
}

func (l *ledger) accept(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted[id] = true
}

func (l *ledger) buried(d *queue.Dead) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead[d.ID]++
}

// handler notes each attempt of h.
func (l *ledger) handler(h queue.Handler) queue.Handler {
	return func(ctx context.Context, d *queue.Delivery) (err error) {
		a := attempt{d: *d, start: time.Now()}
		l.mu.Lock()
		l.running++
		l.most = max(l.most, l.running)
		l.mu.Unlock()
		panicked := true
		defer func() {
			a.end, a.err = time.Now(), err
			l.mu.Lock()
			defer l.mu.Unlock()
			l.running--
			l.attempts[d.ID] = append(l.attempts[d.ID], a)
			if err == nil && !panicked {
				l.done[d.ID]++
			}
		}()
		err = h(ctx, d)
		panicked = false
		return err
	}
}

// open returns the ids that are neither done nor dead.
func (l *ledger) open() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var open []string
	for id := range l.accepted {
		if l.done[id] == 0 && l.dead[id] == 0 {
			open = append(open, id)
		}
	}
	slices.Sort(open)
	return open
}

// closed reports whether all that was accepted is done or dead. It is asked all
// the time while handlers note what they do, and so looks no further than the
// first that is open.
func (l *ledger) closed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.done)+len(l.dead) < len(l.accepted) {
		return false
	}
	for id := range l.accepted {
		if l.done[id] == 0 && l.dead[id] == 0 {
			return false
		}
	}
	return true
}

// of returns the attempts at a message that have ended.
func (l *ledger) of(id string) []attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.attempts[id])
}

// runs returns how many attempts have ended, at all messages.
func (l *ledger) runs() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.attempts {
		n += len(a)
	}
	return n
}

// doneTimes returns how often a message was done.
func (l *ledger) doneTimes(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[id]
}

// deadTimes returns how often a message died.
func (l *ledger) deadTimes(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead[id]
}

// again forgets that messages have died, for they are replayed.
func (l *ledger) again(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		delete(l.dead, id)
	}
}

// forget takes back what was accepted: it was purged.
func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.accepted)
}

// duplicates returns how many times messages were done beyond the first.
func (l *ledger) duplicates() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, times := range l.done {
		n += times - 1
	}
	return n
}

// String sums it up.
func (l *ledger) String() string {
	open := l.open()
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("accepted %d, done %d, dead %d, running %d, open %d %.200q",
		len(l.accepted), len(l.done), len(l.dead), l.running, len(open), open[:min(len(open), 5)])
}
