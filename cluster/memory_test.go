package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/cluster"
)

// recorder is a receiver that notes what it is told, in order, one line each.
type recorder struct {
	mu    sync.Mutex
	lines []string
	hold  chan struct{} // Receive waits for it; nil: it does not
}

func (r *recorder) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func (r *recorder) Receive(m cluster.Message) {
	if r.hold != nil {
		<-r.hold
	}
	if m.Log != "" {
		r.note(fmt.Sprintf("%s/%s %d<%d %s", m.Log, m.Topic, m.Prev, m.At.Offset, m.Data))
		return
	}
	r.note(fmt.Sprintf("%s %s", m.Topic, m.Data))
}

func (r *recorder) Nodes(alive []cluster.Node) {
	ids := make([]string, len(alive))
	for i, n := range alive {
		ids[i] = n.ID + n.Name
	}
	r.note("nodes " + strings.Join(ids, ","))
}

func (r *recorder) Available(up bool) { r.note(fmt.Sprintf("available %v", up)) }

// since returns what was told since the last call, when all is quiet.
func (r *recorder) since() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := r.since(); !slices.Equal(got, want) {
		t.Fatalf("told %q, want %q", got, want)
	}
}

// two opens the nodes a and b of an engine, which know each other.
func two(t *testing.T) (h *cluster.Memory, a, b cluster.Bus, ra, rb *recorder) {
	t.Helper()
	h, ra, rb = cluster.NewMemory(), &recorder{}, &recorder{}
	a, b = open(t, h, "a", ra), open(t, h, "b", rb)
	ra.expect(t, "nodes a", "nodes a,b")
	rb.expect(t, "nodes a,b")
	return h, a, b, ra, rb
}

func open(t *testing.T, h *cluster.Memory, id string, r *recorder) cluster.Bus {
	t.Helper()
	bus, err := h.Open(t.Context(), cluster.Node{ID: id}, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Shutdown(context.Background()) })
	return bus
}

func publish(t *testing.T, b cluster.Bus, topic, text string) {
	t.Helper()
	if err := b.Publish(t.Context(), []string{topic}, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func openLog(t *testing.T, b cluster.Bus, o cluster.LogOptions) cluster.Log {
	t.Helper()
	l, err := b.(cluster.Historian).Log(t.Context(), "log", o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func appendTo(t *testing.T, l cluster.Log, topic, text string) cluster.Position {
	t.Helper()
	p, err := l.Append(t.Context(), topic, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMemoryFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b, ra, rb := two(t)
		l := openLog(t, a, cluster.LogOptions{Size: 1})
		b.Interest("x", true)
		h.Fail()
		h.Fail()
		ra.expect(t, "available false")
		rb.expect(t, "available false")
		if err := a.Publish(t.Context(), []string{"x"}, nil); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("Publish: %v", err)
		}
		if err := a.Sync(t.Context()); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("Sync: %v", err)
		}
		if _, err := l.Append(t.Context(), "x", nil); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("Append: %v", err)
		}
		if _, err := l.After(t.Context(), "x", cluster.Position{}); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("After: %v", err)
		}
		if err := a.Announce(cluster.Node{Name: "!"}); err != nil {
			t.Errorf("Announce: %v", err)
		}
		time.Sleep(time.Hour)
		rb.expect(t)
		h.Restore()
		h.Restore()
		ra.expect(t, "available true", "nodes a!,b")
		rb.expect(t, "available true", "nodes a!,b")
		publish(t, a, "x", "again")
		rb.expect(t, "x again")
	})
}

func TestMemoryOpenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := cluster.NewMemory()
		h.Fail()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := h.Open(ctx, cluster.Node{ID: "a"}, &recorder{})
		if !errors.Is(err, cluster.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Fatalf("Open: %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, h.Restore)
		open(t, h, "a", &recorder{})
	})
}

func TestMemoryKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b, ra, rb := two(t)
		b.Interest("x", true)
		h.Kill("b")
		h.Kill("b")
		publish(t, a, "x", "to nobody")
		if err := b.Publish(t.Context(), []string{"y"}, nil); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("the dead publish: %v", err)
		}
		time.Sleep(4 * time.Second)
		ra.expect(t)
		time.Sleep(2 * time.Second)
		ra.expect(t, "nodes a")
		rb.expect(t)
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		rc := &recorder{}
		open(t, h, "b", rc) // the name is free again
		ra.expect(t, "nodes a,b")
	})
}

func TestMemoryCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b, ra, rb := two(t)
		b.Interest("x", true)
		h.Cut("b")
		rb.expect(t, "available false")
		publish(t, a, "x", "missed")
		if err := b.Announce(cluster.Node{Name: "!"}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		h.Heal("b")
		rb.expect(t, "available true", "nodes a,b!")
		ra.expect(t, "nodes a,b!")

		h.Cut("b")
		time.Sleep(6 * time.Second)
		ra.expect(t, "nodes a")
		rb.expect(t, "available false")
		h.Heal("b")
		ra.expect(t, "nodes a,b!")
		rb.expect(t, "available true", "nodes a,b!")
		publish(t, a, "x", "here")
		rb.expect(t, "x here")

		h.Cut("b")
		if err := b.Shutdown(t.Context()); err != nil { // nobody hears the goodbye
			t.Error(err)
		}
		ra.expect(t)
		time.Sleep(6 * time.Second)
		ra.expect(t, "nodes a")
	})
}

