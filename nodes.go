package polywire

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/internal/envelope"
)

// Nodes are the servers of the cluster; see [Server.Nodes].
type Nodes struct{ srv *Server }

// Nodes returns the cluster's nodes. A server without a cluster is the only one.
func (s *Server) Nodes() Nodes { return Nodes{s} }

// ID returns the ID of this node, new with each start.
func (n Nodes) ID() string { return n.srv.id }

// List returns the nodes that are alive, this one among them, sorted by ID. A
// node that was killed is there for some seconds more.
func (n Nodes) List() []cluster.Node {
	if n.srv.node == nil {
		return []cluster.Node{{ID: n.srv.id, Name: n.srv.cfg.nodeName}}
	}
	return n.srv.node.list()
}

// Available reports whether the cluster's engine can be reached; true without a cluster.
func (n Nodes) Available() bool { return n.srv.node == nil || n.srv.node.up.Load() }

// serviceMeta begins the names under which nodes tell where a service is.
const serviceMeta = "service."

// Offer tells the other nodes that this one offers a service at URLs of
// package client; none takes it back. See [Nodes.Offering]. Before the server
// runs it is kept until then. Errors: those of the cluster.
func (n Nodes) Offer(service string, urls ...string) error {
	if service == "" {
		return errors.New("polywire: a service needs a name")
	}
	node := n.srv.node
	if node == nil {
		return nil
	}
	node.mu.Lock()
	self := node.self
	self.Services = slices.DeleteFunc(slices.Clone(self.Services), func(s string) bool { return s == service })
	self.Meta = maps.Clone(self.Meta)
	if self.Meta == nil {
		self.Meta = make(map[string]string)
	}
	delete(self.Meta, serviceMeta+service)
	if len(urls) > 0 {
		self.Services = append(self.Services, service)
		slices.Sort(self.Services)
		self.Meta[serviceMeta+service] = strings.Join(urls, " ")
	}
	node.self = self
	node.mu.Unlock()
	if n.srv.State() != StateRunning {
		return nil
	}
	return node.bus.Announce(self)
}

// Offering returns the URLs at which nodes that are alive offer a service, in
// the order of the nodes' IDs.
func (n Nodes) Offering(service string) (urls []string) {
	for _, node := range n.List() {
		if slices.Contains(node.Services, service) {
			urls = append(urls, strings.Fields(node.Meta[serviceMeta+service])...)
		}
	}
	return urls
}

// NodeMessage is what a node says to another.
type NodeMessage struct {
	From    string // ID of the sender
	Kind    string
	Header  map[string]string
	payload Payload
	args    []Payload
	srv     *Server
}

// Payload returns the first argument, as it came.
func (m *NodeMessage) Payload() Payload { return m.payload }

// Bind decodes the arguments in order into the pointers; see [Message.Bind].
func (m *NodeMessage) Bind(into ...any) error {
	return m.srv.bindArgs(m.Kind, m.payload, m.args, into)
}

// NodeHandler answers messages of other nodes.
type NodeHandler func(ctx context.Context, m *NodeMessage) (any, error)

// Handle registers a handler for what other nodes say by Send and Call, one a
// kind, before the server starts. Each message is handled on a goroutine of
// its own; ctx ends after [WithHandlerTimeout].
func (n Nodes) Handle(kind string, h NodeHandler) {
	s := n.srv
	if s.State() != StateNew || s.nodeHandlers[kind] != nil {
		s.misconfigured("handler for node messages %q registered twice, or after the start", kind)
		return
	}
	if s.nodeHandlers == nil {
		s.nodeHandlers = make(map[string]NodeHandler)
	}
	s.nodeHandlers[kind] = h
}

// Send sends a message to all other nodes. Errors: those of encoding, and one
// that wraps [cluster.ErrUnavailable].
func (n Nodes) Send(ctx context.Context, kind string, v any) error {
	node := n.srv.node
	if node == nil {
		return nil
	}
	if n.srv.State() != StateRunning {
		return ErrNotRunning
	}
	payloads, err := n.srv.settled(v)
	if err != nil {
		return err
	}
	return node.publish(ctx, []string{topicAll}, &envelope.Envelope{Op: envelope.NodeSend, Kind: kind, Args: payloads})
}

// Call asks all other nodes; out is [Collect] for all answers, whose Node says
// whose each is. Errors: those of Send, and a *[PartialError] for nodes that
// did not answer in time. Without a deadline in ctx [WithHandlerTimeout]
// bounds the wait.
func (n Nodes) Call(ctx context.Context, kind string, v any, out Collector) error {
	node := n.srv.node
	if node == nil {
		return nil
	}
	if n.srv.State() != StateRunning {
		return ErrNotRunning
	}
	blocking(ctx)
	payloads, err := n.srv.settled(v)
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx, n.srv.cfg.HandlerTimeout)
	defer cancel()
	var answers []answer
	e := &envelope.Envelope{Op: envelope.NodeCall, Kind: kind, Args: payloads}
	q, err := node.ask(ctx, e, []string{topicAll}, node.others(), false, func(from string, e *envelope.Envelope) {
		for i := range e.Items {
			answers = append(answers, node.answerOf(from, &e.Items[i]))
		}
	})
	if err != nil {
		return err
	}
	err = q.wait(ctx)
	out.collect(n.srv, answers)
	return err
}

// maxNodeMessages is how many messages of other nodes are handled at once.
const maxNodeMessages = 1024

// nodeMessage handles what another node says.
func (n *node) nodeMessage(from string, e *envelope.Envelope) {
	s := n.srv
	refuse := func(err error) {
		if e.Op == envelope.NodeCall {
			a := answer{member: Member{far: &farMember{node: s.id}}, err: err}
			n.answer(from, e.ID, 1, []envelope.Item{n.item(&a)})
		} else {
			s.reportError(nil, err)
		}
	}
	h := s.nodeHandlers[e.Kind]
	if h == nil {
		refuse(Errorf(CodeNotFound, "no handler for node messages %q", e.Kind))
		return
	}
	if n.handling.Add(1) > maxNodeMessages {
		n.handling.Add(-1)
		refuse(Errorf(CodeUnavailable, "too many messages of other nodes at once"))
		return
	}
	n.goes.Go(func() {
		defer n.handling.Add(-1)
		result, err := n.runNodeHandler(h, from, e)
		if e.Op != envelope.NodeCall {
			if err != nil {
				s.reportError(nil, fmt.Errorf("polywire: node message %q: %w", e.Kind, err))
			}
			return
		}
		a := answer{member: Member{far: &farMember{node: s.id}}, err: err}
		if err == nil {
			var payloads []Payload
			if payloads, a.err = s.settled(result); a.err == nil {
				a.payload, a.args = payloads[0], payloads[1:]
			}
		}
		n.answer(from, e.ID, 1, []envelope.Item{n.item(&a)})
	})
}

func (n *node) runNodeHandler(h NodeHandler, from string, e *envelope.Envelope) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = n.srv.panickedIn("handler of node message "+e.Kind, p)
		}
	}()
	ctx, cancel := context.WithTimeout(n.ctx, n.srv.cfg.HandlerTimeout)
	defer cancel()
	m := &NodeMessage{From: from, Kind: e.Kind, Header: e.Header, srv: n.srv}
	if len(e.Args) > 0 {
		m.payload, m.args = e.Args[0], e.Args[1:]
	}
	return h(ctx, m)
}
