package polywiretest_test

import (
	"context"
	"fmt"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/polywiretest"
	"github.com/polywire/polywire/queue"
)

// Several servers that are one, in a test.
func ExampleCluster() {
	t, end := exampleT()
	defer end()

	servers, _ := polywiretest.Cluster(t, 2, polywire.New) // or the program's own function
	ana, bob := servers[0].Client(), servers[1].Client()
	ana.MustSubscribe("chat")
	bob.MustSubscribe("chat")
	if err := servers[0].Room("chat").Send(context.Background(), "said", "hello"); err != nil {
		t.Fatal(err)
	}
	fmt.Println(polywiretest.Expect[string](ana, "said"), polywiretest.Expect[string](bob, "said"))
	// Output: hello hello
}

// Work that goes to a queue is done before the test goes on.
func ExampleExpectDone() {
	t, end := exampleT()
	defer end()

	broker := polywiretest.Queues(t, queue.Options{})
	srv := polywiretest.New(t, polywire.WithQueues(broker))
	srv.HandleQueue("mails", func(_ context.Context, m *polywire.Message) (any, error) {
		fmt.Println("sent", m.Kind())
		return nil, nil
	}, queue.HandleOptions{})
	srv.Handle("register", func(ctx context.Context, _ *polywire.Message) (any, error) {
		return nil, broker.Publish(ctx, queue.Message{Queue: "mails", Kind: "mail.welcome"})
	})

	srv.Client().MustCall("register", nil, nil)
	polywiretest.ExpectDone(t, broker, "mails")
	// Output: sent mail.welcome
}
