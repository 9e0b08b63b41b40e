// Services is two programs in one: orders and stock, each a server on a unix
// socket and a caller of the other. An order takes goods from the stock, and
// the stock asks the orders how urgent it is. Then the stock goes away and
// comes back. It is the program of DRS's document with names in place of addresses,
// and GOSF's microservices; examples/drs has DRS's own commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/wire/native"
)

func main() {
	dir, err := os.MkdirTemp("", "services")
	if err == nil {
		err = errors.Join(run(context.Background(), os.Stdout, dir), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Order is what a customer wants.
type Order struct {
	ID    string `json:"id"`
	Goods string `json:"goods"`
	Count int    `json:"count"`
}

// Taken is what the stock says.
type Taken struct {
	Left   int  `json:"left"`
	Urgent bool `json:"urgent"`
}

func run(ctx context.Context, out io.Writer, dir string) (err error) {
	ordersURL, stockURL := "unix://"+filepath.Join(dir, "orders"), "unix://"+filepath.Join(dir, "stock")

	orders, err := newProgram(ordersURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, orders.close()) }()
	// The stock need not be there yet.
	stock, err := orders.services.Register("stock", []string{stockURL},
		service.WithIdempotent("stock.count"),
		service.WithRetry(service.Retry{Tries: 1000, Wait: 10 * time.Millisecond, MaxWait: 50 * time.Millisecond}),
		service.WithBackoff(10*time.Millisecond, 50*time.Millisecond),
		service.WithTimeout(20*time.Second))
	if err != nil {
		return err
	}
	polywire.HandleFunc(orders.srv, "order.place", func(ctx context.Context, in *Order) (*Taken, error) {
		var taken Taken
		return &taken, stock.Call(ctx, "stock.take", in, &taken)
	})
	polywire.HandleFunc(orders.srv, "order.urgent", func(_ context.Context, id *string) (*bool, error) {
		return new(*id == "o-1"), nil
	})
	if err := orders.serve(); err != nil {
		return err
	}

	goods := &store{left: map[string]int{"pears": 10}}
	at, err := newStock(stockURL, ordersURL, goods)
	if err != nil {
		return err
	}
	// Calls made now would fail at once until the next try to connect.
	if err := stock.Connect(ctx); err != nil {
		return errors.Join(err, at.close())
	}
	place(ctx, out, orders, Order{"o-1", "pears", 3})
	place(ctx, out, orders, Order{"o-2", "pears", 4})
	place(ctx, out, orders, Order{"o-3", "pears", 5})

	if err := at.close(); err != nil {
		return err
	}
	// A call that is idempotent is tried until the stock is back.
	var left int
	future := stock.Go(ctx, "stock.count", "pears", &left)
	if at, err = newStock(stockURL, ordersURL, goods); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := future.Wait(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "the stock is back:", left, "pears")
	_, err = fmt.Fprintln(out, "stock:", stock.Stats().Health >= service.HealthPartial)
	return err
}

// place orders from within, as any client would from outside.
func place(ctx context.Context, out io.Writer, orders *program, o Order) {
	var taken Taken
	if err := orders.self.Call(ctx, "order.place", o, &taken); err != nil {
		fmt.Fprintf(out, "%s: %v\n", o.ID, err)
		return
	}
	fmt.Fprintf(out, "%s: %d %s, %d left, urgent: %v\n", o.ID, o.Count, o.Goods, taken.Left, taken.Urgent)
}

// store is what the stock has; it outlives its program.
type store struct {
	mu   sync.Mutex
	left map[string]int
}

func (s *store) take(o *Order) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left[o.Goods] < o.Count {
		return 0, polywire.Errorf("sold_out", "only %d %s", s.left[o.Goods], o.Goods)
	}
	s.left[o.Goods] -= o.Count
	return s.left[o.Goods], nil
}

// newStock starts the program that has the goods.
func newStock(url, ordersURL string, goods *store) (*program, error) {
	p, err := newProgram(url)
	if err != nil {
		return nil, err
	}
	orders, err := p.services.Register("orders", []string{ordersURL})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	polywire.HandleFunc(p.srv, "stock.take", func(ctx context.Context, in *Order) (*Taken, error) {
		var urgent bool
		if err := orders.Call(ctx, "order.urgent", in.ID, &urgent); err != nil {
			return nil, err
		}
		left, err := goods.take(in)
		return &Taken{left, urgent}, err
	})
	polywire.HandleFunc(p.srv, "stock.count", func(_ context.Context, name *string) (*int, error) {
		goods.mu.Lock()
		defer goods.mu.Unlock()
		return new(goods.left[*name]), nil
	})
	if err := p.serve(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// program is a server and the services that it calls.
type program struct {
	url      string
	srv      *polywire.Server
	services *service.Registry
	self     *service.Service
	served   chan error
}

func newProgram(url string) (*program, error) {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	if err != nil {
		return nil, err
	}
	p := &program{url: url, srv: srv, services: service.New()}
	p.self, err = p.services.Register("self", []string{url}, service.WithConnections(1), service.WithTimeout(10*time.Second))
	return p, err
}

// serve listens and returns; close waits for the end.
func (p *program) serve() error {
	l, scheme, err := p.srv.Listen(p.url)
	if err != nil {
		return err
	}
	p.served = make(chan error, 1)
	go func() { p.served <- p.srv.Serve(l, scheme) }()
	return p.self.Connect(context.Background())
}

func (p *program) close() error {
	err := errors.Join(p.services.Close(), p.srv.Close())
	if p.served != nil {
		err = errors.Join(err, <-p.served)
	}
	return err
}
