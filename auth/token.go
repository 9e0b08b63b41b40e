package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/polywire/polywire"
)

// What a peer is told of a refusal: the message of an error with
// [polywire.CodeUnauthorized] (with [polywire.CodeUnavailable] for
// ReasonUnavailable, [polywire.CodeForbidden] for ReasonOther), or the reason of
// the close code.
const (
	ReasonMissing     = "token_missing"     // there is none
	ReasonInvalid     = "token_invalid"     // malformed, not signed by a key, or not for this server
	ReasonExpired     = "token_expired"     // its time is over
	ReasonRevoked     = "token_revoked"     // the application's word
	ReasonOther       = "token_other"       // a refresh with the token of another user
	ReasonUnavailable = "token_unavailable" // it cannot be checked now
)

// Token is what a verified token says.
type Token struct {
	User      string    // the claim that [Options].UserClaim names
	ID        string    // jti; empty: none
	Issuer    string    // iss
	IssuedAt  time.Time // iat; zero: it does not say
	Expires   time.Time // exp; zero: never
	Claims    map[string]any
	NotBefore time.Time // nbf; zero: it does not say
}

// identity is the token as the core has it.
func (t *Token) identity() *polywire.Identity {
	return &polywire.Identity{User: t.User, Claims: t.Claims, Expires: t.Expires}
}

// TokenOf returns the token that a connection was let in by, nil if there was none.
func TokenOf(c *polywire.Conn) *Token {
	id := c.Identity()
	if id == nil || id.Claims == nil {
		return nil
	}
	t := &Token{User: id.User, Claims: id.Claims}
	if t.read() != nil {
		return nil
	}
	return t
}

// refusal is a token that was not accepted. The peer sees the coded error, the
// log all of it. It never has anything of the token but its header.
type refusal struct {
	told *polywire.Error
	why  string
}

// Error returns the word for the peer, and what the log has besides.
func (r *refusal) Error() string { return "auth: " + r.told.Message + ": " + r.why }

// Unwrap returns what the peer is told.
func (r *refusal) Unwrap() error { return r.told }

func refuse(reason, format string, args ...any) error {
	code := polywire.CodeUnauthorized
	switch reason {
	case ReasonUnavailable:
		code = polywire.CodeUnavailable
	case ReasonOther:
		code = polywire.CodeForbidden
	}
	return &refusal{&polywire.Error{Code: code, Message: reason}, fmt.Sprintf(format, args...)}
}

var errUnknownKey = errors.New("no key for it")

// unavailableError says that keys could not be had.
type unavailableError struct{ cause error }

// Error returns the cause.
func (e *unavailableError) Error() string {
	if e.cause == nil {
		return "the keys are not there yet"
	}
	return e.cause.Error()
}

// Verify checks a token, as for a connection that wants to come in. Errors wrap
// a *[polywire.Error]; see [ReasonMissing] and the others.
func (t *Tokens) Verify(ctx context.Context, raw string) (*Token, error) {
	return latest(t, func(v *verifier) (*Token, error) { return v.verify(ctx, raw) })
}

