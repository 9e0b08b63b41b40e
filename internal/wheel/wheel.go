// Package wheel is one timer for many things that are due in seconds, not
// nanoseconds: the heartbeats and deadlines of all connections of a server.
package wheel

import (
	"sync"
	"sync/atomic"
	"time"
)

// slots is a power of two and more ticks than the usual interval, so that most
// entries are looked at once, when they are due.
const slots = 64

// Timed is something that is looked at when it is due.
type Timed interface {
	// Due is called on the wheel's goroutine, at or soon after the time asked
	// for, and returns when to be called again, in ticks of the wheel's
	// clock. Zero: never; the entry is out of the wheel then. It must not block.
	Due(now uint32) (next uint32)
}

// Entry is a place in the wheel. The zero value is not in any.
type Entry struct {
	next, prev *Entry
	item       Timed
	due        uint32
}

// Wheel calls entries when they are due. It has a goroutine only while there
// are entries.
type Wheel struct {
	tick    time.Duration
	now     atomic.Uint32
	mu      sync.Mutex
	slots   [slots]Entry // list heads
	entries int
	running bool
	stopped bool
	quit    chan struct{}
	done    sync.WaitGroup
	epoch   time.Time
}

// New returns an empty wheel whose clock is at 1 and counts in ticks, which are
// its resolution.
func New(tick time.Duration) *Wheel {
	w := &Wheel{tick: tick, epoch: time.Now(), quit: make(chan struct{})}
	w.now.Store(1)
	for i := range w.slots {
		h := &w.slots[i]
		h.next, h.prev = h, h
	}
	return w
}

// Now returns the clock. It stands still while the wheel is empty.
func (w *Wheel) Now() uint32 { return w.now.Load() }

// In returns the clock's value when d is over for certain: up to two ticks later.
func (w *Wheel) In(d time.Duration) uint32 { return w.Now() + 1 + w.Ticks(d) }

// Ticks returns d in ticks, rounded up, at least one.
func (w *Wheel) Ticks(d time.Duration) uint32 { return uint32(max(1, (d+w.tick-1)/w.tick)) }

// Add puts an entry into the wheel, to be called at due. The entry must not be in it.
func (w *Wheel) Add(e *Entry, item Timed, due uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.item = item
	w.link(e, due)
	w.entries++
	if !w.running && !w.stopped {
		w.running = true
		w.epoch = time.Now().Add(-time.Duration(w.Now()) * w.tick)
		w.done.Go(w.run)
	}
}

// Move makes an entry of the wheel due at another time; one that is not in the
// wheel stays out.
func (w *Wheel) Move(e *Entry, due uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.next == nil {
		return
	}
	unlink(e)
	w.link(e, due)
}

// Sooner is Move, unless the entry is due before that already.
func (w *Wheel) Sooner(e *Entry, due uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.next == nil || e.due <= due {
		return
	}
	unlink(e)
	w.link(e, due)
}

// Remove takes an entry out; it may be out already. Due may still be running
// for it once.
func (w *Wheel) Remove(e *Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.next != nil {
		unlink(e)
		w.entries--
	}
	e.item = nil
}

// Wait blocks until the wheel's goroutine has ended, which it does soon after
// the last entry left.
func (w *Wheel) Wait() { w.done.Wait() }

// Stop ends the wheel for good and waits for its goroutine: nothing is called
// any more. Entries may still be added and removed. Call it once.
func (w *Wheel) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	close(w.quit)
	w.done.Wait()
}

func (w *Wheel) link(e *Entry, due uint32) {
	e.due = max(due, w.Now()+1)
	h := &w.slots[e.due%slots]
	e.prev, e.next = h.prev, h
	h.prev.next = e
	h.prev = e
}

func unlink(e *Entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.next, e.prev = nil, nil
}

func (w *Wheel) run() {
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	for {
		now := uint32(time.Since(w.epoch) / w.tick)
		for t := w.Now() + 1; t <= now; t++ {
			w.now.Store(t)
			w.turn(t)
		}
		w.mu.Lock()
		if w.entries == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		select {
		case <-ticker.C:
		case <-w.quit:
			return
		}
	}
}

// turn calls what is due at t. The list is cut off first, so that Due may add
// and remove entries.
func (w *Wheel) turn(t uint32) {
	h := &w.slots[t%slots]
	w.mu.Lock()
	var due []*Entry
	for e := h.next; e != h; e = e.next {
		if e.due <= t {
			due = append(due, e)
		}
	}
	w.mu.Unlock()
	for _, e := range due {
		w.mu.Lock()
		item := e.item
		late := e.next == nil || e.due > t
		w.mu.Unlock()
		if late {
			continue
		}
		next := item.Due(t)
		w.mu.Lock()
		if e.next != nil && e.due <= t {
			unlink(e)
			if next == 0 {
				w.entries--
			} else {
				w.link(e, next)
			}
		}
		w.mu.Unlock()
	}
}
