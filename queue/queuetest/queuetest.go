// Package queuetest is the suite that every driver of package queue passes:
// what a word of that package promises must be the same on all of them. Each
// scenario keeps a ledger of what was accepted, done and dead: nothing may be lost.
package queuetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// Harness is what the suite needs to know of a driver. Open must be given; what
// else is missing leaves out the scenarios that need it, by a line in the log.
type Harness struct {
	// Open returns a new connection to the broker, which is the same one for
	// all calls of a test. The suite closes it.
	Open func(t *testing.T) queue.Driver
	// Virtual runs each scenario in a bubble of testing/synctest.
	Virtual bool
	// Parallel is how many of the scenarios that wait more than they work run at a
	// time, beside the others: these are always one after the other, and those that
	// need the broker for themselves come last. Precision is asked for, then, where
	// half of the machine has been idle, beside what Free says; and the functions
	// of the harness are called at the same time. Zero: all scenarios are one after
	// the other.
	Parallel int
	// Precision is how late a delayed message may come. Zero: 1 s.
	Precision time.Duration
	// Free begins to look at the machine, and its result says whether that has
	// been free for the test since: only then Precision is asked for. Nil: it is.
	Free func(t *testing.T) func() bool
	// Lease is the shortest lease that the driver takes, at least a second for
	// real brokers. Zero: its claims live as long as the connection.
	Lease time.Duration
	// Dedup says that the broker drops a second message with an id, so that it
	// does not even wait there. Without it the consumer's memory of ids counts.
	Dedup bool
	// MaxPayloadBytes is a size in bytes that the driver must carry. Zero: 512 KiB.
	MaxPayloadBytes int
	// Kill ends a connection as the death of its program would.
	Kill func(t *testing.T, d queue.Driver)
	// Cut ends a connection that the driver makes again by itself.
	Cut func(t *testing.T, d queue.Driver)
	// Restart ends the broker and starts it again; what it has must survive.
	Restart func(t *testing.T)
	// Delete removes a queue under its consumers.
	Delete func(t *testing.T, queue string)
	// Patience bounds every wait of the suite. Zero: 60 s.
	Patience time.Duration
}

// Run tests a driver.
func Run(t *testing.T, h Harness) {
	if h.Precision == 0 {
		h.Precision = time.Second
	}
	if h.MaxPayloadBytes == 0 {
		h.MaxPayloadBytes = 512 << 10
	}
	if h.Patience == 0 {
		h.Patience = time.Minute
	}
	var working, waiting, alone []scenario
	for _, s := range scenarios() {
		switch {
		case h.Parallel == 0:
			working = append(working, s)
		case s.alone:
			alone = append(alone, s)
		case s.waits:
			waiting = append(waiting, s)
		default:
			working = append(working, s)
		}
	}
	var goes sync.WaitGroup
	goes.Go(func() {
		seats := make(chan struct{}, max(h.Parallel, 1))
		for _, s := range waiting {
			seats <- struct{}{}
			goes.Go(func() {
				defer func() { <-seats }()
				play(t, &h, s)
			})
		}
	})
	for _, s := range working {
		play(t, &h, s)
	}
	goes.Wait()
	for _, s := range alone {
		play(t, &h, s)
	}
}

func play(t *testing.T, h *Harness, s scenario) {
	t.Run(s.name, func(t *testing.T) {
		switch {
		case s.needs != nil && !s.needs(h):
			t.Logf("not for this driver: %s", s.name)
		case h.Virtual:
			synctest.Test(t, func(t *testing.T) { s.run(newRun(t, h, s)) })
		default:
			s.run(newRun(t, h, s))
		}
	})
}

type scenario struct {
	name  string
	run   func(r *run)
	needs func(h *Harness) bool
	waits bool // more than it works
	alone bool // it needs the broker for itself, or most of the machine
	loses bool // claims, whose leases it waits for
}

