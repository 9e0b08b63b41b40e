// Package clustertest is the suite that every adapter of package cluster
// passes: each sentence of that port has a check here. A check fails where it
// can tell what was promised and broken, and waits for nothing longer than its
// patience.
package clustertest

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/testenv"
)

// Features say what an adapter and its test can do. The zero value is for one
// with logs in memory whose engine the test leaves alone.
type Features struct {
	// Virtual runs each check in a bubble of testing/synctest, for adapters
	// without sockets.
	Virtual bool
	// Parallel is how many of the checks that wait, for outages and for times of
	// the contract, run at a time, beside those that work: these are always one
	// after the other. Zero: all are.
	Parallel int
	// NoLogs: buses are no [cluster.Historian].
	NoLogs bool
	// OnDisk: the checks of logs are made with that storage, too, which must
	// survive Stop and Start.
	OnDisk bool
	// TooLargeBytes is a size that the engine does not carry; zero: it carries
	// all. 512 KiB must be possible.
	TooLargeBytes int
	// Outage: Setup has Stop and Start.
	Outage bool
	// Kill: Setup has Kill.
	Kill bool
	// Cut: Setup has Cut and Heal.
	Cut bool
	// Loss: Setup has LoseLogs.
	Loss bool
	// Patience bounds every wait for something that is promised without a time.
	// Zero: 30 s.
	Patience time.Duration
}

// Setup is an engine, or a part of one, that only one check uses. It is made
// by the function given to [Run], which cleans up by t.Cleanup; by then all
// nodes are closed. The functions that features do not name may be nil.
type Setup struct {
	// Adapter returns what a node of this ID is opened with.
	Adapter func(nodeID string) cluster.Adapter
	// Stop takes the engine away from all nodes, and Start brings it back. Both
	// return when that is so, whether or not nodes have noticed.
	Stop, Start func()
	// Kill ends a node without a goodbye, as the death of its process would.
	// Its bus is closed later all the same.
	Kill func(nodeID string)
	// Cut keeps a node from the engine, and Heal ends that.
	Cut, Heal func(nodeID string)
	// LoseLogs makes the engine forget what all logs have, as the loss of its
	// storage would.
	LoseLogs func()
}

// Run tests an adapter. It calls open for each of its checks, for some at the
// same time where the features allow that. With -short it leaves out those that
// wait for times of the contract.
func Run(t *testing.T, f Features, open func(t *testing.T) Setup) {
	t.Helper()
	var working, waiting []check
	for _, c := range checks() {
		if c.waits && f.Parallel > 0 {
			waiting = append(waiting, c)
		} else {
			working = append(working, c)
		}
	}
	slices.SortStableFunc(waiting, func(a, b check) int { // the longest begin first
		switch {
		case a.long == b.long:
			return 0
		case a.long:
			return -1
		}
		return 1
	})
	var goes sync.WaitGroup
	goes.Go(func() {
		seats := make(chan struct{}, max(f.Parallel, 1))
		for _, c := range waiting {
			seats <- struct{}{}
			goes.Go(func() {
				defer func() { <-seats }()
				runCheck(t, c, f, open)
			})
		}
	})
	for _, c := range working {
		runCheck(t, c, f, open)
	}
	goes.Wait()
}

func runCheck(t *testing.T, c check, f Features, open func(t *testing.T) Setup) {
	t.Run(c.name, func(t *testing.T) {
		if c.needs != nil && !c.needs(f) {
			t.Skip("the adapter, or its test, does not have this feature")
		}
		if c.long && testing.Short() && !f.Virtual {
			t.Skip("it takes long")
		}
		for _, s := range c.storages(f) {
			name := s.String()
			if !c.log {
				name = "bus"
			}
			t.Run(name, func(t *testing.T) {
				inBubble(t, f.Virtual, func(t *testing.T) { perform(t, c, f, s, open(t)) })
			})
		}
	})
}

func inBubble(t *testing.T, bubble bool, f func(t *testing.T)) {
	if bubble {
		synctest.Test(t, f)
		return
	}
	f(t)
}

