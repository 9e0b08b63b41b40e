// Cluster is two servers that are one, in one process for the sake of the
// example: each could be on a machine of its own. They meet by a NATS server
// that runs inside, too. Somebody at each server is in the same room, hears the
// other and sees who is there; one who comes back gets what was missed at the
// other server; and a service that one server offers is found by the other.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/wire/native"
)

func main() {
	dir, err := os.MkdirTemp("", "cluster")
	if err == nil {
		err = errors.Join(run(context.Background(), os.Stdout, dir), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const room = "garden"

func run(ctx context.Context, out io.Writer, dir string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// On several machines each would have one, with a Cluster in its options;
	// or all have the URL of a NATS elsewhere: natscluster.URL("nats://...").
	nats, err := natsembed.Start(ctx, natsembed.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nats.Shutdown(context.WithoutCancel(ctx))) }()
	north, err := newNode(nats, "north")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, north.close()) }()
	south, err := newNode(nats, "south")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, south.close()) }()

	for _, n := range []*node{north, south} { // which takes a moment
		if err := n.knows(ctx, 2); err != nil {
			return err
		}
	}
	if err := meet(ctx, out, north, south); err != nil {
		return err
	}
	return call(ctx, out, north, south)
}

// meet lets two clients, one at each server, talk in a room.
func meet(ctx context.Context, out io.Writer, north, south *node) error {
	ann, err := newVisitor(ctx, north, "Ann")
	if err != nil {
		return err
	}
	ann.watch()
	defer ann.Close() //nolint:errcheck // it has nothing to lose
	bob, err := newVisitor(ctx, south, "Bob")
	if err != nil {
		return err
	}
	defer bob.Close()                        //nolint:errcheck // the same
	fmt.Fprintln(out, "Ann:", ann.next(ctx)) // that Bob has come

	if err := bob.Publish(ctx, room, "said", "good morning"); err != nil {
		return err
	}
	fmt.Fprintln(out, "Ann:", ann.next(ctx))
	fmt.Fprintln(out, "Bob:", bob.next(ctx))

	who, err := north.srv.Room(room).Presence(ctx)
	if err != nil {
		return err
	}
	for _, p := range who {
		fmt.Fprintf(out, "in the %s: %s, at %s\n", room, p.Value, north.name(p.Node))
	}

	// Bob goes away and comes back at the other server.
	at := bob.Conn()
	position, _ := at.Position(room)
	if err := bob.Close(); err != nil {
		return err
	}
	fmt.Fprintln(out, "Ann:", ann.next(ctx)) // that Bob has left
	if err := ann.Publish(ctx, room, "said", "where is Bob?"); err != nil {
		return err
	}
	fmt.Fprintln(out, "Ann:", ann.next(ctx))
	again, err := newClient(ctx, north, "Bob")
	if err != nil {
		return err
	}
	defer again.Close() //nolint:errcheck // the same
	// A client that only loses its connection does this by itself.
	s, err := again.Conn().SubscribeFrom(ctx, room, position)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Bob: %s, all of it: %t\n", again.next(ctx), s.Recovered)
	return err
}

// call lets one server find a service that the other offers.
func call(ctx context.Context, out io.Writer, north, south *node) error {
	polywire.HandleFunc(south.srv, "weather.now", func(context.Context, *string) (*string, error) {
		return new("sunny in the south"), nil
	})
	if err := south.srv.Nodes().Offer("weather", south.url); err != nil {
		return err
	}
	weather, err := north.services.Discover("weather", north.srv.Nodes(), service.WithRefresh(time.Second))
	if err != nil {
		return err
	}
	if err := weather.Connect(ctx); err != nil {
		return err
	}
	var now string
	if err := weather.Call(ctx, "weather.now", "", &now); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "the weather:", now)
	return err
}

// node is a server of the cluster.
type node struct {
	srv      *polywire.Server
	services *service.Registry
	url      string
	served   chan error
}

func newNode(nats *natsembed.Server, name string) (*node, error) {
	n := &node{services: service.New(), served: make(chan error, 1)}
	srv, err := polywire.New(
		polywire.WithWires(native.New()),
		polywire.WithCluster(natscluster.New(natscluster.Options{Connect: nats.Connect})), // this is all
		polywire.WithNodeName(name),
		polywire.WithHistory(room, polywire.History{Size: 100}),
		polywire.WithPresence(room),
		polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithHooks(n.services.Hooks()))
	if err != nil {
		return nil, err
	}
	srv.Handle("name", func(_ context.Context, m *polywire.Message) (any, error) {
		var name string
		if err := m.Bind(&name); err != nil {
			return nil, err
		}
		return nil, m.Conn().SetPresence(name)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.srv, n.url = srv, "ws://"+l.Addr().String()
	go func() { n.served <- srv.Serve(l, "ws") }()
	return n, nil
}

// knows waits until a node knows of so many, itself among them.
func (n *node) knows(ctx context.Context, nodes int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(n.srv.Nodes().List()) < nodes {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// name returns the name of one of the nodes.
func (n *node) name(id string) string {
	for _, other := range n.srv.Nodes().List() {
		if other.ID == id {
			return other.Name
		}
	}
	return id
}

func (n *node) close() error {
	return errors.Join(n.services.Close(), n.srv.Close(), <-n.served)
}

// visitor is a client that hears.
type visitor struct {
	*client.Client

	heard chan string
}

func newClient(ctx context.Context, n *node, name string) (*visitor, error) {
	v := &visitor{heard: make(chan string, 100)}
	c, err := client.New(n.url)
	if err != nil {
		return nil, err
	}
	v.Client = c
	c.Handle("said", func(_ context.Context, m *polywire.Message) (any, error) {
		var text string
		err := m.Bind(&text)
		v.heard <- text
		return nil, err
	})
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	return v, c.Call(ctx, "name", name, nil)
}

func newVisitor(ctx context.Context, n *node, name string) (*visitor, error) {
	v, err := newClient(ctx, n, name)
	if err != nil {
		return nil, err
	}
	return v, v.Subscribe(ctx, room)
}

// watch lets it hear who comes and goes, too.
func (v *visitor) watch() {
	for kind, what := range map[string]string{polywire.PresenceJoined: "has come", polywire.PresenceLeft: "has left"} {
		v.Handle(kind, func(_ context.Context, m *polywire.Message) (any, error) {
			var p polywire.Presence
			err := m.Bind(&p)
			v.heard <- fmt.Sprintf("%s %s", p.Value, what)
			return nil, err
		})
	}
}

// next returns what comes next.
func (v *visitor) next(ctx context.Context) string {
	select {
	case text := <-v.heard:
		return text
	case <-ctx.Done():
		return "nothing: " + ctx.Err().Error()
	}
}
