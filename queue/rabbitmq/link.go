package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// stable is how long a connection has to live before its loss counts as a new
// trouble and not as more of the old one.
const stable = 5 * time.Second

// closeTime bounds the farewell to a broker.
const closeTime = 2 * time.Second

var errNotConnected = errors.New("not connected yet")

// link keeps one connection to the broker, for as long as it is open. The
// library's own recovery is off: every session is a connection of its own, so
// that nothing of an old one can reach a new one.
type link struct {
	o      *Options
	name   string
	notify func() // after a change of what status says

	ctx    context.Context //nolint:containedctx // the loop's own, for its end
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	session  *session      // nil: there is none
	away     error         // why the last round of tries failed; nil when there was none since
	changed  chan struct{} // closed and made anew when the two above change
	since    time.Time
	made     int64 // connections
	next     int   // the URL to try
	failures int
}

// session is one connection, from its making to its loss.
type session struct {
	link *link
	conn *amqp.Connection
	nc   net.Conn
	lost chan struct{} // closed when the connection is gone

	mu      sync.Mutex
	why     error         // of the loss
	blocked string        // the broker's reason; empty: it reads from us
	open    chan struct{} // closed unless blocked

	admin admin
}

func newLink(o *Options, name string, notify func()) *link {
	l := &link{
		o: o, name: name, notify: notify,
		done: make(chan struct{}), changed: make(chan struct{}), since: time.Now(),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run is the loop.
func (l *link) run() {
	defer close(l.done)
	for l.ctx.Err() == nil {
		s, err := l.connect()
		if err != nil {
			l.set(nil, err)
			l.o.Logger.Warn("rabbitmq: no connection", "connection", l.name, "error", err)
			l.wait()
			continue
		}
		l.set(s, nil)
		l.o.Logger.Info("rabbitmq: connected", "connection", l.name, "address", s.nc.RemoteAddr().String())
		start := time.Now()
		s.watch()
		if l.ctx.Err() != nil {
			return
		}
		l.set(nil, nil)
		l.o.Logger.Warn("rabbitmq: connection lost", "connection", l.name, "error", s.reason())
		if time.Since(start) >= stable {
			l.failures = 0
		}
		l.wait()
	}
}

// connect tries every URL once.
func (l *link) connect() (*session, error) {
	var errs []error
	for range l.o.URLs {
		s, err := l.dial(l.o.URLs[l.next])
		l.next = (l.next + 1) % len(l.o.URLs)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if l.ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (l *link) dial(url string) (*session, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.o.DialTimeout)
	defer cancel()
	s := &session{link: l, lost: make(chan struct{}), open: make(chan struct{})}
	close(s.open)
	s.admin.topology = topology{o: l.o}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(l.o.Name + " " + l.name)
	config := amqp.Config{
		Heartbeat:  l.o.Heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			below, err := l.o.Dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			nc := newBatchConn(below)
			s.mu.Lock()
			s.nc = nc
			s.mu.Unlock()
			deadline, _ := ctx.Deadline()
			return nc, nc.SetDeadline(deadline) // the library takes it away after the handshake
		},
	}
	if l.o.TLS != nil {
		config.TLSClientConfig = l.o.TLS.Clone()
	}
	stop := context.AfterFunc(ctx, s.giveUp) // a handshake ends, whatever connection Dial made
	defer stop()
	conn, err := amqp.DialConfig(url, config)
	if err == nil {
		s.conn = conn
		err = s.checkVersion()
	}
	if err != nil {
		if s.nc != nil {
			_ = s.nc.Close() // the library leaves it open after some failures
		}
		return nil, err
	}
	return s, nil
}

// giveUp ends a handshake in progress.
func (s *session) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nc != nil {
		_ = s.nc.Close()
	}
}

// checkVersion refuses brokers that would take our queues' arguments and not
// honour them.
func (s *session) checkVersion() error {
	version, _ := s.conn.Properties["version"].(string)
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n == 2 && (major < 3 || major == 3 && minor < 10) {
		return fmt.Errorf("rabbitmq: the broker is version %s; 3.10 or later is needed", version)
	}
	return nil
}

// watch returns when the connection is gone or the link closes.
func (s *session) watch() {
	closes := s.conn.NotifyClose(make(chan *amqp.Error, 1))
	blocks := s.conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	defer close(s.lost)
	for {
		select {
		case b, ok := <-blocks:
			if !ok {
				blocks = nil
				continue
			}
			s.setBlocked(b)
		case err := <-closes:
			s.mu.Lock()
			s.why = errors.New("the connection was closed")
			if err != nil {
				s.why = err
			}
			s.mu.Unlock()
			_ = s.nc.Close()
			return
		case <-s.link.ctx.Done():
			s.mu.Lock()
			s.why = queue.ErrClosed
			s.mu.Unlock()
			_ = s.conn.CloseDeadline(time.Now().Add(closeTime))
			_ = s.nc.Close() // also when the farewell hangs
			return
		}
	}
}

func (s *session) setBlocked(b amqp.Blocking) {
	s.mu.Lock()
	was := s.blocked != ""
	s.blocked = ""
	if b.Active {
		s.blocked = "the broker takes no messages: " + b.Reason
	}
	switch {
	case b.Active && !was:
		s.open = make(chan struct{})
	case !b.Active && was:
		close(s.open)
	}
	s.mu.Unlock()
	if b.Active != was {
		s.link.o.Logger.Warn("rabbitmq: alarm", "connection", s.link.name, "blocked", b.Active, "reason", b.Reason)
		s.link.touch()
	}
}

// unblocked returns a channel that is closed while the broker takes messages.
func (s *session) unblocked() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *session) isBlocked() bool {
	select {
	case <-s.unblocked():
		return false
	default:
		return true
	}
}

