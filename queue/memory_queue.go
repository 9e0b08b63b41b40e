package queue

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// memoryMessage is one message of a queue: in one of its heaps, or unacked.
type memoryMessage struct {
	e    Envelope
	seq  uint64 // its place among those that wait
	due  time.Time
	lost int
}

// messages is a heap: by the time they are due, and then by their place. Those
// that wait have no due time.
type messages []*memoryMessage

func (m *messages) Len() int { return len(*m) }
func (m *messages) Less(i, j int) bool {
	a, b := (*m)[i], (*m)[j]
	if c := a.due.Compare(b.due); c != 0 {
		return c < 0
	}
	return a.seq < b.seq
}
func (m *messages) Swap(i, j int) { (*m)[i], (*m)[j] = (*m)[j], (*m)[i] }
func (m *messages) Push(x any)    { *m = append(*m, x.(*memoryMessage)) } //nolint:forcetypeassert // nobody else pushes
func (m *messages) Pop() any {
	old := *m
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*m = old[:len(old)-1]
	return last
}

type deadMessage struct {
	seq uint64
	d   Dead
}

// memoryQueue is guarded by its store's mutex.
type memoryQueue struct {
	s       *store
	waiting messages
	delayed messages
	unacked map[*memoryClaim]struct{}
	dead    []deadMessage // by seq
	subs    []*memorySub
	turn    int // of the next subscription
	pumping bool
	timer   *time.Timer
}

// queue returns a queue, made if need be. s.mu is held.
func (s *store) queue(name string) *memoryQueue {
	q := s.queues[name]
	if q == nil {
		q = &memoryQueue{s: s, unacked: make(map[*memoryClaim]struct{})}
		s.queues[name] = q
	}
	return q
}

// add puts a message where it belongs by its time, behind all others.
func (q *memoryQueue) add(msg *memoryMessage) {
	q.s.seq++
	msg.seq, msg.due = q.s.seq, time.Time{}
	if !msg.e.At.After(time.Now()) {
		heap.Push(&q.waiting, msg)
		q.kick()
		return
	}
	msg.due = msg.e.At
	heap.Push(&q.delayed, msg)
	q.schedule()
}

// schedule sets the timer for the first delayed message.
func (q *memoryQueue) schedule() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	if len(q.delayed) > 0 {
		q.timer = time.AfterFunc(time.Until(q.delayed[0].due), q.ripen)
	}
}

// ripen moves what is due to the end of those that wait.
func (q *memoryQueue) ripen() {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	now := time.Now()
	for len(q.delayed) > 0 && !q.delayed[0].due.After(now) {
		msg := heap.Pop(&q.delayed).(*memoryMessage) //nolint:forcetypeassert // as pushed
		q.s.seq++
		msg.seq, msg.due = q.s.seq, time.Time{}
		heap.Push(&q.waiting, msg)
	}
	q.schedule()
	q.kick()
}

// back puts a message to where it was.
func (q *memoryQueue) back(msg *memoryMessage) {
	heap.Push(&q.waiting, msg)
	q.kick()
}

// kick makes somebody deliver. The goroutine ends when there is nothing to do.
func (q *memoryQueue) kick() {
	if !q.pumping && q.pick() != nil {
		q.pumping = true
		go q.pump()
	}
}

// pick returns the subscription that gets the next message; nil: none.
func (q *memoryQueue) pick() *memorySub {
	if len(q.waiting) == 0 {
		return nil
	}
	for i := range q.subs {
		sub := q.subs[(q.turn+i)%len(q.subs)]
		if sub.o.Ordered {
			sub = q.subs[0] // it has the queue until it ends
		}
		if sub.credit > 0 && !sub.stopped {
			q.turn = (q.turn + i + 1) % len(q.subs)
			return sub
		}
	}
	return nil
}

func (q *memoryQueue) pump() {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	for {
		sub := q.pick()
		if sub == nil {
			q.pumping = false
			return
		}
		msg := heap.Pop(&q.waiting).(*memoryMessage) //nolint:forcetypeassert // as pushed
		c := &memoryClaim{sub: sub, msg: msg, epoch: sub.m.epoch}
		c.timer = time.AfterFunc(sub.lease, c.expire)
		q.unacked[c] = struct{}{}
		sub.credit--
		sub.busy = true
		in := Incoming{Envelope: msg.e.clone(), Lost: msg.lost, Claim: c}
		q.s.mu.Unlock()
		sub.r.Receive(in)
		q.s.mu.Lock()
		sub.busy = false
		q.s.free.Broadcast()
	}
}

// release ends a claim, with the message nowhere.
func (q *memoryQueue) release(c *memoryClaim) {
	c.timer.Stop()
	delete(q.unacked, c)
	c.sub.credit++
	q.kick()
}

