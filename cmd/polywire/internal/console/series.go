package console

import (
	"encoding/json"
	"math"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/polywire/polywire"
)

// The rings: how much of the past there is.
const (
	fineStep   = time.Second
	fineSize   = 600
	coarseStep = 10 * time.Second
	coarseSize = 720
)

// point is what was at one time. Rates are per second.
type point struct {
	AtMS        int64    `json:"at_ms"`
	Connections float64  `json:"connections"`
	Accepted    float64  `json:"accepted"`
	Refused     float64  `json:"refused"`
	MessagesIn  float64  `json:"messages_in"`
	MessagesOut float64  `json:"messages_out"`
	BytesIn     float64  `json:"bytes_in"`
	BytesOut    float64  `json:"bytes_out"`
	Handled     float64  `json:"handled"`
	Failed      float64  `json:"failed"`
	P50         *float64 `json:"p50_ms"`
	P99         *float64 `json:"p99_ms"`
	Dropped     float64  `json:"dropped"`
	QueuedBytes float64  `json:"queued_bytes"`
	MemoryBytes float64  `json:"memory_bytes"`
	HeapBytes   float64  `json:"heap_bytes"`
	Goroutines  float64  `json:"goroutines"`
}

// columns are the members of a point, by their names.
func columns() map[string]func(p *point) any {
	return map[string]func(p *point) any{
		"connections":  func(p *point) any { return p.Connections },
		"accepted":     func(p *point) any { return p.Accepted },
		"refused":      func(p *point) any { return p.Refused },
		"messages_in":  func(p *point) any { return p.MessagesIn },
		"messages_out": func(p *point) any { return p.MessagesOut },
		"bytes_in":     func(p *point) any { return p.BytesIn },
		"bytes_out":    func(p *point) any { return p.BytesOut },
		"handled":      func(p *point) any { return p.Handled },
		"failed":       func(p *point) any { return p.Failed },
		"p50_ms":       func(p *point) any { return p.P50 },
		"p99_ms":       func(p *point) any { return p.P99 },
		"dropped":      func(p *point) any { return p.Dropped },
		"queued_bytes": func(p *point) any { return p.QueuedBytes },
		"memory_bytes": func(p *point) any { return p.MemoryBytes },
		"heap_bytes":   func(p *point) any { return p.HeapBytes },
		"goroutines":   func(p *point) any { return p.Goroutines },
	}
}

// ring keeps the latest points.
type ring struct {
	points []point
	next   int
	size   int
}

func (r *ring) add(p point) {
	if len(r.points) < r.size {
		r.points = append(r.points, p)
		return
	}
	r.points[r.next] = p
	r.next = (r.next + 1) % r.size
}

// list returns a copy, oldest first.
func (r *ring) list() []point {
	return append(append(make([]point, 0, len(r.points)), r.points[r.next:]...), r.points[:r.next]...)
}

// series are the points of the past.
type series struct {
	mu           sync.Mutex
	fine, coarse ring
}

func newSeries() *series {
	return &series{fine: ring{size: fineSize}, coarse: ring{size: coarseSize}}
}

// reading is what rates are computed from.
type reading struct {
	at    time.Time
	stats polywire.Stats
	took  *counts
}

func (c *Console) read(srv *polywire.Server) reading {
	return reading{time.Now(), srv.Stats(), c.latency.read()}
}

// process are the figures of the program.
type process struct{ memory, heap, goroutines float64 }

func readProcess() process {
	all := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/sched/goroutines:goroutines"},
	}
	metrics.Read(all)
	value := func(i int) float64 {
		if all[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return float64(all[i].Value.Uint64())
	}
	return process{value(0) - value(1), value(2), value(3)}
}

