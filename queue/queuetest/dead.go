package queuetest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/queue"
)

// bury makes dead letters of messages. They live when revive has been set.
func (r *run) bury(b *queue.Broker, ms ...queue.Message) (revive *atomic.Bool) {
	r.Helper()
	revive = new(atomic.Bool)
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if revive.Load() {
			return nil
		}
		return queue.Discard(errors.New("because of " + d.Kind))
	}, queue.HandleOptions{})
	for _, m := range ms { // one after the other, so that their order is known
		r.publish(b, m)
		r.until("it is dead", func() bool { return r.ledger.deadTimes(m.ID) == 1 })
		r.watch(2*time.Millisecond, "no two die at one moment", func() bool { return true })
	}
	return revive
}

// kinds returns n messages of alternating kinds.
func kinds(n int) []queue.Message {
	ms := numbered("m", n)
	for i := range ms {
		ms[i].Kind = []string{"even", "odd"}[i%2]
		ms[i].Key = strconv.Itoa(i % 3)
	}
	return ms
}

func ids(letters []queue.Dead) []string {
	var all []string
	for _, d := range letters {
		all = append(all, d.ID)
	}
	return all
}

func deadList(r *run) {
	b := r.open()
	ms := kinds(12)
	r.bury(b, ms...)
	r.empty(b, 12)
	all := r.deadLetters(b, queue.DeadFilter{})
	if len(all) != 12 || !slices.IsSorted(ids(all)) {
		r.Fatalf("listed %v", ids(all))
	}
	l := b.Dead(r.queue)
	var paged []string
	pages := 0
	for after := ""; ; pages++ {
		page, err := l.List(r.Context(), queue.DeadFilter{Kind: "odd"}, after, 2)
		if err != nil || len(page.Letters) > 2 || pages > 6 {
			r.Fatalf("%d on page %d, %v", len(page.Letters), pages, err)
		}
		paged = append(paged, ids(page.Letters)...)
		if after = page.Next; after == "" {
			break
		}
	}
	if len(paged) != 6 || !slices.IsSorted(paged) || pages != 2 {
		r.Errorf("page by page: %v", paged)
	}
	for name, f := range map[string]queue.DeadFilter{
		"ids": {IDs: []string{ms[3].ID, "nobody"}}, "error": {Error: "of odd", Match: func(d *queue.Dead) bool { return d.ID == ms[3].ID }},
		"time": {Since: all[3].Died, Until: all[4].Died}, "key": {Key: "0", Kind: "odd", Until: all[4].Died, Reason: queue.ReasonDiscarded},
	} {
		if got := ids(r.deadLetters(b, f)); !slices.Equal(got, []string{ms[3].ID}) {
			r.Errorf("%s: %v", name, got)
		}
	}
	if got := r.deadLetters(b, queue.DeadFilter{Reason: queue.ReasonLost}); len(got) != 0 {
		r.Errorf("lost: %v", ids(got))
	}
	if d, err := l.Read(r.Context(), ms[5].ID); err != nil || string(d.Payload.Data) != "5" {
		r.Errorf("%+v, %v", d, err)
	}
	if _, err := l.Read(r.Context(), "nobody"); !errors.Is(err, queue.ErrNotFound) {
		r.Errorf("reading nobody: %v", err)
	}
	if again := r.deadLetters(b, queue.DeadFilter{}); len(again) != 12 {
		r.Errorf("after reading there are %d", len(again))
	}
}

