package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/polywire/polywire/webhook"
)

// TestFairRetries wants the second try of one endpoint to come in its time, whatever
// waits for another that is well, and slow.
func TestFairRetries(t *testing.T) {
	for _, took := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, time.Second} {
		virtual(t, nil, func(w *world) {
			w.endpoint("busy", after(took, 200), func(e *webhook.Endpoint) { e.Types = []string{"busy"} })
			w.endpoint("other", func(_ context.Context, n int, m made) webhook.Attempt {
				if m.try == 1 {
					return answer(500)
				}
				return answer(200)
			}, func(e *webhook.Endpoint) { e.Types = []string{"other"} }, schedule(0, 5*time.Second))
			for i := range 3000 {
				w.publish(fmt.Sprint("b", i), "busy")
			}
			elapse(2 * time.Second)
			start := time.Now()
			w.publish("o", "other")
			elapse(10 * time.Minute)
			m := w.made("other")
			if len(m) != 2 || m[1].at.Sub(start) > 6*time.Second {
				t.Errorf("beside one that takes %v: %+v, want a second try after 5 s", took, m)
			}
			var last time.Duration
			for _, a := range w.made("busy") {
				last = max(last, a.at.Sub(start))
			}
			if ideal := 3000 / 8 * took; len(w.made("busy")) != 3000 || last > ideal+ideal/5+5*time.Second {
				t.Errorf("3000 that take %v each: %d are made, the last after %v", took, len(w.made("busy")), last)
			}
		})
	}
}
