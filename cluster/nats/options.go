// Package natscluster connects servers through NATS: core subjects carry the
// bus, JetStream streams keep the logs. It implements [cluster.Adapter], and
// its buses [cluster.Historian].
//
// What holds, and what does not, when NATS is away, slow or split is written
// beside the methods of [Bus].
package natscluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/cluster"
)

// What Options means by zero.
const (
	DefaultPrefix     = "pw"
	DefaultQueueBytes = 64 << 20
)

// maxNodeID is the longest ID of a node: it is in every message.
const maxNodeID = 64

// Options are what [New] is told. Only Connect is needed.
type Options struct {
	// Connect opens a connection to NATS with the options that it is given
	// after its own; see [URL]. The Connect method of an embedded server fits.
	// It is called again when a connection is closed for good.
	Connect func(...nats.Option) (*nats.Conn, error)
	// Prefix begins all subjects and names of streams, so that several clusters
	// can share a NATS account: letters, digits, '-' and '_', and dots between.
	// Default [DefaultPrefix].
	Prefix string
	// Replicas is on how many NATS servers each log is kept, 1 to 5. Default: 3
	// where the NATS cluster has that many for streams, else 1, which becomes 3
	// when a log is opened, or NATS comes back, after it has grown.
	Replicas int
	// QueueBytes bounds what has come and waits for the receiver; what is over
	// it is dropped and counted. Default [DefaultQueueBytes]. Negative is an error.
	QueueBytes int
	// Logger gets what happens to the connection. Default: none.
	Logger *slog.Logger
}

// URL returns a Connect function for a URL, or several with commas between,
// and options such as credentials. Options about reconnecting and pings are
// overridden; callbacks are called as well.
func URL(url string, opts ...nats.Option) func(...nats.Option) (*nats.Conn, error) {
	return func(more ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(url, slices.Concat(opts, more)...)
	}
}

func (o Options) withDefaults() (Options, error) {
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	o.QueueBytes = cmp.Or(o.QueueBytes, DefaultQueueBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Connect == nil:
		return o, errors.New("natscluster: Options.Connect is missing")
	case !validPrefix(o.Prefix):
		return o, fmt.Errorf("natscluster: prefix %q: letters, digits, '-' and '_', dots between, at most 64", o.Prefix)
	case o.Replicas < 0 || o.Replicas > 5:
		return o, fmt.Errorf("natscluster: %d replicas: 1 to 5, or 0 to let it find out", o.Replicas)
	case o.QueueBytes < 0:
		return o, errors.New("natscluster: negative QueueBytes")
	}
	return o, nil
}

func validPrefix(p string) bool {
	if len(p) > 64 {
		return false
	}
	for part := range strings.SplitSeq(p, ".") {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool {
			return r > 0x7f || !alphanumeric(byte(r)) && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}

// Adapter implements [cluster.Adapter].
type Adapter struct {
	opts Options

	mu   sync.Mutex
	open map[*Bus]struct{} // for Stats
}

// New returns an adapter. What is wrong with the options Open tells.
func New(o Options) *Adapter {
	return &Adapter{opts: o, open: make(map[*Bus]struct{})}
}

// Open implements [cluster.Adapter]; the bus is a *[Bus]. It tries until ctx
// ends, unless NATS refuses the credentials, and then waits a moment for the
// other nodes to tell of themselves.
func (a *Adapter) Open(ctx context.Context, self cluster.Node, r cluster.Receiver) (cluster.Bus, error) {
	o, err := a.opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if self.ID == "" || len(self.ID) > maxNodeID {
		return nil, fmt.Errorf("natscluster: the ID of a node has 1 to %d bytes", maxNodeID)
	}
	b := newBus(o, self, r)
	b.left = func() {
		a.mu.Lock()
		delete(a.open, b)
		a.mu.Unlock()
	}
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.open[b] = struct{}{}
	a.mu.Unlock()
	return b, nil
}

// Stats returns the figures of each node that is open, usually one.
func (a *Adapter) Stats() []Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]Stats, 0, len(a.open))
	for b := range a.open {
		all = append(all, b.Stats())
	}
	return all
}
