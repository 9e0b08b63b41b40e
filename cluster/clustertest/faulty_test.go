package clustertest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire/cluster"
)

// faulty is an adapter in memory, and a good one until some of its functions
// are replaced.
type faulty struct {
	hub   *cluster.Memory
	setup Setup
	down  atomic.Bool
	count atomic.Int64 // for faults that count

	open     func(ctx context.Context, self cluster.Node, r cluster.Receiver) (cluster.Bus, error)
	interest func(b *faultyBus, topic string, on bool)
	sync     func(b *faultyBus, ctx context.Context) error
	publish  func(b *faultyBus, ctx context.Context, topics []string, data []byte) error
	announce func(b *faultyBus, self cluster.Node) error
	close    func(b *faultyBus, ctx context.Context) error
	logOpen  func(b *faultyBus, ctx context.Context, name string, o cluster.LogOptions) (cluster.Log, error)

	receive   func(b *faultyBus, m cluster.Message)
	nodes     func(b *faultyBus, alive []cluster.Node)
	available func(b *faultyBus, up bool)

	append      func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error)
	after       func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error)
	logInterest func(l *faultyLog, topic string, on bool)

	mu    sync.Mutex
	buses []*faultyBus
}

func newFaulty() *faulty {
	f := &faulty{hub: cluster.NewMemory()}
	f.setup = memorySetup(f.hub)
	f.setup.Adapter = func(string) cluster.Adapter { return f }
	stop, start := f.setup.Stop, f.setup.Start
	f.setup.Stop = func() { f.down.Store(true); stop() }
	f.setup.Start = func() { start(); f.down.Store(false) }

	f.open = f.hub.Open
	f.interest = func(b *faultyBus, topic string, on bool) { b.good.Interest(topic, on) }
	f.sync = func(b *faultyBus, ctx context.Context) error { return b.good.Sync(ctx) }
	f.publish = func(b *faultyBus, ctx context.Context, topics []string, data []byte) error {
		return b.good.Publish(ctx, topics, data)
	}
	f.announce = func(b *faultyBus, self cluster.Node) error { return b.good.Announce(self) }
	f.close = func(b *faultyBus, ctx context.Context) error { return b.good.Shutdown(ctx) }
	f.logOpen = func(b *faultyBus, ctx context.Context, name string, o cluster.LogOptions) (cluster.Log, error) {
		return b.good.(cluster.Historian).Log(ctx, name, o)
	}
	f.receive = func(b *faultyBus, m cluster.Message) { b.r.Receive(m) }
	f.nodes = func(b *faultyBus, alive []cluster.Node) { b.r.Nodes(alive) }
	f.available = func(b *faultyBus, up bool) { b.r.Available(up) }
	f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
		return l.good.Append(ctx, topic, data)
	}
	f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
		return l.good.After(ctx, topic, p)
	}
	f.logInterest = func(l *faultyLog, topic string, on bool) { l.good.Interest(topic, on) }
	return f
}

// Open opens a bus that asks the functions.
func (f *faulty) Open(ctx context.Context, self cluster.Node, r cluster.Receiver) (cluster.Bus, error) {
	b := &faultyBus{f: f, self: self, r: r}
	good, err := f.open(ctx, self, faultyReceiver{b})
	if err != nil {
		return nil, err
	}
	b.good = good
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buses = append(f.buses, b)
	return b, nil
}

// faultyBus is one node's; the fields below good are for faults.
type faultyBus struct {
	f    *faulty
	self cluster.Node
	r    cluster.Receiver
	good cluster.Bus

	closed atomic.Bool
	inside atomic.Bool
	mu     sync.Mutex
	kept   func()
	last   map[string]uint64
	told   []cluster.Node
}

func (b *faultyBus) Interest(topic string, on bool)     { b.f.interest(b, topic, on) }
func (b *faultyBus) Sync(ctx context.Context) error     { return b.f.sync(b, ctx) }
func (b *faultyBus) Announce(self cluster.Node) error   { return b.f.announce(b, self) }
func (b *faultyBus) Shutdown(ctx context.Context) error { return b.f.close(b, ctx) }
func (b *faultyBus) Publish(ctx context.Context, topics []string, data []byte) error {
	return b.f.publish(b, ctx, topics, data)
}

func (b *faultyBus) Log(ctx context.Context, name string, o cluster.LogOptions) (cluster.Log, error) {
	good, err := b.f.logOpen(b, ctx, name, o)
	if err != nil {
		return nil, err
	}
	return &faultyLog{b: b, good: good, o: o}, nil
}

type faultyReceiver struct{ b *faultyBus }

func (r faultyReceiver) Receive(m cluster.Message)  { r.b.f.receive(r.b, m) }
func (r faultyReceiver) Nodes(alive []cluster.Node) { r.b.f.nodes(r.b, alive) }
func (r faultyReceiver) Available(up bool)          { r.b.f.available(r.b, up) }

type faultyLog struct {
	b    *faultyBus
	good cluster.Log
	o    cluster.LogOptions
}

func (l *faultyLog) Interest(topic string, on bool) { l.b.f.logInterest(l, topic, on) }

func (l *faultyLog) Append(ctx context.Context, topic string, data []byte) (cluster.Position, error) {
	return l.b.f.append(l, ctx, topic, data)
}

func (l *faultyLog) After(ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
	return l.b.f.after(l, ctx, topic, p)
}

// fault is a way to break a rule, and the check that finds it.
type fault struct {
	name, check string
	spoil       func(f *faulty)
}

func faults() []fault {
	return slices.Concat(nodeFaults(), busFaults(), closeFaults(), outageFaults(), cutFaults(),
		logFaults(), useFaults(), boundFaults(), logOutageFaults())
}

func TestFaultsAreFound(t *testing.T) {
	all := checks()
	for _, fault := range faults() {
		t.Run(fault.name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(c check) bool { return c.name == fault.check })
			if i < 0 {
				t.Fatalf("there is no check %q", fault.check)
			}
			synctest.Test(t, func(t *testing.T) {
				failures := attempt(t, all[i], fault.spoil)
				if len(failures) == 0 {
					t.Errorf("%q finds nothing", fault.check)
				}
				t.Log(strings.Join(failures[:min(len(failures), 5)], "\n"))
			})
		})
	}
}

// TestNoFaultNoFailure: what the faults are made of is good.
func TestNoFaultNoFailure(t *testing.T) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if failures := attempt(t, c, func(*faulty) {}); len(failures) > 0 {
					t.Error(strings.Join(failures, "\n"))
				}
			})
		})
	}
}

// TestEveryCheckHasAFault keeps the table whole.
func TestEveryCheckHasAFault(t *testing.T) {
	names := make(map[string]bool)
	for _, f := range faults() {
		names[f.check] = true
	}
	for _, c := range checks() {
		if !names[c.name] {
			t.Errorf("no fault shows that %q can fail", c.name)
		}
	}
}

// attempt returns what a check says about a faulty adapter.
func attempt(t *testing.T, c check, spoil func(*faulty)) []string {
	r := &noted{TB: t}
	f := newFaulty()
	spoil(f)
	apart(func() { perform(r, c, memoryFeatures(), cluster.InMemory, f.setup) })
	f.hub.Restore()
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		cleanup := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		apart(cleanup)
	}
	for _, b := range f.buses {
		if err := b.good.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures
}

// apart runs what may end its goroutine.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// noted is a testing.TB that notes failures of what must fail.
type noted struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *noted) Helper() {}

func (r *noted) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *noted) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *noted) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
