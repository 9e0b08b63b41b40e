package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/wire"
)

// nodes are servers of one cluster, with a peer and its connection on each.
type nodes struct {
	t     *testing.T
	hub   *cluster.Memory
	srv   []*polywire.Server
	peers []*peer
	conns []*polywire.Conn
}

func newNodes(t *testing.T, n int, setup func(*polywire.Server), opts ...polywire.Option) *nodes {
	t.Helper()
	ns := &nodes{t: t, hub: cluster.NewMemory()}
	for range n {
		ns.add(setup, opts...)
	}
	synctest.Wait() // until all know of each other
	return ns
}

func (ns *nodes) add(setup func(*polywire.Server), opts ...polywire.Option) {
	ns.t.Helper()
	srv := newServer(ns.t, setup, append([]polywire.Option{polywire.WithCluster(ns.hub), allowSubscribe(),
		polywire.WithHeartbeat(time.Hour, time.Hour), polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithBroadcastPolicy(polywire.AllowBroadcast)}, opts...)...)
	peers, conns := crowd(ns.t, srv, 1)
	ns.srv, ns.peers, ns.conns = append(ns.srv, srv), append(ns.peers, peers[0]), append(ns.conns, conns[0])
}

// got ends with a message to all, and returns what each peer has got before.
func (ns *nodes) got() (all []string) {
	ns.t.Helper()
	synctest.Wait()
	if err := ns.srv[0].All().Send(ns.t.Context(), "end", nil); err != nil {
		ns.t.Fatal(err)
	}
	for _, p := range ns.peers {
		var mine []wire.Packet
		for {
			m := p.receive()
			if m.Kind == "end" {
				break
			}
			mine = append(mine, m)
		}
		all = append(all, numbers(mine))
	}
	return all
}

