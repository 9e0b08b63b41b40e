package prometheus

import (
	"math"
	"sync"
	"testing"
)

// Words that become full lose nothing, nor do values that are too large for them.
func TestHistogram(t *testing.T) {
	h := newHistogram([]int64{10, 1000, 1 << 40}, 1)
	const each = 1 << 19 // as many as a word has at most, and more with 4 at work
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range each {
				h.observe(0, narrow-1)
				if i%1024 == 0 {
					h.observe(i%shardCount, 5)
					h.observe(1, narrow)
					h.observe(1, -3) // a clock that was set back
					h.observeN(2, 100, 7)
					h.read()
				}
			}
		})
	}
	wg.Wait()
	h.observe(3, math.MaxInt32)
	h.observe(3, 1<<41)
	count, sum, upTo := h.read()
	const some = 4 * each / 1024
	wantCount := uint64(4*each + 10*some + 2)
	wantSum := float64(4*each*(narrow-1) + some*(5+narrow+700) + math.MaxInt32 + 1<<41)
	if count != wantCount || sum != wantSum {
		t.Errorf("%d values, sum %v; want %d, %v", count, sum, wantCount, wantSum)
	}
	for bound, want := range map[float64]uint64{10: 2 * some, 1000: 9 * some, 1 << 40: wantCount - 1} {
		if upTo[bound] != want {
			t.Errorf("up to %v: %d, want %d", bound, upTo[bound], want)
		}
	}
}

func TestTable(t *testing.T) {
	tab := newTable(2, newCounter, "a")
	for _, name := range []string{"a", "b", "c", "d", "", other, "a"} {
		tab.get(name).inc()
	}
	got := map[string]float64{}
	tab.each(func(name string, c *counter) { got[name] = c.value() })
	if len(got) != 3 || got["a"] != 2 || got["b"] != 1 || got[other] != 4 {
		t.Errorf("%v", got)
	}
}
