package auth_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
)

func TestEveryAlgorithm(t *testing.T) {
	for _, alg := range []string{
		"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
	} {
		t.Run(alg, func(t *testing.T) {
			raw := sign(alg, signer(alg), nil, claims(nil))
			tok, err := tokens(t, auth.Static(public(alg)), strict()).Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if tok.User != "ann" || tok.ID != "1" || tok.Issuer != issuer || tok.Expires.IsZero() || tok.IssuedAt.IsZero() {
				t.Errorf("%+v", tok)
			}
			// Any other character of the signature is wrong.
			last := strings.LastIndexByte(raw, '.') + 5
			other := byte('A')
			if raw[last] == 'A' {
				other = 'B'
			}
			if _, err := tokens(t, auth.Static(public(alg)), strict()).Verify(t.Context(), raw[:last]+string(other)+raw[last+1:]); reason(err) != auth.ReasonInvalid {
				t.Errorf("a wrong signature: %v", err)
			}
		})
	}
}

// Every algorithm with every key but its own is refused.
func TestKeyConfusion(t *testing.T) {
	algs := []string{"HS256", "HS512", "RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"}
	for _, alg := range algs {
		for _, held := range algs {
			if public(held).String() == public(alg).String() {
				continue
			}
			raw := sign(alg, signer(alg), nil, claims(nil))
			if _, err := tokens(t, auth.Static(public(held)), strict()).Verify(t.Context(), raw); reason(err) != auth.ReasonInvalid {
				t.Errorf("%s was accepted by a key for %s: %v", alg, held, err)
			}
		}
	}
	// A public key is no secret, in whatever writing it is used as one.
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		pub := signer(alg).(crypto.Signer).Public()
		der := must(x509.MarshalPKIXPublicKey(pub))
		for name, as := range map[string][]byte{"PEM": pemOf(pub), "DER": der} {
			raw := sign("HS256", as, nil, claims(nil))
			if _, err := tokens(t, auth.Static(public(alg)), strict()).Verify(t.Context(), raw); reason(err) != auth.ReasonInvalid {
				t.Errorf("the public key for %s in %s was taken for a secret: %v", alg, name, err)
			}
		}
	}
}

