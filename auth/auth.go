package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/polywire/polywire"
)

// DefaultSubprotocol is what a WebSocket subprotocol that carries a token
// begins with. A browser offers it beside the wire's own:
//
//	new WebSocket(url, ["polywire.v1.json", "polywire.token." + token])
const DefaultSubprotocol = "polywire.token."

// Options are those of [JWT]. Issuers and Audiences are required, unless they
// are turned off by name.
type Options struct {
	Issuers   []string // one of them must be the token's iss
	Audiences []string // one of them must be among the token's aud
	// AnyIssuer and AnyAudience take tokens of whoever has the keys, for whomever.
	AnyIssuer, AnyAudience bool
	// NoExpiry takes tokens without exp. Their connections never expire.
	NoExpiry bool
	// Algorithms narrows those of the keys, as in "ES256". Empty: all of them.
	Algorithms []string
	// Leeway is how far clocks may differ. Zero: 10 s; less: not at all.
	Leeway time.Duration
	// MaxTokenBytes bounds a token. Zero: 8 KiB.
	MaxTokenBytes int
	// UserClaim is the claim that is the user, text or a number. Empty: sub.
	UserClaim string
	// Query names the query parameter of an HTTP request that has the token.
	// Empty: none is looked at. URLs end up in the logs of proxies: use it for
	// clients that have no other way, such as browsers' EventSource.
	Query string
	// Subprotocol is what a WebSocket subprotocol begins with whose rest is the
	// token. Empty: [DefaultSubprotocol].
	Subprotocol string
	// Optional lets in who has no token, as nobody in particular. A token that
	// is not accepted is refused all the same. On wires without a hello only the
	// request is looked at then.
	Optional bool
	// Revoked says whether a token that is good otherwise is accepted no longer.
	// It is asked for each connection, each refresh, and by [Tokens.Recheck],
	// by many goroutines at once. An error refuses as [ReasonUnavailable].
	Revoked func(ctx context.Context, t *Token) (bool, error)
	// Logger is told of refreshes that were refused. Nil: nobody is. Connections
	// that are refused are in the log of the server.
	Logger *slog.Logger
}

// Tokens lets in who has a token. It is a plugin of one server, with
// [KindRefresh] and revocation; its Authenticate alone may be any server's.
// Methods may be called from many goroutines at once.
type Tokens struct {
	now atomic.Pointer[verifier] // never nil
	srv atomic.Pointer[polywire.Server]

	mu sync.Mutex // one replaces, or closes, at a time
}

// verifier is the keys and the rules that hold, which Replace changes at once.
type verifier struct {
	keys   Keys
	o      Options
	parser *jwt.Parser
}

// JWT returns what lets in who has a token that one of the keys has signed. It
// closes the keys when its server ends. The error is about the keys and options.
func JWT(keys Keys, o Options) (*Tokens, error) {
	if keys == nil {
		return nil, errors.New("auth: no keys")
	}
	if err := keys.check(); err != nil {
		return nil, err
	}
	if err := o.finish(); err != nil {
		return nil, err
	}
	t := new(Tokens)
	t.now.Store(newVerifier(keys, o))
	return t, nil
}

