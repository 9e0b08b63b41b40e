package webhookapi

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire/webhook/dispatch"
)

// Bounds of the replays that run and are remembered.
const (
	maxRunning  = 8
	maxReplays  = 200
	settleSoon  = 250 * time.Millisecond // what is short is told in the first answer
	replayIDLen = 16
)

// errTooMany says that enough replays are running.
var errTooMany = errors.New("webhook: too many replays are running")

// Run makes a replay and returns how many deliveries it queued.
func Run(ctx context.Context, d *dispatch.Dispatcher, r ReplayRequest, done func(n int)) (int, error) {
	if err := r.Check(); err != nil {
		return 0, err
	}
	switch {
	case r.Event != "":
		if err := d.Replay(ctx, r.Endpoint, r.Event); err != nil {
			return 0, err
		}
		done(1)
		return 1, nil
	case !r.FailedSince.IsZero():
		return d.ReplayFailed(ctx, r.Endpoint, r.FailedSince, r.options(done))
	}
	return d.ReplayEvents(ctx, dispatch.Range{Pattern: r.Types, Since: r.Since, Until: r.Until, Endpoint: r.Endpoint}, r.options(done))
}

// replays are those that an API has begun. They end with it.
type replays struct {
	d      *dispatch.Dispatcher
	ctx    context.Context //nolint:containedctx // of what runs without a request
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	list []*replay // oldest first
}

type replay struct {
	cancel context.CancelFunc
	ended  chan struct{}
	shown  Replay // under the list's mu
}

func newReplays(d *dispatch.Dispatcher) *replays {
	rs := &replays{d: d}
	rs.ctx, rs.cancel = context.WithCancel(context.Background())
	return rs
}

func (rs *replays) close() {
	rs.cancel()
	rs.wg.Wait()
}

// begin starts a replay, and waits a moment for its end.
func (rs *replays) begin(ctx context.Context, r ReplayRequest) (Replay, error) {
	if err := r.Check(); err != nil {
		return Replay{}, err
	}
	if r.Endpoint != "" { // what is wrong with it is said at once
		rec, err := rs.d.Endpoint(ctx, r.Endpoint)
		if err != nil {
			return Replay{}, err
		}
		if rec.Endpoint.Disabled {
			return Replay{}, wrong("the endpoint is disabled")
		}
	}
	within, cancel := context.WithCancel(rs.ctx)
	job := &replay{cancel: cancel, ended: make(chan struct{}), shown: Replay{
		ID: "rp_" + strings.ToLower(rand.Text()[:replayIDLen]), State: ReplayRunning, Started: time.Now().UTC(),
	}}
	if err := rs.add(job); err != nil {
		cancel()
		return Replay{}, err
	}
	go rs.run(within, job, r)
	soon := time.NewTimer(settleSoon)
	defer soon.Stop()
	select {
	case <-job.ended:
	case <-soon.C:
	case <-ctx.Done():
	}
	return rs.show(job), nil
}

// add takes a replay into the list, and counts it as running.
func (rs *replays) add(job *replay) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.ctx.Err() != nil {
		return dispatch.ErrClosed
	}
	running := 0
	for _, j := range rs.list {
		if j.shown.State == ReplayRunning {
			running++
		}
	}
	if running >= maxRunning {
		return errTooMany
	}
	if len(rs.list) >= maxReplays {
		i := slices.IndexFunc(rs.list, func(j *replay) bool { return j.shown.State != ReplayRunning })
		rs.list = slices.Delete(rs.list, i, i+1)
	}
	rs.list = append(rs.list, job)
	rs.wg.Add(1)
	return nil
}

func (rs *replays) run(ctx context.Context, job *replay, r ReplayRequest) {
	defer rs.wg.Done()
	defer job.cancel()
	n, err := Run(ctx, rs.d, r, func(n int) {
		rs.mu.Lock()
		job.shown.Queued = n
		rs.mu.Unlock()
	})
	rs.mu.Lock()
	defer rs.mu.Unlock()
	job.shown.Queued, job.shown.Ended, job.shown.State = n, time.Now().UTC(), ReplayDone
	switch {
	case err != nil && ctx.Err() != nil:
		job.shown.State = ReplayCanceled
	case err != nil:
		job.shown.State, job.shown.Error = ReplayFailed, err.Error()
	}
	close(job.ended)
}

func (rs *replays) show(job *replay) Replay {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return job.shown
}

func (rs *replays) find(id string) (*replay, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, j := range rs.list {
		if j.shown.ID == id {
			return j, nil
		}
	}
	return nil, dispatch.ErrNotFound
}

// end cancels a replay and waits for its end. What it has queued is delivered.
func (rs *replays) end(ctx context.Context, id string) (Replay, error) {
	job, err := rs.find(id)
	if err != nil {
		return Replay{}, err
	}
	job.cancel()
	select {
	case <-job.ended:
		return rs.show(job), nil
	case <-ctx.Done():
		return Replay{}, ctx.Err()
	}
}
