package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

// authFlags are who may connect, and be in which rooms.
type authFlags struct {
	cfg        auth.Config
	publicKeys string // file
	grace      time.Duration
	opened     *auth.Opened // nil: everybody may connect

	proxies         []string
	userRate        float64
	userBurst       int
	acceptRate      float64
	acceptBurst     int
	acceptRateAddr  float64
	acceptBurstAddr int
}

func (f *authFlags) declare(s *config.Set) {
	c := &f.cfg
	s.Add(config.Setting{
		Key: "auth.secret", Flag: "auth-secret", Reload: true, Secret: config.Secret,
		Doc: "let in who has a token (JWT) signed with this `secret`: HS256 with 32 bytes, HS512 with 64",
	}, config.Text(&c.Secret, "", "at least 32 bytes", nil))
	s.Add(config.Setting{Key: "auth.public_keys", Flag: "auth-public-keys", Reload: true, Doc: "let in who has a token signed with the key of one of the public keys or certificates in this `file` (PEM)"},
		config.Text(&f.publicKeys, "", "a file's name", nil))
	s.Add(config.Setting{
		Key: "auth.jwks", Flag: "auth-jwks", Reload: true, Secret: config.SecretInURL,
		Doc: "let in who has a token signed with a key of the key set at this `URL` or in this file; it is read again for new keys",
	}, config.Text(&c.KeySet, "", "a URL that begins with https://, or a file's name", nil))
	s.Add(config.Setting{Key: "auth.jwks_max_age", Flag: "auth-jwks-max-age", Reload: true, Doc: "`time` after which the key set is read again whether there are new keys or not"},
		config.Duration(&c.KeySetMaxAge, 15*time.Minute, time.Second, math.MaxInt64))
	s.Add(config.Setting{Key: "auth.issuers", Flag: "auth-issuer", Reload: true, Doc: "`issuers` (iss) whose tokens are taken"},
		config.List(&c.Issuers, nil, "a list of issuers", true, notEmpty("want an issuer")))
	s.Add(config.Setting{Key: "auth.any_issuer", Flag: "auth-any-issuer", Reload: true, Doc: "take tokens of any issuer who has the keys"},
		config.Bool(&c.AnyIssuer))
	s.Add(config.Setting{Key: "auth.audiences", Flag: "auth-audience", Reload: true, Doc: "`audiences` (aud) that this server is; a token is for one of them"},
		config.List(&c.Audiences, nil, "a list of audiences", true, notEmpty("want an audience")))
	s.Add(config.Setting{Key: "auth.any_audience", Flag: "auth-any-audience", Reload: true, Doc: "take tokens that are for others"},
		config.Bool(&c.AnyAudience))
	s.Add(config.Setting{Key: "auth.no_expiry", Flag: "auth-no-expiry", Reload: true, Doc: "take tokens that never expire"},
		config.Bool(&c.NoExpiry))
	s.Add(config.Setting{Key: "auth.algorithms", Flag: "auth-algorithm", Reload: true, Doc: "signature `algorithms` that are taken, such as ES256", Default: "those of the keys"},
		config.List(&c.Algorithms, nil, "a list of algorithms", true, notEmpty("want an algorithm")))
	s.Add(config.Setting{Key: "auth.leeway", Flag: "auth-leeway", Reload: true, Doc: "`time` by which clocks may differ"},
		config.Duration(&c.Leeway, 10*time.Second, time.Millisecond, time.Hour))
	s.Add(config.Setting{Key: "auth.grace", Flag: "auth-grace", Doc: "`time` from a token's end to that of its connection, in which the client may show a later one"},
		config.Duration(&f.grace, 25*time.Second, 0, time.Hour))
	s.Add(config.Setting{Key: "auth.user_claim", Flag: "auth-user-claim", Reload: true, Doc: "`claim` of the token that is the user"},
		config.Text(&c.UserClaim, "sub", "a claim's name", notEmpty("want a claim")))
	s.Add(config.Setting{Key: "auth.query", Flag: "auth-query", Reload: true, Doc: "query `parameter` of URLs that may have the token, for clients that have no other way; such URLs end up in logs of proxies"},
		config.Text(&c.Query, "", "a parameter's name", nil))
	s.Add(config.Setting{Key: "auth.optional", Flag: "auth-optional", Reload: true, Doc: "let in who has no token as well, as nobody in particular"},
		config.Bool(&c.Optional))
	s.Add(config.Setting{
		Key: "auth.rooms", Flag: "auth-room", Reload: true,
		Doc: "what clients may do in rooms, and nothing else then: `pattern=subscribe,publish`, also users for connections with\n" +
			"a user only, and kind=chat.* to narrow what may be published; {claim} in the pattern is what the token says, * is anything",
	}, config.List(&c.Rooms, nil, "a list of rules, as user-{sub}=subscribe", false, func(text string) error {
		_, err := auth.ParseRule(text)
		return err
	}))
	s.Add(config.Setting{Key: "auth.subscribe_claim", Flag: "auth-subscribe-claim", Reload: true, Doc: "`claim` that lists further rooms, or their beginnings and *, to subscribe to"},
		config.Text(&c.SubscribeClaim, "", "a claim's name", nil))
	s.Add(config.Setting{Key: "auth.publish_claim", Flag: "auth-publish-claim", Reload: true, Doc: "`claim` that lists further rooms, or their beginnings and *, to publish to"},
		config.Text(&c.PublishClaim, "", "a claim's name", nil))
	s.Add(config.Setting{
		Key: "auth.revoked", Flag: "auth-revoked", Reload: true,
		Doc: "whose tokens are taken no longer: `user:NAME`, or token:ID for a token with that jti; their connections end\nwhen it is read again",
	}, config.List(&c.Revoked, nil, "a list of user:NAME and token:ID", true, func(text string) error {
		_, _, err := auth.ParseRevoked(text)
		return err
	}))
	f.declareRates(s)
}

