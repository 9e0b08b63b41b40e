package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Scope is a part of the API that a key opens.
type Scope string

// The scopes.
const (
	ScopeRead     Scope = "read"     // connections, rooms, who is there, servers, figures, sizes of queues
	ScopeHistory  Scope = "history"  // what was said in rooms
	ScopeSend     Scope = "send"     // send and call
	ScopeManage   Scope = "manage"   // disconnect, join, leave
	ScopeQueues   Scope = "queues"   // publish to queues, empty them, dead letters
	ScopeWebhooks Scope = "webhooks" // endpoints, events, attempts, replays of webhooks
	ScopeAll      Scope = "all"      // everything, what later versions add too
)

// Scopes returns all scopes.
func Scopes() []Scope {
	return []Scope{ScopeRead, ScopeHistory, ScopeSend, ScopeManage, ScopeQueues, ScopeWebhooks, ScopeAll}
}

// Bounds of a key's secret in bytes.
const (
	MinSecretBytes = 16
	MaxSecretBytes = 512
)

// hashedPrefix begins a secret that is given as its SHA-256 in hexadecimal.
const hashedPrefix = "sha256:"

// Key opens a part of the API to whoever shows its secret. Its secret is kept
// as a hash. Make one with [NewKey].
type Key struct {
	name   string
	hash   [sha256.Size]byte
	scopes []Scope
}

// NewKey returns a key. The name stands in logs and tells keys' idempotency
// keys apart: 1 to 64 letters, digits, '-', '_' and '.'. The secret is 16 to
// 512 visible ASCII characters, or sha256: and the SHA-256 of such in
// hexadecimal. Without scopes it opens nothing, which is an error. Errors do
// not have the secret in them.
func NewKey(name, secret string, scopes ...Scope) (Key, error) {
	k := Key{name: name}
	if !validKeyName(name) {
		return k, fmt.Errorf("API key %.64q: a name has 1 to 64 letters, digits, '-', '_' and '.'", name)
	}
	if digits, hashed := strings.CutPrefix(secret, hashedPrefix); hashed {
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) != sha256.Size {
			return k, fmt.Errorf("API key %q: want sha256: and 64 hexadecimal digits", name)
		}
		copy(k.hash[:], b)
	} else {
		if err := checkSecret(secret); err != nil {
			return k, fmt.Errorf("API key %q: %w", name, err)
		}
		k.hash = sha256.Sum256([]byte(secret))
	}
	if len(scopes) == 0 {
		return k, fmt.Errorf("API key %q: no scopes", name)
	}
	for _, s := range scopes {
		if !slices.Contains(Scopes(), s) {
			return k, fmt.Errorf("API key %q: a scope that is none: want some of %v", name, Scopes()) // it may be a part of the secret
		}
	}
	k.scopes = slices.Clone(scopes)
	return k, nil
}

// Name returns the key's name.
func (k Key) Name() string { return k.name }

// Opens reports whether the key has a scope.
func (k Key) Opens(s Scope) bool {
	return slices.Contains(k.scopes, s) || slices.Contains(k.scopes, ScopeAll)
}

func validKeyName(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

func checkSecret(secret string) error {
	if len(secret) < MinSecretBytes || len(secret) > MaxSecretBytes {
		return fmt.Errorf("the secret has %d bytes, want %d to %d that nobody can guess", len(secret), MinSecretBytes, MaxSecretBytes)
	}
	for i := range len(secret) {
		if secret[i] <= ' ' || secret[i] > '~' {
			return errors.New("the secret has characters that are not visible ASCII, which no header could carry")
		}
	}
	return nil
}

// keyring finds the key that a request shows.
type keyring []Key

// CheckKeys says what is wrong with keys that are to be used together.
func CheckKeys(keys []Key) error {
	_, err := newKeyring(keys)
	return err
}

// newKeyring refuses keys that could be taken for each other.
func newKeyring(keys []Key) (keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("API: no keys, so that nobody could use it")
	}
	for i, k := range keys {
		for _, other := range keys[:i] {
			switch {
			case k.name == other.name:
				return nil, fmt.Errorf("API key %q: the name is there twice", k.name)
			case k.hash == other.hash:
				return nil, fmt.Errorf("API keys %q and %q have the same secret", other.name, k.name)
			}
		}
	}
	return slices.Clone(keys), nil
}

// find compares with every key in constant time, whatever their lengths.
func (r keyring) find(q *http.Request) (found Key, ok bool) {
	values := q.Header.Values("Authorization")
	if len(values) != 1 {
		return found, false
	}
	scheme, secret, _ := strings.Cut(values[0], " ")
	sum := sha256.Sum256([]byte(secret))
	for _, k := range r {
		if subtle.ConstantTimeCompare(sum[:], k.hash[:]) == 1 {
			found, ok = k, true
		}
	}
	return found, ok && strings.EqualFold(scheme, "Bearer")
}