func newVerifier(keys Keys, o Options) *verifier {
	return &verifier{
		keys: keys, o: o,
		parser: jwt.NewParser(jwt.WithValidMethods(o.Algorithms), jwt.WithJSONNumber(), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
	}
}

func (o *Options) finish() error {
	switch {
	case len(o.Issuers) == 0 != o.AnyIssuer:
		return errors.New("auth: want Issuers, or AnyIssuer in their place")
	case len(o.Audiences) == 0 != o.AnyAudience:
		return errors.New("auth: want Audiences, or AnyAudience in their place")
	case slices.Contains(o.Issuers, "") || slices.Contains(o.Audiences, ""):
		return errors.New("auth: an empty issuer or audience")
	case o.MaxTokenBytes < 0:
		return errors.New("auth: MaxTokenBytes is negative")
	}
	for _, a := range o.Algorithms {
		if !slices.Contains(knownAlgorithms(), a) {
			return fmt.Errorf("auth: algorithm %q is none of %s", a, strings.Join(knownAlgorithms(), ", "))
		}
	}
	if len(o.Algorithms) == 0 {
		o.Algorithms = knownAlgorithms()
	}
	o.Leeway = max(cmp.Or(o.Leeway, 10*time.Second), 0)
	o.MaxTokenBytes = cmp.Or(o.MaxTokenBytes, 8<<10)
	o.UserClaim = cmp.Or(o.UserClaim, "sub")
	o.Subprotocol = cmp.Or(o.Subprotocol, DefaultSubprotocol)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Options returns what a server needs: Authenticate, and the plugin.
func (t *Tokens) Options() []polywire.Option {
	return []polywire.Option{polywire.WithAuth(t.Authenticate), polywire.WithPlugins(t)}
}

// Close lets go of the keys, where no server does. The error is always nil; it is
// there for io.Closer.
func (t *Tokens) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Load().keys.close()
	return nil
}

// Authenticate is the [polywire.Authenticator]: an identity with the token's user
// and claims, [polywire.ErrAwaitHello] where the token may come with the hello, or
// a *[polywire.Error] whose message is one of the Reason words.
func (t *Tokens) Authenticate(ctx context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	return latest(t, func(v *verifier) (*polywire.Identity, error) { return v.authenticate(ctx, h) })
}

// latest asks what holds now, and again where that was replaced meanwhile: its
// keys may be gone.
func latest[T any](t *Tokens, ask func(v *verifier) (T, error)) (T, error) {
	for {
		v := t.now.Load()
		answer, err := ask(v)
		if err == nil || t.now.Load() == v {
			return answer, err
		}
	}
}

func (t *verifier) authenticate(ctx context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	raw, err := t.credential(h)
	if err != nil {
		return nil, err
	}
	if raw == "" {
		switch {
		case t.o.Optional && (h.Hello || !greets(h.Wire)):
			return nil, nil //nolint:nilnil // nobody in particular
		case !h.Hello && h.Wire != wireSSE:
			return nil, polywire.ErrAwaitHello
		}
	}
	tok, err := t.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	return tok.identity(), nil
}

// Names of wires that differ in how clients introduce themselves.
const (
	wireNative = "native"
	wireSSE    = "sse" // the hello says no more than the request, but all of its query
)

// greets reports whether all clients of a wire begin with a hello.
func greets(wire string) bool { return wire == wireNative }

// credential returns the token that a client shows, empty if it shows none.
func (t *verifier) credential(h *polywire.Handshake) (string, error) {
	if h.Hello && h.Wire != wireSSE {
		for _, name := range []string{"authorization", "Authorization"} {
			if raw := bearer(h.Header[name]); raw != "" {
				return raw, nil
			}
		}
		if raw := h.Header["token"]; raw != "" {
			return raw, nil
		}
	}
	if h.Request == nil {
		return "", nil
	}
	return t.ofRequest(h.Request)
}

func (t *verifier) ofRequest(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return "", refuse(ReasonInvalid, "%d headers Authorization", len(headers))
	}
	for _, h := range headers {
		if raw := bearer(h); raw != "" {
			return raw, nil
		}
	}
	for _, list := range r.Header.Values("Sec-WebSocket-Protocol") {
		for one := range strings.SplitSeq(list, ",") {
			if raw, ok := strings.CutPrefix(strings.TrimSpace(one), t.o.Subprotocol); ok && raw != "" {
				return raw, nil
			}
		}
	}
	if t.o.Query == "" {
		return "", nil
	}
	values := r.URL.Query()[t.o.Query]
	if len(values) > 1 {
		return "", refuse(ReasonInvalid, "%d tokens in the query", len(values))
	}
	if len(values) == 1 {
		return values[0], nil
	}
	return "", nil
}

// Activate implements [polywire.Plugin].
func (t *Tokens) Activate(s *polywire.Server) error {
	if !t.srv.CompareAndSwap(nil, s) {
		return errors.New("auth: these Tokens are another server's already")
	}
	s.Handle(KindRefresh, t.RefreshHandler())
	s.Nodes().Handle(nodeRevoke, t.revokeForNode)
	return nil
}

// Deactivate implements [polywire.Plugin].
func (t *Tokens) Deactivate(context.Context) error { return t.Close() }
