package auth

import (
	"context"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
)

// KindRefresh is the kind of the call by which a client shows a later token of
// the same user, before its connection expires: its payload is the token, as
// text or as {"token": ...}. The answer is a [Refreshed].
//
// It is about the connection that it is sent on. In namespaces other than the
// main one it has to be registered: ns.Handle(auth.KindRefresh, tokens.RefreshHandler()).
// A client that cannot send (server-sent events) comes back with a later token.
const KindRefresh = "auth.refresh"

// Refreshed is the answer to [KindRefresh].
type Refreshed struct {
	// Expires is when the token does, nil if never.
	Expires *time.Time `json:"expires,omitempty"`
}

// Refresh gives a connection a later token of the same user, however that has
// come. Errors are those of Verify; [ReasonOther] for a token of another user;
// one that wraps [polywire.ErrConnClosed]. The connection is as before then.
func (t *Tokens) Refresh(ctx context.Context, c *polywire.Conn, raw string) (*Token, error) {
	tok, err := t.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	before := TokenOf(c)
	if before == nil || before.User != tok.User || before.Issuer != tok.Issuer {
		return nil, refuse(ReasonOther, "the token of another user or issuer")
	}
	if err := c.Renew(tok.identity()); err != nil {
		return nil, err
	}
	return tok, nil
}

// RefreshHandler returns the handler of [KindRefresh].
func (t *Tokens) RefreshHandler() polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		v := t.now.Load()
		raw, err := v.tokenIn(m)
		if err != nil {
			return nil, err
		}
		tok, err := t.Refresh(ctx, m.Conn(), raw)
		if err != nil {
			v.o.Logger.InfoContext(ctx, "auth: refresh refused", "conn", m.From(), "wire", m.Wire(), "error", err)
			return nil, err
		}
		if tok.Expires.IsZero() {
			return Refreshed{}, nil
		}
		return Refreshed{&tok.Expires}, nil
	}
}

// tokenIn returns the token that a message brings.
func (t *verifier) tokenIn(m *polywire.Message) (string, error) {
	p := m.Payload()
	if len(p.Data) > 2*t.o.MaxTokenBytes+64 {
		return "", refuse(ReasonInvalid, "%d bytes", len(p.Data))
	}
	if p.Type == codec.TypeBytes {
		return string(p.Data), nil
	}
	var v any
	if err := m.Bind(&v); err != nil {
		return "", polywire.Errorf(polywire.CodeBadRequest, "the payload is neither a token nor an object with one")
	}
	if o, ok := v.(map[string]any); ok {
		v = o["token"]
	}
	raw, ok := v.(string)
	if !ok {
		return "", refuse(ReasonMissing, "no token in the payload")
	}
	return raw, nil
}
