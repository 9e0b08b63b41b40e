package load

import (
	"context"
	"sync"
	"time"
)

// A Steady run.
const (
	// steadyTick is how exact the times are at which requests are due.
	steadyTick = time.Millisecond
	// settleTime is how long answers are awaited after the last request.
	settleTime = 10 * time.Second
	// outstanding is how many requests of a connection may wait for an answer;
	// beyond that the oldest counts as lost.
	outstanding = 64
)

// Recorder keeps the figures of Steady runs while they go on, by windows of
// time and as a whole. Several runs may share one, and its methods may be
// called from any goroutine. The zero value is empty.
type Recorder struct {
	mu    sync.Mutex
	began time.Time // the window, at the first request
	first time.Time // the whole
	since sums
	all   sums
}

// sums are what a Sample is made of.
type sums struct {
	sent, answered uint64
	latency        histogram
}

// Sample is what happened in some time.
type Sample struct {
	Seconds        float64 // since the first request, or the sample before
	Sent, Answered uint64  // requests; an answer may belong to a request of an earlier window
	Latency        Latency // of the answers, from when their requests were due
}

func (s *sums) sample(began time.Time) Sample {
	if began.IsZero() {
		return Sample{}
	}
	return Sample{time.Since(began).Seconds(), s.sent, s.answered, latencyOf(&s.latency)}
}

// Window returns what happened since it was called last.
func (r *Recorder) Window() Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.since.sample(r.began)
	r.since = sums{}
	if !r.began.IsZero() {
		r.began = time.Now()
	}
	return s
}

// Total returns what happened since the beginning.
func (r *Recorder) Total() Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.sample(r.first)
}

func (r *Recorder) sent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first.IsZero() {
		r.first = time.Now()
		r.began = r.first
	}
	r.since.sent++
	r.all.sent++
}

func (r *Recorder) answered(after int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range []*sums{&r.since, &r.all} {
		s.answered++
		s.latency.record(after)
	}
}

// paced are the requests of a connection that is asked at fixed times, by
// another goroutine than the one that reads the answers.
type paced struct {
	mu   sync.Mutex
	last uint64 // id of the latest request
	ring [outstanding]request
}

// ask notes a request that is due, and returns its id.
func (p *paced) ask(due int64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.ring[p.last%outstanding] = request{p.last, due}
	return p.last
}

// answer returns when the request was due that an answer belongs to, and false
// for one that counts as lost already. Each has one answer.
func (p *paced) answer(id uint64) (due int64, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := &p.ring[id%outstanding]
	switch {
	case id > 0 && asked.id == id:
		asked.id = 0
		return asked.at, true, nil
	case id > 0 && id+outstanding <= p.last:
		return 0, false, nil
	}
	return 0, false, errUnasked
}

// answered takes note of an answer. Wires without ids answer in order.
func (c *conn) answered(id uint64, now int64) error {
	c.seen++
	if id == 0 {
		id = c.seen
	}
	due, known, err := c.paced.answer(id)
	if err != nil || !known {
		return err
	}
	for _, rec := range c.r.recorders {
		rec.answered(now - due)
	}
	return nil
}

// steady asks on all connections for as long as was said, then waits for what
// was not answered yet. An answer that does not come is no error here.
func (r *runner) steady(ctx context.Context) error {
	pacing, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.pace(pacing)
	}()
	err := r.wait(ctx, r.cfg.Duration, "measure")
	cancel()
	stuck := time.AfterFunc(r.cfg.settle, r.interrupt) // in a write to a server that does not read
	<-over
	stuck.Stop()
	if err != nil {
		return err
	}
	tick := time.NewTicker(steadyTick)
	defer tick.Stop()
	for end := time.Now().Add(r.cfg.settle); time.Now().Before(end) && r.open.Load() > 0; {
		if s := r.own.Total(); s.Answered == s.Sent {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// pace asks on one connection after the other, all of them in each Every.
// Requests that are late because this was held up leave together; their
// latency counts from when they were due.
func (r *runner) pace(ctx context.Context) {
	clock := time.NewTimer(0)
	defer clock.Stop()
	began, every, n := r.now(), int64(r.cfg.Every), int64(len(r.conns))
	for i := int64(0); ; {
		select {
		case <-clock.C:
		case <-ctx.Done():
			return
		}
		now := r.now()
		for {
			due := began + i/n*every + i%n*every/n
			due -= (due - began) % int64(steadyTick)
			if due > now {
				clock.Reset(time.Duration(due - r.now()))
				break
			}
			if ctx.Err() != nil {
				return
			}
			r.conns[i%n].ask(due)
			i++
		}
	}
}

// ask sends a request that is due. When that fails so does the reading, which
// tells why; what was not sent is lost.
func (c *conn) ask(due int64) {
	id := c.paced.ask(due)
	for _, rec := range c.r.recorders {
		rec.sent()
	}
	buf := c.r.buffers.get()
	defer c.r.buffers.put(buf)
	b := c.r.framing.begin((*buf)[:0])
	b = c.r.wire.appendRequest(b, id)
	b = c.r.framing.end(b, 0, c.r.wire.frameType())
	_, _ = c.nc.Write(b)
}
