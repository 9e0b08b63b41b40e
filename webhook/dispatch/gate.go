package dispatch

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/polywire/polywire/webhook"
)

// Times of a gate.
const (
	maxHold     = time.Second      // a first try waits in hand
	patientHold = 10 * time.Second // another delivery, as far as can be told
	maxWait     = time.Minute      // and if it takes longer
	maxPark     = 5 * time.Minute  // and in the queue, to be asked again
	firstGuess  = 20 * time.Millisecond
)

// gate lets attempts at one endpoint through: so many at a time, so many a second,
// and none for a while when most of them fail. What cannot go soon is parked: it goes
// back to the queue until its turn is likely. First tries are not to wait behind those
// of a busy endpoint, so that what exceeds a second's work of one goes to the other
// queue, whose deliveries wait in hand for as long as the endpoint is at work.
type gate struct {
	shared *crowd

	mu       sync.Mutex
	limit    int     // at a time
	rate     float64 // a second; zero: no limit
	burst    float64
	tokens   float64
	filled   time.Time // when tokens was right
	running  int
	waiting  list.List // of chan struct{}: the slot is the receiver's when it is closed
	breaker  circuitbreaker.CircuitBreaker[any]
	state    BreakerState
	epoch    int           // of the breaker's state: late results of another one do not count
	took     time.Duration // by an attempt, of late
	progress time.Time     // when the last one ended, or the first of those that run began
	turn     time.Time     // of what was parked last
	parked   int64
	changes  [][2]BreakerState // to be told once g.mu is free
	changed  func(from, to BreakerState)
}

// unlock ends the use of the gate, and tells what has changed.
func (g *gate) unlock() {
	changes := g.changes
	g.changes = nil
	g.mu.Unlock()
	for _, c := range changes {
		g.changed(c[0], c[1])
	}
}

// crowd bounds what waits in hand at all gates together, so that there is always
// room for somebody else's delivery.
type crowd struct {
	mu   sync.Mutex
	n    int
	most int
}

func (c *crowd) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n >= c.most {
		return false
	}
	c.n++
	return true
}

func (c *crowd) leave() {
	c.mu.Lock()
	c.n--
	c.mu.Unlock()
}

func newGate(shared *crowd, b Breaker, changed func(from, to BreakerState)) *gate {
	g := &gate{shared: shared, took: firstGuess, state: BreakerClosed, changed: changed}
	if b.Samples > 0 {
		g.breaker = circuitbreaker.NewBuilder[any]().
			WithFailureRateThreshold(b.Rate, uint(b.Samples), b.Window).
			WithDelay(b.Delay).
			WithSuccessThreshold(1).
			OnStateChanged(func(e circuitbreaker.StateChangedEvent) { // g.mu is held by whoever asked
				from, to := breakerState(e.OldState), breakerState(e.NewState)
				g.state = to
				g.epoch++
				if to == BreakerClosed {
					g.turn = time.Time{}
				}
				g.changes = append(g.changes, [2]BreakerState{from, to})
			}).Build()
	}
	return g
}

func breakerState(s circuitbreaker.State) BreakerState {
	switch s {
	case circuitbreaker.ClosedState:
		return BreakerClosed
	case circuitbreaker.OpenState:
		return BreakerOpen
	default:
		return BreakerHalfOpen
	}
}

// set takes the limits of an endpoint.
func (g *gate) set(e webhook.Endpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = e.Concurrency
	if e.Ordered {
		g.limit = 1
	}
	if g.rate != e.Rate || g.burst != float64(e.Burst) {
		g.rate, g.burst = e.Rate, float64(e.Burst)
		g.tokens, g.filled = g.burst, time.Now()
	}
	for g.running < g.limit && g.waiting.Len() > 0 {
		g.grant()
	}
}

// grant gives a slot to the first that waits. g.mu is held.
func (g *gate) grant() {
	first := g.waiting.Front()
	g.waiting.Remove(first)
	g.begin()
	close(first.Value.(chan struct{})) //nolint:forcetypeassert // nothing else is in the list
}

// begin takes a slot. g.mu is held.
func (g *gate) begin() {
	if g.running == 0 {
		g.progress = time.Now()
	}
	g.running++
}

// pass is the right to one attempt.
type pass struct {
	g     *gate
	epoch int
}

// parkedError is what enter returns with the wait until it is asked again; zero: the
// delivery is to wait in the other queue, whose deliveries are patient.
type parkedError struct{ wait time.Duration }

func (parkedError) Error() string { return "dispatch: the endpoint takes no more for now" }

// enter waits for the right to an attempt. A parkedError says when to ask again, other
// errors are ctx's.
func (g *gate) enter(ctx context.Context, patient bool) (*pass, error) {
	if err := g.slot(ctx, patient); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(maxHold); ; {
		g.mu.Lock()
		wait := g.tokenWait(time.Now())
		if wait == 0 {
			break
		}
		if time.Now().Add(wait).After(deadline) {
			defer g.unlock()
			g.end()
			return nil, parkedError{g.park(wait)}
		}
		g.unlock()
		if !sleep(ctx, wait) {
			g.mu.Lock()
			defer g.unlock()
			g.end()
			return nil, ctx.Err()
		}
	}
	defer g.unlock()
	if g.breaker != nil && !g.breaker.TryAcquirePermit() {
		wait := g.breaker.RemainingDelay()
		g.end()
		return nil, parkedError{g.park(max(wait, maxHold))}
	}
	if g.rate > 0 {
		g.tokens--
	}
	return &pass{g, g.epoch}, nil
}

