package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// phase is what the connections are to do.
type phase int32

const (
	opening phase = iota
	warming
	measuring
	stopping
)

// latencyEvery is the share of a broadcast's receivers that measure latency:
// a sample is enough, and the others stay cheaper.
const latencyEvery = 16

// runner is one run. Its goroutines are the connections' (conn.serve), which
// close ends and waits for.
type runner struct {
	cfg     Config
	target  target
	framing framing
	wire    wire
	polls   bool // long polling
	began   time.Time
	buffers bufferPool

	conns []*conn // nil where dialling failed
	group sync.WaitGroup
	phase atomic.Int32
	open  atomic.Int64
	news  broadcasts
	asked uint64 // connections so far, of which some may fail
	done  uint64 // handshakes so far, as told to Progress

	own       Recorder
	recorders []*Recorder // own, and the one that was given

	failMu   sync.Mutex
	failures int
	firstErr error
	over     chan struct{} // closed when the run cannot go on
	overOnce sync.Once
	started  chan struct{} // closed when load is to be driven, or the run ends before
	startOne sync.Once
}

func newRunner(cfg Config, t target) (*runner, error) {
	w, err := newWire(cfg.Wire, cfg.Mode, cfg.PayloadBytes)
	if err != nil {
		return nil, err
	}
	maxFrame := 2*cfg.PayloadBytes + 4<<10
	var frames framing = webSocketFraming{maxFrame}
	if t.stream {
		if frames = w.stream(maxFrame); frames == nil {
			return nil, fmt.Errorf("load: wire %q needs a ws URL", cfg.Wire)
		}
	}
	t.path = w.path(t.path)
	r := &runner{cfg: cfg, target: t, framing: frames, wire: w, polls: cfg.Wire == wirePolling, began: time.Now(),
		over: make(chan struct{}), started: make(chan struct{})}
	r.recorders = append(r.recorders, &r.own)
	if cfg.Recorder != nil {
		r.recorders = append(r.recorders, cfg.Recorder)
	}
	if cfg.Mode != Handshakes {
		r.conns = make([]*conn, cfg.Conns)
	}
	r.buffers.size = max(64<<10, 2*maxFrame)
	return r, nil
}

// now is the run's clock, in nanoseconds.
func (r *runner) now() int64 { return int64(time.Since(r.began)) }

func (r *runner) run(ctx context.Context) (Result, error) {
	before, _ := ProcessMemory(r.cfg.PID)
	m := newMeter(r)
	handshakes, err := r.openAll(ctx)
	opened := m.read(r)
	if err != nil {
		return Result{}, err
	}
	switch r.cfg.Mode {
	case Connect, Handshakes:
	case Idle:
		err = r.wait(ctx, r.cfg.Duration, "idle")
	case Steady:
		m = newMeter(r)
		r.phase.Store(int32(measuring))
		err = r.steady(ctx)
		opened = m.read(r)
	default:
		r.start()
		if err = r.wait(ctx, r.cfg.Warmup, "warm up"); err == nil {
			m = newMeter(r)
			r.phase.Store(int32(measuring))
			err = r.wait(ctx, r.cfg.Duration, "measure")
			opened = m.read(r)
		}
	}
	after, _ := ProcessMemory(r.cfg.PID)
	open := r.open.Load()
	r.stop()
	res := r.result(opened, handshakes)
	res.OpenConns = int(open)
	return res.withMemory(before, after), err
}

// openAll opens all connections at the configured rate. A failure ends it,
// unless handshakes are what the run is about.
func (r *runner) openAll(ctx context.Context) (*histogram, error) {
	var (
		counted = r.cfg.Mode >= Connect
		lat     *histogram
	)
	if r.cfg.Mode == Handshakes {
		lat = r.openings(ctx, "handshakes", r.handshakesAsked(), r.handshake)
	} else {
		more := func(i int) bool { return i < len(r.conns) && (counted || r.failed() == 0) }
		lat = r.openings(ctx, "open", more, r.openOne)
	}
	if err := ctx.Err(); err != nil {
		return lat, err
	}
	if r.failed() > 0 && (!counted || lat.total == 0) {
		return lat, r.first()
	}
	return lat, nil
}

