package wheel

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

const tick = 500 * time.Millisecond

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

type timed func(now uint32) uint32

func (f timed) Due(now uint32) uint32 { return f(now) }

func TestDueOnTime(t *testing.T) {
	for _, after := range []time.Duration{time.Nanosecond, tick, 10 * time.Second, 31 * time.Second, 32 * time.Second, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			w := New(tick)
			var e Entry
			start, done := time.Now(), make(chan time.Duration, 1)
			w.Add(&e, timed(func(uint32) uint32 { done <- time.Since(start); return 0 }), w.In(after))
			if got := <-done; got < after.Truncate(tick) || got > after+2*tick {
				t.Errorf("due after %v, want about %v", got, after)
			}
			w.Wait()
		})
	}
}

func TestRepeatsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(tick)
		var e Entry
		n := 0
		w.Add(&e, timed(func(now uint32) uint32 {
			if n++; n == 100 {
				return 0
			}
			return now + 1
		}), w.In(tick))
		w.Wait()
		if n != 100 {
			t.Errorf("called %d times, want 100", n)
		}
	})
}

func TestMoveAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(tick)
		var moved, removed, self Entry
		start := time.Now()
		var at time.Duration
		w.Add(&moved, timed(func(uint32) uint32 { at = time.Since(start); return 0 }), w.In(time.Hour))
		w.Add(&removed, timed(func(uint32) uint32 { t.Error("removed entry was called"); return 0 }), w.In(time.Second))
		w.Add(&self, timed(func(now uint32) uint32 { w.Remove(&self); return now + 1 }), w.In(time.Second))
		w.Sooner(&moved, w.In(3*time.Second))
		w.Sooner(&moved, w.In(30*time.Second))
		w.Remove(&removed)
		w.Remove(&removed)
		w.Move(&removed, w.In(time.Second))
		w.Wait()
		if at < 2*time.Second || at > 4*time.Second {
			t.Errorf("moved entry called after %v, want 3s", at)
		}
		// The wheel starts again by itself, with its clock ahead.
		again := make(chan struct{})
		w.Add(&removed, timed(func(uint32) uint32 { close(again); return 0 }), w.In(time.Second))
		<-again
		w.Wait()
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(tick)
		var e, late Entry
		w.Add(&e, timed(func(uint32) uint32 { t.Error("called after Stop"); return 0 }), w.In(time.Second))
		w.Stop()
		w.Add(&late, timed(func(uint32) uint32 { t.Error("called after Stop"); return 0 }), w.In(time.Second))
		time.Sleep(time.Minute) // virtual
		w.Remove(&e)
		w.Remove(&late)
	})
}
