package natscluster

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/cluster"
)

// inboxMessages is how many messages nats.go may hand over at once. They are
// taken from there at once, whatever the receiver does.
const inboxMessages = 8192

// messageBytes is what a message takes beside its text.
const messageBytes = 320

// inbox is what has come for the receiver: messages within a bound in bytes,
// and news of nodes and of the engine, which are never dropped. All
// subscriptions of a node lead into it, so what came in order stays in order.
type inbox struct {
	b    *Bus
	r    cluster.Receiver
	in   chan *nats.Msg
	wake chan struct{}

	waiting atomic.Int64 // bytes

	mu    sync.Mutex
	items []item

	senders map[string]*sender // the deliverer's
}

// sender is another node, as far as its messages are concerned.
type sender struct {
	id   string
	last uint64 // number of its last message that had copies
}

type itemKind int

const (
	itemMessage itemKind = iota
	itemNodes
	itemAvailable
)

// item is one thing to tell the receiver.
type item struct {
	kind  itemKind
	msg   *nats.Msg
	gaps  uint64 // Bus.gaps, when it came
	nodes []cluster.Node
	told  chan struct{} // closed when the receiver knows the nodes
	up    bool
}

func (it *item) bytes() int64 {
	if it.msg == nil || it.msg.Sub == nil {
		return 0
	}
	n := messageBytes + len(it.msg.Data) + len(it.msg.Subject)
	if it.msg.Header != nil { // of logs: six short ones
		n += messageBytes
	}
	return int64(n)
}

func newInbox(b *Bus, r cluster.Receiver) *inbox {
	return &inbox{
		b: b, r: r,
		in: make(chan *nats.Msg, inboxMessages), wake: make(chan struct{}, 1),
		senders: make(map[string]*sender),
	}
}

// pump takes messages from nats.go.
func (in *inbox) pump() {
	for {
		select {
		case m := <-in.in:
			in.put(item{kind: itemMessage, msg: m})
		case <-in.b.ctx.Done():
			return
		}
	}
}

// last says that nothing more comes by a subscription: a message that has none.
func (in *inbox) last(subject string) {
	select {
	case in.in <- &nats.Msg{Subject: subject}:
	case <-in.b.ctx.Done():
	}
}

// put adds an item.
func (in *inbox) put(it item) {
	size := it.bytes()
	if waiting := in.waiting.Load(); size > 0 && waiting > 0 && waiting+size > int64(in.b.opts.QueueBytes) {
		in.b.counters.dropped.Add(1)
		in.b.gaps.Add(1)
		return
	}
	it.gaps = in.b.gaps.Load()
	in.waiting.Add(size)
	in.mu.Lock()
	in.items = append(in.items, it)
	in.mu.Unlock()
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// deliver is the one goroutine that calls the receiver.
func (in *inbox) deliver() {
	var batch []item
	for {
		select {
		case <-in.wake:
		case <-in.b.ctx.Done():
			return
		}
		in.mu.Lock()
		batch, in.items = in.items, batch[:0]
		in.mu.Unlock()
		for i := range batch {
			if in.b.ctx.Err() != nil {
				return
			}
			in.tell(&batch[i])
			in.waiting.Add(-batch[i].bytes())
			batch[i] = item{}
		}
		if cap(batch) > inboxMessages {
			batch = nil
		}
	}
}

func (in *inbox) tell(it *item) {
	switch it.kind {
	case itemNodes:
		for id := range in.senders {
			if !slices.ContainsFunc(it.nodes, func(n cluster.Node) bool { return n.ID == id }) {
				delete(in.senders, id)
			}
		}
		in.r.Nodes(it.nodes)
		if it.told != nil {
			close(it.told)
		}
	case itemAvailable:
		in.r.Available(it.up)
	case itemMessage:
		in.message(it)
	}
}

// message gives a message to the receiver.
func (in *inbox) message(it *item) {
	if it.msg.Sub == nil {
		in.b.interests.forget(it.msg.Subject)
		return
	}
	to := in.b.interests.find(it.msg.Sub.Subject)
	if to == nil {
		return
	}
	from, seq, data, err := parseFrame(it.msg.Data)
	if err != nil {
		in.b.counters.malformed.Add(1)
		return
	}
	s := in.senders[string(from)]
	if s == nil {
		s = &sender{id: string(from)}
		in.senders[s.id] = s
	}
	msg := cluster.Message{From: s.id, Topic: to.topic, Data: data}
	switch {
	case to.place != nil:
		switch to.place(it, to, &msg) {
		case malformed:
			in.b.counters.malformed.Add(1)
			return
		case unwanted:
			return
		}
	case s.id == in.b.id:
		return // a connection that does echo
	case seq != 0:
		// Copies of a message follow each other, so the others have come.
		if seq <= s.last {
			return
		}
		s.last = seq
	}
	in.b.counters.received.Add(1)
	in.r.Receive(msg)
}
