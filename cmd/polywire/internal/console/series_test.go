package console

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/admin"
	"github.com/polywire/polywire/observe/health"
)

func TestLatency(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < 2*time.Hour; d = d*17/16 + 1 {
		b := bucketOf(d)
		if b < last || b >= buckets {
			t.Fatalf("%s is in bucket %d, after %d", d, b, last)
		}
		last = b
		if d > 4*time.Microsecond && d < 18*time.Minute {
			if m := middleOf(b); math.Abs(float64(m-d)) > 0.065*float64(d) {
				t.Errorf("%s counts as %s", d, m)
			}
		}
	}
	if last != buckets-1 || bucketOf(-time.Second) != 0 || bucketOf(math.MaxInt64) != buckets-1 {
		t.Errorf("the last bucket is %d of %d", last, buckets)
	}
	var l latency
	before := l.read()
	if _, ok := before.quantile(0.5); ok {
		t.Error("there is none")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1)*time.Millisecond, i%10 == 0)
	}
	d := l.read().since(before)
	if d.total() != 1000 || d.failed != 100 {
		t.Errorf("%d, %d failed", d.total(), d.failed)
	}
	for share, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got, ok := d.quantile(share); !ok || math.Abs(float64(got-want)) > 0.07*float64(want) {
			t.Errorf("%v: %s, want %s", share, got, want)
		}
	}
}

func TestRing(t *testing.T) {
	r := ring{size: 3}
	for i := range 8 {
		r.add(point{AtMS: int64(i)})
		var got []int64
		for _, p := range r.list() {
			got = append(got, p.AtMS)
		}
		want := []int64{int64(i) - 2, int64(i) - 1, int64(i)}[max(2-i, 0):]
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// Every member of a point is a column.
func TestColumns(t *testing.T) {
	want := []string{"at_ms"}
	for name := range columns() {
		want = append(want, name)
	}
	var got []string
	for f := range reflect.TypeFor[point]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		got = append(got, name)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The rings fill with time, and forget.
func TestSampling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := admin.New(admin.Options{Address: "127.0.0.1:0", Checks: health.New(health.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Options{Admin: a})
		if err != nil {
			t.Fatal(err)
		}
		srv, err := polywire.New(polywire.WithHooks(c.Hooks()))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Attach(Parts{Server: srv}); err != nil {
			t.Fatal(err)
		}
		for range 25 {
			time.Sleep(500 * time.Millisecond)
			c.Hooks().AfterHandle(new(polywire.Message), 3*time.Millisecond, nil, nil)
			time.Sleep(500 * time.Millisecond)
		}
		synctest.Wait()
		past := func(span string) pastAnswer {
			out, err := c.past(&request{values: map[string][]string{"span": {span}}})
			if err != nil {
				t.Fatal(err)
			}
			return out.(pastAnswer)
		}
		fine, coarse := past("10m"), past("2h")
		if len(fine.TimesMS) < 24 || len(fine.TimesMS) > 25 || len(coarse.TimesMS) != 2 || fine.StepMS != 1000 || coarse.StepMS != 10_000 {
			t.Fatalf("%d and %d points", len(fine.TimesMS), len(coarse.TimesMS))
		}
		if coarse.TimesMS[1]-coarse.TimesMS[0] != 10_000 || fine.TimesMS[1]-fine.TimesMS[0] != 1000 {
			t.Errorf("%v, %v", fine.TimesMS, coarse.TimesMS)
		}
		for name, column := range fine.Columns {
			if len(column) != len(fine.TimesMS) {
				t.Errorf("%s has %d values", name, len(column))
			}
		}
		if fine.Columns["handled"][3] != 1.0 || coarse.Columns["handled"][1] != 1.0 {
			t.Errorf("handled: %v, %v", fine.Columns["handled"], coarse.Columns["handled"])
		}
		if p := fine.Columns["p99_ms"][3].(*float64); p == nil || math.Abs(*p-3) > 0.2 {
			t.Errorf("p99: %v", fine.Columns["p99_ms"])
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if fine, coarse = past("10m"), past("2h"); len(fine.TimesMS) != fineSize || len(coarse.TimesMS) != coarseSize {
			t.Errorf("%d and %d points", len(fine.TimesMS), len(coarse.TimesMS))
		}
		if p := fine.Columns["p50_ms"][9].(*float64); p != nil || fine.Columns["handled"][9] != 0.0 {
			t.Errorf("nothing was handled, in %v ms", *p)
		}
		if b, err := json.Marshal(coarse); err != nil || len(b) > 200_000 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		c.Close()
		c.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOverview(t *testing.T) {
	w := newWorld(t, worldOptions{token: token, queues: newBroker(t)})
	c := w.dial()
	if err := c.Subscribe(t.Context(), "lobby"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := c.Call(t.Context(), "echo", "x", nil); err != nil {
			t.Fatal(err)
		}
	}
	var o overviewAnswer
	w.get("overview", &o)
	if o.Node != w.srv.Nodes().ID() || o.Version != "test" || o.State != "running" || o.Parts != (overviewParts{Queues: true}) || o.Now.Connections != 1 ||
		o.Now.Rooms != 1 || o.Now.MessagesIn < 5 || len(o.Now.Wires) != 1 || o.Now.Wires[0].Wire != "native" || o.Now.Nodes != 1 || !o.Now.ClusterAvailable {
		t.Errorf("%+v", o)
	}
	s := w.open("", bearer)
	w.eventually("the figures of these messages", func() bool {
		var f struct {
			Point point `json:"point"`
			Now   now   `json:"now"`
		}
		if err := json.Unmarshal([]byte(s.until("figures")), &f); err != nil {
			t.Fatal(err)
		}
		return f.Now.MessagesIn >= 5 && f.Point.Connections == 1 && f.Point.Goroutines > 1 && f.Point.MemoryBytes > f.Point.HeapBytes
	})
	w.eventually("the past", func() bool {
		var p pastAnswer
		w.get("series", &p)
		return slices.ContainsFunc(p.Columns["handled"], func(v any) bool { return v != 0.0 })
	})
}

func BenchmarkHandledHook(b *testing.B) {
	var l latency
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			l.add(time.Millisecond, false)
		}
	})
}
