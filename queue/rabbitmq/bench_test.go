package rabbitmq

import (
	"context"
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
// persistent, mandatory messages with an id, at most 512 of them unconfirmed,
// and at most 512 in hand, each acknowledged by itself. An iteration is a round
// of each, by turns; the medians count, of the ratios too:
//
//	go test -run '^$' -bench BesideBare -benchtime 7x ./queue/rabbitmq
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
	var ratios [2][]float64
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
		last := len(rates[0]) - 1
		ratios[0] = append(ratios[0], rates[1][last]/rates[0][last])
		ratios[1] = append(ratios[1], rates[3][last]/rates[2][last])
	}
	b.ReportMetric(median(ratios[0]), "pub-ratio")
	b.ReportMetric(median(ratios[1]), "sub-ratio")
	b.Logf("%d rounds of %d messages of %d bytes: publish %.0f/s bare, %.0f/s here, ratio %.2f; consume %.0f/s bare, %.0f/s here, ratio %.2f",
		len(ratios[0]), benchMessages, benchBytes, median(rates[0]), median(rates[1]), median(ratios[0]),
		median(rates[2]), median(rates[3]), median(ratios[1]))
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
	publishSome(b, ours, name, benchMessages)
}

func publishSome(b *testing.B, ours *queue.Broker, name string, n int) {
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
	for range n {
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

func (openQuietly) Shutdown(context.Context) error { return nil }
