package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxMemoryBytes is the largest message that a [Memory] carries, 2 MiB.
const MaxMemoryBytes = 2 << 20

// memoryQueueBytes is what may wait for a receiver, 64 MiB; see [Memory.Bound].
const memoryQueueBytes = 64 << 20

// memoryOverhead is about what a waiting message takes beside its bytes.
const memoryOverhead = 160

// memoryBatch is how many things a node keeps room for when its queue is empty.
const memoryBatch = 4096

// Memory is an engine in this process's memory, and an [Adapter] to it: servers
// that are given the same one are a cluster. Its buses are [Historian]s; their
// logs are in memory whatever their options say, as long as the Memory is.
//
// Each node has a goroutine that calls its receiver, and a queue before it that
// is bounded in bytes: messages that do not fit are lost, as on a network. For
// tests it can fail in the ways in which engines do; see [Memory.Fail],
// [Memory.Cut], [Memory.Kill], [Memory.Drop] and [Memory.LoseLogs]. It keeps
// time by timers, so that tests can make it virtual. Methods may be called by
// many goroutines at once, but not by receivers and not by Drop's function.
type Memory struct {
	dropped atomic.Uint64

	mu      sync.Mutex
	bound   int64
	nodes   map[string]*memoryNode // those that have not left
	version uint64                 // of what Nodes tells
	wanted  memoryInterests
	logs    map[string]*memoryLog
	lose    func(to string, m Message) bool
	down    bool
	back    chan struct{} // closed when the engine is, and made anew

	publications uint64
}

// NewMemory returns an engine without nodes.
func NewMemory() *Memory {
	return &Memory{
		bound: memoryQueueBytes, nodes: make(map[string]*memoryNode),
		wanted: make(memoryInterests), logs: make(map[string]*memoryLog), back: make(chan struct{}),
	}
}

