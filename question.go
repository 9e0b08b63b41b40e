package polywire

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/envelope"
)

// PartialError says that what was asked of all nodes was not answered by some
// of them in time: there it may have been done or not.
type PartialError struct {
	Nodes []string // IDs of the nodes that did not answer
	Err   error    // why: the context's error, or one that wraps cluster.ErrUnavailable
}

// Error says how many nodes are missing.
func (e *PartialError) Error() string {
	return fmt.Sprintf("polywire: %d nodes did not answer: %v", len(e.Nodes), e.Err)
}

// Unwrap returns Err.
func (e *PartialError) Unwrap() error { return e.Err }

// question waits for the answers of other nodes.
type question struct {
	n  *node
	id uint64
	on func(from string, e *envelope.Envelope) // for each answer, one at a time

	mu      sync.Mutex
	waiting map[string]*owed
	lost    []string // nodes that have gone without an answer
	over    bool
	done    chan struct{} // closed when nobody is waited for any more
}

// owed is what a node is to answer yet.
type owed struct {
	told bool // how many items come
	left int
}

// ask publishes a question to topics, and waits for answers of the nodes named.
// Where not all of those listen to the topics, probe lets the others say so.
func (n *node) ask(ctx context.Context, e *envelope.Envelope, topics, nodes []string, probe bool, on func(string, *envelope.Envelope)) (*question, error) {
	q := &question{n: n, on: on, waiting: make(map[string]*owed, len(nodes)), done: make(chan struct{})}
	for _, id := range nodes {
		q.waiting[id] = &owed{}
	}
	n.mu.Lock()
	n.asked++
	q.id = n.asked
	n.questions[q.id] = q
	n.mu.Unlock()
	if len(nodes) == 0 {
		q.close()
		return q, nil
	}
	n.counters.questions.Add(1)
	e.ID = q.id
	if until, ok := ctx.Deadline(); ok {
		e.Millis = uint64(max(time.Until(until), time.Millisecond) / time.Millisecond)
	}
	err := n.publish(ctx, topics, e)
	if err == nil && probe {
		// Behind the question on the way to each node: who has not got that by
		// now does not get it.
		err = n.publish(ctx, []string{topicAll}, &envelope.Envelope{Op: envelope.Probe, ID: q.id})
	}
	if err != nil {
		q.forget()
		return nil, err
	}
	return q, nil
}

// answered takes an answer to where it is waited for.
func (n *node) answered(from string, e *envelope.Envelope) {
	n.mu.Lock()
	q := n.questions[e.ID]
	n.mu.Unlock()
	if q == nil {
		return // it was answered well enough, or too late
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	o := q.waiting[from]
	if q.over || o == nil {
		return
	}
	if e.Expect > 0 && !o.told {
		o.told = true
		o.left += int(e.Expect) - 1
	}
	o.left -= len(e.Items)
	q.on(from, e)
	if o.told && o.left <= 0 {
		delete(q.waiting, from)
	}
	q.closeIfDone()
}

// lose gives up on a node that has gone.
func (q *question) lose(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[id] != nil {
		delete(q.waiting, id)
		q.lost = append(q.lost, id)
		q.closeIfDone()
	}
}

func (q *question) closeIfDone() {
	if len(q.waiting) == 0 && !q.over {
		q.close()
	}
}

func (q *question) close() {
	q.over = true
	close(q.done)
}

// abandon ends the wait for all.
func (q *question) abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.waiting {
		q.lost = append(q.lost, id)
	}
	clear(q.waiting)
	q.closeIfDone()
}

// forget ends the question: answers that come from now on are nobody's. It
// returns the nodes that have not answered all.
func (q *question) forget() (missing []string) {
	q.n.mu.Lock()
	delete(q.n.questions, q.id)
	q.n.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	missing = slices.Clone(q.lost)
	for id := range q.waiting {
		missing = append(missing, id)
	}
	slices.Sort(missing)
	return missing
}

// wait waits for all answers, or until ctx ends.
func (q *question) wait(ctx context.Context) error {
	var err error
	select {
	case <-q.done:
		err = fmt.Errorf("polywire: nodes have gone: %w", cluster.ErrUnavailable)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if missing := q.forget(); len(missing) > 0 {
		q.n.counters.missing.Add(uint64(len(missing)))
		return &PartialError{Nodes: missing, Err: err}
	}
	return nil
}

// answerBytes is about how much of an answer goes into one envelope.
const answerBytes = 256 << 10

// answer sends items to the node that has asked, and says how many come in all;
// total below zero: that has been said.
func (n *node) answer(to string, id uint64, total int, items []envelope.Item) {
	e := envelope.Envelope{Op: envelope.Answer, ID: id}
	if total >= 0 {
		e.Expect = uint64(total) + 1
	}
	for {
		size, k := 0, 0
		for k < len(items) && (k == 0 || size < answerBytes) {
			for _, a := range items[k].Args {
				size += len(a.Data)
			}
			size += 64
			k++
		}
		e.Items, items = items[:k], items[k:]
		n.tell(to, &e)
		if len(items) == 0 {
			return
		}
		e.Expect = 0
	}
}

// tell sends an answer; that it cannot be sent is for the log: who waits for it
// is told by the time.
func (n *node) tell(to string, e *envelope.Envelope) {
	if err := n.publish(n.ctx, []string{topicNode(to)}, e); err != nil && n.ctx.Err() == nil {
		n.srv.reportError(nil, err)
	}
}

// lateCalls is how many calls of others are remembered for their probes.
const lateCalls = 4096

// noteCall remembers a call, so that its probe is not taken for one that came alone.
func (n *node) noteCall(from string, id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := probeKey{from, id}
	n.calls[key] = struct{}{}
	n.lately = append(n.lately, key)
	if len(n.lately) > lateCalls {
		delete(n.calls, n.lately[0])
		n.lately = n.lately[1:]
	}
}

func (n *node) hadCall(from string, id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, had := n.calls[probeKey{from, id}]
	return had
}
