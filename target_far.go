package polywire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/envelope"
	"github.com/polywire/polywire/wire"
)

// far reports whether members may be on other nodes.
func (t Target) far() bool {
	return t.srv.node != nil && !t.local && (!t.listed || len(t.others) > 0)
}

// nodesTime bounds what is asked of all nodes where the context does not.
const nodesTime = 5 * time.Second

func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// everywhere lets all other nodes do something with their members, and waits
// for their answers. The error is nil, a *[PartialError], or why nobody was asked.
func (t Target) everywhere(ctx context.Context, e *envelope.Envelope, on func(from string, e *envelope.Envelope)) error {
	if !t.far() {
		return nil
	}
	blocking(ctx)
	ctx, cancel := within(ctx, nodesTime)
	defer cancel()
	n := t.srv.node
	e.Target = t.selection()
	q, err := n.ask(ctx, e, []string{topicAll}, n.others(), false, on)
	if err != nil {
		return err
	}
	return q.wait(ctx)
}

// operateHere does what another node wants of the members here.
func (n *node) operateHere(from string, e *envelope.Envelope) {
	t, ok := n.target(&e.Target)
	a := envelope.Envelope{Op: envelope.Answer, ID: e.ID, Expect: 1}
	if !ok {
		n.tell(from, &a)
		return
	}
	switch e.Op {
	case envelope.Count:
		a.Code = uint32(t.countHere())
	case envelope.Members:
		items := t.membersHere(e.Flags&flagBrief != 0)
		n.answer(from, e.ID, len(items), items)
		return
	case envelope.Join:
		t.joinHere(e.Names)
	case envelope.Leave:
		t.leaveHere(e.Names)
	default:
		t.disconnectHere(CloseCode(e.Code), e.Text)
	}
	n.tell(from, &a)
}

func (t Target) membersHere(brief bool) []envelope.Item {
	var items []envelope.Item
	for _, c := range t.Conns() {
		about, err := json.Marshal(c.about(brief))
		if err == nil {
			items = append(items, envelope.Item{ID: c.ID(), Args: []Payload{{Type: codec.TypeJSON, Data: about}}})
		}
	}
	return items
}

// Members returns the members on all nodes, before any pattern chooses. With a
// *[PartialError] come those of the nodes that have answered.
func (t Target) Members(ctx context.Context) ([]Member, error) { return t.members(ctx, false) }

func (t Target) members(ctx context.Context, brief bool) ([]Member, error) {
	all := membersOf(t.Conns())
	e := &envelope.Envelope{Op: envelope.Members}
	if brief {
		e.Flags = flagBrief
	}
	err := t.everywhere(ctx, e, func(from string, e *envelope.Envelope) {
		for i := range e.Items {
			m := &farMember{id: e.Items[i].ID, node: from}
			if len(e.Items[i].Args) == 1 && json.Unmarshal(e.Items[i].Args[0].Data, &m.about) == nil {
				all = append(all, Member{far: m})
			}
		}
	})
	return all, err
}

// Count returns the number of members on all nodes. With a *[PartialError]
// comes the number on those that have answered.
func (t Target) Count(ctx context.Context) (int, error) {
	count := t.countHere()
	err := t.everywhere(ctx, &envelope.Envelope{Op: envelope.Count}, func(_ string, e *envelope.Envelope) {
		count += int(e.Code)
	})
	return count, err
}

// Join puts all members into rooms, on all nodes. Errors: *[PartialError], or
// one that wraps [cluster.ErrUnavailable] when only those here have joined.
func (t Target) Join(ctx context.Context, rooms ...string) error {
	t.joinHere(rooms)
	return t.everywhere(ctx, &envelope.Envelope{Op: envelope.Join, Names: rooms}, ignore)
}

// Leave takes all members out of rooms, on all nodes. Errors: as of Join.
func (t Target) Leave(ctx context.Context, rooms ...string) error {
	t.leaveHere(rooms)
	return t.everywhere(ctx, &envelope.Envelope{Op: envelope.Leave, Names: rooms}, ignore)
}

// Disconnect closes all members, on all nodes. Errors: as of Join.
func (t Target) Disconnect(ctx context.Context, code CloseCode, reason string) error {
	t.disconnectHere(code, reason)
	return t.everywhere(ctx, &envelope.Envelope{Op: envelope.Disconnect, Code: uint32(code), Text: reason}, ignore)
}

func ignore(string, *envelope.Envelope) {}

func (t Target) joinHere(rooms []string) {
	for _, c := range t.Conns() {
		for _, room := range rooms {
			_ = c.join(room, false) // one that is closing needs no room
		}
	}
}

func (t Target) leaveHere(rooms []string) {
	for _, c := range t.Conns() {
		c.Leave(rooms...)
	}
}

func (t Target) disconnectHere(code CloseCode, reason string) {
	for _, c := range t.Conns() {
		_ = c.Close(code, reason) // one that is closing already is as wanted
	}
}