func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *session) isLost() bool {
	select {
	case <-s.lost:
		return true
	default:
		return false
	}
}

// set notes a change of the session.
func (l *link) set(s *session, away error) {
	l.mu.Lock()
	l.session, l.away, l.since = s, away, time.Now()
	if s != nil {
		l.made++
	}
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	l.notify()
}

// touch notes that a session's block changed.
func (l *link) touch() {
	l.mu.Lock()
	l.since = time.Now()
	l.mu.Unlock()
	l.notify()
}

// wait waits between two rounds of tries: a random part of the doubled minimum.
func (l *link) wait() {
	limit := l.o.MaxBackoff
	if d := l.o.MinBackoff << min(l.failures, 30); d > 0 {
		limit = min(limit, d)
	}
	l.failures++
	t := time.NewTimer(rand.N(limit) + time.Millisecond) //nolint:gosec // spreading load is no secret
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ctx.Done():
	}
}

// state returns the session (nil: none), a channel that is closed when the
// state changes, and why the broker is known to be away (nil: it is not).
func (l *link) state() (s *session, changed <-chan struct{}, away error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session, l.changed, l.away
}

// use waits for a session. With patience it does so until ctx ends, otherwise
// only until the broker is known to be away.
func (l *link) use(ctx context.Context, patience bool) (*session, error) {
	for {
		s, changed, away := l.state()
		switch {
		case l.ctx.Err() != nil:
			return nil, queue.ErrClosed
		case s != nil && !s.isLost():
			return s, nil
		case away != nil && !patience:
			return nil, unavailable(away)
		}
		if s != nil { // lost, and the loop has not noticed
			changed = l.changedFrom(s)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.ctx.Done():
		}
	}
}

// changedFrom returns a channel that is closed when s is no longer the session.
func (l *link) changedFrom(s *session) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != s {
		done := make(chan struct{})
		close(done)
		return done
	}
	return l.changed
}

// status says how the link is.
func (l *link) status() queue.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := queue.Status{Connection: queue.Connecting, Since: l.since, Reconnects: max(l.made-1, 0)}
	switch {
	case l.ctx.Err() != nil:
		st.Connection = queue.Disconnected
	case l.session != nil:
		st.Connection = queue.Connected
		l.session.mu.Lock()
		if st.Reason = l.session.blocked; st.Reason != "" {
			st.Connection = queue.Blocked
		}
		l.session.mu.Unlock()
	case l.away != nil:
		st.Reason = l.away.Error()
	default:
		st.Reason = errNotConnected.Error()
	}
	return st
}

// close ends the loop and its connection.
func (l *link) close() {
	l.cancel()
	<-l.done
}

func unavailable(err error) error {
	if err == nil {
		err = errNotConnected
	}
	return fmt.Errorf("%w: %v", queue.ErrUnavailable, err) //nolint:errorlint // what the library says is text to ours
}
