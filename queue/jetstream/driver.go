package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// Driver is a queue.Driver on JetStream, and a queue.Reporter, Lister, Purger
// and Browser. Its methods may be called by many goroutines at once.
type Driver struct {
	o      Options
	names  names
	slots  chan struct{} // one for each unconfirmed message
	made   time.Time
	spread spread

	ctx    context.Context //nolint:containedctx // of what the driver does by itself, until it is closed
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	link     *link
	changed  chan struct{} // closed, and made anew, when the connection changes
	queues   map[string]*target
	subs     map[*subscription]struct{}
	closing  bool
	closed   bool
	ended    chan struct{}
	reasons  string // why there is no connection, or not a good one
	refusal  string
	refused  time.Time // the last time that the server had no room
	connects int64

	reports  sync.Mutex // one report at a time
	reporter func(queue.Status)
	last     queue.Status
}

var (
	_ queue.Driver   = (*Driver)(nil)
	_ queue.Reporter = (*Driver)(nil)
	_ queue.Lister   = (*Driver)(nil)
	_ queue.Purger   = (*Driver)(nil)
	_ queue.Browser  = (*Driver)(nil)
)

// link is one connection; nats.go brings it back by itself until it is closed.
type link struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	api    string // what requests of JetStream begin with
	acks   *acks
	closed chan struct{}
}

// New returns a driver that connects, and connects again whenever the
// connection is lost, until it is closed. Unless [Options.Optional] is set it
// waits for the server and its JetStream, and fails when ctx ends first, or
// after 10 s.
func New(ctx context.Context, o Options) (*Driver, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		o: o, names: names{o.Prefix}, slots: make(chan struct{}, o.Window), made: time.Now(),
		changed: make(chan struct{}), ended: make(chan struct{}),
		queues: make(map[string]*target), subs: make(map[*subscription]struct{}),
		last: queue.Status{Connection: queue.Connecting, Since: time.Now()},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.wg.Go(d.run)
	if o.Optional {
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	if err := d.awaitServer(ctx); err != nil {
		_ = d.Shutdown(ctx) // it has been given nothing yet
		return nil, translate(err)
	}
	return d, nil
}

// awaitServer waits until the server's JetStream answers. While a cluster has
// no leader for that, its servers say so, or nothing at all.
func (d *Driver) awaitServer(ctx context.Context) error {
	for wait := accountWait; ; wait *= 2 { // or it only takes long
		l, err := d.connected(ctx)
		if err != nil {
			return err
		}
		try, cancel := context.WithTimeout(ctx, wait)
		_, err = l.js.AccountInfo(try)
		cancel()
		var api *jetstream.APIError
		leaderless := errors.As(err, &api) && api.ErrorCode == codeNoLeader
		silent := errors.Is(err, context.DeadlineExceeded)
		switch {
		case !leaderless && !silent:
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("its JetStream does not answer: %w", err)
		}
		if leaderless {
			sleep(ctx, redialWait)
		}
	}
}

// Times.
const (
	firstWait   = 10 * time.Second
	accountWait = time.Second // for the first answer about the account
	redialWait  = 500 * time.Millisecond
	sweepEvery  = time.Second
	ackPatience = 5 * time.Second // without any word from the server
	apiTimeout  = 5 * time.Second // of one request about streams
	blockedFor  = 10 * time.Second
)

// run keeps a connection, until the driver is closed.
func (d *Driver) run() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for d.ctx.Err() == nil {
		l, err := d.dial()
		if err != nil {
			d.note(nil, err.Error())
			sleep(d.ctx, redialWait)
			continue
		}
		d.note(l, "")
		for open := true; open; {
			select {
			case <-tick.C:
				l.acks.sweep()
				d.report()
			case <-l.closed:
				open = false
			case <-d.ctx.Done():
				l.nc.Close()
				<-l.closed
				open = false
			}
		}
		l.acks.fail(fmt.Errorf("%w: the connection was closed", queue.ErrUnavailable))
		d.note(nil, "the connection was closed")
	}
}