// handshakesAsked says for how many handshakes it is time.
func (r *runner) handshakesAsked() func(i int) bool {
	began, d := time.Now(), r.cfg.Duration
	total := int(min(math.MaxInt32, float64(r.cfg.DialRate)*d.Seconds()))
	if r.cfg.DialRate < 0 {
		return func(int) bool { return time.Since(began) < d }
	}
	return func(i int) bool { return i < total && time.Since(began) < 2*d }
}

// openings opens connections at the configured rate, some at a time, and
// returns how long each took. Failures are noted with the runner.
func (r *runner) openings(ctx context.Context, name string, more func(i int) bool, open func(context.Context, int) error) *histogram {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		lat   histogram
		slots = make(chan struct{}, concurrentDials)
		pace  = newPacer(r.cfg.DialRate)
		tell  = r.began.Add(progressInterval)
	)
	for i := 0; more(i) && pace.wait(ctx) == nil; i++ {
		slots <- struct{}{}
		r.asked++
		group.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			if err := open(ctx, i); err != nil {
				r.fail(fmt.Errorf("load: connection %d: %w", i, err))
				return
			}
			took := time.Since(began)
			mu.Lock()
			lat.record(int64(took))
			mu.Unlock()
		})
		if now := time.Now(); now.After(tell) {
			tell = now.Add(progressInterval)
			if r.cfg.Mode == Handshakes {
				mu.Lock()
				r.done = lat.total
				mu.Unlock()
			}
			r.progress(name)
		}
	}
	group.Wait()
	return &lat
}

// handshake opens connection i and closes it.
func (r *runner) handshake(ctx context.Context, i int) error {
	c, err := r.dial(ctx, i)
	if err == nil {
		c.close()
	}
	return err
}

// dial opens connection i.
func (r *runner) dial(ctx context.Context, i int) (*conn, error) {
	if r.polls {
		p, err := r.target.dialPolls(ctx, i, r.wire, r.buffers.size)
		if err != nil {
			return nil, err
		}
		return &conn{r: r, nc: p.gets.nc, index: i, poll: p}, nil
	}
	nc, early, err := r.target.dial(ctx, i, r.wire, r.framing, r.cfg.Speak)
	if err != nil {
		return nil, err
	}
	return &conn{r: r, nc: nc, index: i, left: early}, nil
}

func (r *runner) openOne(ctx context.Context, i int) error {
	c, err := r.dial(ctx, i)
	if err != nil {
		return err
	}
	if r.cfg.Mode == Echo {
		c.sent = make([]request, r.cfg.Window)
	}
	if r.cfg.Mode == Steady {
		c.paced = new(paced)
	}
	if r.cfg.Mode == Echo || (r.cfg.Mode == Broadcast && i%latencyEvery == 0) {
		c.latency = new(histogram)
	}
	r.conns[i] = c
	r.open.Add(1)
	r.group.Go(func() {
		err := c.serve()
		r.open.Add(-1)
		if err != nil && phase(r.phase.Load()) != stopping {
			r.fail(fmt.Errorf("load: connection %d: %w", c.index, err))
			if r.open.Load() == 0 || (r.cfg.Mode == Broadcast && c.index == 0) {
				r.overOnce.Do(func() { close(r.over) })
			}
		}
	})
	return nil
}

// start makes the connections' goroutines leave their wait and begin to drive.
func (r *runner) start() {
	r.phase.Store(int32(warming))
	r.interrupt()
	r.release()
}

// release lets the sessions go that wait without reading. They are interrupted before.
func (r *runner) release() { r.startOne.Do(func() { close(r.started) }) }

// interrupt makes every wait and every blocked write end.
func (r *runner) interrupt() {
	for _, c := range r.conns {
		if c != nil {
			c.interrupt()
		}
	}
}

