package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire"
)

// Config is tokens and rooms as plain data, as files of configuration have it.
// At least one of Secret, PublicKeys and KeySet is needed. It says nothing of
// the secret when it is printed.
type Config struct {
	Secret     string // for HS256 and so on; see [Secret]
	PublicKeys string // PEM; see [ParsePEM]
	KeySet     string // a URL or a path; see [JWKS]
	// KeySetInterval and KeySetMaxAge are those of [JWKSOptions].
	KeySetInterval, KeySetMaxAge time.Duration

	// These are as in [Options].
	Issuers, Audiences                         []string
	AnyIssuer, AnyAudience, NoExpiry, Optional bool
	Algorithms                                 []string
	Leeway                                     time.Duration
	MaxTokenBytes                              int
	UserClaim, Query                           string

	// Revoked are users and tokens that are accepted no longer: user:NAME, or
	// token:ID for a jti; see [Options].
	Revoked []string

	// Rooms are rules as [ParseRule] reads them. With none, and no claims,
	// there is no policy.
	Rooms []string
	// SubscribeClaim and PublishClaim are those of [Policy].
	SubscribeClaim, PublishClaim string
}

// String says which kinds of keys there are, and nothing more.
func (c Config) String() string {
	var kinds []string
	for kind, there := range map[string]bool{"secret": c.Secret != "", "public keys": c.PublicKeys != "", "key set": c.KeySet != ""} {
		if there {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return "auth with " + strings.Join(kinds, ", ")
}

// GoString returns what String does.
func (c Config) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Opened is a [Config] in use.
type Opened struct {
	Tokens *Tokens
	Rooms  *Rooms // nil: there is no policy
}

// Options returns what a server needs.
func (o *Opened) Options() []polywire.Option {
	opts := o.Tokens.Options()
	if o.Rooms != nil {
		opts = append(opts, o.Rooms.Options()...)
	}
	return opts
}

// Open returns the tokens, to be closed where no server does, and the policy of
// rooms. The error is about the configuration.
func (c Config) Open(logger *slog.Logger) (*Opened, error) {
	keys, err := c.keys()
	if err != nil {
		return nil, err
	}
	rooms, err := c.rooms()
	if err != nil {
		return nil, err
	}
	revoked, err := revokedOf(c.Revoked)
	if err != nil {
		return nil, err
	}
	t, err := JWT(keys, Options{
		Issuers: c.Issuers, Audiences: c.Audiences, AnyIssuer: c.AnyIssuer, AnyAudience: c.AnyAudience,
		NoExpiry: c.NoExpiry, Algorithms: c.Algorithms, Leeway: c.Leeway, MaxTokenBytes: c.MaxTokenBytes,
		UserClaim: c.UserClaim, Query: c.Query, Optional: c.Optional, Revoked: revoked, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	return &Opened{t, rooms}, nil
}

func (c Config) keys() (Keys, error) {
	var all several
	var fixed []Key
	if c.Secret != "" {
		k, err := Secret([]byte(c.Secret))
		if err != nil {
			return nil, err
		}
		fixed = append(fixed, k)
	}
	if c.PublicKeys != "" {
		keys, err := ParsePEM([]byte(c.PublicKeys))
		if err != nil {
			return nil, err
		}
		fixed = append(fixed, keys...)
	}
	if len(fixed) > 0 {
		all = append(all, Static(fixed...))
	}
	if c.KeySet != "" {
		all = append(all, JWKS(c.KeySet, JWKSOptions{Interval: c.KeySetInterval, MaxAge: c.KeySetMaxAge}))
	}
	if len(all) == 0 {
		return nil, errors.New("auth: want a secret, public keys or a key set")
	}
	return all, nil
}

// ParseRevoked takes a text of [Config].Revoked apart: user:NAME or token:ID. The
// error says so for any other.
func ParseRevoked(text string) (user, token string, err error) {
	what, name, _ := strings.Cut(text, ":")
	switch {
	case name == "":
	case what == "user":
		return name, "", nil
	case what == "token":
		return "", name, nil
	}
	return "", "", fmt.Errorf("auth: revoked %s: want user:NAME or token:ID", short(text))
}

// revokedOf returns the hook for a list; nil where it is empty.
func revokedOf(list []string) (func(ctx context.Context, t *Token) (bool, error), error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // nobody is
	}
	users, ids := make(map[string]bool), make(map[string]bool)
	for _, text := range list {
		user, id, err := ParseRevoked(text)
		switch {
		case err != nil:
			return nil, err
		case user != "":
			users[user] = true
		default:
			ids[id] = true
		}
	}
	return func(_ context.Context, t *Token) (bool, error) { return users[t.User] || t.ID != "" && ids[t.ID], nil }, nil
}

func (c Config) rooms() (*Rooms, error) {
	if len(c.Rooms) == 0 && c.SubscribeClaim == "" && c.PublishClaim == "" {
		return nil, nil //nolint:nilnil // there is no policy
	}
	p := Policy{SubscribeClaim: c.SubscribeClaim, PublishClaim: c.PublishClaim}
	for _, text := range c.Rooms {
		r, err := ParseRule(text)
		if err != nil {
			return nil, err
		}
		p.Rules = append(p.Rules, r)
	}
	return NewRooms(p)
}

// ParseRule reads a rule in one line: the pattern, "=", and what is allowed, of
// subscribe, publish, users (with a user only) and kind=K for each of Kinds:
//
//	user-{sub}=subscribe
//	team:*=subscribe,publish,kind=chat.*,users
//
// The error is about the line; the pattern is looked into by [NewRooms].
func ParseRule(text string) (Rule, error) {
	pattern, words, ok := strings.Cut(text, "=")
	if !ok {
		return Rule{}, fmt.Errorf("auth: rule %q: want PATTERN=subscribe,publish", text)
	}
	r := Rule{Pattern: pattern}
	for word := range strings.SplitSeq(words, ",") {
		kind, isKind := strings.CutPrefix(word, "kind=")
		switch {
		case isKind:
			r.Kinds = append(r.Kinds, kind)
		case word == "subscribe":
			r.Subscribe = true
		case word == "publish":
			r.Publish = true
		case word == "users":
			r.UsersOnly = true
		default:
			return Rule{}, fmt.Errorf("auth: rule %q: %q is none of subscribe, publish, users, kind=K", text, word)
		}
	}
	if _, err := newRule(r); err != nil {
		return Rule{}, fmt.Errorf("auth: rule %q: %w", text, err)
	}
	return r, nil
}

// several are keys of several places.
type several []Keys

// Any returns the keys of several places, which are asked in this order.
func Any(keys ...Keys) Keys { return several(slices.Clone(keys)) }

func (s several) check() error {
	if len(s) == 0 {
		return errors.New("auth: no keys")
	}
	for _, k := range s {
		if k == nil {
			return errors.New("auth: no keys")
		}
		if err := k.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s several) close() {
	for _, k := range s {
		k.close()
	}
}

func (s several) lookup(ctx context.Context, kid, alg string) ([]Key, error) {
	var found []Key
	var failed error
	for _, k := range s {
		some, err := k.lookup(ctx, kid, alg)
		if found = append(found, some...); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, failed
}
