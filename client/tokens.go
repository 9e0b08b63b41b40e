package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/backoff"
)

// Token is what a client shows to a server.
type Token struct {
	// Text is the token itself.
	Text string
	// Expires is when it ends. Zero: the time that a JWT says (exp), never for others.
	Expires time.Time
}

// WithTokens asks f for a token before each connection, and again when three
// quarters of a token's time have passed, or somewhat less. The hello shows it
// as "authorization: Bearer ...", beside what [WithCredentials] says; later ones
// are shown by a call of the kind "auth.refresh", as package auth takes them, so
// that the connection does not expire.
//
// f is called by one goroutine at a time; its context ends with the try, or with
// the connection. What goes wrong with a later token is told to [Hooks].Error,
// and tried again with growing waits ([WithBackoff]) while the connection lasts;
// a server that knows no such kind, or a wire that cannot say it, is not asked
// again: the next connection begins with a new token.
func WithTokens(f func(ctx context.Context) (Token, error)) Option {
	return optionFunc(func(c *config) error {
		if f == nil {
			return errors.New("no source of tokens")
		}
		c.tokens = f
		return nil
	})
}

// kindRefresh is auth.KindRefresh.
const kindRefresh = "auth.refresh"

// hello returns what a client shows of itself.
func (c *Client) hello(ctx context.Context) (header map[string]string, err error) {
	if c.cfg.credentials != nil {
		if header, err = c.cfg.credentials(ctx); err != nil {
			return nil, fmt.Errorf("client: credentials: %w", err)
		}
	}
	if c.cfg.tokens == nil {
		return header, nil
	}
	t, err := c.cfg.tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("client: token: %w", err)
	}
	c.expires = t.end()
	header = maps.Clone(header)
	if header == nil {
		header = make(map[string]string)
	}
	header["authorization"] = "Bearer " + t.Text
	return header, nil
}

// end returns when the token ends; zero: never, as far as is known.
func (t Token) end() time.Time {
	if !t.Expires.IsZero() {
		return t.Expires
	}
	parts := strings.Split(t.Text, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
	}
	const lastSecond = 253402300799 // of the year 9999
	if err != nil || json.Unmarshal(text, &claims) != nil || !(claims.Exp >= 1) || claims.Exp > lastSecond {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}

// freshen shows later tokens on a connection, until stop is called.
func (c *Client) freshen(life context.Context, conn *polywire.Conn) (stop func()) {
	if c.cfg.tokens == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(life)
	var goes sync.WaitGroup
	expires := c.expires
	goes.Go(func() { c.showTokens(ctx, conn, expires) })
	return func() {
		cancel()
		goes.Wait()
	}
}

func (c *Client) showTokens(ctx context.Context, conn *polywire.Conn, expires time.Time) {
	again := &backoff.Backoff{Min: c.cfg.backoffMin, Max: c.cfg.backoffMax}
	for failed := false; !expires.IsZero(); {
		pause := untilRefresh(time.Until(expires))
		if failed || pause <= 0 {
			pause = again.Next()
		} else {
			again.Reset()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		next, err := c.refresh(ctx, conn)
		switch {
		case ctx.Err() != nil || errors.Is(err, polywire.ErrConnClosed):
			return
		case err == nil:
			expires = next
		default:
			c.report(fmt.Errorf("client: token: %w", err))
			if hopeless(err) {
				return
			}
		}
		failed = err != nil
	}
}

// untilRefresh is how long to wait where a token lasts for so long: clients that
// began together come apart.
func untilRefresh(left time.Duration) time.Duration {
	return left*3/4 - rand.N(max(left/10, 1)) //nolint:gosec // spreading load is no secret
}

// refresh shows another token, and returns when it ends.
func (c *Client) refresh(ctx context.Context, conn *polywire.Conn) (expires time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.dialTimeout)
	defer cancel()
	t, err := c.cfg.tokens(ctx)
	if err != nil {
		return expires, &sourceError{err}
	}
	var answer struct {
		Expires *time.Time `json:"expires"`
	}
	if err := conn.Call(ctx, kindRefresh, t.Text, &answer); err != nil {
		return expires, err
	}
	if answer.Expires != nil {
		return *answer.Expires, nil
	}
	return t.end(), nil
}

// sourceError is of who makes tokens.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// hopeless reports whether a call failed in a way that another does not mend:
// nobody answers it, or it cannot be said.
func hopeless(err error) bool {
	if source := (*sourceError)(nil); errors.As(err, &source) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	coded := (*polywire.Error)(nil)
	return !errors.As(err, &coded) || coded.Code == polywire.CodeNotFound
}
