package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/polywire/polywire"
)

// notRevoked asks the application about a token.
func (t *verifier) notRevoked(ctx context.Context, tok *Token) error {
	if t.o.Revoked == nil {
		return nil
	}
	revoked, err := t.o.Revoked(ctx, tok)
	if err != nil {
		return refuse(ReasonUnavailable, "revocation: %v", err)
	}
	if revoked {
		return refuse(ReasonRevoked, "user %s", short(tok.User))
	}
	return nil
}

// nodeRevoke is the kind of what nodes tell each other.
const nodeRevoke = "auth.revoke"

// wish is which connections are to end.
type wish struct {
	User    string `json:"user,omitempty"`
	ID      string `json:"id,omitempty"`
	Recheck bool   `json:"recheck,omitempty"`
}

var errNoServer = errors.New("auth: no server runs with this plugin")

// Revoke ends the connections on this node that match says yes to, for good
// ([polywire.CloseUnauthorized], [ReasonRevoked]), and returns how many. match
// is asked about those with tokens only. It does not keep them from coming
// back: that is for [Options].Revoked.
func (t *Tokens) Revoke(match func(c *polywire.Conn) bool) int {
	srv := t.srv.Load()
	if srv == nil {
		return 0
	}
	n := 0
	for _, c := range srv.Conns() {
		if id := c.Identity(); id != nil && id.Claims != nil && match(c) && c.Close(polywire.CloseUnauthorized, ReasonRevoked) == nil {
			n++
		}
	}
	return n
}

// RevokeUser is Revoke for the connections of a user, on all nodes. The error
// is that not all nodes have answered; n is how many have ended on those that have.
func (t *Tokens) RevokeUser(ctx context.Context, user string) (n int, err error) {
	return t.everywhere(ctx, wish{User: user})
}

// RevokeToken is [Tokens.RevokeUser] for a token's ID (jti), with its errors.
func (t *Tokens) RevokeToken(ctx context.Context, id string) (n int, err error) {
	return t.everywhere(ctx, wish{ID: id})
}

// Recheck asks [Options].Revoked about the token of each connection, on all
// nodes, and ends those for which it says yes. Connections about which it
// fails stay. Errors: as of RevokeUser.
func (t *Tokens) Recheck(ctx context.Context) (n int, err error) {
	return t.everywhere(ctx, wish{Recheck: true})
}

func (t *Tokens) everywhere(ctx context.Context, w wish) (int, error) {
	srv := t.srv.Load()
	if srv == nil {
		return 0, errNoServer
	}
	n, errHere := t.here(ctx, w)
	var answers []polywire.Answer[int]
	err := errors.Join(errHere, srv.Nodes().Call(ctx, nodeRevoke, w, polywire.Collect(&answers)))
	for _, a := range answers {
		n += a.Value
		if a.Err != nil {
			err = errors.Join(err, fmt.Errorf("auth: node %s: %w", a.Node, a.Err))
		}
	}
	return n, err
}

// here does on this node what was wished for.
func (t *Tokens) here(ctx context.Context, w wish) (n int, err error) {
	switch {
	case w.Recheck:
		n = t.Revoke(func(c *polywire.Conn) bool {
			tok := TokenOf(c)
			if tok == nil || ctx.Err() != nil {
				return false
			}
			told := (*refusal)(nil)
			return errors.As(t.now.Load().notRevoked(ctx, tok), &told) && told.told.Message == ReasonRevoked
		})
		err = ctx.Err()
	case w.User != "":
		n = t.Revoke(func(c *polywire.Conn) bool { return c.User() == w.User })
	case w.ID != "":
		n = t.Revoke(func(c *polywire.Conn) bool {
			id, ok := c.Identity().Claims["jti"].(string)
			return ok && id == w.ID
		})
	default:
		err = errors.New("auth: an empty user or token ID")
	}
	return n, err
}

func (t *Tokens) revokeForNode(ctx context.Context, m *polywire.NodeMessage) (any, error) {
	var w wish
	if err := m.Bind(&w); err != nil {
		return nil, err
	}
	return t.here(ctx, w)
}
