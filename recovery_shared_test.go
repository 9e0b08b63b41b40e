package polywire_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
)

// beginOnOne opens a session as begin does, on the first of two nodes.
func (w *world) beginOnOne(t *testing.T, hub *cluster.Memory) (two *polywire.Server, p *peer) {
	t.Helper()
	server := func() *polywire.Server {
		return newServer(t, func(s *polywire.Server) { s.Namespace("/other") },
			polywire.WithCluster(hub), polywire.WithSessions(polywire.Sessions{}), polywire.WithHeartbeat(time.Hour, time.Hour),
			polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
				return &polywire.Identity{User: w.user}, nil
			}))
	}
	w.srv, two = server(), server()
	p = join(t, w.srv, nil)
	_, welcome := p.resume("", "")
	w.id, w.secret = welcome.Key, welcome.Resume
	conn := w.srv.Conn(w.id)
	_ = conn.Join("in")
	conn.SetValue("k", "v")
	if err := two.Room("in").Send(t.Context(), "first", 1); err != nil {
		t.Fatal(err)
	}
	w.offset = p.receive().Position
	synctest.Wait()
	return two, p
}

// Who has been on one node comes back on another, under its ID, in its rooms,
// and has missed nothing.
func TestRecoveryOnAnotherNode(t *testing.T) {
	for name, c := range map[string]struct {
		end      func(hub *cluster.Memory, w *world, p *peer)
		killed   bool
		user     string
		recovers bool
	}{
		"lost":            {end: func(_ *cluster.Memory, _ *world, p *peer) { p.end() }, recovers: true},
		"still connected": {end: func(*cluster.Memory, *world, *peer) {}, recovers: true},
		"node killed":     {end: func(hub *cluster.Memory, w *world, _ *peer) { hub.Kill(w.srv.Nodes().ID()) }, killed: true, recovers: true},
		"sent away": {end: func(_ *cluster.Memory, w *world, p *peer) {
			_ = w.srv.Conn(w.id).Close(polywire.CloseForceDisconnect, "")
			p.end()
		}},
		"another user": {end: func(_ *cluster.Memory, _ *world, p *peer) { p.end() }, user: "v"},
		"log lost":     {end: func(hub *cluster.Memory, _ *world, p *peer) { p.end(); hub.LoseLogs() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := cluster.NewMemory()
				w := &world{user: "u"}
				two, p := w.beginOnOne(t, hub)
				defer p.end()
				c.end(hub, w, p)
				synctest.Wait()
				ctx := t.Context()
				_ = two.All().Send(ctx, "all", 1)
				if !c.killed {
					_ = w.srv.Room("in").Send(ctx, "in", 1)
				}
				_ = two.Room(w.id).Send(ctx, "own", 1)
				_ = two.Room("out").Send(ctx, "out", 1)
				synctest.Wait()
				if c.user != "" {
					w.user = c.user
				}
				q := join(t, two, nil)
				defer q.end()
				missed, again := q.resume(w.secret, w.offset)
				want := []string{"all", "in", "own"}
				if c.killed {
					want = []string{"all", "own"}
				}
				if !c.recovers {
					if again.Resume == w.secret || len(missed) > 0 {
						t.Errorf("resumed with %q", missed)
					}
					return
				}
				if again.Key != w.id || again.Resume != w.secret || !slices.Equal(missed, want) {
					t.Fatalf("%q came, then %+v; want %q", missed, again, want)
				}
				back := two.Conn(w.id)
				if back == nil || !back.In("in") || back.Value("k") != "v" {
					t.Fatalf("the connection is %v", back)
				}
				// From now on what is for it finds it there, whoever sends.
				from := w.srv
				if c.killed {
					from = two
				}
				_ = from.Room(w.id).Send(ctx, "direct", 1)
				_ = from.Room("in").Send(ctx, "room", 1)
				if a, b := q.receive(), q.receive(); a.Kind != "direct" || b.Kind != "room" || b.Position == "" {
					t.Errorf("got %+v and %+v", a, b)
				}
				if !c.killed && w.srv.Conn(w.id) != nil {
					t.Error("the old connection is there still")
				}
			})
		})
	}
}

// What happens to a session while the engine is away is told when it is back.
func TestRecoveryKnowsWhatHappenedInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := cluster.NewMemory()
		w := &world{user: "u"}
		two, p := w.beginOnOne(t, hub)
		defer p.end()
		hub.Fail()
		synctest.Wait()
		_ = w.srv.Conn(w.id).Join("late")
		synctest.Wait()
		hub.Restore()
		time.Sleep(10 * time.Second)
		hub.Kill(w.srv.Nodes().ID())
		synctest.Wait()
		q := join(t, two, nil)
		defer q.end()
		_, again := q.resume(w.secret, w.offset)
		if back := two.Conn(w.id); again.Key != w.id || back == nil || !back.In("late") {
			t.Errorf("%+v resumed %v", again, back)
		}
	})
}