// lose ends a claim whose holder is gone.
func (q *memoryQueue) lose(c *memoryClaim) {
	q.release(c)
	c.msg.lost++
	q.back(c.msg)
}

// deadAfter returns the index of the first dead letter behind a place.
func (q *memoryQueue) deadAfter(seq uint64) int {
	i, _ := slices.BinarySearchFunc(q.dead, seq+1, func(d deadMessage, seq uint64) int { return cmp.Compare(d.seq, seq) })
	return i
}

// judge does to the letter at a place what a visitor said.
func (q *memoryQueue) judge(seq uint64, v Verdict) {
	i := q.deadAfter(seq - 1)
	if v == Keep || i == len(q.dead) || q.dead[i].seq != seq {
		return // kept, or somebody else was here
	}
	e := q.dead[i].d.Envelope
	q.dead = slices.Delete(q.dead, i, i+1)
	if v == Remove {
		q.s.bytes -= int64(len(e.Payload.Data))
		return
	}
	e.Attempts, e.At = 0, time.Time{}
	q.add(&memoryMessage{e: e})
}

func parseCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%w: cursor %.100q", ErrInvalid, s)
	}
	return n, nil
}

// memorySub is a subscription; its fields are guarded by the store.
type memorySub struct {
	m       *Memory
	q       *memoryQueue
	r       Receiver
	o       ConsumeOptions
	lease   time.Duration
	credit  int
	busy    bool // in Receive
	stopped bool
}

// Lease returns the lease.
func (s *memorySub) Lease() time.Duration { return s.lease }

// Stop waits for a Receive under way.
func (s *memorySub) Stop(context.Context) error {
	mu := &s.q.s.mu
	mu.Lock()
	defer mu.Unlock()
	s.stopped = true
	for s.busy {
		s.q.s.free.Wait() // Receive returns at once
	}
	return nil
}

// Shutdown gives back what is unanswered.
func (s *memorySub) Shutdown(ctx context.Context) error {
	_ = s.Stop(ctx)
	mu := &s.q.s.mu
	mu.Lock()
	defer mu.Unlock()
	for c := range s.q.unacked {
		if c.sub == s {
			s.q.release(c)
			s.q.back(c.msg)
		}
	}
	s.end()
	return nil
}

// end takes the subscription out; the store is locked.
func (s *memorySub) end() {
	s.stopped = true
	delete(s.m.subs, s)
	if i := slices.Index(s.q.subs, s); i >= 0 {
		s.q.subs = slices.Delete(s.q.subs, i, i+1)
	}
	s.q.kick()
}

// memoryClaim is the right to a message until its lease ends.
type memoryClaim struct {
	sub   *memorySub
	msg   *memoryMessage
	epoch int
	timer *time.Timer
}

// answer takes the claim, if it is still held, and does then with the message.
func (c *memoryClaim) answer(then func(q *memoryQueue)) error {
	q := c.sub.q
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	if _, held := q.unacked[c]; !held || c.epoch != c.sub.m.epoch {
		return ErrStale
	}
	q.release(c)
	then(q)
	return nil
}

// Ack removes the message.
func (c *memoryClaim) Ack(context.Context) error {
	return c.answer(func(q *memoryQueue) { q.s.bytes -= int64(len(c.msg.e.Payload.Data)) })
}

// Retry puts it back for later.
func (c *memoryClaim) Retry(_ context.Context, e *Envelope) error {
	return c.answer(func(q *memoryQueue) {
		c.msg.e.Attempts, c.msg.e.LastError, c.msg.e.At = e.Attempts, e.LastError, e.At
		q.add(c.msg)
	})
}

// Bury puts it to the dead letters.
func (c *memoryClaim) Bury(_ context.Context, d *Dead) error {
	return c.answer(func(q *memoryQueue) {
		dead := *d
		dead.Message = c.msg.e.Message
		q.s.seq++
		dead.Cursor = strconv.FormatUint(q.s.seq, 10)
		q.dead = append(q.dead, deadMessage{seq: q.s.seq, d: dead})
	})
}

// Return puts it back to where it was.
func (c *memoryClaim) Return(context.Context) error {
	return c.answer(func(q *memoryQueue) { q.back(c.msg) })
}

// Extend begins the lease anew.
func (c *memoryClaim) Extend(context.Context) error {
	q := c.sub.q
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	if _, held := q.unacked[c]; !held || c.epoch != c.sub.m.epoch {
		return ErrStale
	}
	c.timer.Reset(c.sub.lease)
	return nil
}

// Held reports whether the claim holds.
func (c *memoryClaim) Held() bool {
	q := c.sub.q
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	_, held := q.unacked[c]
	return held && c.epoch == c.sub.m.epoch
}

// expire takes the message from whoever did not answer.
func (c *memoryClaim) expire() {
	q := c.sub.q
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	if _, held := q.unacked[c]; held {
		q.lose(c)
	}
}
