package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// outcome is how a job left the hand.
type outcome int

const (
	outcomeDone     outcome = iota // acknowledged, or as good as that: the id is remembered
	outcomeRetried                 // the broker has it, for later
	outcomeBuried                  // it is a dead letter
	outcomeWaiting                 // its next attempt takes place in hand
	outcomeLost                    // the claim is gone; the message comes again, or has come
	outcomeReturned                // given back
)

func (c *consumer) outcome(j *job) outcome {
	d := j.d
	switch {
	case j.duplicate:
		c.stats.duplicates.Add(1)
		c.b.hooks.Duplicate(d)
		return c.ack(j)
	case !j.held():
		c.noteStale(j)
		return outcomeLost
	case c.gone.Load():
		return c.returned(j)
	case c.o.MaxLost > 0 && d.Lost > c.o.MaxLost:
		return c.bury(j, ReasonLost, fmt.Sprintf("%d programs ended or lost their connection with it in hand", d.Lost), "")
	}
	d.Attempt = d.Attempts + 1
	d.Last = c.o.MaxAttempts > 0 && d.Attempt >= c.o.MaxAttempts
	if c.o.MaxAttempts > 0 && d.Attempts >= c.o.MaxAttempts { // tried out under other options
		return c.bury(j, ReasonAttempts, d.LastError, "")
	}
	err := c.attempt(j)
	if err == nil {
		c.stats.done.tick(j.ended)
		j.succeeded = true
		return c.ack(j)
	}
	if c.gone.Load() && c.ctx.Err() != nil {
		return c.returned(j) // it was interrupted; that is no failure of its own
	}
	return c.failed(j, err)
}

// attempt runs the handler.
func (c *consumer) attempt(j *job) (err error) {
	d, start := j.d, time.Now()
	ctx := c.ctx
	if c.o.Timeout > 0 {
		lazy := &j.first.ctx
		if d != &j.first.d { // the first attempt's may be in use still
			lazy = new(lazyContext)
		}
		lazy.begin(ctx, start.Add(c.o.Timeout))
		defer lazy.stop()
		ctx = lazy
	}
	c.b.hooks.Started(d)
	c.stats.running.Add(1)
	err = errGoexit // unless it returns, or panics
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: string(debug.Stack())}
			c.stats.panics.Add(1)
		}
		c.stats.running.Add(-1)
		took := time.Since(start)
		j.ended = start.Add(took)
		c.b.hooks.Ended(d, took, err)
	}()
	err = c.h(ctx, d)
	return err
}

// errGoexit is the failure of a handler that ended its goroutine.
var errGoexit = errors.New("queue: the handler called runtime.Goexit")

// failed decides what becomes of a message whose handler failed.
func (c *consumer) failed(j *job, err error) outcome {
	c.stats.failed.Add(1)
	tried := j.d
	next := *tried // the handler may have kept its own
	j.d = &next
	next.Attempts++
	if discard, ok := errors.AsType[*discardError](err); ok {
		return c.bury(j, ReasonDiscarded, err.Error(), discard.stack)
	}
	if tried.Last {
		stack := ""
		if p, ok := errors.AsType[*PanicError](err); ok {
			stack = p.Stack
		}
		return c.bury(j, ReasonAttempts, err.Error(), stack)
	}
	wait := c.o.Backoff.next(next.Attempts)
	if asked, ok := errors.AsType[*retryError](err); ok {
		wait = asked.wait
	}
	next.LastError = cut(err.Error(), MaxErrorBytes)
	if c.o.Ordered && next.Key != "" {
		return c.waitInHand(j, tried, wait, err)
	}
	again := next.Envelope
	again.At = time.Now().Add(wait)
	out := c.settle(j, outcomeRetried, func(ctx context.Context) error { return j.claim.Retry(ctx, &again) })
	if out == outcomeRetried {
		c.stats.retried.Add(1)
		c.b.hooks.Retried(tried, again.At, err)
	}
	return out
}