// edit changes the parts of a token.
func edit(raw string, part int, to string) string {
	parts := strings.Split(raw, ".")
	parts[part] = to
	return strings.Join(parts, ".")
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestTokens(t *testing.T) {
	with := func(change map[string]any) string { return sign("HS256", secret(), nil, claims(change)) }
	in := func(d time.Duration) any { return time.Now().Add(d).Unix() }
	for _, tc := range []struct {
		name string
		raw  func() string
		want string // reason; empty: accepted
	}{
		{"good", func() string { return with(nil) }, ""},
		{"none there", func() string { return "" }, auth.ReasonMissing},
		{"alg none", func() string { return sign("none", signer("none"), nil, claims(nil)) }, auth.ReasonInvalid},
		{"alg none, signed", func() string { return edit(with(nil), 0, encode(`{"alg":"none","typ":"JWT"}`)) }, auth.ReasonInvalid},
		{"alg None", func() string { return edit(with(nil), 0, encode(`{"alg":"None"}`)) }, auth.ReasonInvalid},
		{"no alg", func() string { return edit(with(nil), 0, encode(`{"typ":"JWT"}`)) }, auth.ReasonInvalid},
		{"alg is a list", func() string { return edit(with(nil), 0, encode(`{"alg":["HS256"]}`)) }, auth.ReasonInvalid},
		{"unknown alg", func() string { return edit(with(nil), 0, encode(`{"alg":"HS1"}`)) }, auth.ReasonInvalid},
		{"without signature", func() string { return edit(with(nil), 2, "") }, auth.ReasonInvalid},
		{"another's claims", func() string { return edit(with(nil), 1, strings.Split(with(map[string]any{"sub": "bob"}), ".")[1]) }, auth.ReasonInvalid},
		{"another secret", func() string { return sign("HS256", []byte(strings.Repeat("x", 64)), nil, claims(nil)) }, auth.ReasonInvalid},
		{"critical header", func() string {
			return sign("HS256", secret(), map[string]any{"crit": []string{"x"}, "x": 1}, claims(nil))
		}, auth.ReasonInvalid},
		{"kid is a number", func() string { return sign("HS256", secret(), map[string]any{"kid": 7}, claims(nil)) }, auth.ReasonInvalid},

		{"expired", func() string { return with(map[string]any{"exp": in(-time.Minute)}) }, auth.ReasonExpired},
		{"expired within the leeway", func() string { return with(map[string]any{"exp": in(-9 * time.Second)}) }, ""},
		{"expired at the leeway", func() string { return with(map[string]any{"exp": in(-10 * time.Second)}) }, auth.ReasonExpired},
		{"no expiry", func() string { return with(map[string]any{"exp": nil}) }, auth.ReasonInvalid},
		{"expiry is text", func() string { return with(map[string]any{"exp": "tomorrow"}) }, auth.ReasonInvalid},
		{"expiry is no time", func() string { return with(map[string]any{"exp": 1e300}) }, auth.ReasonInvalid},
		{"expiry is zero", func() string { return with(map[string]any{"exp": 0}) }, auth.ReasonInvalid},
		{"expiry with a fraction", func() string { return with(map[string]any{"exp": float64(time.Now().Unix()) + 60.5}) }, ""},
		{"not yet", func() string { return with(map[string]any{"nbf": in(time.Minute)}) }, auth.ReasonInvalid},
		{"not yet, within the leeway", func() string { return with(map[string]any{"nbf": in(9 * time.Second)}) }, ""},
		{"nbf is an object", func() string { return with(map[string]any{"nbf": map[string]any{}}) }, auth.ReasonInvalid},
		{"from the future", func() string { return with(map[string]any{"iat": in(time.Minute)}) }, auth.ReasonInvalid},
		{"from the future, within the leeway", func() string { return with(map[string]any{"iat": in(9 * time.Second)}) }, ""},

		{"another issuer", func() string { return with(map[string]any{"iss": "https://evil.example"}) }, auth.ReasonInvalid},
		{"no issuer", func() string { return with(map[string]any{"iss": nil}) }, auth.ReasonInvalid},
		{"two issuers", func() string { return with(map[string]any{"iss": []string{issuer}}) }, auth.ReasonInvalid},
		{"another audience", func() string { return with(map[string]any{"aud": "mail"}) }, auth.ReasonInvalid},
		{"no audience", func() string { return with(map[string]any{"aud": nil}) }, auth.ReasonInvalid},
		{"audiences", func() string { return with(map[string]any{"aud": []string{"mail", audience}}) }, ""},
		{"other audiences", func() string { return with(map[string]any{"aud": []string{"mail", "chatter"}}) }, auth.ReasonInvalid},
		{"no audiences", func() string { return with(map[string]any{"aud": []string{}}) }, auth.ReasonInvalid},

		{"no user", func() string { return with(map[string]any{"sub": nil}) }, auth.ReasonInvalid},
		{"empty user", func() string { return with(map[string]any{"sub": ""}) }, auth.ReasonInvalid},
		{"user is an object", func() string { return with(map[string]any{"sub": map[string]any{"id": 1}}) }, auth.ReasonInvalid},
		{"jti is a number", func() string { return with(map[string]any{"jti": 7}) }, auth.ReasonInvalid},

		{"too long", func() string { return with(map[string]any{"x": strings.Repeat("x", 8<<10)}) }, auth.ReasonInvalid},
		{"long", func() string { return with(map[string]any{"x": strings.Repeat("x", 5<<10)}) }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := tokens(t, auth.Static(public("HS256")), strict())
				if _, err := got.Verify(t.Context(), tc.raw()); reason(err) != tc.want {
					t.Errorf("got %v, want %q", err, tc.want)
				}
			})
		})
	}
}

