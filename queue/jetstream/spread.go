package jetstream

import (
	"sync"
	"time"
)

// early is how long before its time a delayed message may come to the queue:
// the server looks at schedules every quarter of a second, and is later if it
// is busy. What is left of the time it waits as an unanswered message whose
// redelivery was asked for at that time, see session.hold: that is exact to
// some milliseconds. Delays shorter than this may be nothing but that.
const early = 500 * time.Millisecond

// earlyPerSecond is how many messages for one second come early. Each request
// for a later redelivery makes the server look for those that are due ten
// milliseconds after it, and not before (nats-server 2.15, consumer.go:
// processNak): a steady stream of them would put off all redeliveries. The
// rest wait as schedules only.
const earlyPerSecond = 10

// maxSpread is for how many seconds to come that is counted.
const maxSpread = 4096

// spread counts this program's messages by the second in which they are due.
type spread struct {
	mu      sync.Mutex
	seconds map[int64]int
	cleared int64 // the second in which those that are over were last removed
}

// exact reports whether a message for that time may come early.
func (s *spread) exact(at, now time.Time) bool {
	if !at.After(now) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seconds == nil {
		s.seconds = make(map[int64]int)
	}
	due := at.Unix()
	if len(s.seconds) >= maxSpread && s.seconds[due] == 0 {
		s.clear(now.Unix())
	}
	if n := s.seconds[due]; n >= earlyPerSecond || n == 0 && len(s.seconds) >= maxSpread {
		return false
	}
	s.seconds[due]++
	return true
}

// clear removes the seconds that are over, once in each.
func (s *spread) clear(now int64) {
	if now == s.cleared {
		return
	}
	s.cleared = now
	for second := range s.seconds {
		if second < now {
			delete(s.seconds, second)
		}
	}
}
