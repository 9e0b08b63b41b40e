package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

const (
	issuer   = "https://id.example.com"
	audience = "chat"
)

func secret() []byte { return []byte(strings.Repeat("a secret of tests ", 4)) }

// signers are private keys, made once: RSA takes its time.
type signers struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

var signing = sync.OnceValue(func() signers {
	s := signers{}
	s.rsa = must(rsa.GenerateKey(rand.Reader, 2048))
	s.p256 = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	s.p384 = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	s.p521 = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, s.ed, _ = ed25519.GenerateKey(rand.Reader)
	return s
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// signer returns the private key for an algorithm.
func signer(alg string) any {
	s := signing()
	switch {
	case alg == "none":
		return jwt.UnsafeAllowNoneSignatureType
	case alg == "ES256":
		return s.p256
	case alg == "ES384":
		return s.p384
	case alg == "ES512":
		return s.p521
	case alg == "EdDSA":
		return s.ed
	case strings.HasPrefix(alg, "HS"):
		return secret()
	}
	return s.rsa
}

// public returns the key that verifies an algorithm.
func public(alg string) auth.Key {
	if strings.HasPrefix(alg, "HS") {
		return must(auth.Secret(secret()))
	}
	return must(auth.PublicKey(signer(alg).(crypto.Signer).Public()))
}

// claims returns good claims, changed by what is given; a nil value removes one.
func claims(change map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{
		"iss": issuer, "aud": audience, "sub": "ann", "jti": "1",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a token. header is added to its header.
func sign(alg string, key any, header, claims map[string]any) string {
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(claims))
	maps.Copy(t.Header, header)
	return must(t.SignedString(key))
}

// good is a token for user, for as long as d.
func good(user string, d time.Duration) string {
	return sign("HS256", secret(), nil, claims(map[string]any{"sub": user, "exp": time.Now().Add(d).Unix()}))
}

// strict are options that nothing is turned off in.
func strict() auth.Options {
	return auth.Options{Issuers: []string{issuer}, Audiences: []string{audience}}
}

func tokens(t *testing.T, keys auth.Keys, o auth.Options) *auth.Tokens {
	t.Helper()
	got, err := auth.JWT(keys, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = got.Close() })
	return got
}

// reason is what a peer would be told of an error.
func reason(err error) string {
	var coded *polywire.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &coded):
		return coded.Message
	}
	return "not coded: " + err.Error()
}

// jwks is a set of the public keys of signers by their IDs.
func jwks(keys map[string]crypto.PublicKey) []byte {
	var set jose.JSONWebKeySet
	for id, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k, KeyID: id, Use: "sig"})
	}
	return must(json.Marshal(set))
}

func pemOf(key crypto.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))})
}

// locked is a writer for many.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// toLog is a logger of everything.
func toLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(&locked{w: w}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