func scenarios() []scenario {
	return []scenario{
		{name: "EverythingArrives", run: everythingArrives},
		{name: "OddNames", run: oddNames},
		{name: "Sizes", run: sizes},
		{name: "Bulk", run: bulk},
		{name: "PublishThatCannotBe", run: publishThatCannotBe},
		{name: "Dedup", run: dedup},
		{name: "DedupInTheBroker", run: dedupInTheBroker, needs: func(h *Harness) bool { return h.Dedup }},

		{name: "RetrySchedule", run: retrySchedule, waits: true},
		{name: "RetryAfter", run: retryAfter, waits: true},
		{name: "AttemptsSurviveTheProgram", run: attemptsSurvive, waits: true},
		{name: "Discard", run: discard},
		{name: "LastAttempt", run: lastAttempt},
		{name: "PoisonBesideGood", run: poison, waits: true},
		{name: "StormOfFailures", run: storm, waits: true},

		{name: "Concurrency", run: concurrency},
		{name: "BurstsReachTheConcurrency", run: bursts},
		{name: "TwoConsumers", run: twoConsumers},
		{name: "Order", run: order},
		{name: "OrderedConsumersTakeTurns", run: orderedTurns},
		{name: "Timeout", run: timeout, waits: true},
		{name: "LongWorkKeepsItsLease", run: longWork, waits: true},

		{name: "DelaysDoNotBlock", run: delays, alone: true},

		{name: "DeadListAndRead", run: deadList},
		{name: "DeadReplay", run: deadReplay},
		{name: "DeadReplayAtARate", run: deadRate, waits: true},
		{name: "DeadThatDiesAgain", run: deadAgain},
		{name: "DeadPurge", run: deadPurge},

		{name: "LookingAndPurging", run: admin},

		{name: "PauseAndResume", run: pauseResume, waits: true},
		{name: "PauseAndResumeUnderLoad", run: pauseUnderLoad},
		{name: "ShutdownFinishes", run: shutdownFinishes},
		{name: "ShutdownReturns", run: shutdownReturns},
		{name: "ShutdownInterrupts", run: shutdownInterrupts, waits: true},
		{name: "ShutdownUnderLoad", run: shutdownUnderLoad},
		{name: "Closed", run: closed},

		{name: "KilledInTheMiddle", run: killed, needs: func(h *Harness) bool { return h.Kill != nil }, waits: true, loses: true},
		{name: "CutWhileHandling", run: cutWhileHandling, needs: func(h *Harness) bool { return h.Cut != nil }, waits: true, loses: true},
		{name: "OrderSurvivesCuts", run: orderCut, needs: func(h *Harness) bool { return h.Cut != nil }, loses: true},
		{name: "Restart", run: restart, needs: func(h *Harness) bool { return h.Restart != nil }, alone: true, loses: true},
		{name: "RestartUnderLoad", run: restartUnderLoad, needs: func(h *Harness) bool { return h.Restart != nil }, alone: true, loses: true},
		{name: "QueueDeleted", run: deleted, needs: func(h *Harness) bool { return h.Delete != nil }, loses: true},
	}
}

// run is one scenario on one queue of its own.
type run struct {
	*testing.T
	h      *Harness
	queue  string
	lease  time.Duration // of what is handled
	ledger *ledger
	free   func() bool // whether what must happen in time can be asked for
}

func newRun(t *testing.T, h *Harness, s scenario) *run {
	r := &run{T: t, h: h, queue: unique("q"), lease: h.Lease, ledger: newLedger(), free: func() bool { return true }}
	if !s.loses { // a machine that stands still for a moment is not to end leases
		r.lease *= 5
	}
	if h.Free != nil {
		r.free = h.Free(t)
	}
	if h.Parallel > 0 && !h.Virtual {
		own, idle := r.free, testenv.Idle()
		r.free = func() bool { return own() && idle() > 0.5 }
	}
	return r
}

// late reports whether what should have come by then came too late for a
// machine like this.
func (r *run) late(came, then time.Time) bool {
	late := came.Sub(then)
	return late > r.h.Precision && (late > r.h.Patience || r.free())
}

