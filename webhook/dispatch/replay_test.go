package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/webhook"
)

func TestReplay(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", nil)
		w.endpoint("b", nil)
		w.publish("e1", "a")
		w.publish("e2", "a")
		elapse(time.Hour)
		for range 2 { // each replay is one of its own
			if err := w.d.Replay(w.Context(), "a", "e1"); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		m := w.made("a")
		if len(m) != 4 || m[2].event != "e1" || m[3].event != "e1" || m[2].try != 1 || len(w.made("b")) != 2 {
			t.Fatalf("attempts: %v", m)
		}
		if m[2].body != m[0].body && m[2].body != m[1].body {
			t.Errorf("the replay sent %s", m[2].body)
		}
		if last := w.entries("a")[3]; last.Replay == "" || last.State != StateDelivered {
			t.Errorf("the log has %+v", last)
		}
		if err := w.d.Disable(w.Context(), "a", ""); err != nil {
			t.Error(err)
		}
		if err := w.d.Replay(w.Context(), "a", "e1"); !errors.Is(err, ErrInvalid) {
			t.Errorf("a replay to a disabled endpoint: %v", err)
		}
	})
}

// TestReplayFailed wants what was given up, at its rate, and nothing else.
func TestReplayFailed(t *testing.T) {
	var well atomic.Bool
	virtual(t, nil, func(w *world) {
		w.endpoint("a", func(_ context.Context, _ int, m made) webhook.Attempt {
			return answer(map[bool]int{true: 200, false: 500}[well.Load() || m.event == "e3"])
		}, schedule(0, time.Second), func(e *webhook.Endpoint) { e.Types = []string{"a"} })
		for i := range 5 {
			w.publish(fmt.Sprint("old", i), "a")
		}
		elapse(time.Hour)
		since := time.Now()
		for i := range 30 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(10 * time.Hour)
		if n := w.states("a"); n[StateFailed] != 34 {
			t.Fatalf("the log has %v", n)
		}
		well.Store(true)
		var counts []int
		start := time.Now()
		n, err := w.d.ReplayFailed(w.Context(), "a", since, ReplayOptions{Rate: 2, Limit: 10, Done: func(n int) { counts = append(counts, n) }})
		if took := time.Since(start); n != 10 || err != nil || !slices.IsSorted(counts) || len(counts) != 10 || took < 4500*time.Millisecond || took > 5*time.Second {
			t.Errorf("%d replayed in %v, %v, %v", n, took, counts, err)
		}
		elapse(10 * time.Minute)
		n, err = w.d.ReplayFailed(w.Context(), "a", since, ReplayOptions{})
		if n != 19 || err != nil {
			t.Errorf("%d replayed, %v, want the 19 that are left", n, err)
		}
		elapse(time.Minute)
		if n, err := w.d.ReplayFailed(w.Context(), "a", since, ReplayOptions{}); n != 0 || err != nil {
			t.Errorf("%d replayed, %v, want none", n, err)
		}
		if n := w.states("a")[StateDelivered]; n != 30 {
			t.Errorf("%d delivered, want 30", n)
		}
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if n, err := w.d.ReplayFailed(ctx, "a", time.Time{}, ReplayOptions{Rate: 1}); !errors.Is(err, context.DeadlineExceeded) || n > 2 {
			t.Errorf("%d replayed within a second, %v", n, err)
		}
	})
}

// TestReplayEvents wants the events of a range, to those that want them now.
func TestReplayEvents(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", nil, func(e *webhook.Endpoint) { e.Types = []string{"payment.*"} })
		var times []time.Time
		for i := range 6 {
			times = append(times, time.Now())
			w.publish(fmt.Sprint("p", i), "payment.approved")
			w.publish(fmt.Sprint("u", i), "user.created") // for nobody
			elapse(time.Hour)
		}
		w.endpoint("late", nil)
		n, err := w.d.ReplayEvents(w.Context(), Range{Pattern: "payment.*", Since: times[2], Until: times[4]}, ReplayOptions{})
		synctest.Wait()
		if n != 4 || err != nil || len(w.made("a")) != 8 || len(w.made("late")) != 2 {
			t.Errorf("%d replayed, %v; %d and %d attempts", n, err, len(w.made("a")), len(w.made("late")))
		}
		n, err = w.d.ReplayEvents(w.Context(), Range{Endpoint: "late", Since: times[5]}, ReplayOptions{Rate: -1})
		synctest.Wait()
		if n != 2 || err != nil || len(w.made("late")) != 4 || len(w.made("a")) != 8 {
			t.Errorf("%d replayed, %v; %d and %d attempts", n, err, len(w.made("a")), len(w.made("late")))
		}
		if _, err := w.d.ReplayEvents(w.Context(), Range{Pattern: "*.a"}, ReplayOptions{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a pattern that is none: %v", err)
		}
		if _, err := w.d.ReplayEvents(w.Context(), Range{Endpoint: "none"}, ReplayOptions{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("an endpoint that is not there: %v", err)
		}
	})
}