// slot waits for one of the endpoint's attempts at a time.
func (g *gate) slot(ctx context.Context, patient bool) error {
	g.mu.Lock()
	if g.breaker != nil && g.breaker.IsOpen() {
		if wait := g.breaker.RemainingDelay(); wait > 0 {
			defer g.unlock()
			return parkedError{g.park(wait)}
		}
	}
	if g.running < g.limit && g.waiting.Len() == 0 {
		g.begin()
		g.unlock()
		return nil
	}
	switch {
	case patient && g.slow():
		defer g.unlock()
		return parkedError{g.park(0)}
	case !patient && (g.full(maxHold) || !g.shared.enter()):
		defer g.unlock()
		return parkedError{g.elsewhere()}
	case !patient:
		defer g.shared.leave()
	}
	ready := make(chan struct{})
	place := g.waiting.PushBack(ready)
	g.unlock()
	return g.stand(ctx, patient, ready, place)
}

// stand waits in the line.
func (g *gate) stand(ctx context.Context, patient bool, ready chan struct{}, place *list.Element) error {
	began := time.Now()
	t := time.NewTicker(maxHold)
	defer t.Stop()
	for {
		var err error
		select {
		case <-ready:
			return nil
		case <-t.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		g.mu.Lock()
		over := false
		select {
		case <-ready: // in the same moment
			if err != nil {
				g.end()
			}
			over = true
		default:
			switch {
			case err != nil:
				over = true
			case !patient:
				over, err = true, parkedError{g.elsewhere()}
			case g.stalled() || time.Since(began) > maxWait:
				over, err = true, parkedError{g.park(0)}
			}
			if over {
				g.waiting.Remove(place)
			}
		}
		g.unlock()
		if over {
			return err
		}
	}
}

// full reports whether one more would wait for longer than a time. g.mu is held.
func (g *gate) full(hold time.Duration) bool {
	each := max(g.pace(), time.Microsecond)
	return g.waiting.Len() >= max(g.limit, int(hold/each))
}

// stalled reports whether the attempts that run take long. g.mu is held.
func (g *gate) stalled() bool { return g.running >= g.limit && time.Since(g.progress) > maxHold }

// slow reports whether what waits is not to wait in hand: it would for too long, and
// leave no room for deliveries to others. g.mu is held.
func (g *gate) slow() bool { return g.stalled() || g.full(patientHold) }

// elsewhere returns for how long a first try that cannot go soon waits: not at all where
// others wait in hand, or until its turn is likely. g.mu is held.
func (g *gate) elsewhere() time.Duration {
	if g.slow() {
		return g.park(0)
	}
	return 0
}

// pace is the time between two attempts, as far as can be told. g.mu is held.
func (g *gate) pace() time.Duration {
	took := g.took
	if g.running >= g.limit {
		took = max(took, time.Since(g.progress))
	}
	pace := took / time.Duration(max(g.limit, 1))
	if g.rate > 0 {
		pace = max(pace, time.Duration(float64(time.Second)/g.rate))
	}
	return pace
}

// tokenWait returns how long it takes until the rate allows an attempt. g.mu is held.
func (g *gate) tokenWait(now time.Time) time.Duration {
	if g.rate <= 0 {
		return 0
	}
	g.tokens = min(g.burst, g.tokens+now.Sub(g.filled).Seconds()*g.rate)
	g.filled = now
	if g.tokens >= 1 {
		return 0
	}
	return max(time.Duration((1-g.tokens)/g.rate*float64(time.Second)), time.Microsecond)
}

// park returns when a delivery's turn is likely: behind those that were parked
// before, at the endpoint's pace. g.mu is held.
func (g *gate) park(atLeast time.Duration) time.Duration {
	now := time.Now()
	g.parked++
	if soonest := now.Add(max(atLeast, maxHold)); g.turn.Before(soonest) {
		g.turn = soonest
	}
	g.turn = g.turn.Add(g.pace())
	wait := g.turn.Sub(now)
	if wait > maxPark { // how it will be then nobody knows; they are not to come all at once
		g.turn = now.Add(maxPark)
		wait = maxPark/2 + rand.N(maxPark/2) //nolint:gosec // spreads load, guards nothing
	}
	return max(wait, atLeast)
}

// crowded says at once that a delivery would not get in now, and when to ask.
func (g *gate) crowded() (time.Duration, bool) {
	g.mu.Lock()
	defer g.unlock()
	if g.breaker != nil && g.breaker.IsOpen() {
		if wait := g.breaker.RemainingDelay(); wait > 0 {
			return g.park(wait), true
		}
	}
	if g.running >= g.limit && g.full(maxHold) {
		return g.elsewhere(), true
	}
	return 0, false
}

// end gives a slot back. g.mu is held.
func (g *gate) end() {
	g.running--
	if g.running < g.limit && g.waiting.Len() > 0 {
		g.grant()
	}
}

// leave ends an attempt.
func (p *pass) leave(a webhook.Attempt) {
	g := p.g
	g.mu.Lock()
	defer g.unlock()
	verdict := a.Verdict()
	if g.breaker != nil && p.epoch == g.epoch {
		switch {
		case verdict == webhook.Delivered:
			g.breaker.RecordSuccess()
		case verdict != webhook.Canceled || g.state == BreakerHalfOpen: // a probe has to say something
			g.breaker.RecordFailure()
		}
	}
	if verdict != webhook.Canceled {
		g.took += (min(a.Duration, 4*g.took+time.Millisecond) - g.took) / 8 // one that took very long says little
	}
	g.progress = time.Now()
	g.end()
}

// gateStats is what a gate tells.
type gateStats struct {
	running, waiting int
	parked           int64
	breaker          BreakerState
	took             time.Duration
}

func (g *gate) stats() gateStats {
	g.mu.Lock()
	defer g.unlock()
	return gateStats{g.running, g.waiting.Len(), g.parked, g.state, g.took}
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
