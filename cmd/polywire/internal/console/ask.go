package console

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/polywire/polywire"
)

// nodeWait is how long other nodes may take to answer.
const nodeWait = 5 * time.Second

// The kinds by which the consoles of a cluster ask its nodes.
const (
	kindConnections = "polywire.console.connections"
	kindConnection  = "polywire.console.connection"
	kindDisconnect  = "polywire.console.disconnect"
	kindRooms       = "polywire.console.rooms"
	kindFigures     = "polywire.console.figures"
)

// Answer lets a server answer the consoles of other nodes, also where it has
// none of its own. It is called before the server runs.
func Answer(srv *polywire.Server) {
	h := here{srv}
	answer(srv, kindConnections, h.connections)
	answer(srv, kindConnection, h.connection)
	answer(srv, kindDisconnect, h.disconnect)
	answer(srv, kindRooms, h.rooms)
	answer(srv, kindFigures, h.figures)
}

func answer[Q, A any](srv *polywire.Server, kind string, do func(ctx context.Context, q Q) (A, error)) {
	srv.Nodes().Handle(kind, func(ctx context.Context, m *polywire.NodeMessage) (any, error) {
		var q Q
		if err := m.Bind(&q); err != nil {
			return nil, err
		}
		return do(ctx, q)
	})
}

// here is what a node knows by itself.
type here struct{ srv *polywire.Server }

// told is what a node answered.
type told[A any] struct {
	node  string
	value A
}

// everywhere asks this node and all others. missing are those that did not answer.
func everywhere[Q, A any](ctx context.Context, srv *polywire.Server, kind string, q Q, do func(ctx context.Context, q Q) (A, error)) (all []told[A], missing []string, err error) {
	own, err := do(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	all = []told[A]{{srv.Nodes().ID(), own}}
	ctx, cancel := context.WithTimeout(ctx, nodeWait)
	defer cancel()
	var answers []polywire.Answer[A]
	err = srv.Nodes().Call(ctx, kind, q, polywire.Collect(&answers))
	partial, some := errors.AsType[*polywire.PartialError](err)
	switch {
	case some:
		missing = partial.Nodes
	case err != nil: // the cluster is away: this node is what there is
		for _, n := range srv.Nodes().List() {
			if n.ID != srv.Nodes().ID() {
				missing = append(missing, n.ID)
			}
		}
	}
	for _, a := range answers {
		if a.Err != nil {
			missing = append(missing, a.Node)
			continue
		}
		all = append(all, told[A]{a.Node, a.Value})
	}
	slices.Sort(missing)
	return all, slices.Compact(missing), nil
}
