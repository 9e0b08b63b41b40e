package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Keys verify the signatures of tokens: [Static] ones, or a [JWKS].
type Keys interface {
	// lookup returns the keys that a token's header may mean. kid may be empty.
	lookup(ctx context.Context, kid, alg string) ([]Key, error)
	check() error
	close()
}

// Key verifies signatures of the algorithms that are its own. It says nothing
// of the key itself when it is printed. It is an immutable value.
type Key struct {
	id     string
	algs   []string
	verify any // as golang-jwt wants it: []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// ID returns the key's ID, which a token's header names as kid; it may be empty.
func (k Key) ID() string { return k.id }

// Algorithms returns the algorithms that the key verifies.
func (k Key) Algorithms() []string { return slices.Clone(k.algs) }

// String returns the ID and the algorithms.
func (k Key) String() string { return fmt.Sprintf("key %q (%s)", k.id, strings.Join(k.algs, " ")) }

// GoString returns what String does.
func (k Key) GoString() string { return k.String() }

// WithID returns the key with another ID.
func (k Key) WithID(id string) Key {
	k.id = id
	return k
}

// WithAlgorithms returns the key for some of its algorithms only. The error is
// that it cannot be used with one of them.
func (k Key) WithAlgorithms(algs ...string) (Key, error) {
	for _, a := range algs {
		if !slices.Contains(k.algs, a) {
			return Key{}, fmt.Errorf("auth: a key for %s cannot be used with %q", strings.Join(k.algs, ", "), a)
		}
	}
	if len(algs) == 0 {
		return Key{}, errors.New("auth: a key without algorithms")
	}
	k.algs = slices.Clone(algs)
	return k, nil
}

func (k Key) does(alg string) bool { return slices.Contains(k.algs, alg) }

// minRSABits is the least that RFC 7518 section 3.3 allows.
const minRSABits = 2048

// Secret returns a key for HS256, and for HS384 and HS512 if it is long enough:
// as long as the hash (RFC 7518 section 3.2), that is 32, 48 and 64 bytes. A
// shorter one is an error, and so is what looks like a public key.
func Secret(secret []byte) (Key, error) {
	if block, _ := pem.Decode(secret); block != nil || bytes.HasPrefix(secret, []byte("ssh-")) {
		return Key{}, errors.New("auth: this is a public key or a certificate, not a secret: use ParsePEM")
	}
	k := Key{verify: bytes.Clone(secret)}
	for _, h := range []struct {
		alg   string
		bytes int
	}{{"HS256", 32}, {"HS384", 48}, {"HS512", 64}} {
		if len(secret) >= h.bytes {
			k.algs = append(k.algs, h.alg)
		}
	}
	if k.algs == nil {
		return Key{}, fmt.Errorf("auth: a secret of %d bytes: at least 32 are needed, as of openssl rand -hex 32", len(secret))
	}
	return k, nil
}

// PublicKey returns a key for RS256, RS384, RS512, PS256, PS384 and PS512 (RSA),
// ES256, ES384 or ES512 (ECDSA, by the curve), or EdDSA (Ed25519). Other keys, and
// RSA keys of less than 2,048 bits, are an error.
func PublicKey(key crypto.PublicKey) (Key, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.BitLen() < minRSABits || key.E < 3 {
			return Key{}, fmt.Errorf("auth: an RSA key of less than %d bits", minRSABits)
		}
		return Key{algs: []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, verify: key}, nil
	case *ecdsa.PublicKey:
		if key == nil {
			break
		}
		if _, err := key.ECDH(); err != nil { // is not on the curve
			return Key{}, fmt.Errorf("auth: an invalid ECDSA key: %w", err)
		}
		switch key.Curve {
		case elliptic.P256():
			return Key{algs: []string{"ES256"}, verify: key}, nil
		case elliptic.P384():
			return Key{algs: []string{"ES384"}, verify: key}, nil
		case elliptic.P521():
			return Key{algs: []string{"ES512"}, verify: key}, nil
		}
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return Key{algs: []string{"EdDSA"}, verify: key}, nil
		}
	}
	return Key{}, fmt.Errorf("auth: no algorithm uses a public key of type %T", key)
}

