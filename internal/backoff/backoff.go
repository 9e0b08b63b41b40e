// Package backoff says how long to wait before the next try.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Backoff doubles the wait from Min to Max, and takes a random part of it, so
// that many who lost the same peer do not come back at the same time. The zero
// value is 1 s to 30 s. It is not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration
	tries    int
}

// Next returns the wait before the next try: between half of the doubled
// minimum and all of it.
func (b *Backoff) Next() time.Duration {
	low, high := b.Min, b.Max
	if low <= 0 {
		low = time.Second
	}
	if high <= 0 {
		high = 30 * time.Second
	}
	wait := high
	if b.tries < 32 && low<<b.tries > 0 {
		wait = min(low<<b.tries, high)
	}
	b.tries++
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // spreading load is no secret
}

// Tries returns how often Next was called since the last Reset.
func (b *Backoff) Tries() int { return b.tries }

// Reset begins again with the minimum.
func (b *Backoff) Reset() { b.tries = 0 }
