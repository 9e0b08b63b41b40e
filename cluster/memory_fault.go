package cluster

import (
	"crypto/rand"
	"time"
)

// memoryDetection is how long a node that was killed or cut off is believed to
// be alive.
const memoryDetection = 5 * time.Second

// Dropped returns how many messages did not fit into their receivers' queues.
func (h *Memory) Dropped() uint64 { return h.dropped.Load() }

// Bound sets how many bytes may wait for each receiver from now on. Default: 64 MiB.
func (h *Memory) Bound(bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound = int64(bytes)
}

// Fail takes the engine away from all nodes until [Memory.Restore].
func (h *Memory) Fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return
	}
	for _, n := range h.nodes {
		h.tellNews(n, memoryDown)
	}
	h.down = true
}

// Restore ends [Memory.Fail].
func (h *Memory) Restore() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down {
		return
	}
	h.down = false
	close(h.back)
	h.back = make(chan struct{})
	for _, n := range h.nodes {
		h.welcome(n)
	}
	h.catchUp()
}

// Cut takes the engine away from one node until [Memory.Heal]. If that lasts
// more than 5 s the others are told that it has gone, until it is back.
func (h *Memory) Cut(nodeID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nodes[nodeID]
	if n == nil || n.cut || n.dead || n.closed {
		return
	}
	h.tellNews(n, memoryDown)
	n.cut = true
	h.vanish(n)
}

// Heal ends [Memory.Cut].
func (h *Memory) Heal(nodeID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nodes[nodeID]
	if n == nil || !n.cut || n.dead || n.closed {
		return
	}
	n.cut = false
	n.loss.Stop()
	if !n.listed {
		n.listed = true
		h.version++
	}
	h.welcome(n)
	h.catchUp()
}

// Kill ends a node as the death of its process would: nobody says goodbye, and
// the others are told 5 s later. When it returns the node's receiver is not
// called any more; its bus answers with [ErrUnavailable] until it is closed.
func (h *Memory) Kill(nodeID string) {
	h.mu.Lock()
	n := h.nodes[nodeID]
	if n == nil || n.dead || n.closed {
		h.mu.Unlock()
		return
	}
	h.lost(n)
	n.dead = true
	n.forget()
	h.mu.Unlock()
	n.stop()
}

// Drop loses the messages for which lose is true on their way to a node, those
// of logs too; they stay in the log. It is called with the receiving node's ID,
// one message at a time; nil ends it.
func (h *Memory) Drop(lose func(to string, m Message) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lose = lose
}

// LoseLogs empties all logs, as the loss of the engine's storage would: their
// epochs end.
func (h *Memory) LoseLogs() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.logs {
		l.reset()
	}
}

// lost lets a node that says no goodbye be missed, unless it is already. h.mu
// is held.
func (h *Memory) lost(n *memoryNode) {
	switch {
	case n.dead:
	case !n.cut:
		h.vanish(n)
	case !n.listed:
		delete(h.nodes, n.id)
	}
}

// vanish lets the others believe in a node for a while. h.mu is held.
func (h *Memory) vanish(n *memoryNode) {
	n.loss = time.AfterFunc(memoryDetection, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !n.cut && !n.dead && !n.closed {
			return // it is back
		}
		n.listed = false
		if n.dead || n.closed {
			delete(h.nodes, n.id)
		}
		h.changedNodes()
	})
}

// tellNews tells a node that can be reached. h.mu is held.
func (h *Memory) tellNews(n *memoryNode, news memoryNews) {
	if h.reaches(n) {
		n.put(memoryItem{news: news})
	}
}

// welcome tells a node that the engine is back, and takes what it has to say.
// h.mu is held.
func (h *Memory) welcome(n *memoryNode) {
	h.tellNews(n, memoryUp)
	if n.unsaid != nil && h.reaches(n) {
		n.self, n.unsaid = *n.unsaid, nil
		h.version++
	}
}

// catchUp tells all nodes what they do not know yet. h.mu is held.
func (h *Memory) catchUp() {
	for _, n := range h.nodes {
		h.tellNodes(n)
	}
}

// newEpoch returns a name that no other log has, nor this one had.
func newEpoch() string { return rand.Text()[:16] }
