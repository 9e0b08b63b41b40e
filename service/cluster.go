package service

import (
	"context"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
)

// Discover registers a service that nodes of a cluster offer (see
// [polywire.Nodes.Offer]): calls are spread over those that are alive. It
// need not be there yet. Give the server [Registry.Hooks], so that what changes
// in the cluster is known at once, and not only after [WithRefresh]'s time.
// Errors: as of Register.
func (r *Registry) Discover(name string, nodes polywire.Nodes, opts ...Option) (*Service, error) {
	found := ResolverFunc(func(context.Context) ([]Address, error) {
		urls := nodes.Offering(name)
		all := make([]Address, len(urls))
		for i, u := range urls {
			all[i] = Address{URL: u}
		}
		return all, nil
	})
	return r.Register(name, nil, append([]Option{WithResolver(found)}, opts...)...)
}

// Hooks looks anew for the addresses of all services when the nodes of a
// cluster change.
func (r *Registry) Hooks() polywire.Hooks {
	refresh := func(cluster.Node) {
		for _, s := range r.Services() {
			s.Refresh()
		}
	}
	return polywire.Hooks{NodeJoined: refresh, NodeLeft: refresh, NodeChanged: refresh}
}