// chosen lets the pattern pick among the members of all nodes.
func (t Target) chosen(ctx context.Context) (here []*Conn, far []*farMember, err error) {
	members, err := t.members(ctx, true)
	if partial := (*PartialError)(nil); err != nil && !errors.As(err, &partial) && len(members) == 0 {
		return nil, nil, err
	}
	if len(members) == 0 {
		return nil, nil, nil
	}
	for _, m := range t.pattern(members) {
		if m.conn != nil {
			here = append(here, m.conn)
		} else {
			far = append(far, m.far)
		}
	}
	return here, far, nil
}

// nodesOf are the nodes of connections.
func nodesOf(far []*farMember) (nodes []string) {
	for _, m := range far {
		if !slices.Contains(nodes, m.node) {
			nodes = append(nodes, m.node)
		}
	}
	return nodes
}

// farTopics is where those on other nodes listen who may have members.
func (t Target) farTopics(sel *envelope.Target) []string {
	if !t.listed {
		return t.srv.node.topics(sel)
	}
	var topics []string
	for _, id := range nodesOf(t.others) {
		topics = append(topics, topicNode(id))
	}
	return topics
}

// sendFar sends a message to members on other nodes.
func (t Target) sendFar(ctx context.Context, payloads []Payload, o *Outgoing, flags sendFlags) error {
	bits := flagBits(flags)
	if t.resumable == resumableNot {
		bits |= flagOthers
	}
	e := &envelope.Envelope{Op: envelope.Send, Target: t.selection(), Kind: o.Kind, Header: o.Header, Args: payloads, Flags: bits}
	return t.srv.node.publish(ctx, t.farTopics(&e.Target), e)
}

// callHere asks the members here for another node.
func (n *node) callHere(from string, e *envelope.Envelope) {
	t, ok := n.target(&e.Target)
	var members []*Conn
	if ok {
		members = t.Conns()
	}
	n.answer(from, e.ID, len(members), nil)
	if len(members) == 0 {
		return
	}
	out := &Outgoing{Kind: e.Kind, Header: e.Header, Value: argsOf(e.Args)}
	wait := time.Duration(min(e.Millis, uint64(time.Hour/time.Millisecond))) * time.Millisecond
	if wait <= 0 {
		wait = n.srv.cfg.HandlerTimeout
	}
	wait -= min(wait/10, 500*time.Millisecond) // who asks is to hear in time that somebody is late
	into := &collection{missing: len(members), complete: make(chan struct{})}
	into.each = func(a *answer) { n.answer(from, e.ID, -1, []envelope.Item{n.item(a)}) }
	until := n.srv.wheel.In(wait)
	for _, c := range members {
		c.start(out, into, until)
	}
}

// item is a member's answer as it travels.
func (n *node) item(a *answer) envelope.Item {
	it := envelope.Item{ID: a.member.ID(), Header: a.header}
	if a.err == nil {
		it.Args = append([]Payload{a.payload}, a.args...)
		return it
	}
	it.Fault = &envelope.Fault{Code: string(CodeOf(a.err)), Message: a.err.Error()}
	if coded, ok := errors.AsType[*Error](a.err); ok {
		it.Fault.Message = coded.Message
		if coded.Details != nil {
			if p, err := n.srv.cfg.codecs.Marshal(coded.Details, ""); err == nil {
				it.Fault.Details = p
			}
		}
	}
	return it
}

// answerOf is a member's answer as it has come.
func (n *node) answerOf(from string, it *envelope.Item) answer {
	a := answer{member: Member{far: &farMember{id: it.ID, node: from}}, header: it.Header}
	switch {
	case it.Fault != nil:
		a.err = n.srv.remoteError(&wire.ErrorBody{Code: it.Fault.Code, Message: it.Fault.Message, Details: it.Fault.Details})
	case len(it.Args) > 0:
		a.payload, a.args = it.Args[0], it.Args[1:]
	}
	return a
}

// callFar asks the members on other nodes. The question has to be forgotten.
func (t Target) callFar(ctx context.Context, o *Outgoing, into *collection) (*question, error) {
	n := t.srv.node
	payloads, err := t.srv.settled(o.Value)
	if err != nil {
		return nil, err
	}
	e := &envelope.Envelope{Op: envelope.Call, Target: t.selection(), Kind: o.Kind, Header: o.Header, Args: payloads}
	topics, nodes := t.farTopics(&e.Target), n.others()
	probe := len(topics) > 1 || topics[0] != topicAll
	if t.listed {
		nodes, probe = nodesOf(t.others), false
	}
	q, err := n.ask(ctx, e, topics, nodes, probe, func(from string, e *envelope.Envelope) {
		for i := range e.Items {
			into.addFar(n.answerOf(from, &e.Items[i]))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("polywire: call of %q: %w", o.Kind, err)
	}
	return q, nil
}