// between makes a point of what happened between two readings.
func between(from, to reading, p process) point {
	seconds := to.at.Sub(from.at).Seconds()
	rate := func(a, b uint64) float64 {
		if seconds <= 0 || b < a {
			return 0
		}
		return rounded(float64(b-a) / seconds)
	}
	took := to.took.since(from.took)
	one := func(share float64) *float64 {
		d, ok := took.quantile(share)
		if !ok {
			return nil
		}
		ms := rounded(float64(d) / float64(time.Millisecond))
		return &ms
	}
	return point{
		AtMS: to.at.UnixMilli(), Connections: float64(to.stats.Connections),
		Accepted: rate(from.stats.Accepted, to.stats.Accepted), Refused: rate(from.stats.Refused, to.stats.Refused),
		MessagesIn: rate(from.stats.MessagesIn, to.stats.MessagesIn), MessagesOut: rate(from.stats.MessagesOut, to.stats.MessagesOut),
		BytesIn: rate(from.stats.BytesIn, to.stats.BytesIn), BytesOut: rate(from.stats.BytesOut, to.stats.BytesOut),
		Handled: rate(0, took.total()), Failed: rate(0, took.failed), P50: one(0.5), P99: one(0.99),
		Dropped: rate(from.stats.Dropped, to.stats.Dropped), QueuedBytes: float64(to.stats.QueuedBytes),
		MemoryBytes: p.memory, HeapBytes: p.heap, Goroutines: p.goroutines,
	}
}

// rounded leaves three digits behind the point.
func rounded(f float64) float64 { return math.Round(f*1000) / 1000 }

// figures are those of the latest second.
type figures struct {
	point   point
	now     now
	encoded []byte // both, for streams
}

// sample writes down the figures, each second.
func (c *Console) sample() {
	srv := c.parts.Load().Server
	t := time.NewTicker(fineStep)
	defer t.Stop()
	last := c.read(srv)
	long := last
	c.publish(srv, last, between(last, last, readProcess()))
	for n := 1; ; n++ {
		select {
		case <-c.done:
			return
		case <-t.C:
		}
		to, p := c.read(srv), readProcess()
		fine := between(last, to, p)
		last = to
		c.series.mu.Lock()
		c.series.fine.add(fine)
		if n%int(coarseStep/fineStep) == 0 {
			c.series.coarse.add(between(long, to, p))
			long = to
		}
		c.series.mu.Unlock()
		c.publish(srv, to, fine)
	}
}

// publish tells streams of the latest figures.
func (c *Console) publish(srv *polywire.Server, r reading, p point) {
	f := &figures{point: p, now: nowOf(srv, r.stats)}
	if c.streams.Load() > 0 {
		f.encode()
	}
	c.latest.Store(f)
	c.tick.next()
}

func (f *figures) encode() {
	b, err := json.Marshal(struct {
		Point point `json:"point"`
		Now   now   `json:"now"`
	}{f.point, f.now})
	if err == nil { // of our own types, without infinities
		f.encoded = b
	}
}

// ticker wakes everybody who waits.
type ticker struct {
	mu sync.Mutex
	c  chan struct{}
}

func (t *ticker) init() { t.c = make(chan struct{}) }

// wait returns a channel that is closed the next time.
func (t *ticker) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.c
}

func (t *ticker) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.c)
	t.c = make(chan struct{})
}

type pastAnswer struct {
	StepMS  int64            `json:"step_ms"`
	TimesMS []int64          `json:"times_ms"`
	Columns map[string][]any `json:"columns"`
}

// past answers with a ring.
func (c *Console) past(r *request) (any, error) {
	from, step := &c.series.fine, fineStep
	switch r.values.Get("span") {
	case "", "10m":
	case "2h":
		from, step = &c.series.coarse, coarseStep
	default:
		return nil, wrong("span: want 10m or 2h")
	}
	c.series.mu.Lock()
	points := from.list()
	c.series.mu.Unlock()
	out := pastAnswer{step.Milliseconds(), make([]int64, len(points)), make(map[string][]any)}
	for i := range points {
		out.TimesMS[i] = points[i].AtMS
	}
	for name, of := range columns() {
		column := make([]any, len(points))
		for i := range points {
			column[i] = of(&points[i])
		}
		out.Columns[name] = column
	}
	return out, nil
}