func TestClusterTargets(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(ctx context.Context, ns *nodes) error
		want []string
	}{
		{"all", func(ctx context.Context, ns *nodes) error { return ns.srv[1].All().Send(ctx, "k", 1) }, []string{"1", "1", "1"}},
		{"a room", func(ctx context.Context, ns *nodes) error { return ns.srv[1].Room("a").Send(ctx, "k", 1) }, []string{"1", "1", ""}},
		{"a room that is elsewhere", func(ctx context.Context, ns *nodes) error { return ns.srv[2].Room("a").Send(ctx, "k", 1) }, []string{"1", "1", ""}},
		{"two rooms, each member once", func(ctx context.Context, ns *nodes) error { return ns.srv[0].To("a", "b").Send(ctx, "k", 1) }, []string{"1", "1", "1"}},
		{"but one room", func(ctx context.Context, ns *nodes) error { return ns.srv[0].All().Except("b").Send(ctx, "k", 1) }, []string{"1", "", ""}},
		{"but one connection", func(ctx context.Context, ns *nodes) error {
			return ns.srv[0].All().ExceptConns(ns.conns[0]).Send(ctx, "k", 1)
		}, []string{"", "1", "1"}},
		{"here", func(ctx context.Context, ns *nodes) error { return ns.srv[0].All().Local().Send(ctx, "k", 1) }, []string{"1", "", ""}},
		{"a connection by its ID", func(ctx context.Context, ns *nodes) error { return ns.srv[0].Room(ns.conns[2].ID()).Send(ctx, "k", 1) }, []string{"", "", "1"}},
		{"a pattern", func(ctx context.Context, ns *nodes) error {
			robin := ns.srv[0].Room("b").Pick(polywire.RoundRobin())
			return errors.Join(robin.Send(ctx, "k", 1), robin.Send(ctx, "k", 2), robin.Send(ctx, "k", 3))
		}, []string{"", "1 3", "2"}},
		{"nobody", func(ctx context.Context, ns *nodes) error {
			err := ns.srv[0].Room("none").Send(ctx, "k", 1, polywire.MustReach())
			if !errors.Is(err, polywire.ErrNoConnections) {
				return fmt.Errorf("to nobody: %w", err)
			}
			return ns.srv[2].Room("a").Send(ctx, "k", 2, polywire.MustReach())
		}, []string{"2", "2", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ns := newNodes(t, 0, nil)
				for range 3 { // round robin goes by the time of opening
					ns.add(nil)
					time.Sleep(time.Second)
				}
				_ = ns.conns[0].Join("a")
				_ = ns.conns[1].Join("a", "b")
				_ = ns.conns[2].Join("b")
				if err := c.send(t.Context(), ns); err != nil {
					t.Fatal(err)
				}
				if got := ns.got(); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

func TestClusterOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := newNodes(t, 3, nil)
		ctx := t.Context()
		for i, c := range ns.conns {
			c.SetValue("number", i)
			_ = c.Join("a")
		}
		s := ns.srv[0]
		count := func(want int) {
			t.Helper()
			if n, err := s.Room("b").Count(ctx); err != nil || n != want {
				t.Errorf("%d members (%v), want %d", n, err, want)
			}
		}
		if err := s.Room("a").ExceptConns(ns.conns[2]).Join(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		count(2)
		if err := s.Room("a").Except(ns.conns[1].ID()).Leave(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		count(1)
		members, err := s.Room("a").Members(ctx)
		if err != nil || len(members) != 3 {
			t.Fatalf("%v %v", members, err)
		}
		seen := make(map[string]bool)
		for _, m := range members {
			seen[string(m.Value("number"))+" "+m.Node()] = true
			if (m.Conn() != nil) != (m.Node() == s.Nodes().ID()) || !slices.Contains(m.Rooms(), "a") {
				t.Errorf("member %s: %v in %v", m.ID(), m.Conn(), m.Rooms())
			}
		}
		for i, srv := range ns.srv {
			if !seen[fmt.Sprint(i, " ", srv.Nodes().ID())] {
				t.Errorf("connection %d is not among %v", i, seen)
			}
		}
		if err := s.Room("b").Disconnect(ctx, 4000, "bye"); err != nil {
			t.Fatal(err)
		}
		if code := ns.peers[1].closed(); code != 4000 {
			t.Errorf("closed with %d", code)
		}
	})
}

// answers makes the peers answer calls with their number: but "fail", and
// "silence" of the second.
func (ns *nodes) answers() {
	for i, p := range ns.peers {
		go func() {
			for {
				f, err := p.next()
				if err != nil {
					return
				}
				var q wire.Packet
				if f.Type.Control() {
					continue
				}
				if _, err := p.sess.Decode(f, &q); err != nil || q.Type != wire.Call {
					continue
				}
				switch {
				case q.Kind == "fail":
					p.send(wire.Packet{Type: wire.Error, ID: q.ID, Err: &wire.ErrorBody{Code: "teapot", Message: "short"}})
				case q.Kind != "silence" || i != 1:
					p.send(wire.Packet{Type: wire.Reply, ID: q.ID, Payload: text(fmt.Sprint(i))})
				}
			}
		}()
	}
}

// voters are three nodes, each with a peer in room "a", the last in "b" too.
func voters(t *testing.T) *nodes {
	ns := newNodes(t, 3, nil)
	for _, c := range ns.conns {
		_ = c.Join("a")
	}
	_ = ns.conns[2].Join("b")
	ns.answers()
	return ns
}

func ask(t *testing.T, target polywire.Target, kind string) (answers []polywire.Answer[string], err error) {
	t.Helper()
	err = target.Call(t.Context(), kind, nil, polywire.Collect(&answers))
	return answers, err
}

func TestClusterCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := voters(t)
		ctx := t.Context()
		answers, err := ask(t, ns.srv[0].Room("a"), "who")
		if err != nil || len(answers) != 3 {
			t.Fatalf("%+v %v", answers, err)
		}
		for _, a := range answers {
			i := slices.IndexFunc(ns.srv, func(s *polywire.Server) bool { return s.Nodes().ID() == a.Node })
			if a.Err != nil || a.Value != fmt.Sprint(i) || a.ID != ns.conns[i].ID() || (a.Conn != nil) != (i == 0) {
				t.Errorf("%+v", a)
			}
		}
		answers, err = ask(t, ns.srv[0].Room("a"), "fail")
		for _, a := range answers {
			if polywire.CodeOf(a.Err) != "teapot" {
				t.Errorf("%+v", a)
			}
		}
		if err != nil || len(answers) != 3 {
			t.Errorf("%d answers, %v", len(answers), err)
		}
		var one string
		if err := ns.srv[0].Room("b").Call(ctx, "who", nil, &one); err != nil || one != "2" {
			t.Errorf("the only member, far away, said %q, %v", one, err)
		}
		if err := ns.srv[1].Room("none").Call(ctx, "who", nil, &one); !errors.Is(err, polywire.ErrNoConnections) {
			t.Errorf("nobody: %v", err)
		}
		spread := make(map[string]int)
		robin := ns.srv[1].Room("a").Pick(polywire.RoundRobin())
		for range 9 {
			if err := robin.Call(ctx, "who", nil, &one); err != nil {
				t.Fatal(err)
			}
			spread[one]++
		}
		if len(spread) != 3 || spread["0"] != 3 {
			t.Errorf("round robin over nodes: %v", spread)
		}
		for _, p := range ns.peers {
			p.end()
		}
	})
}

