package auth_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
)

// revocable are two nodes that share a list of what is revoked.
type revocable struct {
	t     *testing.T
	mu    sync.Mutex
	list  []string // users; "!" fails
	nodes [2]*site
	auth  [2]*auth.Tokens
}

func newRevocable(t *testing.T) *revocable {
	t.Helper()
	r := &revocable{t: t}
	bus := cluster.NewMemory()
	o := strict()
	o.Revoked = func(_ context.Context, tok *auth.Token) (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if slices.Contains(r.list, "!") {
			return false, errors.New("the list is away")
		}
		return slices.Contains(r.list, tok.User), nil
	}
	for i := range r.nodes {
		r.auth[i] = tokens(t, auth.Static(public("HS256")), o)
		r.nodes[i] = newSite(t, append(r.auth[i].Options(), polywire.WithCluster(bus), quiet())...)
	}
	synctest.Wait()
	for _, n := range r.nodes {
		if nodes := n.srv.Nodes().List(); len(nodes) != 2 {
			t.Fatalf("the nodes are %v", nodes)
		}
	}
	return r
}

func (r *revocable) revoke(users ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = users
}

// dial opens a connection of a user on each node.
func (r *revocable) dial(user, id string) (here, there *client.Client) {
	raw := sign("HS256", secret(), nil, claims(map[string]any{"sub": user, "jti": id}))
	return must(r.nodes[0].dial("ws://memory", raw)), must(r.nodes[1].dial("socketio+ws://memory/", raw))
}

// ended checks which connections have ended.
func ended(t *testing.T, want bool, clients ...*client.Client) {
	t.Helper()
	synctest.Wait()
	for i, c := range clients {
		if (c.Err() != nil) != want {
			t.Errorf("client %d: %v", i, c.Err())
		}
		closed := (*polywire.CloseError)(nil)
		if want && (!errors.As(c.Err(), &closed) || closed.Code.Reconnect()) {
			t.Errorf("client %d ended with %v", i, c.Err())
		}
	}
}

func TestRevokeUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRevocable(t)
		a1, a2 := r.dial("ann", "1")
		b1, b2 := r.dial("bob", "2")
		n, err := r.auth[1].RevokeUser(t.Context(), "ann")
		if n != 2 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		ended(t, true, a1, a2)
		ended(t, false, b1, b2)
		if n, err := r.auth[0].RevokeUser(t.Context(), ""); n != 0 || err == nil {
			t.Errorf("nobody: %d %v", n, err)
		}
		ended(t, false, b1, b2)
	})
}

func TestRevokeToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRevocable(t)
		a1, a2 := r.dial("ann", "1")
		b1, b2 := r.dial("ann", "2")
		if n, err := r.auth[0].RevokeToken(t.Context(), "2"); n != 2 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		ended(t, true, b1, b2)
		ended(t, false, a1, a2)
		if n := r.auth[0].Revoke(func(c *polywire.Conn) bool { return auth.TokenOf(c).ID == "1" }); n != 1 {
			t.Errorf("%d on this node", n)
		}
		ended(t, true, a1)
		ended(t, false, a2)
	})
}

func TestRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRevocable(t)
		a1, a2 := r.dial("ann", "1")
		b1, b2 := r.dial("bob", "2")
		if n, err := r.auth[0].Recheck(t.Context()); n != 0 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		r.revoke("bob", "!")
		if n, err := r.auth[0].Recheck(t.Context()); n != 0 || err != nil {
			t.Errorf("with the list away: %d %v", n, err)
		}
		ended(t, false, a1, a2, b1, b2)
		r.revoke("bob")
		if n, err := r.auth[0].Recheck(t.Context()); n != 2 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		ended(t, true, b1, b2)
		ended(t, false, a1, a2)
		// Who is revoked does not come back, nor refresh.
		refused(t, auth.ReasonRevoked, func() (*client.Client, error) { return r.nodes[0].dial("ws://memory", good("bob", time.Hour)) })
		r.revoke("ann")
		if err := a1.Call(t.Context(), auth.KindRefresh, good("ann", time.Hour), nil); reason(err) != auth.ReasonRevoked {
			t.Error(err)
		}
	})
}

// What takes no tokens is nobody's to revoke.
func TestRevokeOthers(t *testing.T) {
	alone := tokens(t, auth.Static(public("HS256")), strict())
	if n := alone.Revoke(func(*polywire.Conn) bool { return true }); n != 0 {
		t.Errorf("%d without a server", n)
	}
	if _, err := alone.RevokeUser(t.Context(), "ann"); err == nil {
		t.Error("revoked without a server")
	}
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Optional = true
		got := tokens(t, auth.Static(public("HS256")), o)
		s := newSite(t, got.Options()...)
		c, err := s.dial("ws://memory", "")
		if err != nil {
			t.Fatal(err)
		}
		if n := got.Revoke(func(*polywire.Conn) bool { return true }); n != 0 {
			t.Errorf("%d of nobody's connections", n)
		}
		ended(t, false, c)
		other, err := polywire.New(got.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := other.Start(); err == nil {
			t.Error("a second server has the plugin")
		}
	})
}
