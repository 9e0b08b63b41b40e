package webhook

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// ErrSecret is in every error about a secret or key that cannot be used. Its
// text never has the secret in it.
var ErrSecret = errors.New("webhook: the secret cannot be used")

func badSecret(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSecret, fmt.Sprintf(format, args...))
}

// Sizes of symmetric secrets in bytes (Standard Webhooks 1.0.0).
const (
	MinSecretBytes = 24
	MaxSecretBytes = 64
)

const (
	symmetricPrefix = "whsec_"
	privatePrefix   = "whsk_"
	publicPrefix    = "whpk_"
	masked          = "***"
)

// Secret is a key to sign or verify with. It prints, logs and encodes as a
// mask; [Secret.Reveal] returns its text. It is immutable, and the zero value
// is no secret.
type Secret struct {
	// A print of an unexported field around it goes past Format, and through one
	// pointer for a verb that does not fit; through two it shows an address.
	p **key
}

type key struct {
	prefix string // empty for a Gost secret, which is any text
	bytes  []byte
}

func newSecret(k key) Secret {
	p := &k
	return Secret{&p}
}

// key returns what the secret is; nil: none.
func (s Secret) key() *key {
	if s.p == nil {
		return nil
	}
	return *s.p
}

// GenerateSecret returns a new symmetric secret of 32 random bytes, whsec_...
func GenerateSecret() Secret {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return newSecret(key{symmetricPrefix, b})
}

// GenerateSigningKey returns a new Ed25519 key to sign with, whsk_... The
// receiver gets its [Secret.Public]. The error is that of the system's source of
// random bytes.
func GenerateSigningKey() (Secret, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Secret{}, err
	}
	return newSecret(key{privatePrefix, private}), nil
}

// NewSecret returns the symmetric secret of 24 to 64 bytes, which are copied.
// Errors wrap [ErrSecret].
func NewSecret(b []byte) (Secret, error) {
	if len(b) < MinSecretBytes || len(b) > MaxSecretBytes {
		return Secret{}, badSecret("it has %d bytes, not %d to %d", len(b), MinSecretBytes, MaxSecretBytes)
	}
	return newSecret(key{symmetricPrefix, append([]byte(nil), b...)}), nil
}

// GostSecret returns the secret of [FormatGost], which is any text that is not
// empty, up to 1,024 bytes: they are the key. Errors wrap [ErrSecret].
func GostSecret(text string) (Secret, error) {
	if text == "" || len(text) > 1024 {
		return Secret{}, badSecret("it is empty or longer than 1024 bytes")
	}
	return newSecret(key{"", []byte(text)}), nil
}

// ParseSecret parses the text of a symmetric secret (whsec_), a key to sign
// with (whsk_) or a public key (whpk_), each followed by base64 of the standard
// alphabet with its padding. Nothing around it is trimmed. Errors wrap
// [ErrSecret].
func ParseSecret(text string) (Secret, error) {
	prefix, encoded, found := strings.Cut(text, "_")
	prefix += "_"
	if !found || prefix != symmetricPrefix && prefix != privatePrefix && prefix != publicPrefix {
		return Secret{}, badSecret("it does not begin with whsec_, whsk_ or whpk_")
	}
	if len(encoded) > 128 {
		return Secret{}, badSecret("it is too long")
	}
	b, ok := decode64(encoded)
	if !ok {
		return Secret{}, badSecret("it is not base64 of the standard alphabet with padding")
	}
	switch prefix {
	case privatePrefix:
		if len(b) != ed25519.PrivateKeySize {
			return Secret{}, badSecret("a key to sign with has %d bytes, not %d", ed25519.PrivateKeySize, len(b))
		}
		// A public half of another key would give the private one away.
		if subtle.ConstantTimeCompare(ed25519.NewKeyFromSeed(b[:ed25519.SeedSize]), b) != 1 {
			return Secret{}, badSecret("the halves of the key do not belong together")
		}
	case publicPrefix:
		if len(b) != ed25519.PublicKeySize {
			return Secret{}, badSecret("a public key has %d bytes, not %d", ed25519.PublicKeySize, len(b))
		}
	default:
		return NewSecret(b)
	}
	return newSecret(key{prefix, b}), nil
}

// decode64 decodes base64 in its one canonical form.
func decode64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	// The decoder passes over line breaks.
	return b, err == nil && base64.StdEncoding.EncodedLen(len(b)) == len(s)
}

// IsZero reports whether s is no secret.
func (s Secret) IsZero() bool { return s.key() == nil }

// Reveal returns the secret as text that [ParseSecret] (for a Gost secret
// [GostSecret]) accepts. It is for showing a new secret once, and for storing it.
func (s Secret) Reveal() string {
	switch {
	case s.key() == nil:
		return ""
	case s.key().prefix == "":
		return string(s.key().bytes)
	}
	return s.key().prefix + base64.StdEncoding.EncodeToString(s.key().bytes)
}

// Public returns the public key (whpk_...) of a key to sign with, and false for
// anything else. [Secret.Reveal] has its text; it may be given to anybody.
func (s Secret) Public() (Secret, bool) {
	if s.key() == nil || s.key().prefix != privatePrefix {
		return Secret{}, false
	}
	return newSecret(key{publicPrefix, s.key().bytes[ed25519.SeedSize:]}), true
}

// Equal reports whether both are the same secret, in constant time.
func (s Secret) Equal(o Secret) bool {
	if s.key() == nil || o.key() == nil {
		return s.key() == o.key()
	}
	return s.key().prefix == o.key().prefix && subtle.ConstantTimeCompare(s.key().bytes, o.key().bytes) == 1
}

// String returns the kind and a mask.
func (s Secret) String() string {
	if s.key() == nil {
		return ""
	}
	return s.key().prefix + masked
}

// Format writes [Secret.String], whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is [Secret.String].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is [Secret.String]: what is stored with it cannot be read back.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