// Who does not answer is among the answers or among the nodes that are missing.
func TestClusterCallsThatMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := voters(t)
		answers, err := ask(t, ns.srv[0].Room("a"), "silence")
		late := 0
		for _, a := range answers {
			if a.Err != nil {
				late++
			}
		}
		var partial *polywire.PartialError
		if late+len(missingOf(err)) != 1 || err != nil && !errors.As(err, &partial) {
			t.Errorf("%+v %v", answers, err)
		}
		// A node that dies is told of, and nobody waits for it.
		ns.hub.Kill(ns.srv[2].Nodes().ID())
		began := time.Now()
		answers, err = ask(t, ns.srv[0].Room("a"), "who")
		if !errors.As(err, &partial) || !slices.Equal(partial.Nodes, []string{ns.srv[2].Nodes().ID()}) || len(answers) != 2 {
			t.Errorf("%+v %v", answers, err)
		}
		if d := time.Since(began); d > 15*time.Second {
			t.Errorf("it took %v", d)
		}
		for _, p := range ns.peers {
			p.end()
		}
	})
}

func missingOf(err error) []string {
	if p, ok := errors.AsType[*polywire.PartialError](err); ok {
		return p.Nodes
	}
	return nil
}

func TestClusterNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		joined, left := make(chan string, 20), make(chan string, 20)
		hooks := polywire.WithHooks(polywire.Hooks{
			NodeJoined: func(n cluster.Node) { joined <- n.ID },
			NodeLeft:   func(n cluster.Node) { left <- n.ID },
		})
		heard := make(chan string, 10)
		ns := newNodes(t, 3, func(s *polywire.Server) {
			s.Nodes().Handle("hello", func(_ context.Context, m *polywire.NodeMessage) (any, error) {
				var text string
				if err := m.Bind(&text); err != nil {
					return nil, err
				}
				heard <- text + " to " + s.Nodes().ID()
				if text == "panic" {
					panic("oh")
				}
				return strings.ToUpper(text), nil
			})
		}, hooks)
		n := ns.srv[0].Nodes()
		if len(n.List()) != 3 || !n.Available() {
			t.Errorf("%v", n.List())
		}
		if err := n.Send(t.Context(), "hello", "one"); err != nil {
			t.Fatal(err)
		}
		got := []string{<-heard, <-heard}
		slices.Sort(got)
		want := []string{"one to " + ns.srv[1].Nodes().ID(), "one to " + ns.srv[2].Nodes().ID()}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for _, c := range []struct {
			kind, text string
			code       polywire.Code
		}{{"hello", "two", ""}, {"hello", "panic", polywire.CodeInternal}, {"unknown", "x", polywire.CodeNotFound}} {
			var answers []polywire.Answer[string]
			if err := n.Call(t.Context(), c.kind, c.text, polywire.Collect(&answers)); err != nil || len(answers) != 2 {
				t.Fatalf("%+v %v", answers, err)
			}
			for _, a := range answers {
				if c.code == "" && (a.Err != nil || a.Value != "TWO") || c.code != "" && polywire.CodeOf(a.Err) != c.code || a.Node == "" || a.Node == n.ID() {
					t.Errorf("%s: %+v", c.kind, a)
				}
			}
		}
		if err := ns.srv[1].Nodes().Offer("users", "tcp://b:7000"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := n.Offering("users"); !slices.Equal(got, []string{"tcp://b:7000"}) {
			t.Errorf("users are offered at %v", got)
		}
		_ = ns.srv[1].Nodes().Offer("users")
		synctest.Wait()
		if got := n.Offering("users"); len(got) != 0 {
			t.Errorf("users are offered at %v", got)
		}
		_ = ns.srv[2].Close()
		synctest.Wait()
		// The first learns of two, the second of one; both of one's end.
		if len(n.List()) != 2 || len(joined) < 3 || len(left) != 2 || <-left != ns.srv[2].Nodes().ID() {
			t.Errorf("%d joined, %d left, %v are there", len(joined), len(left), n.List())
		}
	})
}

