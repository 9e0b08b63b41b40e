package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// extension is how long a lot stays open after its last bid, at least.
const extension = 30 * time.Second

// invoices is the queue of the bookkeeping.
const invoices = "invoices"

// Lot is what an auctioneer opens.
type Lot struct {
	Name    string        `json:"name"`
	Minimum int           `json:"minimum"`
	Lasts   time.Duration `json:"lasts"`
}

// Bid is what somebody offers, and what the others hear.
type Bid struct {
	Lot    string `json:"lot"`
	Amount int    `json:"amount"`
	By     string `json:"by,omitempty"` // set here
}

// House is an auction house: the application that is tested.
type House struct {
	srv *polywire.Server

	mu   sync.Mutex
	lots map[string]*lot
}

type lot struct {
	Lot
	best  Bid
	ends  time.Time
	timer *time.Timer
}

// NewHouse returns a house that has not opened yet. Tests choose wires,
// authentication and the broker by options, as main does.
func NewHouse(opts ...polywire.Option) (*House, error) {
	srv, err := polywire.New(opts...)
	if err != nil {
		return nil, err
	}
	h := &House{srv: srv, lots: make(map[string]*lot)}
	polywire.HandleFunc(srv, "lot.open", h.open)
	srv.Handle("lot.bid", h.bid)
	srv.HandleQueue(invoices, h.invoice, queue.HandleOptions{})
	return h, nil
}

// Close stops the clocks of the lots. The server is closed by who serves it.
func (h *House) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lots {
		l.timer.Stop()
	}
}

func room(lot string) string { return "lot:" + lot }

func (h *House) open(_ context.Context, in *Lot) (*struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lots[in.Name] != nil {
		return nil, polywire.Errorf(polywire.CodeConflict, "%s is open already", in.Name)
	}
	l := &lot{Lot: *in, best: Bid{Lot: in.Name, Amount: in.Minimum - 1}, ends: time.Now().Add(in.Lasts)}
	l.timer = time.AfterFunc(in.Lasts, func() { h.hammer(l) })
	h.lots[in.Name] = l
	return nil, nil //nolint:nilnil // an empty answer
}

// bid takes a bid, and tells all who watch the lot.
func (h *House) bid(ctx context.Context, m *polywire.Message) (any, error) {
	var b Bid
	if err := m.Bind(&b); err != nil {
		return nil, err
	}
	if b.By = m.Conn().User(); b.By == "" {
		return nil, polywire.Errorf(polywire.CodeUnauthorized, "only members bid")
	}
	if err := h.raise(b); err != nil {
		return nil, err
	}
	if err := m.Conn().Join("user:" + b.By); err != nil {
		return nil, err
	}
	return nil, h.srv.Room(room(b.Lot)).Send(ctx, "lot.raised", b)
}

func (h *House) raise(b Bid) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lots[b.Lot]
	switch {
	case l == nil:
		return polywire.Errorf(polywire.CodeNotFound, "no lot %s", b.Lot)
	case b.Amount <= l.best.Amount:
		return polywire.Errorf(polywire.CodeConflict, "more than %d, please", l.best.Amount)
	}
	l.best = b
	if left := time.Until(l.ends); left < extension {
		l.ends = time.Now().Add(extension)
		l.timer.Reset(extension)
	}
	return nil
}

// hammer ends a lot.
func (h *House) hammer(l *lot) {
	h.mu.Lock()
	if time.Now().Before(l.ends) { // a bid was faster
		h.mu.Unlock()
		return
	}
	delete(h.lots, l.Name)
	best := l.best
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := h.srv.Room(room(l.Name)).Send(ctx, "lot.sold", best)
	if best.By != "" {
		text, bad := json.Marshal(best)
		m := queue.Message{Queue: invoices, Payload: codec.Payload{Type: codec.TypeJSON, Data: text}}
		err = errors.Join(err, bad, h.srv.Queues().Publish(ctx, m))
	}
	if err != nil {
		fmt.Println("auction:", err)
	}
}

// invoice is the bookkeeping's worker.
func (h *House) invoice(ctx context.Context, m *polywire.Message) (any, error) {
	var b Bid
	if err := m.Bind(&b); err != nil {
		return nil, err
	}
	return nil, h.srv.Room("user:"+b.By).Send(ctx, "invoice", fmt.Sprintf("%s: %d", b.Lot, b.Amount))
}