func (f *authFlags) declareRates(s *config.Set) {
	s.Add(config.Setting{
		Key: "trusted_proxies", Flag: "trusted-proxy",
		Doc: "`addresses` and prefixes of proxies whose X-Forwarded-For has the client's address; unix is whoever comes by a unix socket",
	}, config.List(&f.proxies, nil, "a list of addresses and prefixes, as 10.0.0.0/8", true, nil))
	rate := func(key, flag, what, of string, perSecond *float64, burst *int) {
		s.Add(config.Setting{Key: "limits." + key + "rate" + of, Flag: flag + "rate" + flagOf(of), Reload: true, Doc: "`" + what + "; 0 is no limit"},
			config.Float(perSecond, 0, 0, 1e9))
		s.Add(config.Setting{
			Key: "limits." + key + "burst" + of, Flag: flag + "burst" + flagOf(of), Reload: true,
			Doc: "how many may come at `once` over --" + flag + "rate" + flagOf(of), Default: "twice the rate",
		}, config.Int(burst, 0, 0, math.MaxInt32))
	}
	rate("user_message_", "user-message-", "messages` a second that the connections of one user may send together; one more closes the one that sends it", "", &f.userRate, &f.userBurst)
	rate("accept_", "accept-", "connections` a second that may come", "", &f.acceptRate, &f.acceptBurst)
	rate("accept_", "accept-", "connections` a second that may come from one address", "_per_address", &f.acceptRateAddr, &f.acceptBurstAddr)
}

func flagOf(key string) string {
	if key == "" {
		return ""
	}
	return "-per-address"
}

// burstOf is how many may come at once, where that is not said.
func burstOf(rate float64, burst int) int {
	if burst > 0 {
		return burst
	}
	return max(1, int(min(2*rate, math.MaxInt32)))
}

// rates are limits that can change at run time.
func (f *authFlags) rates() []polywire.LiveOption {
	var opts []polywire.LiveOption
	for _, r := range []struct {
		rate  float64
		burst int
		with  func(float64, int) polywire.LiveOption
	}{
		{f.userRate, f.userBurst, polywire.WithUserMessageRate},
		{f.acceptRate, f.acceptBurst, polywire.WithAcceptRate},
		{f.acceptRateAddr, f.acceptBurstAddr, polywire.WithAcceptRatePerAddress},
	} {
		if r.rate > 0 {
			opts = append(opts, r.with(r.rate, burstOf(r.rate, r.burst)))
		} else {
			opts = append(opts, r.with(0, 0))
		}
	}
	return opts
}

// options returns what the settings ask for. A server closes what they open.
func (f *authFlags) options(allowed []string, logger *slog.Logger) ([]polywire.Option, error) {
	opts := []polywire.Option{polywire.WithExpiryGrace(f.grace)}
	if len(f.proxies) > 0 {
		opts = append(opts, polywire.WithTrustedProxies(f.proxies...))
	}
	tokens, err := f.open(allowed, logger)
	return append(opts, tokens...), err
}

func (f *authFlags) open(allowed []string, logger *slog.Logger) ([]polywire.Option, error) {
	c := f.cfg
	if c.Secret == "" && f.publicKeys == "" && c.KeySet == "" {
		if len(c.Issuers)+len(c.Audiences)+len(c.Algorithms)+len(c.Rooms)+len(c.Revoked) > 0 || c.Optional || c.AnyIssuer || c.AnyAudience || c.NoExpiry ||
			c.Query != "" || c.SubscribeClaim != "" || c.PublishClaim != "" {
			return nil, errors.New("--auth-issuer and so on need one of --auth-secret, --auth-public-keys and --auth-jwks")
		}
		return nil, nil
	}
	if f.publicKeys != "" {
		text, err := os.ReadFile(f.publicKeys)
		if err != nil {
			return nil, fmt.Errorf("--auth-public-keys: %w", err)
		}
		c.PublicKeys = string(text)
	}
	opened, err := c.Open(logger)
	if err != nil {
		return nil, err
	}
	if opened.Rooms != nil && slices.Contains(allowed, "publish") {
		return nil, errors.New("--allow publish opens every room, and --auth-room some: want one of them")
	}
	f.opened = opened
	return opened.Tokens.Options(), nil // the rules of rooms may change: doors has them
}

// rooms returns the policy of rooms, nil where there is none.
func (f *authFlags) rooms() *auth.Rooms {
	if f.opened == nil {
		return nil
	}
	return f.opened.Rooms
}

// authenticator is who decides before a backend does; nil: nobody.
func (f *authFlags) authenticator() polywire.Authenticator {
	if f.opened == nil {
		return nil
	}
	return f.opened.Tokens.Authenticate
}