// Members here get what is sent while the engine is away, who sends is told,
// and afterwards all is as before; a room with history misses nothing.
func TestClusterOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := newNodes(t, 2, nil, keeping(100, time.Hour))
		ctx := t.Context()
		for i := range ns.conns {
			_ = ns.conns[i].Join("a", "kept")
		}
		send := func(room string, v int) error { return ns.srv[0].Room(room).Send(ctx, "k", v) }
		if err := errors.Join(send("a", 1), send("kept", 2)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ns.hub.Fail()
		synctest.Wait()
		for i, room := range []string{"a", "kept"} {
			if err := send(room, 3+i); !errors.Is(err, cluster.ErrUnavailable) || polywire.CodeOf(err) != polywire.CodeUnavailable {
				t.Errorf("to %s: %v", room, err)
			}
		}
		if s := ns.srv[0].Stats().Cluster; ns.srv[0].Nodes().Available() || s.Available || s.Failed == 0 || s.Nodes != 2 {
			t.Errorf("%+v", s)
		}
		var partial *polywire.PartialError
		if n, err := ns.srv[0].Room("a").Count(ctx); n != 1 || !errors.Is(err, cluster.ErrUnavailable) && !errors.As(err, &partial) {
			t.Errorf("%d members, %v", n, err)
		}
		_ = ns.conns[1].Join("late")
		ns.hub.Restore()
		synctest.Wait()
		if err := errors.Join(send("a", 5), send("kept", 6), send("late", 7)); err != nil {
			t.Fatal(err)
		}
		if got := ns.got(); !slices.Equal(got, []string{"1 2 3 4 5 6", "1 2 5 6 7"}) {
			t.Errorf("got %q", got)
		}
		// A node that was away alone finds what it has missed.
		ns.hub.Cut(ns.srv[1].Nodes().ID())
		synctest.Wait()
		if err := errors.Join(send("kept", 8), send("kept", 9)); err != nil {
			t.Fatal(err)
		}
		ns.hub.Heal(ns.srv[1].Nodes().ID())
		time.Sleep(time.Second)
		if got := ns.got(); !slices.Equal(got, []string{"8 9", "8 9"}) {
			t.Errorf("got %q", got)
		}
		// What is lost on the way is found when the next one comes, or by a look.
		lost := 0
		ns.hub.Drop(func(_ string, m cluster.Message) bool {
			if m.Log != "" && lost < 2 {
				lost++
				return true
			}
			return false
		})
		if err := errors.Join(send("kept", 10), send("kept", 11), send("kept", 12)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute * 5)
		if got := ns.got(); lost != 2 || !slices.Equal(got, []string{"10 11 12", "10 11 12"}) {
			t.Errorf("%d were lost; got %q", lost, got)
		}
		// When the log itself is lost, members are sent away to begin anew.
		ns.hub.LoseLogs()
		_ = send("kept", 13)
		if code := ns.peers[1].closed(); code != polywire.CloseInsufficientState {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestClusterHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := newNodes(t, 3, nil, keeping(10, time.Hour))
		ctx := t.Context()
		first, _ := ns.peers[0].subscribe("kept", "")
		at := first.Position
		for i := range 6 {
			if err := ns.srv[i%3].Room("kept").Send(ctx, "k", i); err != nil {
				t.Fatal(err)
			}
			m := ns.peers[0].receive()
			if string(m.Payload.Data) != fmt.Sprint(i) || m.Position == "" {
				t.Fatalf("got %+v", m)
			}
			if i == 2 {
				at = m.Position
			}
		}
		// It comes back on another node, which has had nobody in the room.
		answer, missed := ns.peers[1].subscribe("kept", at)
		if !answer.Recovered || numbers(missed) != "3 4 5" {
			t.Errorf("%+v with %q", answer, numbers(missed))
		}
		answer, missed = ns.peers[2].subscribe("kept", first.Position)
		if !answer.Recovered || numbers(missed) != "0 1 2 3 4 5" {
			t.Errorf("%+v with %q", answer, numbers(missed))
		}
		for i := range 12 {
			_ = ns.srv[2].Room("kept").Send(ctx, "k", 10+i)
		}
		ns.got()
		peers, _ := crowd(t, ns.srv[1], 2)
		if answer, missed = peers[0].subscribe("kept", at); answer.Recovered || len(missed) > 0 {
			t.Errorf("more than is kept: %+v with %q", answer, numbers(missed))
		}
		if answer, missed = peers[1].subscribe("kept", "other.1"); answer.Recovered || len(missed) > 0 || answer.Position == "" {
			t.Errorf("another epoch: %+v with %q", answer, numbers(missed))
		}
	})
}

