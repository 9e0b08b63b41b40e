// Queues is a print shop: orders go to a queue that keeps them on a disk, and a
// worker takes one after the other and reports to the room of its customer. The
// shop is closed between order and work, and nothing is lost.
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
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/wire/native"
)

func main() {
	if err := inTemporaryDir(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func inTemporaryDir(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "queues-")
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, out, dir), os.RemoveAll(dir))
}

// Order is what customers send.
type Order struct {
	Customer string `json:"customer"`
	Title    string `json:"title"`
	Copies   int    `json:"copies"`
}

// Receipt says that the queue has an order for good.
type Receipt struct {
	ID string `json:"id"`
}

// Report is what the worker says in the customer's room.
type Report struct {
	Title string `json:"title"`
	State string `json:"state"`
}

func run(ctx context.Context, out io.Writer, dir string) error {
	// In the evening there is a counter, and nobody who prints.
	err := shop(ctx, dir, nil, func(url string) error { return order(ctx, out, url) })
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "the shop was closed")
	// In the morning there is. The worker waits until the customer listens, which
	// is for the example's sake: orders are not lost if nobody does.
	listening := make(chan struct{})
	return shop(ctx, dir, &worker{begin: listening}, func(url string) error { return listen(ctx, out, url, listening) })
}

// shop serves while visit runs.
func shop(ctx context.Context, dir string, w *worker, visit func(url string) error) (err error) {
	nats, err := natsembed.Start(ctx, natsembed.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nats.Shutdown(context.WithoutCancel(ctx))) }()
	driver, err := jetstream.New(ctx, jetstream.Options{Connect: nats.Connect})
	if err != nil {
		return err
	}
	queues, err := queue.New(driver, queue.Options{})
	if err != nil {
		return err
	}
	// The server shuts the queues down after its connections.
	srv, err := polywire.New(polywire.WithWires(native.New()), polywire.WithQueues(queues))
	if err != nil {
		return errors.Join(err, queues.Close())
	}
	defer func() { err = errors.Join(err, srv.Shutdown(context.WithoutCancel(ctx))) }()
	polywire.HandleFunc(srv, "print", take)
	if w != nil {
		srv.HandleQueue("orders", w.print, queue.HandleOptions{Backoff: queue.Backoff{Min: 20 * time.Millisecond}})
	}
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	if err != nil {
		return err
	}
	go srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	return visit(scheme + "://" + l.Addr().String())
}

// take answers when the order is on the disk.
func take(ctx context.Context, o *Order) (*Receipt, error) {
	if o.Copies < 1 {
		return nil, polywire.Errorf(polywire.CodeBadRequest, "%d copies", o.Copies)
	}
	payload, err := codec.JSON{}.Append(nil, o)
	if err != nil {
		return nil, err
	}
	id := queue.NewID(time.Now())
	m := queue.Message{Queue: "orders", ID: id, Key: o.Customer, Kind: "print", Payload: codec.Payload{Type: codec.TypeJSON, Data: payload}}
	if err := polywire.MessageFrom(ctx).Server().Queues().Publish(ctx, m); err != nil {
		return nil, err
	}
	return &Receipt{ID: id}, nil
}

// worker prints orders.
type worker struct{ begin <-chan struct{} }

var errJam = errors.New("the paper jams")

// print gets an order again after an error, and has done it when it returns nil.
func (w *worker) print(ctx context.Context, m *polywire.Message) (any, error) {
	select {
	case <-w.begin:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var o Order
	if err := m.Bind(&o); err != nil {
		return nil, queue.Discard(err) // no further attempt will help: a dead letter
	}
	room := m.Server().Room("customer:" + o.Customer)
	if o.Copies > 100 && m.Delivery().Attempt == 1 {
		return nil, errors.Join(errJam, room.Send(ctx, "report", Report{o.Title, errJam.Error()}))
	}
	// A crash behind this line has it printed, and reported, twice: m.Delivery().ID
	// is what a printer with a memory would go by.
	return nil, room.Send(ctx, "report", Report{o.Title, "printed"})
}

// order is a visit of somebody who does not wait.
func order(ctx context.Context, out io.Writer, url string) error {
	c, err := client.Dial(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // over either way
	for _, o := range []Order{{"ann", "the paper", 1}, {"ann", "the poster", 200}, {"ann", "nothing", 0}} {
		var r Receipt
		if err := c.Call(ctx, "print", o, &r); err != nil {
			fmt.Fprintf(out, "%s is refused: %v\n", o.Title, err)
			continue
		}
		fmt.Fprintln(out, o.Title, "is ordered")
	}
	return nil
}

// listen is a visit of somebody who waits until both orders are printed.
func listen(ctx context.Context, out io.Writer, url string, listening chan<- struct{}) error {
	c, err := client.New(url)
	if err != nil {
		return err
	}
	reports := make(chan Report, 10)
	polywire.HandleFunc(c, "report", func(_ context.Context, r *Report) (*struct{}, error) {
		reports <- *r
		return nil, nil
	})
	if err := c.Connect(ctx); err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // over either way
	if err := c.Subscribe(ctx, "customer:ann"); err != nil {
		return err
	}
	close(listening)
	for printed := 0; printed < 2; {
		select {
		case r := <-reports:
			fmt.Fprintf(out, "%s: %s\n", r.Title, r.State)
			if r.State == "printed" {
				printed++
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