func (d *Driver) dial() (*link, error) {
	l := &link{closed: make(chan struct{})}
	whole := make(chan struct{}) // callbacks wait for it
	up := func(*nats.Conn) { <-whole; d.up(l) }
	nc, err := connect(&d.o,
		nats.ConnectHandler(up), nats.ReconnectHandler(up),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { <-whole; d.down(l, err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { d.tried(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(l.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { d.tried(err) }),
	)
	if err != nil {
		close(whole)
		return nil, err
	}
	l.nc, l.api = nc, "$JS.API."
	if d.o.Domain == "" {
		l.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout))
	} else {
		l.api = "$JS." + d.o.Domain + ".API."
		l.js, err = jetstream.NewWithDomain(nc, d.o.Domain, jetstream.WithDefaultTimeout(apiTimeout))
	}
	if err == nil {
		l.acks, err = newAcks(d, nc)
	}
	close(whole)
	if err != nil {
		nc.Close()
		<-l.closed
		return nil, err
	}
	return l, nil
}

// up is called when the connection is there, again or for the first time.
func (d *Driver) up(l *link) {
	d.mu.Lock()
	d.connects++
	n := d.connects
	d.reasons = ""
	subs := make([]*subscription, 0, len(d.subs))
	for s := range d.subs {
		subs = append(subs, s)
	}
	d.mu.Unlock()
	d.o.Logger.Info("connected to NATS", "server", l.nc.ConnectedServerName(), "reconnects", n-1)
	for _, s := range subs {
		s.reconnected(l)
	}
	d.change()
}

func (d *Driver) down(l *link, err error) {
	text := "disconnected"
	if err != nil {
		text = err.Error()
	}
	if d.ctx.Err() == nil {
		d.o.Logger.Warn("the connection to NATS is lost", "error", text)
	}
	if l.acks != nil { // it was whole
		l.acks.fail(fmt.Errorf("%w: the connection was lost before the confirmation", queue.ErrUnavailable))
	}
	d.tried(errors.New(text))
}

// tried notes what was met on the way to a connection, or on it.
func (d *Driver) tried(err error) {
	d.mu.Lock()
	if err != nil {
		d.reasons = err.Error()
	}
	d.mu.Unlock()
	d.change()
}

// note makes l the connection; nil: there is none.
func (d *Driver) note(l *link, reason string) {
	d.mu.Lock()
	d.link = l
	if l == nil || d.reasons == "" {
		d.reasons = reason
	}
	if l != nil && l.nc.IsConnected() {
		d.reasons = ""
	}
	d.mu.Unlock()
	d.change()
}

// change wakes those who wait for a connection, and reports.
func (d *Driver) change() {
	d.mu.Lock()
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	d.report()
}

// connected waits for a connection that works.
func (d *Driver) connected(ctx context.Context) (*link, error) {
	for {
		d.mu.Lock()
		l, changed, why, closed := d.link, d.changed, d.reasons, d.closed
		d.mu.Unlock()
		switch {
		case closed:
			return nil, queue.ErrClosed
		case l != nil && l.nc.IsConnected():
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w: %s", queue.ErrUnavailable, ctx.Err(), why)
		case <-d.ctx.Done():
			return nil, queue.ErrClosed
		}
	}
}

// current returns the connection without waiting; nil: there is none.
func (d *Driver) current() *link {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link == nil || !d.link.nc.IsConnected() {
		return nil
	}
	return d.link
}

// Report implements queue.Reporter.
func (d *Driver) Report(f func(queue.Status)) {
	d.reports.Lock()
	d.reporter = f
	f(d.last)
	d.reports.Unlock()
	d.report()
}

// report tells the status if it has changed.
func (d *Driver) report() {
	d.reports.Lock()
	defer d.reports.Unlock()
	d.mu.Lock()
	s := queue.Status{Connection: queue.Connecting, Reason: d.reasons, Reconnects: max(d.connects-1, 0)}
	switch {
	case d.closed:
		s.Connection = queue.Disconnected
	case d.link == nil || !d.link.nc.IsConnected():
	case time.Since(d.refused) < blockedFor:
		s.Connection, s.Reason = queue.Blocked, d.refusal
	default:
		s.Connection, s.Reason = queue.Connected, ""
	}
	d.mu.Unlock()
	s.Since = d.last.Since
	if s == d.last {
		return
	}
	if s.Connection != d.last.Connection || s.Reconnects != d.last.Reconnects {
		s.Since = time.Now()
	}
	d.last = s
	if d.reporter != nil {
		d.reporter(s)
	}
}

// full notes that the server had no room for a message; nil: it had.
func (d *Driver) full(err error) {
	d.mu.Lock()
	before := time.Since(d.refused) < blockedFor
	if err == nil {
		d.refused = time.Time{}
	} else {
		d.refused, d.refusal = time.Now(), err.Error()
	}
	d.mu.Unlock()
	if before != (err != nil) {
		d.report()
	}
}

// Shutdown implements queue.Driver.
func (d *Driver) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		select {
		case <-d.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.closing = true
	subs := make([]*subscription, 0, len(d.subs))
	for s := range d.subs {
		subs = append(subs, s)
	}
	d.mu.Unlock()
	defer close(d.ended)
	var wg sync.WaitGroup
	for _, s := range subs {
		wg.Go(func() { _ = s.Shutdown(ctx) }) // what it holds comes back by itself
	}
	wg.Wait()
	d.idle(ctx)
	var err error
	if l := d.current(); l != nil {
		err = l.flush(ctx)
	}
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.change()
	d.wg.Wait()
	return err
}

// idle waits until nothing is unconfirmed: until it has all slots.
func (d *Driver) idle(ctx context.Context) {
	for range cap(d.slots) {
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return // what is left ends with ErrUnavailable
		}
	}
}

// begin runs f in a goroutine that Close waits for; false: it is too late.
func (d *Driver) begin(f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.wg.Go(f)
	return true
}

// flush waits until the server has seen all that was sent.
func (l *link) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := l.nc.FlushWithContext(ctx); err != nil && l.nc.IsConnected() {
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
	return nil
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
