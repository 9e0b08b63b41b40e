package natscluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/cluster"
)

// Bus implements [cluster.Bus] and [cluster.Historian]. All traffic of a node
// is on one connection: that is what keeps its messages in order.
type Bus struct {
	opts Options
	id   string
	left func() // tells the adapter

	ctx  context.Context //nolint:containedctx // ends with the bus
	end  context.CancelFunc
	goes sync.WaitGroup

	inbox     *inbox
	interests *interests
	members   *members
	keeper    *keeper

	up        atomic.Bool
	gaps      atomic.Uint64 // grows whenever messages may have been missed
	downSince atomic.Int64  // unix nanoseconds
	counters  counters

	sess  atomic.Pointer[session] // stored under mu
	mu    sync.Mutex
	ended bool
	logs  map[string]*Log

	instance string // begins the names of messages
	numbered atomic.Uint64

	copies struct { // of messages with several topics
		sync.Mutex
		seq uint64
	}
	buffers sync.Pool // of *[]byte
}

var (
	_ cluster.Bus       = (*Bus)(nil)
	_ cluster.Historian = (*Bus)(nil)
)

func newBus(o Options, self cluster.Node, r cluster.Receiver) *Bus {
	b := &Bus{
		opts: o, id: self.ID, logs: make(map[string]*Log), instance: newEpoch(),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	b.ctx, b.end = context.WithCancel(context.Background())
	b.copies.seq = uint64(time.Now().UnixMicro()) // larger than before, if an ID comes again
	b.interests = newInterests(b)
	b.inbox = newInbox(b, r)
	b.members = newMembers(b, self)
	b.keeper = newKeeper(b)
	return b
}

// start connects, and returns when the receiver knows the nodes.
func (b *Bus) start(ctx context.Context) error {
	s, err := b.dial(ctx)
	if err != nil {
		b.end()
		return err
	}
	b.up.Store(true)
	for _, run := range []func(){b.inbox.pump, b.inbox.deliver, b.interests.run, b.keeper.run} {
		b.goes.Go(run)
	}
	if err = b.install(ctx, s); err == nil {
		b.goes.Go(func() { b.watch(s) })
		b.goes.Go(b.members.run)
		err = b.members.settled(ctx)
	}
	if err != nil {
		stop, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Shutdown(stop)
		s.nc.Close()
		<-s.closed
		return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
	}
	return nil
}

// Interest implements [cluster.Bus].
func (b *Bus) Interest(topic string, on bool) {
	if validTopic(topic) {
		b.interests.set(b.topicSubject(topic), topic, nil, on)
	}
}

// Sync implements [cluster.Bus]. Interests hold at the NATS server at hand when
// it has answered. Nodes at other servers of the cluster are asked as well,
// one for each server, on the way that the interests took: what such a node
// publishes after its answer comes here. One that does not answer within
// 250 ms is not waited for until it is heard again.
func (b *Bus) Sync(ctx context.Context) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	select {
	case err := <-b.interests.sync():
		return err
	case <-ctx.Done():
		return fmt.Errorf("natscluster: sync: %w", context.Cause(ctx))
	case <-b.ctx.Done():
		return cluster.ErrClosed
	}
}

// usable returns why nothing can be sent; nil when something can.
func (b *Bus) usable(ctx context.Context) error {
	switch {
	case b.ctx.Err() != nil:
		return cluster.ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("natscluster: %w", context.Cause(ctx))
	case !b.up.Load():
		return cluster.ErrUnavailable
	}
	return nil
}

// Publish implements [cluster.Bus]. With several topics NATS carries a copy
// for each, of which a node that is interested in several keeps the first.
// While NATS is away, and noticed to be, it fails at once: nothing is kept.
func (b *Bus) Publish(ctx context.Context, topics []string, data []byte) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	for _, t := range topics {
		if !validTopic(t) {
			return fmt.Errorf("natscluster: topic of %d bytes: 1 to %d", len(t), cluster.MaxTopicBytes)
		}
	}
	var err error
	switch len(topics) {
	case 0:
		return nil
	case 1:
		err = b.publishOne(topics[0], data)
	default:
		err = b.publishCopies(topics, data)
	}
	if err != nil {
		b.counters.publishErrors.Add(1)
		return err
	}
	b.counters.published.Add(1)
	return nil
}

func (b *Bus) publishOne(topic string, data []byte) error {
	buf := b.buffer()
	defer b.release(buf)
	*buf = append(appendFrame((*buf)[:0], b.id, 0), data...)
	return b.send(b.topicSubject(topic), *buf)
}

func (b *Bus) publishCopies(topics []string, data []byte) error {
	buf := b.buffer()
	defer b.release(buf)
	b.copies.Lock()
	defer b.copies.Unlock()
	b.copies.seq++
	*buf = append(appendFrame((*buf)[:0], b.id, b.copies.seq), data...)
	for i, t := range topics {
		if slices.Contains(topics[:i], t) {
			continue
		}
		if err := b.send(b.topicSubject(t), *buf); err != nil {
			return err
		}
	}
	return nil
}

// send publishes, with the port's errors.
func (b *Bus) send(subject string, data []byte) error {
	s := b.sess.Load()
	err := s.nc.Publish(subject, data)
	if err == nil {
		return nil
	}
	return b.sendError(s.nc, err, len(data))
}

func (b *Bus) sendError(nc *nats.Conn, err error, size int) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %d bytes, NATS takes %d", cluster.ErrTooLarge, size, nc.MaxPayload())
	case b.ctx.Err() != nil:
		return cluster.ErrClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting):
		return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
	}
	// A write failed, maybe in the middle: nothing more can be said on it.
	_ = nc.ForceReconnect()
	return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
}

// Buffers that keep more than this are not reused.
const maxPooledBytes = 64 << 10

func (b *Bus) buffer() *[]byte { return b.buffers.Get().(*[]byte) } //nolint:forcetypeassert // New makes no other

func (b *Bus) release(buf *[]byte) {
	if cap(*buf) <= maxPooledBytes {
		b.buffers.Put(buf)
	}
}

// Announce implements [cluster.Bus]. While NATS is away it is kept and told later.
func (b *Bus) Announce(self cluster.Node) error {
	if b.ctx.Err() != nil {
		return cluster.ErrClosed
	}
	return b.members.announce(self)
}

// Shutdown implements [cluster.Bus].
func (b *Bus) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		<-b.ctx.Done()
		b.goes.Wait()
		return nil
	}
	b.ended = true
	s := b.sess.Load()
	b.mu.Unlock()
	var err error
	if s != nil && b.up.Load() && ctx.Err() == nil {
		if err = b.members.goodbye(ctx, s); err != nil {
			err = fmt.Errorf("natscluster: goodbye: %w", err)
		}
	}
	b.end()
	if s != nil {
		s.nc.Close()
		<-s.closed
	}
	b.goes.Wait()
	b.left()
	return err
}

func validTopic(t string) bool { return t != "" && len(t) <= cluster.MaxTopicBytes }

func (b *Bus) topicSubject(topic string) string { return b.opts.Prefix + ".b." + token(topic) }
func (b *Bus) nodesSubject() string             { return b.opts.Prefix + ".n" }
func (b *Bus) nodeSubject(id string) string     { return b.opts.Prefix + ".n." + token(id) }
