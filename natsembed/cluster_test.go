package natsembed_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
)

// node are the options of a cluster's node in a test. One address of a node
// that runs is enough as peers.
func node(tb testing.TB, peers ...string) natsembed.Options {
	tb.Helper()
	return natsembed.Options{Dir: tb.TempDir(), Cluster: &natsembed.Cluster{Listen: "127.0.0.1:0", Peers: peers}}
}

// three starts a cluster, the others from the address of the first.
func three(tb testing.TB) []*natsembed.Server {
	tb.Helper()
	seed := node(tb)
	seed.Cluster.NoWait = true
	servers := []*natsembed.Server{start(tb, seed)}
	for range 2 {
		servers = append(servers, start(tb, node(tb, servers[0].ClusterAddr().String())))
	}
	for _, s := range servers {
		if err := s.WaitReady(within(tb)); err != nil {
			tb.Fatal(err)
		}
		whole(tb, s, len(servers))
	}
	return servers
}

// succeeds tries until f returns nil. The last error is in the log of a failure.
// What f asks it asks within a try: whom a request was sent to may be gone.
func succeeds(tb testing.TB, f func() error) {
	tb.Helper()
	var err error
	defer func() {
		if err != nil {
			tb.Log(err)
		}
	}()
	testenv.Eventually(tb, patience, "success", func() bool { err = f(); return err == nil })
}

// try returns a context for one of several.
func try(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience/6)
	tb.Cleanup(cancel)
	return ctx
}

// whole waits until a server has found n nodes, itself too.
func whole(tb testing.TB, s *natsembed.Server, n int) {
	tb.Helper()
	succeeds(tb, func() error {
		st, err := s.Stats()
		if err == nil && st.Nodes != n {
			err = fmt.Errorf("%s sees %d nodes, want %d", s.Name(), st.Nodes, n)
		}
		return err
	})
}

// replicated makes a stream on three nodes. A node that has just come is not
// offered for a moment.
func replicated(tb testing.TB, js jetstream.JetStream, name string) {
	tb.Helper()
	succeeds(tb, func() error {
		_, err := js.CreateStream(try(tb), jetstream.StreamConfig{Name: name, Replicas: 3})
		return err
	})
}

// publish has n messages acknowledged, with ids so that a message that was
// taken but not acknowledged is not there twice.
func publish(tb testing.TB, js jetstream.JetStream, subject, prefix string, n int) {
	tb.Helper()
	for i := range n {
		succeeds(tb, func() error {
			_, err := js.Publish(try(tb), subject, []byte("x"), jetstream.WithMsgID(fmt.Sprint(prefix, i)))
			return err
		})
	}
}

// leader returns the name of the node that leads a stream.
func leader(tb testing.TB, js jetstream.JetStream, stream string) string {
	tb.Helper()
	var name string
	succeeds(tb, func() error {
		str, err := js.Stream(try(tb), stream)
		if err != nil {
			return err
		}
		if name = str.CachedInfo().Cluster.Leader; name == "" {
			return errors.New("no leader")
		}
		return nil
	})
	return name
}

