package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/webhook"
)

// TestConcurrency wants no more attempts at a time than an endpoint takes, and no fewer.
func TestConcurrency(t *testing.T) {
	virtual(t, nil, func(w *world) {
		for id, n := range map[string]int{"default": 0, "one": 1, "many": 100} {
			var running, most atomic.Int64
			w.endpoint(id, func(ctx context.Context, _ int, _ made) webhook.Attempt {
				now := running.Add(1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				defer running.Add(-1)
				return after(100*time.Millisecond, 200)(ctx, 0, made{})
			}, func(e *webhook.Endpoint) { e.Types = []string{id}; e.Concurrency = n })
			start := time.Now()
			for i := range 200 {
				w.publish(fmt.Sprint(id, i), id)
			}
			elapse(10 * time.Minute)
			limit := max(n, 8*(1-min(n, 1)))
			if len(w.made(id)) != 200 || most.Load() != int64(limit) {
				t.Errorf("%s: %d attempts, %d at a time, want %d", id, len(w.made(id)), most.Load(), limit)
			}
			last := slices.MaxFunc(w.made(id), func(a, b made) int { return a.at.Compare(b.at) }).at.Sub(start)
			if ideal := 200 / time.Duration(limit) * 100 * time.Millisecond; last > 2*ideal+3*time.Second {
				t.Errorf("%s: the last attempt came after %v, %v was possible", id, last, ideal)
			}
		}
	})
}

// TestRate wants no more attempts in any time than the rate and the burst allow, and
// not many fewer.
func TestRate(t *testing.T) {
	virtual(t, nil, func(w *world) {
		const rate, burst, n = 10, 5, 600
		w.endpoint("a", nil, func(e *webhook.Endpoint) { e.Rate = rate; e.Burst = burst })
		start := time.Now()
		for i := range n {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(time.Hour)
		m := w.made("a")
		if len(m) != n {
			t.Fatalf("%d attempts, want %d", len(m), n)
		}
		slices.SortFunc(m, func(a, b made) int { return a.at.Compare(b.at) })
		for i := range m {
			for _, k := range []int{burst, 50, 200} {
				if i+k < n {
					if took, least := m[i+k].at.Sub(m[i].at), time.Duration(k+1-burst)*time.Second/rate; took < least-time.Millisecond {
						t.Fatalf("%d attempts in %v", k+1, took)
					}
				}
			}
		}
		if took := m[n-1].at.Sub(start); took > 90*time.Second {
			t.Errorf("the last came after %v, want about 60 s", took)
		}
	})
}

// TestBreaker wants an endpoint that fails to be left alone, to be probed, and to get
// all when it is well again.
func TestBreaker(t *testing.T) {
	var mu sync.Mutex
	var states []BreakerState
	var well atomic.Bool
	virtual(t, func(o *Options) {
		o.Hooks = []Hooks{{BreakerChanged: func(_ string, _, to BreakerState) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, to)
		}}}
	}, func(w *world) {
		var tries []time.Duration
		for range 100 {
			tries = append(tries, 10*time.Second)
		}
		tries[0] = 0
		w.endpoint("a", func(context.Context, int, made) webhook.Attempt {
			return answer(map[bool]int{true: 200, false: 500}[well.Load()])
		}, schedule(tries...))
		start := time.Now()
		for i := range 40 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(5 * time.Minute)
		first := 0
		for _, m := range w.made("a") {
			if m.at.Sub(start) < 29*time.Second {
				first++
			}
		}
		if first < 10 || first > 18 { // those that ran when the tenth failed go on
			t.Errorf("%d attempts before the breaker was open", first)
		}
		if probes := len(w.made("a")) - first; probes < 8 || probes > 10 {
			t.Errorf("%d probes in 270 s, want one each 30 s", probes)
		}
		if s := w.d.Stats().Endpoints["a"]; s.Breaker == BreakerClosed || s.Parked == 0 {
			t.Errorf("stats: %+v", s)
		}
		well.Store(true)
		elapse(12 * time.Minute)
		if n := w.states("a")[StateDelivered]; n != 40 {
			t.Errorf("%d delivered, want 40", n)
		}
		if n := w.states("a")[StateFailed]; n != 0 {
			t.Errorf("%d failed", n)
		}
		mu.Lock()
		defer mu.Unlock()
		if states[0] != BreakerOpen || states[1] != BreakerHalfOpen || states[len(states)-1] != BreakerClosed {
			t.Errorf("the states were %v", states)
		}
	})
}