// stop ends the load, waits for all goroutines, and looks for connections
// that the server has ended without their noticing.
func (r *runner) stop() {
	r.phase.Store(int32(stopping))
	r.interrupt()
	r.release()
	r.group.Wait()
	for _, c := range r.conns {
		if c != nil && !c.failed && hungUp(c.nc) {
			r.fail(fmt.Errorf("load: connection %d: %w", c.index, errHungUp))
		}
	}
}

func (r *runner) close() {
	r.phase.Store(int32(stopping))
	for _, c := range r.conns {
		if c != nil {
			c.close()
		}
	}
	r.release()
	r.group.Wait()
}

// wait passes the time until d is over, and returns early with an error when
// the run cannot or must not go on.
func (r *runner) wait(ctx context.Context, d time.Duration, name string) error {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return nil
		case <-tick.C:
			r.progress(name)
		case <-ctx.Done():
			return ctx.Err()
		case <-r.over:
			return r.first()
		}
	}
}

func (r *runner) progress(name string) {
	if r.cfg.Progress != nil {
		r.cfg.Progress(Progress{Phase: name, Elapsed: time.Since(r.began), Open: int(r.open.Load()), Messages: r.messages()})
	}
}

// messages is the number of answers or deliveries so far.
func (r *runner) messages() uint64 {
	if phase(r.phase.Load()) == opening {
		return r.done
	}
	var n uint64
	for _, c := range r.conns {
		if c != nil {
			n += c.count.Load()
		}
	}
	return n
}

func (r *runner) fail(err error) {
	r.failMu.Lock()
	defer r.failMu.Unlock()
	r.failures++
	if r.firstErr == nil {
		r.firstErr = err
	}
}

func (r *runner) failed() int {
	r.failMu.Lock()
	defer r.failMu.Unlock()
	return r.failures
}

func (r *runner) first() error {
	r.failMu.Lock()
	defer r.failMu.Unlock()
	return r.firstErr
}

// bufferPool has buffers with room for more than the largest acceptable frame.
type bufferPool struct {
	size int
	pool sync.Pool
}

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.size)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

// pacer lets its caller pass so many times a second.
type pacer struct {
	next  time.Time
	every time.Duration // 0: at once
}

func newPacer(rate int) pacer {
	if rate < 0 {
		return pacer{}
	}
	return pacer{next: time.Now(), every: time.Second / time.Duration(rate)}
}

func (p *pacer) wait(ctx context.Context) error {
	if d := time.Until(p.next); p.every > 0 && d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	p.next = p.next.Add(p.every)
	return ctx.Err()
}

// meter reads what happens between two moments.
type meter struct {
	at       time.Time
	messages uint64
	server   time.Duration
	self     time.Duration
}

func newMeter(r *runner) meter {
	m := meter{at: time.Now(), messages: r.messages()}
	m.server, _ = ProcessCPU(r.cfg.PID)
	m.self, _ = ProcessCPU(os.Getpid())
	return m
}

// read returns the differences since the meter was made.
func (m meter) read(r *runner) interval {
	n := newMeter(r)
	return interval{
		elapsed:  n.at.Sub(m.at),
		messages: n.messages - m.messages,
		server:   n.server - m.server,
		self:     n.self - m.self,
	}
}

type interval struct {
	elapsed      time.Duration
	messages     uint64
	server, self time.Duration
}

var errHungUp = errors.New("the server ended the connection")

// broadcasts remembers when the latest broadcasts were sent, for receivers on
// other goroutines.
type broadcasts struct {
	sent  atomic.Uint64
	times [1 << 14]atomic.Int64
}

func (b *broadcasts) send(now int64) {
	n := b.sent.Load()
	b.times[n%uint64(len(b.times))].Store(now)
	b.sent.Store(n + 1)
}

// since returns how long before now broadcast n was sent, and false when that
// has been forgotten.
func (b *broadcasts) since(n uint64, now int64) (int64, bool) {
	at := b.times[n%uint64(len(b.times))].Load()
	sent := b.sent.Load()
	return now - at, n < sent && sent-n < uint64(len(b.times))
}

// isTimeout reports whether err is a deadline's, which is how goroutines here
// are told that the phase has changed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
