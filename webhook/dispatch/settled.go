package dispatch

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// settled remembers which tries of which deliveries have been made: when a queue brings
// one again, because an acknowledgement got lost with a program, a server or a
// connection, it is not made again. It has what this program did of late and, from the
// store of attempts, what was done just before it began.
type settled struct {
	mu    sync.Mutex
	tries map[[16]byte]int
	order [][16]byte // a ring, oldest at next once it is full
	next  int
}

const (
	maxSettled   = 50_000
	recentPage   = 200
	recentPages  = 25
	recentWindow = 10 * time.Second // before the last attempt; servers save acknowledgements ten times a second
)

// add notes that a try was made, and all that follows from it is in the queue.
func (s *settled) add(id [16]byte, try int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tries == nil {
		s.tries = make(map[[16]byte]int)
	}
	old, known := s.tries[id]
	s.tries[id] = max(old, try)
	switch {
	case known:
	case len(s.order) < maxSettled:
		s.order = append(s.order, id)
	default:
		delete(s.tries, s.order[s.next])
		s.order[s.next] = id
		s.next = (s.next + 1) % maxSettled
	}
}

func (s *settled) has(id [16]byte, try int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries[id] >= try
}

// remember notes that a try was made, of which an entry tells.
func (s *settled) remember(e Entry) {
	d := delivery{endpoint: e.Endpoint, event: Stored{ID: e.Attempt.ID}, replay: e.Replay}
	s.add(d.key(), e.Attempt.Try)
}

// recall reads what was done before this program began.
func (d *Dispatcher) recall(ctx context.Context) error {
	next := ""
	var last time.Time
	for range recentPages {
		p, err := d.o.Attempts.Newest(ctx, "", next, recentPage)
		if err != nil {
			return fmt.Errorf("the last attempts cannot be read: %w", err)
		}
		for _, e := range p.Entries {
			if e.Attempt.Start.After(last) {
				last = e.Attempt.Start
			}
			d.settled.remember(e)
		}
		next = p.Next
		if next == "" || p.Entries[len(p.Entries)-1].Attempt.Start.Before(last.Add(-recentWindow)) {
			return nil
		}
	}
	return nil
}
