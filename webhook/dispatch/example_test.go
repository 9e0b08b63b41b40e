package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

func Example() {
	got := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	}))
	defer receiver.Close()
	if err := run(receiver.URL); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-got)
	// Output:
	// goes to 1
	// {"type":"payment.approved","timestamp":"2026-01-02T03:04:05Z","data":{"order":7}}
}

func run(url string) error {
	ctx := context.Background()
	broker, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		return err
	}
	client, err := webhook.NewClient(webhook.ClientOptions{ // the receiver is on this machine
		AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	delivered := make(chan struct{})
	hooks := dispatch.Hooks{Attempted: func(dispatch.Entry) { close(delivered) }}
	store := dispatch.NewMemory(dispatch.MemoryOptions{})
	d, err := dispatch.New(ctx, dispatch.Options{
		Broker: broker, Client: client, Endpoints: store.Endpoints, Events: store.Events, Attempts: store.Attempts,
		Hooks: []dispatch.Hooks{hooks},
	})
	if err != nil {
		return err
	}
	_, secret, err := d.Add(ctx, webhook.Endpoint{URL: url, Types: []string{"payment.*"}})
	if err != nil {
		return err
	}
	_ = secret.Reveal() // to be shown to whoever writes the receiver, this once

	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r, err := d.Publish(ctx, webhook.Event{Type: "payment.approved", Time: at, Data: map[string]int{"order": 7}})
	if err != nil {
		return err
	}
	fmt.Println("goes to", r.Endpoints)
	<-delivered
	return errors.Join(d.Shutdown(ctx), broker.Shutdown(ctx))
}