// ParsePEM returns the keys of a file with public keys and certificates, of
// which only the keys count. A private key is an error: a server has no use for it.
func ParsePEM(text []byte) ([]Key, error) {
	var keys []Key
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		public, err := publicKey(block)
		if err != nil {
			return nil, err
		}
		k, err := PublicKey(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("auth: no public key in PEM")
	}
	return keys, nil
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("auth: a malformed public key: %w", err)
		}
		return key, nil
	case "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("auth: a malformed RSA public key: %w", err)
		}
		return key, nil
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("auth: a malformed certificate: %w", err)
		}
		return c.PublicKey, nil
	}
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errors.New("auth: a private key, where a public one is enough")
	}
	return nil, fmt.Errorf("auth: %q in PEM is no public key", block.Type)
}

// maxSetKeys bounds the keys of a set.
const maxSetKeys = 100

// ParseJWKS returns the keys of a JSON Web Key Set (RFC 7517) that sign tokens.
// Those of kinds that are not known, for encryption, or too short are left out,
// as the RFC wants it; so are private keys, and secrets unless they are allowed.
// An error says that it is no set, or that nothing is left.
func ParseJWKS(text []byte, allowSecrets bool) ([]Key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("auth: not a JSON Web Key Set")
	}
	if len(set.Keys) > maxSetKeys {
		return nil, fmt.Errorf("auth: a set of %d keys: at most %d are taken", len(set.Keys), maxSetKeys)
	}
	var keys []Key
	for _, one := range set.Keys {
		if k, ok := parseJWK(one, allowSecrets); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("auth: no key in the set verifies tokens")
	}
	return keys, nil
}

func parseJWK(text []byte, allowSecrets bool) (k Key, ok bool) {
	var jwk jose.JSONWebKey
	var more struct {
		Ops []string `json:"key_ops"`
	}
	if json.Unmarshal(text, &jwk) != nil || json.Unmarshal(text, &more) != nil {
		return Key{}, false
	}
	if jwk.Use != "" && jwk.Use != "sig" || more.Ops != nil && !slices.Contains(more.Ops, "verify") {
		return Key{}, false
	}
	var err error
	if secret, symmetric := jwk.Key.([]byte); symmetric {
		if !allowSecrets {
			return Key{}, false
		}
		k, err = Secret(secret)
	} else {
		k, err = PublicKey(jwk.Key) // a private key is none
	}
	if err == nil && jwk.Algorithm != "" {
		k, err = k.WithAlgorithms(jwk.Algorithm)
	}
	return k.WithID(jwk.KeyID), err == nil
}

// static are keys that do not change.
type static []Key

// Static returns keys that do not change. A token that names an ID is verified
// by the keys of that ID and those without any.
func Static(keys ...Key) Keys { return static(slices.Clone(keys)) }

func (s static) check() error {
	if len(s) == 0 {
		return errors.New("auth: no keys")
	}
	for _, k := range s {
		if k.verify == nil {
			return errors.New("auth: an empty key")
		}
	}
	return nil
}

func (static) close() {}

func (s static) lookup(_ context.Context, kid, alg string) ([]Key, error) {
	found := candidates(s, kid, alg)
	if len(found) == 0 {
		return nil, errUnknownKey
	}
	return found, nil
}

// maxCandidates bounds the signatures that are tried for one token.
const maxCandidates = 8

// candidates returns the keys that a token's header may mean.
func candidates(keys []Key, kid, alg string) (found []Key) {
	for _, k := range keys {
		if k.does(alg) && (kid == "" || k.id == kid || k.id == "") && len(found) < maxCandidates {
			found = append(found, k)
		}
	}
	return found
}

// knownAlgorithms are those that tokens may have; none is not among them.
func knownAlgorithms() []string {
	return []string{
		"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
	}
}

// verificationKeys returns keys as golang-jwt takes them.
func verificationKeys(keys []Key) jwt.VerificationKeySet {
	var set jwt.VerificationKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.verify)
	}
	return set
}
