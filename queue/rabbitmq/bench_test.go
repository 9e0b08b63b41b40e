package rabbitmq

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

const (
	benchMessages = 20_000 // of a round
	benchBytes    = 1024
	benchWindow   = 512 // unconfirmed, and in hand
	benchWorkers  = 16
)

// BenchmarkBesideBare measures package queue on RabbitMQ beside bare loops on
// the same library that do the same confirmed work on a queue of the same kind:
// persistent, mandatory and confirmed messages, each acknowledged by itself. An
// iteration is a round of each, by turns; the medians count:
//
//	go test -run '^$' -bench BesideBare -benchtime 5x ./queue/rabbitmq
func BenchmarkBesideBare(b *testing.B) {
	broker := shared.Broker(b)
	o := options(broker.URL())
	o.Window = benchWindow
	d := open(b, o)
	ours, err := queue.New(d, queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer ours.Close()
	bare, other := fresh("bare"), fresh("queue")
	publish(b, d, numbered(bare, 0), numbered(other, 0)) // makes both
	conn, err := amqp.Dial(broker.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	purge(b, conn, bare, other)

	var rates [4][]float64 // publish bare and ours, consume bare and ours
	for b.Loop() {
		for i, step := range []func(){
			func() { publishBare(b, conn, bare) },
			func() { publishOurs(b, ours, other) },
			func() { consumeBare(b, conn, bare) },
			func() { consumeOurs(b, ours, other) },
		} {
			start := time.Now()
			step()
			rates[i] = append(rates[i], benchMessages/time.Since(start).Seconds())
		}
	}
	b.ReportMetric(median(rates[0]), "bare-pub/s")
	b.ReportMetric(median(rates[1]), "queue-pub/s")
	b.ReportMetric(median(rates[1])/median(rates[0]), "pub-ratio")
	b.ReportMetric(median(rates[2]), "bare-sub/s")
	b.ReportMetric(median(rates[3]), "queue-sub/s")
	b.ReportMetric(median(rates[3])/median(rates[2]), "sub-ratio")
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

func purge(b *testing.B, conn *amqp.Connection, names ...string) {
	b.Helper()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		if _, err := ch.QueuePurge(name, false); err != nil {
			b.Fatal(err)
		}
	}
	if err := ch.Close(); err != nil {
		b.Fatal(err)
	}
}

// publishBare keeps the window full, as the library's own examples do.
func publishBare(b *testing.B, conn *amqp.Connection, name string) {
	b.Helper()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		b.Fatal(err)
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, benchWindow))
	body := make([]byte, benchBytes)
	window := make(chan *amqp.DeferredConfirmation, benchWindow)
	var wg sync.WaitGroup
	wg.Go(func() {
		for c := range window {
			if !c.Wait() {
				b.Error("not confirmed")
			}
		}
	})
	for range benchMessages {
		c, err := ch.PublishWithDeferredConfirm("", name, true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, MessageId: queue.NewID(time.Now()), Body: body,
		})
		if err != nil {
			b.Fatal(err)
		}
		window <- c
	}
	close(window)
	wg.Wait()
	if len(returns) > 0 {
		b.Error("returned")
	}
}

func publishOurs(b *testing.B, ours *queue.Broker, name string) {
	b.Helper()
	m := queue.Message{Queue: name}
	m.Payload.Data = make([]byte, benchBytes)
	window := make(chan *queue.Pending, benchWindow)
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range window {
			if err := p.Wait(context.Background()); err != nil {
				b.Error(err)
			}
		}
	})
	for range benchMessages {
		window <- ours.Send(context.Background(), m)
	}
	close(window)
	wg.Wait()
}

func consumeBare(b *testing.B, conn *amqp.Connection, name string) {
	b.Helper()
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	defer ch.Close()
	if err := ch.Qos(benchWindow, 0, false); err != nil {
		b.Fatal(err)
	}
	in, err := ch.Consume(name, "", false, false, false, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	for range benchMessages {
		m := <-in
		if err := m.Ack(false); err != nil {
			b.Fatal(err)
		}
	}
}

func consumeOurs(b *testing.B, ours *queue.Broker, name string) {
	b.Helper()
	var left atomic.Int64
	left.Store(benchMessages)
	done := make(chan struct{})
	h := func(context.Context, *queue.Delivery) error {
		if left.Add(-1) == 0 {
			close(done)
		}
		return nil
	}
	// A queue takes one handler for good, so each round has a broker of its own.
	each, err := queue.New(openQuietly{ours.Driver()}, queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := each.Handle(name, h, queue.HandleOptions{Concurrency: benchWorkers, Prefetch: benchWindow - benchWorkers}); err != nil {
		b.Fatal(err)
	}
	<-done
	if err := each.Shutdown(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// openQuietly is a driver that stays open when the broker above it ends.
type openQuietly struct{ queue.Driver }

func (openQuietly) Close(context.Context) error { return nil }

// BenchmarkWorkerStart measures how soon a new program has its first message
// done where 100,000 wait, and the memory that it takes from the system.
func BenchmarkWorkerStart(b *testing.B) {
	const waiting = 100_000
	broker := shared.Broker(b)
	q := fresh("start")
	d := open(b, options(broker.URL()))
	ours, err := queue.New(openQuietly{d}, queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for range waiting / benchMessages {
		publishOurs(b, ours, q)
	}
	if err := ours.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		first := make(chan struct{}, 1)
		worker, err := New(context.Background(), options(broker.URL()))
		if err != nil {
			b.Fatal(err)
		}
		each, err := queue.New(worker, queue.Options{})
		if err != nil {
			b.Fatal(err)
		}
		err = each.Handle(q, func(context.Context, *queue.Delivery) error {
			select {
			case first <- struct{}{}:
			default:
			}
			return nil
		}, queue.HandleOptions{Concurrency: benchWorkers})
		if err != nil {
			b.Fatal(err)
		}
		<-first
		if err := each.Close(); err != nil {
			b.Fatal(err)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/1e6, "MB")
}
