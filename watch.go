package polywire

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// watch takes the reading over from goroutines that have been with their batch
// for too long. Links are in it only while they handle one.
type watch struct {
	mu      sync.Mutex
	batches []watched
	free    []uint32 // places in batches
	base    time.Time
	coarse  atomic.Int64 // nanoseconds since base, as of the last look; good unless parked
	parked  atomic.Bool
	bell    chan struct{}
	done    chan struct{}
}

// watched is a batch that is being handled; an empty one is a free place.
type watched struct {
	l     *link
	since time.Duration
}

const (
	// watchEvery is how often batches are looked at; one is taken over after
	// one to three of these.
	watchEvery = 10 * time.Millisecond
	// watchLinger is how long the watch goes on with nothing to see.
	watchLinger = time.Second
)

func newWatch() *watch {
	return &watch{base: time.Now(), bell: make(chan struct{}, 1), done: make(chan struct{})}
}

// now returns the time since base. It is as old as the last look, so that a
// batch need not ask the clock.
func (w *watch) now() time.Duration {
	if w.parked.Load() {
		return time.Since(w.base)
	}
	return time.Duration(w.coarse.Load())
}

// add notes the beginning of a batch, and where in the link.
func (w *watch) add(l *link, now time.Duration) {
	w.mu.Lock()
	if n := len(w.free); n > 0 {
		l.watchedAt = w.free[n-1]
		w.free = w.free[:n-1]
		w.batches[l.watchedAt] = watched{l, now}
	} else {
		l.watchedAt = uint32(len(w.batches))
		w.batches = append(w.batches, watched{l, now})
	}
	w.mu.Unlock()
	if w.parked.Load() {
		w.coarse.Store(int64(now)) // before others trust it
		if !w.parked.CompareAndSwap(true, false) {
			return
		}
		select {
		case w.bell <- struct{}{}:
		default:
		}
	}
}

func (w *watch) remove(l *link) {
	w.mu.Lock()
	w.batches[l.watchedAt] = watched{}
	w.free = append(w.free, l.watchedAt)
	w.mu.Unlock()
}

func (w *watch) run() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	last := w.look()
	var late []*link
	for {
		select {
		case <-w.done:
			return
		case <-ticker.C:
		}
		now := w.look()
		w.mu.Lock()
		if len(w.batches) > len(w.free) {
			last = now
		}
		late = late[:0]
		for _, b := range w.batches {
			if b.l != nil && now-b.since >= 2*watchEvery {
				late = append(late, b.l)
			}
		}
		w.mu.Unlock()
		for _, l := range late {
			l.takeOver()
		}
		clear(late)
		if now-last >= watchLinger && w.park(ticker) {
			last = w.look()
		}
	}
}

// look reads the clock for everybody.
func (w *watch) look() time.Duration {
	now := time.Since(w.base)
	w.coarse.Store(int64(now))
	return now
}

// park waits until a batch begins. It returns false if one has.
func (w *watch) park(ticker *time.Ticker) bool {
	w.parked.Store(true)
	w.mu.Lock()
	some := len(w.batches) > len(w.free)
	w.mu.Unlock()
	if some {
		w.parked.Store(false)
		return false
	}
	ticker.Stop()
	defer ticker.Reset(watchEvery)
	select {
	case <-w.bell:
	case <-w.done:
	}
	return true
}

func (w *watch) stop() {
	close(w.done)
}

// blocking is called before a goroutine waits for a peer: if ctx is that of a
// handler on a reading goroutine, the reading goes on elsewhere.
func blocking(ctx context.Context) {
	if c := connFrom(ctx); c != nil {
		c.link.takeOver()
	}
}