// malformed is what is no token.
func malformed() []string {
	sound := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.AAAA"
	return []string{
		".", "..", "...", "a.b", "a.b.c", sound + ".", "." + sound, sound + "=", sound + " ", "\x00", "\xff.\xff.\xff",
		edit(sound, 0, encode("null")), edit(sound, 0, encode("[]")), edit(sound, 0, encode("{")), edit(sound, 0, ""),
		edit(sound, 1, encode("null")), edit(sound, 1, encode("7")), edit(sound, 1, encode(`{"exp":`)), edit(sound, 1, ""),
		edit(sound, 1, encode(strings.Repeat("[", 5000))), edit(sound, 0, encode(strings.Repeat(`{"a":`, 1000))),
		edit(sound, 2, "A"), edit(sound, 2, "AB"), "Bearer " + sound, strings.Repeat("a", 1<<20),
	}
}

func TestMalformed(t *testing.T) {
	got := tokens(t, auth.Static(public("HS256"), public("RS256"), public("ES256"), public("EdDSA")), strict())
	for _, raw := range malformed() {
		tok, err := got.Verify(t.Context(), raw)
		if reason(err) != auth.ReasonInvalid || tok != nil {
			t.Errorf("%.60q: %v %v", raw, tok, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for _, raw := range malformed() {
		f.Add(raw)
	}
	f.Add(good("ann", time.Hour))
	f.Add(sign("ES256", signer("ES256"), map[string]any{"kid": "k"}, claims(nil)))
	got, err := auth.JWT(auth.Static(public("HS256").WithID("h"), public("ES256").WithID("k")), strict())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := got.Verify(t.Context(), raw)
		if (tok == nil) == (err == nil) {
			t.Fatalf("%v and %v", tok, err)
		}
		if err != nil && reason(err) == "" {
			t.Fatalf("not coded: %v", err)
		}
		if err != nil && len(raw) > 20 && strings.Contains(err.Error(), raw) {
			t.Fatalf("the token is in the error: %v", err)
		}
	})
}

func TestTurnedOffByName(t *testing.T) {
	keys := auth.Static(public("HS256"))
	bare := sign("HS256", secret(), nil, map[string]any{"uid": 12345678901234567})
	loose := auth.Options{AnyIssuer: true, AnyAudience: true, NoExpiry: true, UserClaim: "uid"}
	tok, err := tokens(t, keys, loose).Verify(t.Context(), bare)
	if err != nil || tok.User != "12345678901234567" || !tok.Expires.IsZero() {
		t.Errorf("%+v %v", tok, err)
	}
	for name, tighten := range map[string]func(*auth.Options){
		"issuer":   func(o *auth.Options) { o.AnyIssuer, o.Issuers = false, []string{issuer} },
		"audience": func(o *auth.Options) { o.AnyAudience, o.Audiences = false, []string{audience} },
		"expiry":   func(o *auth.Options) { o.NoExpiry = false },
		"user":     func(o *auth.Options) { o.UserClaim = "" },
		"algorithm": func(o *auth.Options) {
			o.Algorithms = []string{"HS512", "ES256"}
		},
		"size": func(o *auth.Options) { o.MaxTokenBytes = len(bare) - 1 },
	} {
		o := loose
		tighten(&o)
		if _, err := tokens(t, keys, o).Verify(t.Context(), bare); reason(err) != auth.ReasonInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A token that has expired has done so whatever is turned off.
	old := sign("HS256", secret(), nil, map[string]any{"uid": 1, "exp": 1})
	if _, err := tokens(t, keys, loose).Verify(t.Context(), old); reason(err) != auth.ReasonExpired {
		t.Errorf("expired: %v", err)
	}
	// No leeway.
	o := strict()
	o.Leeway = -1
	if _, err := tokens(t, keys, o).Verify(t.Context(), good("ann", -time.Second)); reason(err) != auth.ReasonExpired {
		t.Errorf("without leeway: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	keys := auth.Static(public("HS256"))
	for name, change := range map[string]func(*auth.Options){
		"no issuer":         func(o *auth.Options) { o.Issuers = nil },
		"no audience":       func(o *auth.Options) { o.Audiences = nil },
		"any and some":      func(o *auth.Options) { o.AnyIssuer = true },
		"empty audience":    func(o *auth.Options) { o.Audiences = []string{""} },
		"none":              func(o *auth.Options) { o.Algorithms = []string{"none"} },
		"unknown algorithm": func(o *auth.Options) { o.Algorithms = []string{"HS1"} },
		"negative size":     func(o *auth.Options) { o.MaxTokenBytes = -1 },
	} {
		o := strict()
		change(&o)
		if _, err := auth.JWT(keys, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, keys := range map[string]auth.Keys{
		"nil": nil, "no keys": auth.Static(), "empty key": auth.Static(auth.Key{}), "none of several": auth.Any(),
		"nil among several": auth.Any(keys, nil), "no place": auth.JWKS("", auth.JWKSOptions{}),
		"http":               auth.JWKS("http://id.example.com/keys", auth.JWKSOptions{}),
		"ftp":                auth.JWKS("ftp://id.example.com/keys", auth.JWKSOptions{InsecureHTTP: true}),
		"no host":            auth.JWKS("https:///keys", auth.JWKSOptions{}),
		"malformed URL":      auth.JWKS("https://%zz/", auth.JWKSOptions{}),
		"secrets by URL":     auth.JWKS("https://id.example.com/", auth.JWKSOptions{AllowSecrets: true}),
		"wrong among others": auth.Any(keys, auth.JWKS("", auth.JWKSOptions{})),
	} {
		if _, err := auth.JWT(keys, strict()); err == nil {
			t.Errorf("keys %s: no error", name)
		}
	}
}

func TestRevokedHook(t *testing.T) {
	o := strict()
	o.Revoked = func(_ context.Context, tok *auth.Token) (bool, error) {
		if tok.User == "carl" {
			return false, errors.New("the database is away")
		}
		return tok.User == "bob" && tok.ID == "1", nil
	}
	got := tokens(t, auth.Static(public("HS256")), o)
	for user, want := range map[string]string{"ann": "", "bob": auth.ReasonRevoked, "carl": auth.ReasonUnavailable} {
		if _, err := got.Verify(t.Context(), good(user, time.Hour)); reason(err) != want {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// What is wrong is said in the log, and nothing of the token or the keys.
func TestErrorsKeepSecrets(t *testing.T) {
	key := public("HS256")
	cfg := auth.Config{Secret: string(secret()), Issuers: []string{issuer}, Audiences: []string{audience}}
	said := fmt.Sprint(key, cfg) + fmt.Sprintf("%+v %#v %+v %#v %v", key, key, cfg, cfg, slog.AnyValue(cfg).Resolve())
	got := tokens(t, auth.Static(key), strict())
	for _, raw := range []string{
		good("ann", -time.Hour), good("ann", time.Hour)[1:], sign("HS256", secret(), map[string]any{"kid": "a"}, claims(map[string]any{"aud": "x"})),
	} {
		_, err := got.Verify(t.Context(), raw)
		if err == nil {
			t.Fatal("accepted")
		}
		for part := range strings.SplitSeq(raw, ".") {
			if strings.Contains(err.Error(), part) {
				t.Errorf("the error has a part of the token: %v", err)
			}
		}
		if coded := (*polywire.Error)(nil); !errors.As(err, &coded) || coded.Code != polywire.CodeUnauthorized || coded.Details != nil {
			t.Errorf("the peer is told %+v", coded)
		}
	}
	for _, form := range []string{"%s", "%v", "%d", "%x", "%#v", "%q"} {
		if strings.Contains(said, strings.Trim(fmt.Sprintf(form, secret()[:9]), `[]"`)) {
			t.Errorf("the secret is printed as of %s: %s", form, said)
		}
	}
}
