package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/polywire/polywire/auth"
)

func TestSecret(t *testing.T) {
	for _, tc := range []struct {
		secret []byte
		algs   string // empty: refused
	}{
		{nil, ""},
		{bytes.Repeat([]byte("x"), 31), ""},
		{bytes.Repeat([]byte("x"), 32), "HS256"},
		{bytes.Repeat([]byte("x"), 48), "HS256 HS384"},
		{bytes.Repeat([]byte("x"), 64), "HS256 HS384 HS512"},
		{pemOf(signing().rsa.Public()), ""},
		{[]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAA"), ""},
	} {
		k, err := auth.Secret(tc.secret)
		if got := strings.Join(k.Algorithms(), " "); got != tc.algs || (err == nil) != (tc.algs != "") {
			t.Errorf("%d bytes: %q %v", len(tc.secret), got, err)
		}
		if err != nil && len(tc.secret) > 0 && strings.Contains(err.Error(), string(tc.secret)) {
			t.Errorf("the error has the secret: %v", err)
		}
	}
}

func TestPublicKey(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for name, key := range map[string]crypto.PublicKey{
		"nil": nil, "small RSA": small.Public(), "P-224": p224.Public(), "private": signing().rsa, "bytes": secret(),
		"no RSA": (*rsa.PublicKey)(nil), "empty RSA": &rsa.PublicKey{}, "no ECDSA": (*ecdsa.PublicKey)(nil),
		"even exponent": &rsa.PublicKey{N: signing().rsa.N, E: 2},
		"off the curve": &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, //nolint:staticcheck // that is what is tested
	} {
		if k, err := auth.PublicKey(key); err == nil {
			t.Errorf("%s: %v", name, k)
		}
	}
	k := must(auth.PublicKey(signing().rsa.Public())).WithID("a")
	if k.ID() != "a" || k.String() != `key "a" (RS256 RS384 RS512 PS256 PS384 PS512)` {
		t.Error(k)
	}
	narrow, err := k.WithAlgorithms("PS256")
	if err != nil || !slices.Equal(narrow.Algorithms(), []string{"PS256"}) || len(k.Algorithms()) != 6 {
		t.Errorf("%v %v", narrow, err)
	}
	for _, algs := range [][]string{nil, {"HS256"}, {"RS256", "none"}} {
		if _, err := k.WithAlgorithms(algs...); err == nil {
			t.Errorf("an RSA key for %v", algs)
		}
	}
	raw := sign("RS256", signing().rsa, nil, claims(nil))
	if _, err := tokens(t, auth.Static(narrow), strict()).Verify(t.Context(), raw); reason(err) != auth.ReasonInvalid {
		t.Errorf("RS256 with a key for PS256: %v", err)
	}
}

func TestParsePEM(t *testing.T) {
	s := signing()
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert := must(x509.CreateCertificate(rand.Reader, template, template, s.p256.Public(), s.p256))
	all := slices.Concat([]byte("a comment\n"), pemOf(s.rsa.Public()), block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&s.rsa.PublicKey)),
		pemOf(s.ed.Public()), block("CERTIFICATE", cert))
	keys, err := auth.ParsePEM(all)
	if err != nil || len(keys) != 4 {
		t.Fatalf("%v %v", keys, err)
	}
	for i, alg := range []string{"RS256", "PS512", "EdDSA", "ES256"} {
		raw := sign(alg, signer(alg), nil, claims(nil))
		if _, err := tokens(t, auth.Static(keys[i]), strict()).Verify(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "private": block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(s.ed))),
		"EC private": block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(s.p256))),
		"malformed":  block("PUBLIC KEY", []byte("x")), "malformed RSA": block("RSA PUBLIC KEY", []byte("x")),
		"malformed certificate": block("CERTIFICATE", []byte("x")), "request": block("CERTIFICATE REQUEST", []byte("x")),
		"one good, one bad": append(pemOf(s.ed.Public()), block("PUBLIC KEY", nil)...),
	} {
		if keys, err := auth.ParsePEM(text); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
}