func (t *verifier) verify(ctx context.Context, raw string) (*Token, error) {
	tok, err := t.parse(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := t.notRevoked(ctx, tok); err != nil {
		return nil, err
	}
	return tok, nil
}

func (t *verifier) parse(ctx context.Context, raw string) (*Token, error) {
	switch {
	case raw == "":
		return nil, refuse(ReasonMissing, "no token")
	case len(raw) > t.o.MaxTokenBytes:
		return nil, refuse(ReasonInvalid, "%d bytes: more than %d", len(raw), t.o.MaxTokenBytes)
	}
	claims := jwt.MapClaims{}
	var keyErr error
	parsed, err := t.parser.ParseWithClaims(raw, claims, func(p *jwt.Token) (any, error) {
		var found []Key
		if found, keyErr = t.keysFor(ctx, p); keyErr != nil {
			return nil, keyErr
		}
		return verificationKeys(found), nil
	})
	switch {
	case keyErr != nil:
		return nil, keyErr
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, refuse(ReasonInvalid, "malformed")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return nil, refuse(ReasonInvalid, "%s", signatureFault(parsed))
	case err != nil || !parsed.Valid:
		return nil, refuse(ReasonInvalid, "not accepted")
	}
	tok := &Token{Claims: claims}
	if err := tok.read(); err != nil {
		return nil, refuse(ReasonInvalid, "%v", err)
	}
	return tok, t.check(tok)
}

// signatureFault says what is wrong with a token that no key was tried for, or
// whose signature is not that of the keys.
func signatureFault(parsed *jwt.Token) string {
	alg, _ := parsed.Header["alg"].(string)
	if !slices.Contains(knownAlgorithms(), alg) {
		return "algorithm " + short(alg)
	}
	return "the signature is not right"
}

// short is a text of a stranger's for the log.
func short(s string) string {
	const most = 40
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// keysFor returns the keys for a token. Its header chooses among the keys of an
// algorithm, never how a key is used.
func (t *verifier) keysFor(ctx context.Context, p *jwt.Token) ([]Key, error) {
	if _, critical := p.Header["crit"]; critical { // RFC 7515 section 4.1.11: there is none that is understood
		return nil, refuse(ReasonInvalid, "critical header parameters")
	}
	alg := p.Method.Alg()
	kid, isText := p.Header["kid"].(string)
	if _, there := p.Header["kid"]; there && !isText {
		return nil, refuse(ReasonInvalid, "kid is not text")
	}
	found, err := t.keys.lookup(ctx, kid, alg)
	if away := (*unavailableError)(nil); errors.As(err, &away) {
		return nil, refuse(ReasonUnavailable, "%v", away)
	}
	if err != nil {
		return nil, refuse(ReasonInvalid, "no key %s for %s", short(kid), alg)
	}
	return found, nil
}

// check checks what the token says of itself.
func (t *verifier) check(tok *Token) error {
	now := time.Now()
	switch user, ok := text(tok.Claims[t.o.UserClaim]); {
	case tok.Expires.IsZero() && !t.o.NoExpiry:
		return refuse(ReasonInvalid, "it never expires")
	case !tok.Expires.IsZero() && !now.Before(tok.Expires.Add(t.o.Leeway)):
		return refuse(ReasonExpired, "since %s", tok.Expires.UTC().Format(time.RFC3339))
	case now.Add(t.o.Leeway).Before(tok.NotBefore):
		return refuse(ReasonInvalid, "not before %s", tok.NotBefore.UTC().Format(time.RFC3339))
	case now.Add(t.o.Leeway).Before(tok.IssuedAt):
		return refuse(ReasonInvalid, "issued at %s", tok.IssuedAt.UTC().Format(time.RFC3339))
	case !t.o.AnyIssuer && !slices.Contains(t.o.Issuers, tok.Issuer):
		return refuse(ReasonInvalid, "issuer %s", short(tok.Issuer))
	case !t.o.AnyAudience && !t.addressed(tok.Claims["aud"]):
		return refuse(ReasonInvalid, "another audience")
	case !ok || user == "":
		return refuse(ReasonInvalid, "no user: claim %q is missing, or neither text nor a number", t.o.UserClaim)
	default:
		tok.User = user
	}
	return nil
}

// addressed reports whether an audience, which is text or a list, is this one.
func (t *verifier) addressed(aud any) bool {
	return slices.ContainsFunc(t.o.Audiences, func(a string) bool { return holds(aud, a) })
}

// read reads the claims that have a meaning.
func (t *Token) read() error {
	for claim, to := range map[string]*string{"jti": &t.ID, "iss": &t.Issuer} {
		if v, there := t.Claims[claim]; there {
			s, ok := v.(string)
			if !ok {
				return fmt.Errorf("%s is not text", claim)
			}
			*to = s
		}
	}
	for claim, to := range map[string]*time.Time{"exp": &t.Expires, "nbf": &t.NotBefore, "iat": &t.IssuedAt} {
		if v, there := t.Claims[claim]; there {
			at, ok := date(v)
			if !ok {
				return fmt.Errorf("%s is not a time", claim)
			}
			*to = at
		}
	}
	return nil
}

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// date reads a NumericDate: seconds since 1970, perhaps with a fraction.
func date(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || !(f >= 1) || f > lastSecond {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

// text returns a claim that is text, or a number in its own writing.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case int, int64, uint64: // of authenticators that are not this package's
		return fmt.Sprint(v), true
	}
	return "", false
}

// elements returns a claim that is a list.
func elements(v any) ([]any, bool) {
	if texts, ok := v.([]string); ok {
		list := make([]any, len(texts))
		for i, s := range texts {
			list[i] = s
		}
		return list, true
	}
	list, ok := v.([]any)
	return list, ok
}

// holds reports whether a claim is a text, or a list that has it.
func holds(v any, want string) bool {
	if list, ok := elements(v); ok {
		return slices.ContainsFunc(list, func(e any) bool { s, ok := text(e); return ok && s == want })
	}
	s, ok := text(v)
	return ok && s == want
}

// bearer returns the token of a header Authorization, empty for other schemes.
func bearer(header string) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(rest)
}
