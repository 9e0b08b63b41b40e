package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/webhook"
)

// inside lets webhooks go to this machine, which strangers' URLs must not.
func inside() webhook.ClientOptions {
	return webhook.ClientOptions{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

// customer is somebody else's system: it receives webhooks.
type customer struct {
	url    string
	srv    *http.Server
	events chan Payment
	verify atomic.Pointer[http.Handler] // nil until it knows the secret
	served chan struct{}
}

func openCustomer() (*customer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &customer{url: "http://" + l.Addr().String() + "/hooks", events: make(chan Payment, 10), served: make(chan struct{})}
	c.srv = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := c.verify.Load()
		if h == nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable) // and the shop tries again
			return
		}
		(*h).ServeHTTP(w, r)
	})}
	go func() {
		defer close(c.served)
		_ = c.srv.Serve(l) // until close
	}()
	return c, nil
}

func (c *customer) close() {
	_ = c.srv.Close() // over either way
	<-c.served
}

// trust tells the customer's system the secret. From now on it takes what is
// signed with it, each message once.
func (c *customer) trust(secret webhook.Secret) error {
	v, err := webhook.NewVerifier(webhook.VerifierOptions{}, secret)
	if err != nil {
		return err
	}
	h := webhook.Middleware(v, webhook.ReceiverOptions{})(http.HandlerFunc(c.receive))
	c.verify.Store(&h)
	return nil
}

func (c *customer) receive(w http.ResponseWriter, r *http.Request) {
	var event struct {
		Data Payment `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		http.Error(w, "no event", http.StatusBadRequest)
		return
	}
	c.events <- event.Data
}

// device is one of a user's, on some wire.
type device struct {
	*client.Client

	name     string
	paid     chan Payment
	invoices chan Invoice
}

func openDevice(ctx context.Context, name, url, user string) (*device, error) {
	c, err := client.New(url)
	if err != nil {
		return nil, err
	}
	d := &device{c, name, make(chan Payment, 10), make(chan Invoice, 10)}
	polywire.HandleFunc(c, "order.paid", func(_ context.Context, p *Payment) (*Payment, error) {
		d.paid <- *p
		return nil, nil
	})
	polywire.HandleFunc(c, "order.invoice", func(_ context.Context, i *Invoice) (*Invoice, error) {
		d.invoices <- *i
		return nil, nil
	})
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	if err := c.Call(ctx, "login", user, nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return d, nil
}

// tell lets it happen, and prints what everybody hears.
func tell(ctx context.Context, out io.Writer, s *shop, c *customer) error {
	web, _, err := s.listen("ws://127.0.0.1:0")
	if err != nil {
		return err
	}
	tcp, scheme, err := s.listen("drs+tcp://127.0.0.1:0")
	if err != nil {
		return err
	}
	var devices []*device
	for _, at := range []struct{ name, url string }{
		{"phone (native)", "ws://" + web},
		{"browser (Socket.IO)", "socketio+http://" + web},
		{"till (DRS)", scheme + "://" + tcp},
	} {
		d, err := openDevice(ctx, at.name, at.url, "ann")
		if err != nil {
			return fmt.Errorf("%s: %w", at.name, err)
		}
		defer d.Close() //nolint:errcheck // over either way
		devices = append(devices, d)
	}
	bank, err := client.Dial(ctx, "ws://"+web)
	if err != nil {
		return err
	}
	defer bank.Close() //nolint:errcheck // over either way
	if err := bank.Call(ctx, "payment.approved", Payment{Order: 7, User: "ann", Cents: 4200}, nil); err != nil {
		return err
	}
	fmt.Fprintln(out, "the payment of order 7 is approved: nothing of what follows can be lost")
	p, err := next(ctx, c.events)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the customer's system has a verified webhook: order %d, %d cents\n", p.Order, p.Cents)
	for _, d := range devices {
		p, err := next(ctx, d.paid)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "ann's %s: order %d is paid\n", d.name, p.Order)
	}
	for _, d := range devices {
		i, err := next(ctx, d.invoices)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "ann's %s: %s is ready\n", d.name, i.File)
	}
	return nil
}

// listen serves at an address.
func (s *shop) listen(address string) (at, scheme string, err error) {
	l, scheme, err := s.srv.Listen(address)
	if err != nil {
		return "", "", err
	}
	go s.srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	return l.Addr().String(), scheme, nil
}

func next[T any](ctx context.Context, ch <-chan T) (v T, err error) {
	select {
	case v = <-ch:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}
