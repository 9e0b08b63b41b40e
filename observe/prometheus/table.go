package prometheus

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"
	"unsafe"
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
	usual atomic.Pointer[named[T]] // the name that is looked up most; nil: none yet

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

type named[T any] struct {
	name string
	v    *T
}

// find returns what is there for a name; nil: it has none of its own.
func (t *table[T]) find(name string) *T {
	if u := t.usual.Load(); u != nil && u.name == name {
		return u.v
	}
	return (*t.known.Load())[name]
}

// elect makes a name the one that is found fastest.
func (t *table[T]) elect(name string) {
	if v := t.find(name); v != nil {
		t.usual.Store(&named[T]{name, v})
	}
}

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
	if len(after) == 1 {
		t.usual.Store(&named[T]{name, v})
	}
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
//
// What is usual costs one addition: number and sum share a word, which is
// emptied into wide ones before either could overflow.
type histogram struct {
	bounds []int64
	unit   float64 // what a value is multiplied by when it is shown
	shards [shardCount]histogramShard

	mu    sync.Mutex // for emptying, and for reading
	wide  [maxBuckets]uint64
	total int64
}

type histogramShard struct {
	buckets [maxBuckets]atomic.Uint64
	_       [56]byte // up to a cache line's end
}

const (
	seconds = 1e-9
	plain   = 1

	// A word has a sum of up to 2^19 values of less than 2^25, and their number.
	sumBits   = 44
	narrow    = 1 << 25
	fullWords = 1 << 63
)

func newHistogram(bounds []int64, unit float64) *histogram {
	return &histogram{bounds: bounds, unit: unit}
}

// shard says which part to count in: the same for a goroutine most of the time,
// so that what it counts with stays with its processor. Stacks have 8 KiB at
// least when anything is served on them.
func shard() int {
	var here byte
	return int(uintptr(unsafe.Pointer(&here))>>13) & (shardCount - 1) //nolint:gosec // nothing is read or written there
}

func (h *histogram) observe(shard int, v int64) {
	v = max(v, 0)
	i := h.bucket(v)
	if v >= narrow {
		h.observeWide(i, v, 1)
		return
	}
	word := &h.shards[shard].buckets[i]
	if word.Add(1<<sumBits|uint64(v)) >= fullWords {
		h.mu.Lock()
		h.empty(i, word)
		h.mu.Unlock()
	}
}

// observeN observes the same value n times.
func (h *histogram) observeN(shard int, v int64, n int) {
	if n == 1 {
		h.observe(shard, v)
		return
	}
	v = max(v, 0)
	h.observeWide(h.bucket(v), v, n)
}

func (h *histogram) observeWide(bucket int, v int64, n int) {
	h.mu.Lock()
	h.wide[bucket] += uint64(n)
	h.total += v * int64(n)
	h.mu.Unlock()
}

func (h *histogram) bucket(v int64) int {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	return i
}

// empty takes over what a word has. h.mu is held.
func (h *histogram) empty(bucket int, word *atomic.Uint64) {
	all := word.Swap(0)
	h.wide[bucket] += all >> sumBits
	h.total += int64(all & (1<<sumBits - 1))
}

// read returns the histogram in the form that scrapes have: counts up to each bound.
func (h *histogram) read() (count uint64, sum float64, upTo map[float64]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.shards {
		for k := range h.shards[i].buckets {
			if word := &h.shards[i].buckets[k]; word.Load() != 0 {
				h.empty(k, word)
			}
		}
	}
	upTo = make(map[float64]uint64, len(h.bounds))
	for i, bound := range h.bounds {
		count += h.wide[i]
		upTo[float64(bound)*h.unit] = count
	}
	return count + h.wide[len(h.bounds)], float64(h.total) * h.unit, upTo
}
