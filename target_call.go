package polywire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/polywire/polywire/wire"
)

// Answer is what one member of a target, or one node, answered.
type Answer[T any] struct {
	Conn  *Conn  // nil when it is on another node
	ID    string // of the connection; empty when a node answered
	Node  string // ID of the node
	Value T
	Err   error // the member's error, or why there is no answer
}

// Collector gathers the answers of a target; see [Collect].
type Collector interface {
	collect(srv *Server, answers []answer)
}

type collector[T any] struct{ into *[]Answer[T] }

// Collect gathers the answers of all members of a [Target] in *into, decoded
// into T, in no order. A member that did not answer in time is there with its Err.
func Collect[T any](into *[]Answer[T]) Collector { return collector[T]{into} }

func (c collector[T]) collect(srv *Server, answers []answer) {
	for _, a := range answers {
		collected := Answer[T]{Conn: a.member.conn, ID: a.member.ID(), Node: a.member.Node(), Err: a.err}
		if a.err == nil {
			collected.Err = srv.bindReply(a.payload, a.args, &collected.Value)
		}
		*c.into = append(*c.into, collected)
	}
}

// answer is what a member has answered, before anybody has looked into it.
type answer struct {
	member  Member
	payload Payload
	args    []Payload
	header  map[string]string
	err     error
}

// collection is the state of a call to many.
type collection struct {
	each func(*answer) // called for each answer; nil: they are kept

	mu       sync.Mutex
	answers  []answer
	missing  int
	complete chan struct{}
	first    bool // one good answer is enough
}

// add takes the answer of a connection here.
func (c *collection) add(from *call) {
	a := answer{member: Member{conn: from.conn}, payload: from.payload, args: from.args, header: from.header, err: from.err}
	if c.each != nil {
		c.each(&a)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing--
	c.keep(a)
}

// addFar takes the answer of a connection on another node.
func (c *collection) addFar(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(a)
}

func (c *collection) keep(a answer) {
	c.answers = append(c.answers, a)
	if (c.missing == 0 || c.first && a.err == nil) && !c.closed() {
		close(c.complete)
	}
}

// farDone says that no more answers of other nodes come.
func (c *collection) farDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing--
	if c.missing == 0 && !c.closed() {
		close(c.complete)
	}
}

func (c *collection) closed() bool {
	select {
	case <-c.complete:
		return true
	default:
		return false
	}
}

// Call asks the members, or those that the pattern picks, at once. out is
// [Collect] for all answers; the error then is about the message itself or
// ctx, and nil if some members failed or were late. Any other out takes the
// first good answer; the error is the last one's where none is good. Without a
// deadline in ctx the server's [WithHandlerTimeout] bounds the wait. No member
// at all is [ErrNoConnections]. In a cluster the error is a *[PartialError] when
// nodes did not answer, which may have members: the answers of the others are there.
func (t Target) Call(ctx context.Context, kind string, v, out any, opts ...SendOption) error {
	o := applySend(opts)
	if o.answer.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.answer.within)
		defer cancel()
	}
	deliver := func(ctx context.Context, o *Outgoing) error { return t.call(ctx, o, out) }
	return t.srv.throughPipes(ctx, &Outgoing{Kind: kind, Header: o.header, Value: v, call: true, deliver: deliver}, o.direct)
}

func (t Target) call(ctx context.Context, o *Outgoing, out any) error {
	ctx, cancel := within(ctx, t.srv.cfg.HandlerTimeout) // giving up must look at all at once
	defer cancel()
	blocking(ctx)
	t, err := t.resolved(ctx)
	if err != nil {
		return err
	}
	members := t.Conns()
	all, isAll := out.(Collector)
	into := &collection{missing: len(members), complete: make(chan struct{}), first: !isAll}
	if !t.far() && len(members) == 0 {
		return ErrNoConnections
	}
	missing := func() []string { return nil }
	if t.far() {
		into.missing++
		if missing, err = t.callOthers(ctx, o, into); err != nil {
			if len(members) == 0 {
				return err
			}
			into.farDone()
		}
	}
	ids := make([]uint64, len(members))
	for i, c := range members {
		ids[i] = c.start(o, into, 0)
	}
	late := context.Canceled // another answer was enough
	select {
	case <-into.complete:
	case <-ctx.Done():
		late = fmt.Errorf("polywire: call of %q: %w", o.Kind, ctx.Err())
	}
	for i, c := range members {
		if ids[i] != 0 && c.forget(ids[i]) {
			(&call{conn: c, into: into}).finish(Payload{}, late)
		}
	}
	absent := missing()
	// What another goroutine took out of the table just now is about to be added.
	<-into.complete
	into.mu.Lock()
	answers := slices.Clone(into.answers)
	into.mu.Unlock()
	if len(absent) > 0 {
		t.srv.node.counters.missing.Add(uint64(len(absent)))
	}
	if len(absent) > 0 && err == nil {
		err = &PartialError{Nodes: absent, Err: late}
	}
	if !isAll {
		return t.firstGood(answers, out, err)
	}
	all.collect(t.srv, answers)
	if len(answers) == 0 && err == nil {
		return ErrNoConnections
	}
	return err
}

// callOthers asks other nodes' members. missing ends the wait for them, and
// returns the nodes that have not answered.
func (t Target) callOthers(ctx context.Context, o *Outgoing, into *collection) (missing func() []string, err error) {
	none := func() []string { return nil }
	q, err := t.callFar(ctx, o, into)
	if err != nil {
		return none, err
	}
	var once sync.Once
	stop := make(chan struct{})
	t.srv.node.goes.Go(func() {
		select {
		case <-q.done:
		case <-stop:
		}
		once.Do(into.farDone)
	})
	return func() []string {
		close(stop)
		once.Do(into.farDone)
		return q.forget()
	}, nil
}

// firstGood decodes the first good answer; why is what else is wrong.
func (t Target) firstGood(answers []answer, out any, why error) error {
	for _, a := range answers {
		if a.err == nil {
			return t.srv.bindReply(a.payload, a.args, out)
		}
	}
	if len(answers) == 0 {
		if why == nil {
			return ErrNoConnections
		}
		return why
	}
	return errors.Join(answers[len(answers)-1].err, why)
}

// start sends one of the calls to many. Zero: it failed, and is in the
// collection. until is when it is given up (wheel clock); 0: the caller does that.
func (c *Conn) start(o *Outgoing, into *collection, until uint32) uint64 {
	waiting := &call{conn: c, into: into, until: until}
	p := wire.Packet{Type: wire.Call, Kind: o.Kind, Header: o.Header}
	if err := c.link.fill(&p, o.Value); err != nil {
		waiting.finish(Payload{}, err)
		return 0
	}
	id, err := c.open(waiting)
	if err != nil {
		waiting.finish(Payload{}, err)
		return 0
	}
	p.ID = id
	if err := c.sendPacket(p, sendFlags{}); err != nil && c.forget(id) {
		waiting.finish(Payload{}, err)
		return 0
	}
	return id
}