// crosses shows that a message reaches a subscriber at another node.
func crosses(t *testing.T, from, to *natsembed.Server) {
	t.Helper()
	got := make(chan string, 1)
	far := connect(t, to)
	if _, err := far.Subscribe("news", func(m *nats.Msg) {
		select {
		case got <- string(m.Data):
		default: // one is enough
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := far.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	near := connect(t, from)
	succeeds(t, func() error { // interest reaches the other node a moment after
		if err := near.Publish("news", []byte("hello")); err != nil {
			return err
		}
		select {
		case m := <-got:
			if m != "hello" {
				t.Errorf("got %q", m)
			}
			return nil
		default:
			return errors.New("nothing came")
		}
	})
}

func TestStreamSurvivesItsLeader(t *testing.T) {
	t.Parallel()
	servers := three(t)
	crosses(t, servers[2], servers[1]) // both know only the first
	js := streams(t, servers[0])
	replicated(t, js, "kept")
	publish(t, js, "kept", "a", 50)

	name := leader(t, js, "kept")
	at := slices.IndexFunc(servers, func(s *natsembed.Server) bool { return s.Name() == name })
	if at < 0 {
		t.Fatalf("the leader %q is none of the nodes", name)
	}
	gone, others := servers[at], slices.Delete(slices.Clone(servers), at, at+1)
	stop(t, gone)
	js = streams(t, others[0])
	publish(t, js, "kept", "b", 50)
	if got := messages(t, js, "kept"); got != 100 {
		t.Errorf("%d messages without the leader, want 100", got)
	}

	back := node(t, others[1].ClusterAddr().String())
	back.Dir = gone.Dir()
	returned := start(t, back)
	if returned.Name() != name {
		t.Errorf("%q returned as %q", name, returned.Name())
	}
	succeeds(t, returned.Health)
	whole(t, returned, 3)
	// It has everything: with another one away it makes a majority.
	stop(t, others[0])
	js = streams(t, returned)
	publish(t, js, "kept", "c", 50)
	if got := messages(t, js, "kept"); got != 150 {
		t.Errorf("%d messages after the return, want 150", got)
	}
}

// TestNodesStartInAnyOrder gives all the same list, in which nobody answers at
// first, and then stops all and starts them again.
func TestNodesStartInAnyOrder(t *testing.T) {
	t.Parallel()
	var nodes []natsembed.Options
	peers := freeAddresses(t, 3)
	for _, listen := range peers {
		nodes = append(nodes, natsembed.Options{Dir: t.TempDir(), Cluster: &natsembed.Cluster{Listen: listen, Peers: peers}})
	}
	servers := startAll(t, nodes)
	for i, s := range servers {
		whole(t, s, 3)
		if s.ClusterAddr().String() != peers[i] {
			t.Errorf("%s is at %s, not %s", s.Name(), s.ClusterAddr(), peers[i])
		}
	}
	js := streams(t, servers[2])
	replicated(t, js, "kept")
	publish(t, js, "kept", "a", 10)
	for _, s := range servers {
		stop(t, s)
	}
	slices.Reverse(nodes)
	servers = startAll(t, nodes)
	js = streams(t, servers[1])
	publish(t, js, "kept", "b", 10)
	if got := messages(t, js, "kept"); got != 20 {
		t.Errorf("%d messages after all nodes' restart, want 20", got)
	}
}

// startAll starts nodes at once, but for the first, which is up before.
func startAll(t *testing.T, nodes []natsembed.Options) []*natsembed.Server {
	t.Helper()
	ctx := within(t)
	servers, errs := make([]*natsembed.Server, len(nodes)), make([]error, len(nodes))
	var all sync.WaitGroup
	for i, o := range nodes {
		all.Go(func() { servers[i], errs[i] = natsembed.Start(ctx, o) })
		if i == 0 {
			succeeds(t, func() error {
				nc, err := net.Dial("tcp", o.Cluster.Listen)
				if err == nil {
					nc.Close()
				}
				return err
			})
		}
	}
	all.Wait()
	for _, s := range servers {
		if s != nil {
			t.Cleanup(func() { stop(t, s) })
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return servers
}

// freeAddresses are some that nobody has now. They are not on 127.0.0.1, where
// outgoing connections take ports.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		var l net.Listener
		var err error
		for _, host := range []string{"127.77.77.77", "127.0.0.1"} { // the first where all of 127/8 is the loopback
			if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // with all of them, so that no two are the same
		all = append(all, l.Addr().String())
	}
	return all
}

func TestStartWithoutMajorityEndsWithItsContext(t *testing.T) {
	o := node(t, freeAddresses(t, 1)...)
	for wait := 300 * time.Millisecond; ; wait *= 2 { // until it suffices for what comes before, on a busy machine
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := natsembed.Start(ctx, o)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if strings.Contains(err.Error(), "JetStream") {
			break
		}
		if wait > 30*time.Second {
			t.Fatalf("it does not say what it waits for: %v", err)
		}
	}
	o.Cluster.NoWait = true
	s := start(t, o)
	if err := s.Ready(); err == nil {
		t.Error("ready without a majority")
	}
	echo(t, connect(t, s)) // messages flow all the same
}

func TestNodesShowTheirSecret(t *testing.T) {
	t.Parallel()
	// It looks like a hash, which must not be compared as one.
	const secret = "$2a$11$" + "hunter2hunter2hunter2hunter2hunter2hunter2hunter2hun"
	var l lines
	secured := func(password string, peers ...string) natsembed.Options {
		o := node(t, peers...)
		o.Cluster.Password, o.Cluster.NoWait = password, true
		o.Logger = l.logger(-4)
		return o
	}
	first := start(t, secured(secret))
	seed := first.ClusterAddr().String()
	second := start(t, secured(secret, seed))
	if err := errors.Join(first.WaitReady(within(t)), second.WaitReady(within(t))); err != nil {
		t.Fatal(err)
	}
	whole(t, first, 2)
	stranger := start(t, secured("another", seed))
	succeeds(t, func() error {
		if !strings.Contains(l.String(), "Authorization") && !strings.Contains(l.String(), "authentication error") {
			return errors.New("nobody was refused")
		}
		return nil
	})
	if stranger.Ready() == nil {
		t.Error("a node with another secret came in")
	}
	whole(t, first, 2)
	if strings.Contains(l.String(), "hunter2") {
		t.Error("the secret is in the log")
	}
	third := start(t, secured(secret, second.ClusterAddr().String())) // is told of the first
	if err := third.WaitReady(within(t)); err != nil {
		t.Error(err)
	}
	whole(t, first, 3)
	whole(t, third, 3)
}

// TestDirectoryKeepsItsIdentity covers what would make a cluster remove streams.
func TestDirectoryKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	alone := natsembed.Options{Dir: t.TempDir()}
	s := start(t, alone)
	if _, err := streams(t, s).CreateStream(within(t), jetstream.StreamConfig{Name: "mine"}); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	joins := alone
	joins.Cluster = &natsembed.Cluster{Listen: "127.0.0.1:0", NoWait: true}
	refused(t, joins, "alone and cannot become")
	alone.Name = "renamed" // nothing is lost by that
	stop(t, start(t, alone))

	member := node(t)
	member.Cluster.NoWait = true
	member.Name = "a"
	stop(t, start(t, member))
	renamed, other, leaves := member, member, member
	renamed.Name = "b"
	refused(t, renamed, "a in the cluster polywire and cannot become b")
	other.Cluster = &natsembed.Cluster{Listen: "127.0.0.1:0", NoWait: true, Name: "elsewhere"}
	refused(t, other, "cannot become a in the cluster elsewhere")
	leaves.Cluster = nil
	refused(t, leaves, "cannot become a, alone")
	start(t, member)

	empty := natsembed.Options{Dir: t.TempDir(), Name: "x"} // without streams it may join
	stop(t, start(t, empty))
	empty.Cluster = joins.Cluster
	start(t, empty)
}

func refused(t *testing.T, o natsembed.Options, want string) {
	t.Helper()
	s, err := natsembed.Start(within(t), o)
	if err == nil {
		stop(t, s)
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestNodesClientPortLetsNobodyIn is about the port that the server opens for
// a node which asked for none.
func TestNodesClientPortLetsNobodyIn(t *testing.T) {
	t.Parallel()
	o := node(t)
	o.Cluster.NoWait = true
	s := start(t, o)
	nc := connect(t, s)
	if _, err := nats.Connect(nc.ConnectedUrl()); err == nil {
		t.Error("a client came in by the port")
	}
	if s.ClientURL() != "" {
		t.Errorf("the port is told: %s", s.ClientURL())
	}
}
