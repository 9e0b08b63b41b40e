package prometheus

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// other is the label of all that has none of its own.
const other = "other"

// maxLabelBytes is the longest name that becomes a label.
const maxLabelBytes = 255

// table has something for each of a bounded number of names, and one for all
// others. Looking one up takes no lock.
type table[T any] struct {
	most  int
	fresh func() *T
	known atomic.Pointer[map[string]*T]
	rest  atomic.Pointer[T]

	mu sync.Mutex // for those that add
}

func newTable[T any](most int, fresh func() *T, names ...string) *table[T] {
	t := &table[T]{most: most, fresh: fresh}
	t.known.Store(&map[string]*T{})
	for _, n := range names {
		t.get(n)
	}
	return t
}

// find returns what is there for a name; nil: it has none of its own.
func (t *table[T]) find(name string) *T { return (*t.known.Load())[name] }

// get returns what is there for a name, made if there is room, else that of
// all others.
func (t *table[T]) get(name string) *T {
	if v := t.find(name); v != nil {
		return v
	}
	if name == other || name == "" || len(name) > maxLabelBytes || !utf8.ValidString(name) || len(*t.known.Load()) >= t.most {
		return t.others()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := *t.known.Load()
	if v := before[name]; v != nil {
		return v
	}
	if len(before) >= t.most {
		return t.othersLocked()
	}
	after := make(map[string]*T, len(before)+1)
	maps.Copy(after, before)
	v := t.fresh()
	after[name] = v
	t.known.Store(&after)
	return v
}

// others returns what is there for all that have none of their own.
func (t *table[T]) others() *T {
	if v := t.rest.Load(); v != nil {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.othersLocked()
}

func (t *table[T]) othersLocked() *T {
	if t.rest.Load() == nil {
		t.rest.Store(t.fresh())
	}
	return t.rest.Load()
}

// each calls f for all, the others last.
func (t *table[T]) each(f func(name string, v *T)) {
	known := *t.known.Load()
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f(name, known[name])
	}
	if v := t.rest.Load(); v != nil {
		f(other, v)
	}
}

// counter is a number that only grows.
type counter struct{ n atomic.Uint64 }

func (c *counter) inc()           { c.n.Add(1) }
func (c *counter) value() float64 { return float64(c.n.Load()) }

func newCounter() *counter { return new(counter) }

// The bounds of histograms: of times in nanoseconds, of sizes in bytes, of
// numbers of receivers. Each has at most maxBuckets.
func timeBounds() []int64 {
	const us, ms, s = 1_000, 1_000_000, 1_000_000_000
	return []int64{10 * us, 100 * us, 500 * us, ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, s, 2500 * ms, 5 * s, 10 * s, 30 * s}
}

// longTimeBounds are for what may wait for hours.
func longTimeBounds() []int64 {
	const ms, s = 1_000_000, 1_000_000_000
	return []int64{ms, 5 * ms, 25 * ms, 100 * ms, 500 * ms, s, 5 * s, 15 * s, 60 * s, 300 * s, 900 * s, 3600 * s, 6 * 3600 * s, 24 * 3600 * s}
}

func sizeBounds() []int64 {
	return []int64{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
}

func countBounds() []int64 { return []int64{0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000} }

const (
	maxBuckets = 17
	shardCount = 4 // a power of two
)

// histogram counts values by size. It is in parts, so that processors do not
// take it from each other all the time.
type histogram struct {
	bounds []int64
	unit   float64 // what a value is multiplied by when it is shown
	shards [shardCount]histogramShard
}

type histogramShard struct {
	buckets [maxBuckets]atomic.Uint64
	sum     atomic.Int64
	_       [48]byte // up to a cache line's end
}

const (
	seconds = 1e-9
	plain   = 1
)

func newHistogram(bounds []int64, unit float64) *histogram {
	return &histogram{bounds: bounds, unit: unit}
}

// shard says which part this message counts in: the same in all histograms.
func shard() int { return int(rand.Uint32() & (shardCount - 1)) } //nolint:gosec // spreads load, guards nothing

func (h *histogram) observe(shard int, v int64) { h.observeN(shard, v, 1) }

func (h *histogram) observeN(shard int, v int64, n uint64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	s := &h.shards[shard]
	s.buckets[i].Add(n)
	s.sum.Add(max(v, 0) * int64(n))
}

// read returns the histogram in the form that scrapes have: counts up to each bound.
func (h *histogram) read() (count uint64, sum float64, upTo map[float64]uint64) {
	var counts [maxBuckets]uint64
	total := int64(0)
	for i := range h.shards {
		s := &h.shards[i]
		for k := range counts {
			counts[k] += s.buckets[k].Load()
		}
		total += s.sum.Load()
	}
	upTo = make(map[float64]uint64, len(h.bounds))
	for i, bound := range h.bounds {
		count += counts[i]
		upTo[float64(bound)*h.unit] = count
	}
	return count + counts[len(h.bounds)], float64(total) * h.unit, upTo
}
