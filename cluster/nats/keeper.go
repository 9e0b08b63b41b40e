package natscluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
)

// keeperPause is between looks at streams that could not be looked at.
const keeperPause = time.Second

// keeper looks after the logs' streams: when NATS is back, and when messages
// do not fit to what is known. A stream that is gone is made anew at once.
type keeper struct {
	b    *Bus
	wake chan struct{}

	mu   sync.Mutex
	logs map[*Log]struct{}
}

func newKeeper(b *Bus) *keeper {
	return &keeper{b: b, wake: make(chan struct{}, 1), logs: make(map[*Log]struct{})}
}

// suspect has a log looked at.
func (k *keeper) suspect(l *Log) {
	k.mu.Lock()
	k.logs[l] = struct{}{}
	k.mu.Unlock()
	signal(k.wake)
}

func (k *keeper) run() {
	again := time.NewTimer(keeperPause)
	defer again.Stop()
	for {
		select {
		case <-k.b.ctx.Done():
			return
		case <-k.wake:
		case <-again.C:
		}
		if !k.b.up.Load() {
			continue // it wakes when NATS is back
		}
		k.mu.Lock()
		logs := k.logs
		k.logs = make(map[*Log]struct{})
		k.mu.Unlock()
		for l := range logs {
			ctx, cancel := context.WithTimeout(k.b.ctx, answerTimeout)
			err := l.renew(ctx, time.Now())
			cancel()
			if err == nil || errors.Is(err, cluster.ErrClosed) {
				continue
			}
			k.b.counters.errors.Add(1)
			k.b.opts.Logger.Warn("a log cannot be reached", "log", l.name, "error", err)
			k.mu.Lock()
			k.logs[l] = struct{}{}
			k.mu.Unlock()
			again.Reset(keeperPause)
		}
	}
}
