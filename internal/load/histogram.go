package load

import (
	"math/bits"
	"time"
)

// A histogram has 32 buckets for each power of two, so that a value is known
// to within 3 %, up to some 68 seconds; larger ones count as that.
const (
	subBits     = 5
	subBuckets  = 1 << subBits
	maxExponent = 31
	buckets     = (maxExponent + 1) * subBuckets
)

// histogram counts durations in nanoseconds. The zero value is empty.
type histogram struct {
	counts [buckets]uint32
	total  uint64
	max    int64
}

func (h *histogram) record(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(uint64(ns))]++
	h.total++
	h.max = max(h.max, ns)
}

// bucket is v itself below 32; above, the exponent and the five bits that
// follow the leading one.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	if shift >= maxExponent {
		return buckets - 1
	}
	return shift*subBuckets + int(v>>shift)
}

// value is the middle of a bucket.
func value(bucket int) int64 {
	if bucket < 2*subBuckets {
		return int64(bucket)
	}
	shift := bucket/subBuckets - 1
	low := int64(bucket-shift*subBuckets) << shift
	return low + int64(1)<<shift/2
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// quantile returns the duration that the share q of all is not above; zero
// when nothing was recorded.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.total))
	var n uint64
	for i, k := range h.counts {
		if n += uint64(k); n > rank || (n == h.total && n > 0) {
			return time.Duration(min(value(i), h.max))
		}
	}
	return 0
}
