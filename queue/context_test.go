package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type contextKey struct{}

// Whatever is asked of it, in whatever order, it answers as a context of the
// standard library does.
func TestLazyContext(t *testing.T) {
	why := errors.New("why")
	ends := map[string]func(cancelParent context.CancelCauseFunc, stop func()){
		"nothing":  func(context.CancelCauseFunc, func()) {},
		"deadline": func(context.CancelCauseFunc, func()) { time.Sleep(2 * time.Second) }, // virtual
		"parent":   func(cancel context.CancelCauseFunc, _ func()) { cancel(why) },
		"stop":     func(_ context.CancelCauseFunc, stop func()) { stop() },
	}
	asked := map[string]func(ctx context.Context){
		"nobody": func(context.Context) {},
		"done":   func(ctx context.Context) { ctx.Done() },
		"child": func(ctx context.Context) {
			_, cancel := context.WithCancel(ctx)
			t.Cleanup(cancel)
		},
	}
	look := func(ctx context.Context) (seen [4]any) {
		seen[0], seen[1], seen[2] = ctx.Err(), context.Cause(ctx), ctx.Value(contextKey{})
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		synctest.Wait()
		seen[3] = child.Err()
		return seen
	}
	for end, how := range ends {
		for who, ask := range asked {
			t.Run(end+"/"+who, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var got [2][4]any
					for i := range got {
						parent, cancelParent := context.WithCancelCause(context.WithValue(t.Context(), contextKey{}, "value"))
						defer cancelParent(nil)
						var ctx context.Context
						var stop func()
						if i == 0 {
							ctx, stop = context.WithTimeout(parent, time.Second)
						} else {
							lazy := withLazyTimeout(parent, time.Second)
							ctx, stop = lazy, lazy.stop
						}
						defer stop()
						ask(ctx)
						how(cancelParent, stop)
						synctest.Wait()
						got[i] = look(ctx)
						if _, has := ctx.Deadline(); !has {
							t.Error("it has no deadline")
						}
					}
					if got[0] != got[1] {
						t.Errorf("got %v, want %v", got[1], got[0])
					}
				})
			})
		}
	}
	parent, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	lazy := withLazyTimeout(parent, 2*time.Hour)
	defer lazy.stop()
	want, _ := parent.Deadline()
	if got, _ := lazy.Deadline(); got != want {
		t.Errorf("the deadline is %v, the parent's %v", got, want)
	}
}
