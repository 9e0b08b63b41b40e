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
	batches map[*link]time.Time
	parked  atomic.Bool
	bell    chan struct{}
	done    chan struct{}
}

const (
	// watchEvery is how often batches are looked at; one is taken over after
	// one to two of these.
	watchEvery = 10 * time.Millisecond
	// watchLinger is how long the watch goes on with nothing to see.
	watchLinger = time.Second
)

func newWatch() *watch {
	return &watch{batches: make(map[*link]time.Time), bell: make(chan struct{}, 1), done: make(chan struct{})}
}

func (w *watch) add(l *link) {
	w.mu.Lock()
	w.batches[l] = time.Now()
	w.mu.Unlock()
	if w.parked.Load() && w.parked.CompareAndSwap(true, false) {
		select {
		case w.bell <- struct{}{}:
		default:
		}
	}
}

func (w *watch) remove(l *link) {
	w.mu.Lock()
	delete(w.batches, l)
	w.mu.Unlock()
}

func (w *watch) run() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	last := time.Now()
	var late []*link
	for {
		select {
		case <-w.done:
			return
		case now := <-ticker.C:
			w.mu.Lock()
			if len(w.batches) > 0 {
				last = now
			}
			late = late[:0]
			for l, since := range w.batches {
				if now.Sub(since) >= watchEvery {
					late = append(late, l)
				}
			}
			w.mu.Unlock()
			for _, l := range late {
				l.takeOver()
			}
			if now.Sub(last) < watchLinger || !w.park(ticker) {
				continue
			}
			last = time.Now()
		}
	}
}

// park waits until a batch begins. It returns false if one has.
func (w *watch) park(ticker *time.Ticker) bool {
	w.parked.Store(true)
	w.mu.Lock()
	some := len(w.batches) > 0
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
	if m := MessageFrom(ctx); m != nil {
		m.conn.link.takeOver()
	}
}