// unique returns a name that no other run has.
func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:12]) }

// open returns a broker whose events go into the ledger.
func (r *run) open() *queue.Broker {
	b, _ := r.connect()
	return b
}

// connect is open, with the driver for those that harm it.
func (r *run) connect() (*queue.Broker, queue.Driver) {
	r.Helper()
	d := r.h.Open(r.T)
	b, err := queue.New(d, queue.Options{Hooks: []queue.Hooks{{Buried: r.ledger.buried}}})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := b.Close(); err != nil {
			r.Logf("close: %v", err)
		}
	})
	return b, d
}

// publish sends messages and notes them as accepted.
func (r *run) publish(b *queue.Broker, ms ...queue.Message) {
	r.Helper()
	for i := range ms {
		if ms[i].Queue == "" {
			ms[i].Queue = r.queue
		}
		if ms[i].ID == "" {
			ms[i].ID = queue.NewID(time.Now())
		}
	}
	if err := b.PublishBatch(r.Context(), ms); err != nil {
		r.Fatal(err)
	}
	for _, m := range ms {
		r.ledger.accept(m.ID)
	}
}

// numbered returns n messages with ids of a prefix and their number.
func numbered(prefix string, n int) []queue.Message {
	ms := make([]queue.Message, n)
	for i := range ms {
		ms[i].ID = fmt.Sprintf("%s-%05d", prefix, i)
		ms[i].Payload.Type, ms[i].Payload.Data = "text/plain", fmt.Appendf(nil, "%d", i)
	}
	return ms
}

// handle handles the run's queue by way of the ledger.
func (r *run) handle(b *queue.Broker, h queue.Handler, o queue.HandleOptions) {
	r.Helper()
	if o.Lease == 0 {
		o.Lease = r.lease
	}
	if err := b.Handle(r.queue, r.ledger.handler(h), o); err != nil {
		r.Fatal(err)
	}
}

// until waits for something to become true.
func (r *run) until(what string, cond func() bool) {
	r.Helper()
	deadline := time.NewTimer(r.h.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			r.Fatalf("not in %v: %s; %s", r.h.Patience, what, r.ledger)
		}
	}
}

// settled waits until all that was accepted is done or dead.
func (r *run) settled() {
	r.Helper()
	r.until("all is done or dead", r.ledger.closed)
}

// watch looks at a condition for a time, in which it must hold.
func (r *run) watch(d time.Duration, what string, cond func() bool) {
	r.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(max(d/50, time.Millisecond))
	defer tick.Stop()
	for {
		if !cond() {
			r.Fatalf("no longer so: %s; %s", what, r.ledger)
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		}
	}
}

// empty waits until the broker has nothing of a queue but so many dead letters.
func (r *run) empty(b *queue.Broker, dead int64) {
	r.Helper()
	var d queue.Depth
	r.until(fmt.Sprintf("the queue is empty, with %d dead letters", dead), func() bool {
		var err error
		d, err = b.Inspect(r.Context(), r.queue)
		return err == nil && d.Waiting <= 0 && d.Delayed <= 0 && d.Unacked <= 0 && (d.Dead == dead || d.Dead < 0)
	})
}

// deadLetters returns those of the queue, all pages.
func (r *run) deadLetters(b *queue.Broker, f queue.DeadFilter) []queue.Dead {
	r.Helper()
	var all []queue.Dead
	for after := ""; ; {
		page, err := b.Dead(r.queue).List(r.Context(), f, after, 0)
		if err != nil {
			r.Fatal(err)
		}
		all = append(all, page.Letters...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// gate holds handlers until it is opened.
type gate struct {
	c       chan struct{}
	once    sync.Once
	waiting atomic.Int64
}

func newGate() *gate { return &gate{c: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.c) }) }

// pass waits for the gate, or the handler's time.
func (g *gate) pass(ctx context.Context) error {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// done is a handler.
func done(context.Context, *queue.Delivery) error { return nil }