// Open implements [Adapter].
func (h *Memory) Open(ctx context.Context, self Node, r Receiver) (Bus, error) {
	if self.ID == "" || r == nil {
		return nil, errors.New("cluster: a node needs an ID and a receiver")
	}
	n := &memoryNode{
		h: h, id: self.ID, self: cloneNode(self), r: r, listed: true,
		interests: make(map[string]struct{}), logs: make(map[*memoryLog]map[string]struct{}),
		told: make(chan struct{}), ended: make(chan struct{}),
	}
	n.wake.L = &n.queue
	if err := h.admit(ctx, n); err != nil {
		return nil, err
	}
	select {
	case <-n.told:
		return n, nil
	case <-ctx.Done():
		_ = n.Shutdown(ctx)
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// admit waits for the engine, and makes the node one of its nodes.
func (h *Memory) admit(ctx context.Context, n *memoryNode) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.down {
		back := h.back
		h.mu.Unlock()
		select {
		case <-back:
		case <-ctx.Done():
		}
		h.mu.Lock()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	if h.nodes[n.id] != nil {
		return fmt.Errorf("cluster: there is a node %q", n.id)
	}
	h.nodes[n.id] = n
	h.changedNodes()
	go n.run()
	return nil
}

// changedNodes tells all nodes who is alive. h.mu is held.
func (h *Memory) changedNodes() {
	h.version++
	for _, n := range h.nodes {
		h.tellNodes(n)
	}
}

// tellNodes tells a node who is alive, if it can be reached and does not know
// yet. h.mu is held.
func (h *Memory) tellNodes(n *memoryNode) {
	if n.version == h.version || !h.reaches(n) {
		return
	}
	n.version = h.version
	alive := make([]Node, 0, len(h.nodes))
	for _, other := range h.nodes {
		if other.listed {
			alive = append(alive, cloneNode(other.self))
		}
	}
	slices.SortFunc(alive, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	n.put(memoryItem{nodes: alive})
}

// reaches reports whether the engine and a node can talk. h.mu is held.
func (h *Memory) reaches(n *memoryNode) bool { return !h.down && !n.cut && !n.dead && !n.closed }

func cloneNode(n Node) Node {
	n.Services = slices.Sorted(slices.Values(n.Services))
	n.Meta = maps.Clone(n.Meta)
	return n
}

// memoryInterests are the nodes that want a topic.
type memoryInterests map[string]map[*memoryNode]struct{}

func (w memoryInterests) set(topic string, n *memoryNode, on bool) {
	nodes := w[topic]
	switch {
	case on && nodes == nil:
		w[topic] = map[*memoryNode]struct{}{n: {}}
	case on:
		nodes[n] = struct{}{}
	default:
		delete(nodes, n)
		if len(nodes) == 0 {
			delete(w, topic)
		}
	}
}

func badTopic(topic string) bool { return topic == "" || len(topic) > MaxTopicBytes }

func errTopic(topic string) error {
	return fmt.Errorf("cluster: a topic has 1 to %d bytes, not %d", MaxTopicBytes, len(topic))
}

// memoryNode is one node's [Bus]. Its fields above the queue are guarded by
// the engine's lock.
type memoryNode struct {
	h  *Memory
	id string
	r  Receiver

	self      Node
	unsaid    *Node  // announced while the engine was away
	version   uint64 // of what it has been told of the nodes
	got       uint64 // the last publication
	interests map[string]struct{}
	logs      map[*memoryLog]map[string]struct{} // opened here, and the interests in them
	listed    bool                               // the others believe it to be alive
	cut       bool                               // it and the engine cannot talk
	dead      bool                               // it was killed
	closed    bool
	loss      *time.Timer // until the others are told that it has gone

	stopped atomic.Bool // the receiver gets nothing more
	waiting atomic.Int64
	told    chan struct{} // closed when the receiver has been told of the nodes
	ended   chan struct{} // closed when run is over

	queue sync.Mutex
	wake  sync.Cond
	items []memoryItem
}

// memoryItem is a thing to tell a receiver: a message, nodes, or that the
// engine has gone or come.
type memoryItem struct {
	message Message
	nodes   []Node
	news    memoryNews
}

type memoryNews int8

const (
	memoryUp memoryNews = iota + 1
	memoryDown
)

func (it *memoryItem) size() int64 {
	if it.nodes != nil || it.news != 0 {
		return 0
	}
	return int64(len(it.message.Data)) + memoryOverhead
}

// put adds to the node's queue, unless that is full. The engine's lock is held,
// so that all queues have things in the same order.
func (n *memoryNode) put(it memoryItem) {
	size := it.size()
	if size > 0 && n.waiting.Load()+size > n.h.bound {
		n.h.dropped.Add(1)
		return
	}
	n.waiting.Add(size)
	n.queue.Lock()
	n.items = append(n.items, it)
	n.queue.Unlock()
	n.wake.Signal()
}

// run calls the receiver until the node ends.
func (n *memoryNode) run() {
	defer close(n.ended)
	var batch []memoryItem
	first := true
	for {
		n.queue.Lock()
		for len(n.items) == 0 && !n.stopped.Load() {
			n.wake.Wait()
		}
		batch, n.items = n.items, batch[:0]
		n.queue.Unlock()
		for i := range batch {
			if n.stopped.Load() {
				return
			}
			it := &batch[i]
			n.waiting.Add(-it.size())
			switch {
			case it.nodes != nil:
				n.r.Nodes(it.nodes)
				if first {
					first = false
					close(n.told)
				}
			case it.news != 0:
				n.r.Available(it.news == memoryUp)
			default:
				n.r.Receive(it.message)
			}
		}
		if n.stopped.Load() {
			return
		}
		clear(batch)
		if cap(batch) > memoryBatch {
			batch = nil
		}
	}
}

// stop ends the calls of the receiver, and waits for the one that runs.
func (n *memoryNode) stop() {
	n.queue.Lock()
	n.stopped.Store(true)
	n.queue.Unlock()
	n.wake.Broadcast()
	<-n.ended
}

// usable says why nothing can be asked of the engine; nil when something can.
// The engine's lock is held.
func (n *memoryNode) usable(ctx context.Context) error {
	switch {
	case n.closed:
		return ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("cluster: %w", context.Cause(ctx))
	case !n.h.reaches(n):
		return ErrUnavailable
	}
	return nil
}

// Interest implements [Bus].
func (n *memoryNode) Interest(topic string, on bool) {
	if badTopic(topic) {
		return
	}
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	if n.closed || n.dead {
		return
	}
	if on {
		n.interests[topic] = struct{}{}
	} else {
		delete(n.interests, topic)
	}
	n.h.wanted.set(topic, n, on)
}

// Sync implements [Bus].
func (n *memoryNode) Sync(ctx context.Context) error {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	return n.usable(ctx)
}

// Publish implements [Bus].
func (n *memoryNode) Publish(ctx context.Context, topics []string, data []byte) error {
	for _, t := range topics {
		if badTopic(t) {
			return errTopic(t)
		}
	}
	if len(data) > MaxMemoryBytes {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	h := n.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := n.usable(ctx); err != nil {
		return err
	}
	h.publications++
	n.got = h.publications // it is not for itself
	m := Message{From: n.id}
	for _, topic := range topics {
		m.Topic = topic
		for to := range h.wanted[topic] {
			if to.got == h.publications {
				continue
			}
			to.got = h.publications
			if m.Data == nil {
				m.Data = append([]byte{}, data...)
			}
			h.give(to, m)
		}
	}
	return nil
}

// give queues a message for a node that wants it. h.mu is held.
func (h *Memory) give(to *memoryNode, m Message) {
	if h.reaches(to) && (h.lose == nil || !h.lose(to.id, m)) {
		to.put(memoryItem{message: m})
	}
}

// Announce implements [Bus]. While the engine is away it is kept for later.
func (n *memoryNode) Announce(self Node) error {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	self.ID = n.id
	self = cloneNode(self)
	if n.h.reaches(n) {
		n.self = self
		n.h.changedNodes()
	} else {
		n.unsaid = &self
	}
	return nil
}

// Shutdown implements [Bus].
func (n *memoryNode) Shutdown(context.Context) error {
	h := n.h
	h.mu.Lock()
	if !n.closed {
		polite := h.reaches(n)
		if !polite {
			h.lost(n)
		}
		n.closed = true
		n.forget()
		if polite {
			delete(h.nodes, n.id)
			h.changedNodes()
		}
	}
	h.mu.Unlock()
	n.stop()
	return nil
}

// forget drops what the node wanted. The engine's lock is held.
func (n *memoryNode) forget() {
	for topic := range n.interests {
		n.h.wanted.set(topic, n, false)
	}
	for l, topics := range n.logs {
		for topic := range topics {
			l.wanted.set(topic, n, false)
		}
		delete(l.users, n)
	}
	n.interests, n.logs = nil, nil
}
