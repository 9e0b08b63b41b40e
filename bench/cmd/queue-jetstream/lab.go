package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

const (
	bareStream = "bare"
	bareNow    = bareStream + ".now"
	queueName  = "work"
)

// lab is one server with a bare connection and a broker.
type lab struct {
	c       config
	dir     string
	server  *natsembed.Server
	nc      *nats.Conn
	js      natsjs.JetStream
	broker  *queue.Broker
	payload []byte

	handled atomic.Int64
	target  int64
	reached chan struct{}
}

func newLab(ctx context.Context, c config, sync bool) (*lab, error) {
	dir, err := os.MkdirTemp(c.dir, "queue-jetstream-")
	if err != nil {
		return nil, err
	}
	l := &lab{c: c, dir: dir, payload: make([]byte, c.size)}
	if err := l.open(ctx, sync); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) open(ctx context.Context, sync bool) error {
	var err error
	if l.server, err = natsembed.Start(ctx, natsembed.Options{Dir: l.dir, NoSync: !sync}); err != nil {
		return err
	}
	if l.nc, err = l.server.Connect(); err != nil {
		return err
	}
	if l.js, err = natsjs.New(l.nc, natsjs.WithPublishAsyncMaxPending(l.c.inFlight)); err != nil {
		return err
	}
	// The same stream and consumer as package queue makes, with room for delays.
	if _, err = l.js.CreateStream(ctx, natsjs.StreamConfig{
		Name: bareStream, Subjects: []string{bareNow, bareStream + ".at.*"}, Retention: natsjs.WorkQueuePolicy, AllowMsgSchedules: true, Duplicates: 2 * time.Minute,
	}); err != nil {
		return err
	}
	if _, err = l.js.CreateConsumer(ctx, bareStream, natsjs.ConsumerConfig{
		Durable: bareStream, AckPolicy: natsjs.AckExplicitPolicy, MaxAckPending: -1, FilterSubject: bareNow,
	}); err != nil {
		return err
	}
	l.broker, err = openBroker(ctx, l.server, l.c.inFlight)
	return err
}

func openBroker(ctx context.Context, s *natsembed.Server, window int) (*queue.Broker, error) {
	d, err := jetstream.New(ctx, jetstream.Options{Connect: s.Connect, Window: window})
	if err != nil {
		return nil, err
	}
	return queue.New(d, queue.Options{})
}

func (l *lab) close() error {
	var errs []error
	if l.broker != nil {
		errs = append(errs, l.broker.Close())
	}
	if l.nc != nil {
		l.nc.Close()
	}
	if l.server != nil {
		errs = append(errs, shutdown(context.Background(), l.server))
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// publishBare publishes a round, with as many unconfirmed as the package has.
func (l *lab) publishBare(ctx context.Context) error {
	futures := make([]natsjs.PubAckFuture, 0, l.c.messages)
	for range l.c.messages {
		m := &nats.Msg{Subject: bareNow, Header: nats.Header{nats.MsgIdHdr: {queue.NewID(time.Now())}}, Data: l.payload}
		f, err := l.js.PublishMsgAsync(m, natsjs.WithStallWait(time.Minute))
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// publish is publishBare by package queue.
func (l *lab) publish(ctx context.Context) error {
	pending := make([]*queue.Pending, 0, l.c.messages)
	for range l.c.messages {
		m := queue.Message{Queue: queueName}
		m.Payload.Data = l.payload
		pending = append(pending, l.broker.Send(ctx, m))
	}
	for _, p := range pending {
		if err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// consumeBare takes a round and acknowledges it, and waits until the server
// has the acknowledgements.
func (l *lab) consumeBare(ctx context.Context) error {
	c, err := l.js.Consumer(ctx, bareStream, bareStream)
	if err != nil {
		return err
	}
	l.expect()
	cc, err := c.Consume(func(m natsjs.Msg) {
		if m.Ack() == nil {
			l.tick()
		}
	}, natsjs.PullMaxMessages(l.c.inFlight))
	if err != nil {
		return err
	}
	err = l.wait(ctx)
	cc.Stop()
	select {
	case <-cc.Closed():
	case <-ctx.Done():
	}
	return errors.Join(err, l.nc.FlushTimeout(time.Minute))
}

// consume is consumeBare by package queue.
func (l *lab) consume(ctx context.Context) error {
	l.expect()
	h := func(context.Context, *queue.Delivery) error { l.tick(); return nil }
	err := l.broker.Handle(queueName, h, queue.HandleOptions{Concurrency: l.c.workers, Prefetch: max(l.c.inFlight-l.c.workers, 1)})
	if errors.Is(err, queue.ErrInvalid) { // it has the handler of the round before
		err = l.broker.Resume(queueName)
	}
	if err != nil {
		return err
	}
	if err := l.wait(ctx); err != nil {
		return err
	}
	return l.broker.Pause(ctx, queueName)
}

// expect begins a round.
func (l *lab) expect() {
	l.target, l.reached = int64(l.c.messages), make(chan struct{})
	l.handled.Store(0)
}

func (l *lab) tick() {
	if l.handled.Add(1) == l.target {
		close(l.reached)
	}
}

func (l *lab) wait(ctx context.Context) error {
	select {
	case <-l.reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d handled: %w", l.handled.Load(), l.target, ctx.Err())
	}
}