func deadReplay(r *run) {
	b := r.open()
	ms := kinds(12)
	revive := r.bury(b, ms...)
	all := r.deadLetters(b, queue.DeadFilter{})
	revive.Store(true)
	left := 12
	for _, step := range []struct {
		name string
		f    queue.DeadFilter
		o    queue.ReplayOptions
		want []int
	}{
		{"one", queue.DeadFilter{IDs: []string{ms[4].ID}}, queue.ReplayOptions{}, []int{4}},
		{"nobody", queue.DeadFilter{IDs: []string{ms[4].ID, "x"}}, queue.ReplayOptions{}, nil},
		{"by kind", queue.DeadFilter{Kind: "odd", Until: all[6].Died}, queue.ReplayOptions{}, []int{1, 3, 5}},
		{"since", queue.DeadFilter{Since: all[8].Died}, queue.ReplayOptions{Limit: 2}, []int{8, 9}},
		{"the rest", queue.DeadFilter{}, queue.ReplayOptions{}, []int{0, 2, 6, 7, 10, 11}},
	} {
		var want []string
		for _, i := range step.want {
			want = append(want, ms[i].ID)
		}
		r.ledger.again(want...)
		var told []int
		step.o.Done = func(n int) { told = append(told, n) }
		n, err := b.Dead(r.queue).Replay(r.Context(), step.f, step.o)
		if n != len(want) || err != nil || len(told) != n {
			r.Fatalf("%s: %d, %v, told %v; left %v", step.name, n, err, told, ids(r.deadLetters(b, queue.DeadFilter{})))
		}
		left -= n
		r.settled()
		r.empty(b, int64(left))
		for _, id := range want {
			if a := r.ledger.of(id); len(a) != 2 || a[1].d.Attempt != 1 || a[1].d.Published.IsZero() || a[1].d.Kind == "" {
				r.Errorf("%s: %s: %+v", step.name, id, a)
			}
		}
	}
}

func deadRate(r *run) {
	const n, rate = 15, 10
	b := r.open()
	ms := numbered("m", n)
	revive := r.bury(b, ms...)
	revive.Store(true)
	for _, m := range ms {
		r.ledger.again(m.ID)
	}
	start := time.Now()
	var last time.Time
	done, err := b.Dead(r.queue).Replay(r.Context(), queue.DeadFilter{}, queue.ReplayOptions{Rate: rate, Done: func(int) { last = time.Now() }})
	if done != n || err != nil {
		r.Fatalf("%d, %v", done, err)
	}
	if took := last.Sub(start); took < (n-1)*time.Second/rate-slack {
		r.Errorf("%d replayed in %v", n, took)
	}
	r.settled()
	// One that is given up leaves the rest where they are.
	revive.Store(false)
	more := numbered("more", 5)
	for _, m := range more {
		r.publish(b, m)
		r.until("it is dead", func() bool { return r.ledger.deadTimes(m.ID) == 1 })
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	revive.Store(true)
	done, err = b.Dead(r.queue).Replay(ctx, queue.DeadFilter{}, queue.ReplayOptions{Rate: rate, Done: func(n int) {
		if n == 2 {
			cancel()
		}
	}})
	if done != 2 || !errors.Is(err, context.Canceled) {
		r.Errorf("given up after %d: %v", done, err)
	}
	r.until("three are left", func() bool { return len(r.deadLetters(b, queue.DeadFilter{})) == 3 })
}

// deadAgain replays what fails again: the replay ends all the same.
func deadAgain(r *run) {
	b := r.open()
	ms := numbered("m", 5)
	r.bury(b, ms...)
	for round := 2; round <= 3; round++ {
		n, err := b.Dead(r.queue).Replay(r.Context(), queue.DeadFilter{}, queue.ReplayOptions{Rate: 50})
		if n != 5 || err != nil {
			r.Fatalf("round %d: %d, %v", round, n, err)
		}
		for _, m := range ms {
			r.until("it died again", func() bool { return r.ledger.deadTimes(m.ID) == round })
		}
		r.empty(b, 5)
	}
	got := ids(r.deadLetters(b, queue.DeadFilter{}))
	slices.Sort(got)
	if strings.Join(got, " ") != "m-00000 m-00001 m-00002 m-00003 m-00004" {
		r.Errorf("left: %v", got)
	}
}

func deadPurge(r *run) {
	b := r.open()
	r.bury(b, kinds(10)...)
	for _, step := range []struct {
		f       queue.DeadFilter
		n, left int
	}{
		{queue.DeadFilter{Kind: "odd"}, 5, 5}, {queue.DeadFilter{IDs: []string{"m-00000"}}, 1, 4}, {queue.DeadFilter{}, 4, 0}, {queue.DeadFilter{}, 0, 0},
	} {
		if n, err := b.Dead(r.queue).Purge(r.Context(), step.f); n != step.n || err != nil {
			r.Errorf("purged %d, %v, want %d", n, err, step.n)
		}
		if left := r.deadLetters(b, queue.DeadFilter{}); len(left) != step.left {
			r.Errorf("left: %v", ids(left))
		}
	}
}
