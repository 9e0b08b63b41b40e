// Package health answers the two questions that whoever runs a program asks it
// all the time: is it alive (else start it again), and is it ready (else send
// nobody to it). Each answer is made of named checks.
package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Check says what is wrong; nil: nothing. It returns soon after ctx has ended.
// Many may run at the same time, one at a time of each name. An error made by
// [Degraded] is a warning.
type Check func(ctx context.Context) error

// ErrName is returned for a check whose name is empty, too long, not plain
// ASCII of letters, digits, '-', '_', '.', ':' and '/', or there already.
var ErrName = errors.New("health: name")

// MaxNameBytes is the length of a check's name at most.
const MaxNameBytes = 100

// Options are what [New] may be told. The zero value is good.
type Options struct {
	// Timeout is how long a check may take before it counts as failed. Zero: 2 s.
	Timeout time.Duration
}

// Checks are a program's. Methods may be called from many goroutines at once.
type Checks struct {
	timeout time.Duration

	mu      sync.Mutex
	live    []*check
	ready   []*check
	unready string // empty: what the checks say
}

// New returns checks with nothing to check: alive and ready.
func New(o Options) *Checks { return &Checks{timeout: cmp.Or(o.Timeout, 2*time.Second)} }

// Add adds a check of being ready: while it fails, the program should get no
// new work, and starting it again would not help.
func (c *Checks) Add(name string, f Check) error { return c.add(&c.ready, name, f) }

// AddLive adds a check of being alive: when it fails, the program should be
// started again. What depends on anything outside of the program does not
// belong here: a broker that is away must not end all programs that use it.
func (c *Checks) AddLive(name string, f Check) error { return c.add(&c.live, name, f) }

func (c *Checks) add(to *[]*check, name string, f Check) error {
	if !validName(name) || f == nil {
		return fmt.Errorf("%w: %.100q cannot be one, or has no function", ErrName, name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at, found := slices.BinarySearchFunc(*to, name, func(e *check, name string) int { return strings.Compare(e.name, name) })
	if found {
		return fmt.Errorf("%w: %q is there already", ErrName, name)
	}
	*to = slices.Insert(slices.Clone(*to), at, &check{name: name, f: f})
	return nil
}

func validName(s string) bool {
	for i := range len(s) {
		switch ch := s[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', strings.IndexByte("-_.:/", ch) >= 0:
		default:
			return false
		}
	}
	return s != "" && len(s) <= MaxNameBytes
}

// Unready makes the program not ready from now on, whatever its checks say: it
// is about to end, and others should take its work. An empty reason takes that back.
func (c *Checks) Unready(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unready = reason
}

// Status is how a check, or all of them, came out.
type Status string

// The statuses, from good to bad.
const (
	StatusOK       Status = "ok"
	StatusDegraded Status = "degraded" // it works, but not as it should
	StatusFailed   Status = "failed"
)

// Result is how a check came out.
type Result struct {
	Name   string        `json:"name"`
	Status Status        `json:"status"`
	Error  string        `json:"error,omitempty"`
	Took   time.Duration `json:"took_ns"`
}

// Report is how all of them came out, by name. Its status is that of the worst.
type Report struct {
	Status Status   `json:"status"`
	Checks []Result `json:"checks"`
}

// Live runs the checks of being alive.
func (c *Checks) Live(ctx context.Context) Report {
	c.mu.Lock()
	all := c.live
	c.mu.Unlock()
	return c.run(ctx, all)
}

// Ready runs the checks of being ready.
func (c *Checks) Ready(ctx context.Context) Report {
	c.mu.Lock()
	all, unready := c.ready, c.unready
	c.mu.Unlock()
	if unready != "" { // who drains need not ask others
		return Report{Status: StatusFailed, Checks: []Result{{Name: "drain", Status: StatusFailed, Error: unready}}}
	}
	return c.run(ctx, all)
}

func (c *Checks) run(ctx context.Context, all []*check) Report {
	report := Report{Status: StatusOK, Checks: make([]Result, len(all))}
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { report.Checks[i] = one.result(ctx, c.timeout) })
	}
	wg.Wait()
	for _, r := range report.Checks {
		if r.Status == StatusFailed || report.Status == StatusOK {
			report.Status = r.Status
		}
	}
	return report
}

// check is a named one. Whoever asks while it runs gets what that run finds:
// an impatient prober does not multiply the work.
type check struct {
	name string
	f    Check

	mu     sync.Mutex
	flight *flight
}

type flight struct {
	began time.Time
	done  chan struct{}
	err   error // to be read after done
}

func (e *check) result(ctx context.Context, timeout time.Duration) Result {
	began := time.Now()
	r := Result{Name: e.name, Status: StatusOK}
	err := e.wait(ctx, timeout)
	r.Took = time.Since(began)
	if err != nil {
		r.Status, r.Error = StatusFailed, err.Error()
		if _, warning := errors.AsType[*degraded](err); warning {
			r.Status = StatusDegraded
		}
	}
	return r
}

func (e *check) wait(ctx context.Context, timeout time.Duration) error {
	fl := e.join(ctx, timeout)
	// A moment more than the check has, so that its own words are heard.
	patience := time.NewTimer(timeout + timeout/4)
	defer patience.Stop()
	select {
	case <-fl.done:
		return fl.err
	case <-patience.C:
		return fmt.Errorf("no answer since %s", time.Since(fl.began).Round(time.Millisecond))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join starts the check, or joins the run that is on its way.
func (e *check) join(ctx context.Context, timeout time.Duration) *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		return e.flight
	}
	fl := &flight{began: time.Now(), done: make(chan struct{})}
	e.flight = fl
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout) // others may have joined
		defer cancel()
		err := e.call(ctx)
		e.mu.Lock()
		e.flight = nil
		e.mu.Unlock()
		fl.err = err
		close(fl.done)
	}()
	return fl
}

func (e *check) call(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the check panicked: %v", v)
		}
	}()
	return e.f(ctx)
}

// Degraded makes an error that says: this works, but not as it should. The
// program stays alive and ready. Of nil it makes nil.
func Degraded(err error) error {
	if err == nil {
		return nil
	}
	return &degraded{err}
}

type degraded struct{ err error }

func (d *degraded) Error() string { return d.err.Error() }
func (d *degraded) Unwrap() error { return d.err }