// check is one part of the suite.
type check struct {
	name  string
	run   func(t *trial)
	needs func(Features) bool // nil: nothing
	log   bool                // it is made for each storage
	waits bool                // more than it works
	long  bool                // it waits for times of the contract
}

func (c *check) storages(f Features) []cluster.Storage {
	if c.log && f.OnDisk {
		return []cluster.Storage{cluster.InMemory, cluster.OnDisk}
	}
	return []cluster.Storage{cluster.InMemory}
}

func checks() []check {
	var all []check
	for _, part := range [][]check{nodeChecks(), busChecks(), topicChecks(), closeChecks(), outageChecks()} {
		all = append(all, part...)
	}
	for _, part := range [][]check{logChecks(), boundChecks(), logOutageChecks()} {
		for _, c := range part {
			c.log = true
			needs := c.needs
			c.needs = func(f Features) bool { return !f.NoLogs && (needs == nil || needs(f)) }
			all = append(all, c)
		}
	}
	return all
}

func hasOutage(f Features) bool   { return f.Outage }
func hasKill(f Features) bool     { return f.Kill }
func hasCut(f Features) bool      { return f.Cut }
func hasLoss(f Features) bool     { return f.Loss }
func hasTooLarge(f Features) bool { return f.TooLargeBytes > 0 }

// trial is one run of a check.
type trial struct {
	testing.TB
	Setup
	features Features
	storage  cluster.Storage
	fences   int
}

func perform(tb testing.TB, c check, f Features, s cluster.Storage, setup Setup) {
	if f.Patience == 0 {
		f.Patience = 30 * time.Second
	}
	c.run(&trial{TB: tb, Setup: setup, features: f, storage: s})
}

// What may be taken beside the times of the contract: leeway by any machine,
// and busyLeeway more by one of which less than free has been idle meanwhile.
const (
	leeway     = 2 * time.Second
	busyLeeway = 10 * time.Second
	free       = 0.5
)

// The times of the contract.
const (
	noticeWithin = 4*time.Second + leeway  // that the engine is away
	answerWithin = 5*time.Second + leeway  // what needs an engine that is away
	deathWithin  = 15*time.Second + leeway // a killed node is gone
	atOnce       = leeway
)

// until waits for something to become true.
func (t *trial) until(what string, cond func() bool) {
	t.Helper()
	t.within(t.features.Patience, what, cond)
}

// within is until with a time.
func (t *trial) within(d time.Duration, what string, cond func() bool) {
	t.Helper()
	over := t.clock(d)
	for wait := time.Millisecond; !cond(); wait = min(2*wait, 20*time.Millisecond) {
		if over() {
			t.Fatalf("not in %v: %s", d, what)
		}
		pass(wait)
	}
}

// lasts runs f, which may take so long.
func (t *trial) lasts(d time.Duration, what string, f func()) {
	t.Helper()
	over, start := t.clock(d), time.Now()
	f()
	if over() {
		t.Errorf("%s took %v, more than %v", what, time.Since(start), d)
	}
}

// clock begins a time. The result tells whether it is over.
func (t *trial) clock(d time.Duration) (over func() bool) {
	start := time.Now()
	if t.features.Virtual {
		return func() bool { return time.Since(start) > d }
	}
	idle := testenv.Idle()
	return func() bool {
		took := time.Since(start)
		return took > d && (took > d+busyLeeway || idle() > free)
	}
}

// patient returns a context that ends when the check's patience does.
func (t *trial) patient() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), t.features.Patience)
	t.Cleanup(cancel)
	return ctx
}

// ended returns a context that is over.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// pass lets a time of the contract pass.
func pass(d time.Duration) { <-time.After(d) }

// unique returns a name that nobody else has.
func unique(prefix string) string { return prefix + strings.ToLower(rand.Text()[:10]) }

// filled returns n bytes unlike those of other seeds.
func filled(n, seed int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7 + i/251 + seed)
	}
	return data
}