// set is a key set of raw JSON keys.
func set(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func jwkOf(k jose.JSONWebKey) string { return string(must(json.Marshal(k))) }

func TestParseJWKS(t *testing.T) {
	s := signing()
	rsaKey := jose.JSONWebKey{Key: s.rsa.Public(), KeyID: "r"}
	with := func(change func(k *jose.JSONWebKey)) string {
		k := rsaKey
		change(&k)
		return jwkOf(k)
	}
	oct := jwkOf(jose.JSONWebKey{Key: secret(), KeyID: "s"})
	for _, tc := range []struct {
		name    string
		text    []byte
		secrets bool
		want    string // IDs and algorithms; empty: an error
	}{
		{"kinds", set(jwkOf(rsaKey), jwkOf(jose.JSONWebKey{Key: s.p384.Public(), KeyID: "e"}), jwkOf(jose.JSONWebKey{Key: s.ed.Public(), KeyID: "d"})), false,
			`key "r" (RS256 RS384 RS512 PS256 PS384 PS512) key "e" (ES384) key "d" (EdDSA)`},
		{"bound to its algorithm", set(with(func(k *jose.JSONWebKey) { k.Algorithm = "PS256" })), false, `key "r" (PS256)`},
		{"bound to another kind's algorithm", set(with(func(k *jose.JSONWebKey) { k.Algorithm = "HS256" }), jwkOf(jose.JSONWebKey{Key: s.ed.Public()})), false, `key "" (EdDSA)`},
		{"for encryption", set(with(func(k *jose.JSONWebKey) { k.Use = "enc" })), false, ""},
		{"for signatures", set(with(func(k *jose.JSONWebKey) { k.Use = "sig" })), false, `key "r" (RS256 RS384 RS512 PS256 PS384 PS512)`},
		{"not to verify", set(strings.Replace(jwkOf(rsaKey), "{", `{"key_ops":["encrypt"],`, 1)), false, ""},
		{"to verify", set(strings.Replace(jwkOf(jose.JSONWebKey{Key: s.ed.Public()}), "{", `{"key_ops":["verify"],`, 1)), false, `key "" (EdDSA)`},
		{"unknown kinds are left out", set(`{"kty":"XYZ"}`, `{"kty":"OKP","crv":"X25519","x":"AAAA"}`, `{}`, `7`, jwkOf(jose.JSONWebKey{Key: s.ed.Public()})), false, `key "" (EdDSA)`},
		{"private", set(jwkOf(jose.JSONWebKey{Key: s.rsa})), false, ""},
		{"secret", set(oct), false, ""},
		{"secret that is allowed", set(oct), true, `key "s" (HS256 HS384 HS512)`},
		{"short secret", set(jwkOf(jose.JSONWebKey{Key: []byte("short")})), true, ""},
		{"empty set", set(), false, ""},
		{"too many", set(slices.Repeat([]string{`{}`}, 101)...), false, ""},
		{"no set", []byte(jwkOf(rsaKey)), false, ""},
		{"no JSON", []byte("<html>"), false, ""},
		{"keys are text", []byte(`{"keys":"x"}`), false, ""},
		{"null", []byte(`null`), false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keys, err := auth.ParseJWKS(tc.text, tc.secrets)
			var got []string
			for _, k := range keys {
				got = append(got, k.String())
			}
			if strings.Join(got, " ") != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q %v\nwant %q", got, err, tc.want)
			}
		})
	}
}

func FuzzParseJWKS(f *testing.F) {
	s := signing()
	f.Add(jwks(map[string]crypto.PublicKey{"a": s.rsa.Public(), "b": s.p256.Public(), "c": s.ed.Public()}), true)
	f.Add(set(jwkOf(jose.JSONWebKey{Key: secret()})), true)
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`), false)
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AAAAAAAAAAAAAAAA"}]}`), false)
	f.Fuzz(func(t *testing.T, text []byte, secrets bool) {
		keys, err := auth.ParseJWKS(text, secrets)
		if (len(keys) == 0) == (err == nil) {
			t.Fatalf("%v and %v", keys, err)
		}
		for _, k := range keys {
			for _, a := range k.Algorithms() {
				if strings.HasPrefix(a, "HS") && !secrets {
					t.Fatalf("a secret: %v", k)
				}
			}
		}
	})
}
