package rabbitmq

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/polywire/polywire/internal/rabbittest"
)

// The tests wait far more than they work, and so run beside each other: those
// that only wait whenever they like, by t.Parallel; those that work, some at a
// time ([working], [harming]), while nobody asks how long things take; the
// suite, which does ask, while none of them works. Tests of one broker keep
// apart by the names of their queues.
var (
	shared rabbittest.Shared // nobody stops it
	timed  rabbittest.Shared // of tests that ask how long things take; the suite stops it in the end
	away   rabbittest.Shared // [TestStopped]'s
	harmed rabbittest.Shared // others stop it or change how it is, one at a time

	machine sync.RWMutex             // who reads works, who writes asks how long things take
	seats   = make(chan struct{}, 3) // of those who work
	harm    sync.Mutex               // who has it harms
	up      sync.RWMutex             // who reads needs timed to run
)

// atOnce is how many tests may be under way, most of which wait: all.
const atOnce = 64

// working lets a test that works run beside others.
func working(t *testing.T) {
	t.Helper()
	t.Parallel()
	sit(t)
}

func sit(t *testing.T) {
	t.Helper()
	seats <- struct{}{}
	machine.RLock()
	t.Cleanup(func() { machine.RUnlock(); <-seats })
}

// watched is options with a log, for tests that count connections.
func watched(url string) (Options, *lines) {
	log := new(lines)
	o := options(url)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	return o, log
}

// brokersFault is how many connections the broker ended by a fault of its own.
// RabbitMQ 3.10 does when somebody begins to consume a queue that somebody else
// is just making, which is more likely on a busy machine.
func brokersFault(log *lines) int64 { return int64(strings.Count(log.String(), "INTERNAL_ERROR")) }

// harming is working for a test that harms its broker.
func harming(t *testing.T) *rabbittest.Broker {
	t.Helper()
	t.Parallel()
	harm.Lock()
	t.Cleanup(harm.Unlock)
	sit(t)
	return harmed.Broker(t)
}
