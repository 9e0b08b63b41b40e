package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// inMemory returns a broker for examples; others are made with a driver of
// package queue/jetstream or queue/rabbitmq.
func inMemory() *queue.Broker {
	q, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	check(err)
	return q
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A message that is published twice with one ID, because nobody knew whether it
// had arrived, is one message.
func ExampleBroker_Publish() {
	q := inMemory()
	ctx := context.Background()
	for range 2 {
		check(q.Publish(ctx, queue.Message{
			Queue: "mails", ID: "welcome-17", Kind: "mail.welcome",
			Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"to":"ann@example.com"}`)},
		}))
	}
	check(q.Publish(ctx, queue.Message{Queue: "mails", ID: "reminder-17", Delay: time.Hour}))
	depth, err := q.Inspect(ctx, "mails")
	check(err)
	fmt.Println(depth.Waiting, "waits,", depth.Delayed, "is not due")
	check(q.Close())
	// Output: 1 waits, 1 is not due
}

// With Ordered, messages of a key are done one after the other, and keys run
// beside each other.
func ExampleBroker_Handle() {
	q := inMemory()
	var mu sync.Mutex
	var all sync.WaitGroup
	all.Add(6)
	done := make(map[string][]string)
	check(q.Handle("orders", func(_ context.Context, d *queue.Delivery) error {
		defer all.Done()
		mu.Lock()
		defer mu.Unlock()
		done[d.Key] = append(done[d.Key], d.Kind)
		return nil
	}, queue.HandleOptions{Ordered: true, Concurrency: 4}))

	ctx := context.Background()
	for _, step := range []string{"placed", "paid", "shipped"} {
		for _, customer := range []string{"ann", "bob"} {
			check(q.Publish(ctx, queue.Message{Queue: "orders", Key: customer, Kind: step}))
		}
	}
	all.Wait()
	check(q.Shutdown(ctx))
	fmt.Println("ann:", done["ann"])
	fmt.Println("bob:", done["bob"])
	// Output:
	// ann: [placed paid shipped]
	// bob: [placed paid shipped]
}

// A handler may know better than the backoff when it is worth another try.
func ExampleRetryAfter() {
	q := inMemory()
	attempts := make(chan int)
	check(q.Handle("calls", func(_ context.Context, d *queue.Delivery) error {
		attempts <- d.Attempt
		if d.Attempt == 1 {
			return queue.RetryAfter(errors.New("busy"), 20*time.Millisecond)
		}
		return nil
	}, queue.HandleOptions{}))

	ctx := context.Background()
	check(q.Publish(ctx, queue.Message{Queue: "calls"}))
	fmt.Println(<-attempts, <-attempts)
	check(q.Shutdown(ctx))
	// Output: 1 2
}

// What can never be done becomes a dead letter at once, and is kept until
// somebody has mended the cause and puts it back.
func ExampleDeadLetters_Replay() {
	q := inMemory()
	mended := make(chan struct{})
	dead, done := make(chan string, 1), make(chan string, 1)
	check(q.Handle("orders", func(_ context.Context, d *queue.Delivery) error {
		select {
		case <-mended:
			done <- d.ID
			return nil
		default:
			dead <- d.ID
			return queue.Discard(errors.New("no such article"))
		}
	}, queue.HandleOptions{}))

	ctx := context.Background()
	check(q.Publish(ctx, queue.Message{Queue: "orders", ID: "7"}))
	<-dead
	check(q.Pause(ctx, "orders")) // waits for the handler, and for what follows from it
	letters := q.Dead("orders")
	page, err := letters.List(ctx, queue.DeadFilter{}, "", 10)
	check(err)
	for _, letter := range page.Letters {
		fmt.Println(letter.ID, letter.Reason, letter.LastError)
	}
	check(q.Resume("orders"))
	close(mended)
	n, err := letters.Replay(ctx, queue.DeadFilter{Error: "article"}, queue.ReplayOptions{Rate: 100})
	check(err)
	fmt.Println(n, "replayed,", <-done, "done")
	check(q.Shutdown(ctx))
	// Output:
	// 7 discarded no such article
	// 1 replayed, 7 done
}
