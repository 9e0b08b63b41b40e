// Testing is a small application, an auction house, for the sake of its tests:
// house_test.go plays members, rivals, hours and a second server with package
// polywiretest. The program itself sells one chair.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire/native"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// member takes everybody's word for who he is, which is good enough for a demo.
func member(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	if !h.Hello {
		return nil, polywire.ErrAwaitHello
	}
	return &polywire.Identity{User: h.Header["member"]}, nil
}

func run(ctx context.Context, out io.Writer) (err error) {
	broker, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		return err
	}
	defer broker.Close() //nolint:errcheck // over either way
	house, err := NewHouse(polywire.WithWires(native.New()), polywire.WithAuth(member), polywire.WithQueues(broker))
	if err != nil {
		return err
	}
	defer house.Close()
	l, scheme, err := house.srv.Listen("ws://127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- house.srv.Serve(l, scheme) }()
	defer func() { err = errors.Join(err, house.srv.Close(), <-served) }()

	name := func(context.Context) (map[string]string, error) { return map[string]string{"member": "ana"}, nil }
	ana, err := client.Dial(ctx, scheme+"://"+l.Addr().String(), client.WithCredentials(name))
	if err != nil {
		return err
	}
	defer ana.Close() //nolint:errcheck // over either way
	invoiced := make(chan string, 1)
	ana.Handle("invoice", func(_ context.Context, m *polywire.Message) (any, error) {
		var text string
		err := m.Bind(&text)
		invoiced <- text
		return nil, err
	})
	if err := ana.Call(ctx, "lot.open", Lot{Name: "chair", Minimum: 10, Lasts: time.Minute}, nil); err != nil {
		return err
	}
	if err := ana.Call(ctx, "lot.bid", Bid{Lot: "chair", Amount: 12}, nil); err != nil {
		return err
	}
	house.endNow("chair") // the tests wait for the hour instead
	_, err = fmt.Fprintln(out, "invoice:", <-invoiced)
	return err
}

// endNow ends a lot before its time.
func (h *House) endNow(name string) {
	h.mu.Lock()
	l := h.lots[name]
	l.ends = time.Now()
	l.timer.Reset(0)
	h.mu.Unlock()
}
