package natscluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
)

// Times of a connection. A server that does not answer must be noticed within
// 4 s: by its missing answers to pings after three intervals, or, if those wait
// behind a write that does not end, by that in writeTimeout more.
const (
	dialTimeout   = 2 * time.Second
	pingInterval  = 900 * time.Millisecond
	pingsOut      = 2
	writeTimeout  = 1200 * time.Millisecond
	reconnectWait = 100 * time.Millisecond // and up to as much by chance
	redialMax     = 2 * time.Second        // between tries with a new connection
)

// session is a connection to NATS. nats.go keeps it over reconnects; it ends
// when the bus does, or when somebody else closed the connection.
type session struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	replies *replies
	closed  chan struct{} // when nc is, and calls nobody any more
}

// options are those of the connection. They come after the user's own, whose
// callbacks are kept.
func (b *Bus) options(timeout time.Duration, closed chan struct{}) []nats.Option {
	return []nats.Option{
		nats.NoEcho(),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what cannot be sent now is an error
		nats.ReconnectOnFlusherError(),
		nats.Timeout(timeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsOut),
		nats.FlusherTimeout(writeTimeout),
		nats.SkipSubjectValidation(), // subjects are made here
		nats.RetryOnFailedConnect(false),
		func(o *nats.Options) error {
			if o.Name == "" {
				o.Name = "polywire " + b.id
			}
			disconnected, reconnected, failed, ended := o.DisconnectedErrCB, o.ReconnectedCB, o.AsyncErrorCB, o.ClosedCB
			o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
				b.disconnected(nc, err)
				if disconnected != nil {
					disconnected(nc, err)
				}
			}
			o.ReconnectedCB = func(nc *nats.Conn) {
				b.reconnected(nc)
				if reconnected != nil {
					reconnected(nc)
				}
			}
			o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
				b.failed(sub, err)
				if failed != nil {
					failed(nc, sub, err)
				}
			}
			o.ClosedCB = func(nc *nats.Conn) {
				if ended != nil {
					ended(nc)
				}
				close(closed)
			}
			return nil
		},
	}
}

// dial opens a session. It tries until ctx ends.
func (b *Bus) dial(ctx context.Context) (*session, error) {
	for wait := reconnectWait; ; wait = min(2*wait, redialMax) {
		timeout := dialTimeout
		if end, ok := ctx.Deadline(); ok {
			timeout = max(min(timeout, time.Until(end)), time.Millisecond)
		}
		s := &session{closed: make(chan struct{})}
		var err error
		if s.nc, err = b.opts.Connect(b.options(timeout, s.closed)...); err == nil {
			return s, nil
		}
		if hopeless(err) {
			return nil, fmt.Errorf("natscluster: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
		case <-time.After(wait):
		}
	}
}

// hopeless reports whether another try would end as this one.
func hopeless(err error) bool {
	var bad *url.Error
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) || errors.As(err, &bad)
}

// install makes a session the bus's own: everything that the last one had is
// subscribed to on it.
func (b *Bus) install(ctx context.Context, s *session) error {
	var err error
	if s.js, err = jetstream.New(s.nc); err != nil {
		return err
	}
	if s.replies, err = newReplies(s.nc, b.ctx.Done()); err != nil {
		return err
	}
	for _, subject := range []string{b.nodesSubject(), b.nodeSubject(b.id)} {
		if _, err := s.nc.ChanSubscribe(subject, b.members.in); err != nil {
			return err
		}
	}
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return cluster.ErrClosed
	}
	b.sess.Store(s)
	b.mu.Unlock()
	b.interests.moved()
	if err := b.interests.applied(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return s.nc.FlushWithContext(ctx) // others may rely on it when the bus says that NATS is there
}

// watch waits for the end of a session and opens another, until the bus ends.
func (b *Bus) watch(s *session) {
	for {
		<-s.closed
		if b.ctx.Err() != nil {
			return
		}
		b.setUp(false, errors.New("the connection was closed"))
		for {
			next, err := b.dial(b.ctx)
			if err == nil {
				if err = b.install(b.ctx, next); err != nil {
					next.nc.Close()
					<-next.closed
				}
			}
			if err == nil {
				s = next
				b.counters.reconnects.Add(1)
				b.setUp(true, nil)
				break
			}
			select {
			case <-b.ctx.Done():
				return
			case <-time.After(redialMax):
			}
		}
	}
}

func (b *Bus) disconnected(nc *nats.Conn, err error) {
	if s := b.sess.Load(); s == nil || s.nc == nc {
		b.setUp(false, err)
	}
}

func (b *Bus) reconnected(nc *nats.Conn) {
	if s := b.sess.Load(); s == nil || s.nc == nc {
		b.counters.reconnects.Add(1)
		b.setUp(true, nil)
	}
}

// setUp takes note that the engine has gone or come.
func (b *Bus) setUp(up bool, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || b.up.Load() == up {
		return
	}
	if up {
		b.opts.Logger.Info("nats is back")
	} else {
		b.opts.Logger.Warn("nats is away", "error", why)
		b.gaps.Add(1)
		b.downSince.Store(time.Now().UnixNano())
	}
	b.up.Store(up)
	b.inbox.put(item{kind: itemAvailable, up: up})
	b.members.connection()
	if up {
		for _, l := range b.logs {
			b.keeper.suspect(l)
		}
		signal(b.keeper.wake) // for what waits from before
	}
}

// failed takes what nats.go reports beside the calls.
func (b *Bus) failed(sub *nats.Subscription, err error) {
	b.counters.errors.Add(1)
	if errors.Is(err, nats.ErrSlowConsumer) {
		b.gaps.Add(1)
		b.counters.overruns.Add(1)
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.opts.Logger.Warn("nats connection", "error", err, "subject", subject)
}
