// Orders is a shop: a payment is approved, and three things follow. The
// customer's system hears of it by a signed webhook, the customer's own devices
// by a message to a room, each over its wire, and the heavy work, an invoice,
// goes to a queue whose worker reports back to the room. All of it is kept by
// the NATS server inside until it is done. It is the workflow that Gost's document
// recommends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/webhook/natsstore"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	err := run(ctx, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const invoices = "invoices" // the queue

// Payment is what happened.
type Payment struct {
	Order int    `json:"order"`
	User  string `json:"user"`
	Cents int    `json:"cents"`
}

// Invoice is what the worker makes of it.
type Invoice struct {
	Order int    `json:"order"`
	File  string `json:"file"`
}

// shop is the application: a server, queues and webhooks, on one NATS.
type shop struct {
	nats     *natsembed.Server
	conn     *nats.Conn
	broker   *queue.Broker
	client   *webhook.Client
	webhooks *dispatch.Dispatcher
	srv      *polywire.Server
}

// openShop starts all of it. A real shop has Dir in place of TemporaryDir, and
// leaves out what the options allow inside this machine.
func openShop(ctx context.Context, customers webhook.ClientOptions) (s *shop, err error) {
	s = new(shop)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.nats, err = natsembed.Start(ctx, natsembed.Options{TemporaryDir: true}); err != nil {
		return s, err
	}
	if s.conn, err = s.nats.Connect(); err != nil {
		return s, err
	}
	d, err := jetstream.New(ctx, jetstream.Options{Connect: s.nats.Connect})
	if err != nil {
		return s, err
	}
	if s.broker, err = queue.New(d, queue.Options{}); err != nil {
		return s, err
	}
	store, err := natsstore.Open(ctx, natsstore.Options{Conn: s.conn})
	if err != nil {
		return s, err
	}
	if s.client, err = webhook.NewClient(customers); err != nil {
		return s, err
	}
	s.webhooks, err = dispatch.New(ctx, dispatch.Options{
		Broker: s.broker, Client: s.client, Endpoints: store.Endpoints, Events: store.Events, Attempts: store.Attempts,
	})
	if err != nil {
		return s, err
	}
	s.srv, err = polywire.New(polywire.WithWires(native.New(), socketio.New(), drs.New()), polywire.WithQueues(s.broker))
	if err != nil {
		return s, err
	}
	polywire.HandleFunc(s.srv, "login", s.login)
	polywire.HandleFunc(s.srv, "payment.approved", s.approved)
	s.srv.HandleQueue(invoices, s.makeInvoice, queue.HandleOptions{})
	return s, nil
}

// login lets a device into its user's room. A real shop wants a proof.
func (s *shop) login(ctx context.Context, user *string) (*string, error) {
	return user, polywire.MessageFrom(ctx).Conn().Join(room(*user))
}

func room(user string) string { return "user:" + user }

// approved is called by who takes the money. It is answered when nothing of
// what follows can be lost; called again for the same order it changes nothing.
func (s *shop) approved(ctx context.Context, p *Payment) (*Payment, error) {
	id := fmt.Sprintf("payment-%d", p.Order)
	if _, err := s.webhooks.Publish(ctx, webhook.Event{ID: id, Type: "payment.approved", Data: p}); err != nil {
		return nil, err
	}
	if err := s.srv.Room(room(p.User)).Send(ctx, "order.paid", p); err != nil {
		return nil, err
	}
	work, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return p, s.broker.Publish(ctx, queue.Message{
		Queue: invoices, ID: id, Payload: polywire.Payload{Type: codec.TypeJSON, Data: work},
	})
}

// makeInvoice is the worker. It may run twice for one order, should the shop
// end in the middle of it.
func (s *shop) makeInvoice(ctx context.Context, m *polywire.Message) (any, error) {
	var p Payment
	if err := m.Bind(&p); err != nil {
		return nil, queue.Discard(err)
	}
	done := Invoice{p.Order, fmt.Sprintf("invoice-%d.pdf", p.Order)}
	return nil, s.srv.Room(room(p.User)).Send(ctx, "order.invoice", done)
}

// close ends what was opened, in the other direction.
func (s *shop) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	if s.srv != nil {
		errs = append(errs, s.srv.Shutdown(ctx)) // and the broker
	}
	if s.webhooks != nil {
		errs = append(errs, s.webhooks.Shutdown(ctx))
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Shutdown(ctx))
	}
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.nats != nil {
		errs = append(errs, s.nats.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, out io.Writer) (err error) {
	c, err := openCustomer()
	if err != nil {
		return err
	}
	defer c.close()
	s, err := openShop(ctx, inside())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	secret, err := s.register(ctx, c.url)
	if err != nil {
		return err
	}
	if err := c.trust(secret); err != nil {
		return err
	}
	return tell(ctx, out, s, c)
}

// register makes the customer's system an endpoint. The customer is told the
// secret, once.
func (s *shop) register(ctx context.Context, url string) (webhook.Secret, error) {
	_, secret, err := s.webhooks.Add(ctx, webhook.Endpoint{ID: "customer", URL: url, Types: []string{"payment.*"}})
	return secret, err
}