// TestParkedKeepsTries wants deliveries that wait for others' failures to keep all of
// their own tries.
func TestParkedKeepsTries(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", func(context.Context, int, made) webhook.Attempt { return answer(500) }, schedule(0, time.Second, time.Second))
		for i := range 30 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(10 * time.Hour)
		tries := make(map[string][]int)
		for _, m := range w.made("a") {
			tries[m.event] = append(tries[m.event], m.try)
		}
		for event, got := range tries {
			if !slices.Equal(got, []int{1, 2, 3}) {
				t.Errorf("%s: tries %v", event, got)
			}
		}
		if len(tries) != 30 || w.states("a")[StateFailed] != 30 {
			t.Errorf("%d events were tried, %v", len(tries), w.states("a"))
		}
	})
}

// TestNoisyNeighbour wants endpoints that hang with thousands of deliveries not to slow
// another.
func TestNoisyNeighbour(t *testing.T) {
	worst := func(hanging, burst int) (p99 time.Duration) {
		virtual(t, nil, func(w *world) {
			w.endpoint("good", after(20*time.Millisecond, 200), func(e *webhook.Endpoint) { e.Types = []string{"good"} })
			for i := range hanging {
				id := fmt.Sprint("hang", i)
				w.endpoint(id, after(20*time.Second, 500), func(e *webhook.Endpoint) { e.Types = []string{"hang"} })
			}
			var mu sync.Mutex
			sent := make(map[string]time.Time)
			for i := range 1000 {
				if i == 100 {
					for k := range burst {
						w.publish(fmt.Sprint("h", k), "hang")
					}
				}
				id := fmt.Sprint("g", i)
				mu.Lock()
				sent[id] = time.Now()
				mu.Unlock()
				w.publish(id, "good")
				elapse(50 * time.Millisecond)
			}
			elapse(time.Minute)
			var took []time.Duration
			for _, m := range w.made("good") {
				took = append(took, m.at.Sub(sent[m.event])+20*time.Millisecond)
			}
			if len(took) != 1000 {
				t.Fatalf("%d attempts at the good one", len(took))
			}
			slices.Sort(took)
			p99 = took[989]
			if hanging > 0 {
				if n := len(w.made("hang0")); n < 10 || n > 40 {
					t.Errorf("%d attempts at a hanging one", n)
				}
			}
		})
		return p99
	}
	alone := worst(0, 0)
	if beside := worst(1, 5000); beside > 2*alone {
		t.Errorf("p99 is %v beside one that hangs with 5,000, %v alone", beside, alone)
	}
	if beside := worst(20, 300); beside > 2*alone {
		t.Errorf("p99 is %v beside twenty that hang with 300 each, %v alone", beside, alone)
	}
}

// TestGateLimits changes limits while deliveries wait.
func TestGateLimits(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", after(time.Minute, 200), func(e *webhook.Endpoint) { e.Concurrency = 1 })
		for i := range 10 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(500 * time.Millisecond)
		if n := len(w.made("a")); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
		if _, err := w.d.Update(w.Context(), "a", func(e *webhook.Endpoint) error { e.Concurrency = 100; return nil }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(w.made("a")); n < 2 {
			t.Errorf("%d attempts when more were allowed", n)
		}
		elapse(10 * time.Minute)
		if n := w.states("a")[StateDelivered]; n != 10 {
			t.Errorf("%d delivered", n)
		}
	})
}