// TestClusterPresenceWhileAsking lets somebody join, and another leave, after their
// node has said who is there, while the answer of a third is awaited.
func TestClusterPresenceWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := newNodes(t, 3, nil, polywire.WithPresence("a"))
		peers, more := crowd(t, ns.srv[1], 2)
		for _, p := range peers {
			defer p.end()
		}
		_ = more[0].Join("a")
		synctest.Wait()
		ns.hub.Kill(ns.srv[2].Nodes().ID()) // which nobody knows yet
		_ = ns.conns[0].Join("a")
		time.Sleep(10 * time.Millisecond) // the others have answered
		_ = ns.conns[1].Join("a")
		more[0].Leave("a")
		_ = more[1].Join("a")
		more[1].Leave("a")
		time.Sleep(time.Minute)
		_ = ns.srv[0].All().Send(t.Context(), "end", nil)
		var told []string
		for {
			m := ns.peers[0].receive()
			if m.Kind == "end" {
				break
			}
			if strings.Contains(string(m.Payload.Data), ns.conns[1].ID()) {
				told = append(told, m.Kind)
			} else if strings.Contains(string(m.Payload.Data), more[1].ID()) {
				told = append(told, "brief "+m.Kind)
			}
		}
		if want := []string{polywire.PresenceJoined, "brief " + polywire.PresenceJoined, "brief " + polywire.PresenceLeft}; !slices.Equal(told, want) {
			t.Errorf("told of %q, want %q", told, want)
		}
		for _, p := range ns.peers {
			p.end()
		}
	})
}

func TestClusterPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ns := newNodes(t, 3, nil, polywire.WithPresence("a"))
		told := func(i int, kind string, of *polywire.Conn) {
			t.Helper()
			if m := ns.peers[i].receive(); m.Kind != kind || !strings.Contains(string(m.Payload.Data), of.ID()) {
				t.Fatalf("peer %d got %s %s, want %s of %s", i, m.Kind, m.Payload.Data, kind, of.ID())
			}
		}
		_ = ns.conns[0].Join("a")
		time.Sleep(time.Second)
		_ = ns.conns[1].Join("a")
		told(0, polywire.PresenceJoined, ns.conns[1])
		told(1, polywire.PresenceJoined, ns.conns[0]) // who was there before
		_ = ns.conns[1].SetPresence("busy")
		told(0, polywire.PresenceChanged, ns.conns[1])
		there, err := ns.srv[2].Room("a").Presence(t.Context())
		if err != nil || len(there) != 2 || there[1].Node != ns.srv[1].Nodes().ID() || string(there[1].Value) != `"busy"` {
			t.Errorf("%+v %v", there, err)
		}
		ns.hub.Kill(ns.srv[1].Nodes().ID())
		began := time.Now()
		told(0, polywire.PresenceLeft, ns.conns[1])
		if d := time.Since(began); d > 30*time.Second {
			t.Errorf("it took %v", d)
		}
		time.Sleep(time.Second) // the other node learns of it on its own
		if there, err = ns.srv[2].Room("a").Presence(t.Context()); err != nil || len(there) != 1 {
			t.Errorf("%+v %v", there, err)
		}
	})
}

// TestClusterBeforeStart sends to rooms while the server joins its cluster.
func TestClusterBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := polywire.New(polywire.WithCluster(cluster.NewMemory()), polywire.WithSessions(polywire.Sessions{}),
			polywire.WithHistory("kept", polywire.History{}))
		if err != nil {
			t.Fatal(err)
		}
		rooms := []string{"kept", "other"}
		for _, room := range rooms {
			if err := srv.Room(room).Send(t.Context(), "news", 1); !errors.Is(err, polywire.ErrNotRunning) {
				t.Errorf("to %s: %v", room, err)
			}
		}
		var sending sync.WaitGroup
		for _, room := range rooms {
			sending.Go(func() {
				for srv.Room(room).Send(t.Context(), "news", 1) != nil {
					runtime.Gosched()
				}
			})
		}
		if err := srv.Start(); err != nil {
			t.Error(err)
		}
		sending.Wait()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}