// waitInHand keeps the message, and its key's turn, until the next attempt.
func (c *consumer) waitInHand(j *job, tried *Delivery, wait time.Duration, err error) outcome {
	at := time.Now().Add(wait)
	c.mu.Lock()
	stopping := j.session.stopping
	if !stopping {
		j.waiting = true
		j.timer = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if j.waiting { // it was not taken back meanwhile
				j.waiting, j.running = false, false
				c.push(j)
			}
		})
	}
	c.mu.Unlock()
	if stopping {
		return c.returned(j)
	}
	c.stats.retried.Add(1)
	c.b.hooks.Retried(tried, at, err)
	return outcomeWaiting
}

func (c *consumer) bury(j *job, why Reason, text, stack string) outcome {
	dead := &Dead{Envelope: j.d.Envelope, Reason: why, Stack: cut(stack, MaxStackBytes), Died: time.Now()}
	dead.LastError = cut(text, MaxErrorBytes)
	out := c.settle(j, outcomeBuried, func(ctx context.Context) error { return j.claim.Bury(ctx, dead) })
	if out == outcomeBuried {
		c.stats.dead.Add(1)
		c.b.hooks.Buried(dead)
	}
	return out
}

func (c *consumer) ack(j *job) outcome {
	if j.claim.Ack(context.Background()) == nil { // it does not wait
		return outcomeDone
	}
	return c.settle(j, outcomeDone, j.claim.Ack)
}

func (c *consumer) returned(j *job) outcome {
	c.giveBack(j.claim)
	return outcomeReturned
}

// settle answers a claim, again and again while the broker cannot take the
// answer. The worker waits with it: a broker that cannot take answers is not
// helped by more work.
func (c *consumer) settle(j *job, good outcome, answer func(context.Context) error) outcome {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), settleTime)
		err := answer(ctx)
		cancel()
		switch {
		case err == nil:
			return good
		case errors.Is(err, ErrStale):
			c.noteStale(j)
			if good == outcomeDone {
				return outcomeDone // it comes again, and is told by its id
			}
			return outcomeLost
		case !c.b.sleep(c.ctx, wait):
			return c.returned(j)
		}
		c.stats.unsettled.Add(1)
	}
}

func (c *consumer) noteStale(j *job) {
	c.stats.stale.Add(1)
	c.b.hooks.Stale(j.d)
}

// finish takes a job out of the hand, and gives the turn to those behind it.
// c.mu is held.
func (c *consumer) finish(j *job, out outcome) {
	if out == outcomeWaiting {
		return
	}
	j.answered.Store(true)
	if j.succeeded && j.id != "" {
		c.done.add(j.digest, j.ended)
	}
	twins := j.twins
	j.twins = nil
	if j.known && c.byID[j.id] == j {
		delete(c.byID, j.id)
	}
	var heirs []*job
	for _, t := range twins {
		if j.succeeded || j.same(t, out) {
			t.duplicate = true
			c.push(t)
		} else {
			heirs = append(heirs, t)
		}
	}
	var heir *job
	if len(heirs) > 0 {
		heir = heirs[0]
		heir.known, heir.twins = true, heirs[1:]
		c.byID[heir.d.ID] = heir
	}
	c.next(j, heir)
	j.session.held.remove(j)
	j.session.checkEmpty()
	c.recycle(j)
}

// same reports whether a twin is covered by what became of j. The retry of j
// itself may have come before we learnt that the broker has it: it has more
// attempts behind it. A dead letter may have been replayed already.
func (j *job) same(twin *job, out outcome) bool {
	switch out {
	case outcomeDone:
		return true
	case outcomeRetried:
		return twin.d.Attempts < j.d.Attempts
	default:
		return false
	}
}

// next gives a job's turn to its heir, or to the next of its lane. c.mu is held.
func (c *consumer) next(j, heir *job) {
	if heir != nil && (j.lane == nil || heir.key != j.key) {
		c.enqueue(heir)
		heir = nil
	}
	if j.lane == nil {
		return
	}
	if heir == nil {
		heir = j.lane.waiting.pop()
	}
	if heir == nil {
		delete(c.lanes, j.key)
		return
	}
	heir.lane = j.lane
	c.push(heir)
}