// TestMemoryCutAndKilled: a node that is gone already when it is killed.
func TestMemoryCutAndKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _, ra, _ := two(t)
		h.Cut("b")
		time.Sleep(6 * time.Second)
		ra.expect(t, "nodes a")
		h.Kill("b")
		h.Heal("b")
		ra.expect(t)
		open(t, h, "b", &recorder{})
		ra.expect(t, "nodes a,b")
	})
}

func TestMemoryDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b, ra, rb := two(t)
		o := cluster.LogOptions{Size: 10}
		la, lb := openLog(t, a, o), openLog(t, b, o)
		la.Interest("t", true)
		lb.Interest("t", true)
		appendTo(t, la, "t", "one")
		h.Drop(func(to string, m cluster.Message) bool { return to == "b" && string(m.Data) == "two" })
		first := cluster.Position{}
		for _, text := range []string{"two", "three"} {
			p := appendTo(t, la, "t", text)
			if first.Epoch == "" {
				first = p
			}
		}
		h.Drop(nil)
		appendTo(t, la, "t", "two")
		ra.expect(t, "log/t 0<1 one", "log/t 1<2 two", "log/t 2<3 three", "log/t 3<4 two")
		rb.expect(t, "log/t 0<1 one", "log/t 2<3 three", "log/t 3<4 two")
		page, err := lb.After(t.Context(), "t", cluster.Position{Epoch: first.Epoch, Offset: 1})
		if err != nil || !page.Complete || len(page.Messages) != 3 || string(page.Messages[0].Data) != "two" {
			t.Errorf("%+v, %v", page, err)
		}
	})
}

func TestMemoryBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := cluster.NewMemory()
		h.Bound(10_000)
		ra, rb := &recorder{}, &recorder{hold: make(chan struct{})}
		a, b := open(t, h, "a", ra), open(t, h, "b", rb)
		b.Interest("x", true)
		text := strings.Repeat("-", 1000)
		publish(t, a, "x", "in hand")
		synctest.Wait()
		for range 20 {
			publish(t, a, "x", text)
		}
		close(rb.hold)
		if got := rb.since(); len(got) != 1+1+8 || h.Dropped() != 12 {
			t.Errorf("%d things told, %d dropped", len(got), h.Dropped())
		}
		publish(t, a, "x", "room again")
		rb.expect(t, "x room again")
	})
}

func TestMemoryLoseLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, _, ra, _ := two(t)
		l := openLog(t, a, cluster.LogOptions{Size: 10})
		l.Interest("t", true)
		before := appendTo(t, l, "t", "one")
		h.LoseLogs()
		page, err := l.After(t.Context(), "t", before)
		if err != nil || page.Complete || len(page.Messages) > 0 || page.Top.Epoch == before.Epoch {
			t.Errorf("%+v, %v", page, err)
		}
		if after := appendTo(t, l, "t", "two"); after.Epoch != page.Top.Epoch {
			t.Errorf("appended in epoch %q, not %q", after.Epoch, page.Top.Epoch)
		}
		ra.expect(t, "log/t 0<1 one", "log/t 0<1 two")
	})
}

// TestMemoryNewOptions: when nobody has a log open its options may change.
func TestMemoryNewOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b, _, _ := two(t)
		o := cluster.LogOptions{Size: 10}
		l := openLog(t, a, o)
		first := appendTo(t, l, "t", "one")
		appendTo(t, l, "t", "two")
		o.Size = 1
		_, err := b.(cluster.Historian).Log(t.Context(), "log", o)
		if err == nil || !strings.Contains(err.Error(), "Size 10, not 1") {
			t.Fatalf("other options: %v", err)
		}
		if err := a.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, b, o)
		if page, err := l.After(t.Context(), "t", first); err != nil || len(page.Messages) != 1 || !page.Complete {
			t.Errorf("%+v, %v", page, err)
		}
		first.Offset = 0
		if page, err := l.After(t.Context(), "t", first); err != nil || page.Complete || len(page.Messages) > 0 {
			t.Errorf("%+v, %v", page, err)
		}
		_ = h
	})
}

// TestMemoryRefuses: a node without an ID or a receiver, one whose ID is taken,
// and a log without bounds.
func TestMemoryRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, _, _, _ := two(t)
		for _, self := range []cluster.Node{{}, {ID: "a"}} {
			if _, err := h.Open(t.Context(), self, &recorder{}); err == nil {
				t.Errorf("%+v was let in", self)
			}
		}
		if _, err := h.Open(t.Context(), cluster.Node{ID: "c"}, nil); err == nil {
			t.Error("a node without a receiver was let in")
		}
		for _, o := range []cluster.LogOptions{{}, {Size: -1}, {Size: 1, Age: -1}, {Size: 1, Bytes: -1}} {
			if _, err := a.(cluster.Historian).Log(t.Context(), "bad", o); err == nil {
				t.Errorf("%+v was taken", o)
			}
		}
	})
}
