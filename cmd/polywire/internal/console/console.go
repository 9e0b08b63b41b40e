package console

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/admin"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Options configure [New]. Admin is needed.
type Options struct {
	// Admin is the listener that the console is mounted on, and says who may see it.
	Admin *admin.Server
	// Settings are the effective ones, masked. Nil: there are none to show.
	Settings func() []config.Effective
	// Version is the program's.
	Version string
	// Logger gets the errors that are ours. Nil: none.
	Logger *slog.Logger
}

// Parts are what the console shows.
type Parts struct {
	// Server must not run yet, and was given the console's Hooks.
	Server *polywire.Server
	// Queues is the broker of the queues. Nil: there are none.
	Queues *queue.Broker
	// Webhooks sends webhooks. Nil: nobody does.
	Webhooks *dispatch.Dispatcher
}

// Console is the console of one server. Its methods may be called by many
// goroutines at once.
type Console struct {
	o        Options
	started  time.Time
	sessions *sessions
	tries    *tries
	routes   map[string]map[string]route // by path and method
	busy     chan struct{}               // a place for each request at work
	latency  latency
	tail     tail
	streams  atomic.Int32
	viewer   *viewer

	parts  atomic.Pointer[Parts]
	series *series
	latest atomic.Pointer[figures]
	tick   ticker

	mu     sync.Mutex
	closed bool
	done   chan struct{} // closed by Close
	goes   sync.WaitGroup
}

// New returns a console and mounts it. Until Attach it answers that the server
// is starting.
func New(o Options) (*Console, error) {
	if o.Admin == nil {
		return nil, errors.New("console: no admin listener")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	v, err := newViewer()
	if err != nil {
		return nil, err
	}
	c := &Console{
		o: o, started: time.Now(), sessions: newSessions(), tries: newTries(), busy: make(chan struct{}, maxBusy),
		viewer: v, series: newSeries(), done: make(chan struct{}),
	}
	c.tick.init()
	c.tail.encoding.most = encodeTime
	c.routes = c.table()
	page, err := pages()
	if err != nil {
		return nil, err
	}
	o.Admin.Admit(c.loggedIn)
	o.Admin.Open("GET /{$}", http.RedirectHandler("/console/", http.StatusFound))
	o.Admin.Open("/console/", page)
	o.Admin.Open("/console/api/", http.HandlerFunc(c.serve))
	return c, nil
}

// Attach shows a server, and begins to write down its figures. It is called
// once, before the server runs.
func (c *Console) Attach(p Parts) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.parts.CompareAndSwap(nil, &p) {
		return errors.New("console: it is closed, or shows a server already")
	}
	c.goes.Go(c.sample)
	return nil
}

// Close ends all streams of events and the console's own work. What is asked
// later is refused. A second call waits like the first.
func (c *Console) Close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
	}
	c.mu.Unlock()
	c.goes.Wait()
}
