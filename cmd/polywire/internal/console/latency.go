package console

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// The histogram has eight buckets for each doubling of a time, which is counted
// in units of 128 ns: a percentile is off by 6 % at most.
const (
	unitShift = 7
	perOctave = 8
	maxUnits  = 1<<33 - 1 // 18 minutes; longer ones count as this
	buckets   = (33-4)*perOctave + 2*perOctave
	lanes     = 8 // goroutines on different processors seldom meet in one
)

// latency counts how long handlers took, since the start.
type latency struct {
	lanes [lanes]lane
}

type lane struct {
	count  [buckets]atomic.Uint64
	failed atomic.Uint64
	_      [7]uint64 // the next one has cache lines of its own
}

// add counts one.
func (l *latency) add(took time.Duration, failed bool) {
	at := &l.lanes[rand.Uint32()%lanes] //nolint:gosec // it spreads, and hides nothing
	at.count[bucketOf(took)].Add(1)
	if failed {
		at.failed.Add(1)
	}
}

func bucketOf(took time.Duration) int {
	units := min(uint64(max(took, 0))>>unitShift, maxUnits)
	shift := max(bits.Len64(units)-4, 0)
	return shift*perOctave + int(units>>shift)
}

// middleOf is the time in the middle of a bucket.
func middleOf(bucket int) time.Duration {
	shift, units := 0, uint64(bucket)
	if bucket >= 2*perOctave {
		shift = bucket/perOctave - 1
		units = uint64(bucket - shift*perOctave)
	}
	return time.Duration((units<<shift)<<unitShift + (1<<shift)<<unitShift/2)
}

// counts are those of a moment, or of the time between two.
type counts struct {
	by     [buckets]uint64
	failed uint64
}

func (l *latency) read() *counts {
	c := new(counts)
	for i := range l.lanes {
		at := &l.lanes[i]
		for b := range at.count {
			c.by[b] += at.count[b].Load()
		}
		c.failed += at.failed.Load()
	}
	return c
}

// since returns what was counted after an earlier moment.
func (c *counts) since(before *counts) *counts {
	d := &counts{failed: c.failed - before.failed}
	for b := range c.by {
		d.by[b] = c.by[b] - before.by[b]
	}
	return d
}

func (c *counts) total() (n uint64) {
	for _, k := range c.by {
		n += k
	}
	return n
}

// quantile returns the time that a share of them did not exceed; false: there are none.
func (c *counts) quantile(share float64) (time.Duration, bool) {
	n := c.total()
	if n == 0 {
		return 0, false
	}
	rank := min(uint64(share*float64(n)), n-1)
	for b, k := range c.by {
		if rank < k {
			return middleOf(b), true
		}
		rank -= k
	}
	return middleOf(buckets - 1), true
}
