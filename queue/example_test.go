package queue_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

func Example() {
	q, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	done := make(chan struct{})
	err = q.Handle("orders", func(_ context.Context, d *queue.Delivery) error {
		switch {
		case d.Kind == "order.broken":
			defer close(done)
			return queue.Discard(errors.New("no such article"))
		case d.Attempt == 1:
			return errors.New("the store is closed")
		}
		fmt.Printf("%s %s, attempt %d after %q\n", d.Kind, d.Payload.Data, d.Attempt, d.LastError)
		return q.Publish(ctx, queue.Message{Queue: "orders", ID: "2", Kind: "order.broken"})
	}, queue.HandleOptions{Backoff: queue.Backoff{Min: 10 * time.Millisecond}})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = q.Publish(ctx, queue.Message{
		Queue: "orders", ID: "1", Kind: "order.placed", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"article":7}`)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-done
	if err := q.Pause(ctx, "orders"); err != nil { // waits for the handler
		fmt.Println(err)
	}
	page, err := q.Dead("orders").List(ctx, queue.DeadFilter{}, "", 10)
	for _, d := range page.Letters {
		fmt.Println("dead:", d.ID, d.Reason, d.LastError, err)
	}
	fmt.Println(q.Shutdown(ctx))
	// Output:
	// order.placed {"article":7}, attempt 2 after "the store is closed"
	// dead: 2 discarded no such article <nil>
	// <nil>
}
