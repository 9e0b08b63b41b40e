package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Header names of Standard Webhooks, in the form of net/http.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Header names of the Gost framework.
const (
	HeaderGostSignature = "X-Gost-Signature"
	HeaderGostEvent     = "X-Gost-Event"
)

const (
	// MaxIDBytes is the longest id of a message.
	MaxIDBytes = 255
	// MaxSecrets is how many secrets a signer or verifier takes.
	MaxSecrets = 16

	maxTimestampDigits = 12 // to the year 33658
	maxTimestamp       = 999_999_999_999
)

// ErrID is in errors about an id that cannot be signed.
var ErrID = errors.New("webhook: an id has 1 to 255 visible ASCII characters and no dot")

// NewID returns a new id of a message: msg_ and 26 random characters.
func NewID() string { return "msg_" + rand.Text() }

func validID(id string) bool {
	if id == "" || len(id) > MaxIDBytes {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' || id[i] == '.' {
			return false
		}
	}
	return true
}

// Signer signs messages as Standard Webhooks says. It is immutable and safe
// for concurrent use.
type Signer struct {
	secrets []Secret
	idle    []sync.Pool // of *mac, one for each secret: what is made of a key is made once
}

// NewSigner returns a signer with 1 to 16 secrets, whsec_ or whsk_. All of them
// sign each message: while a secret is being replaced, give the new one and the
// old one. Errors wrap [ErrSecret].
func NewSigner(secrets ...Secret) (*Signer, error) {
	if len(secrets) == 0 || len(secrets) > MaxSecrets {
		return nil, badSecret("a signer needs 1 to %d secrets", MaxSecrets)
	}
	for _, s := range secrets {
		if s.key() == nil || s.key().prefix != symmetricPrefix && s.key().prefix != privatePrefix {
			return nil, badSecret("a signer needs secrets that begin with whsec_ or whsk_")
		}
	}
	return &Signer{append([]Secret(nil), secrets...), make([]sync.Pool, len(secrets))}, nil
}

// Sign returns the value of the header webhook-signature: the signatures of all
// secrets over the id, the time of this try in whole seconds and the body,
// byte by byte as it is sent. Errors wrap [ErrID], or are about a time before
// 1970.
func (s *Signer) Sign(id string, at time.Time, body []byte) (string, error) {
	signature, _, err := s.sign(id, at, body)
	return signature, err
}

// sign is Sign, and returns the time as it was signed.
func (s *Signer) sign(id string, at time.Time, body []byte) (signature, stamp string, err error) {
	if !validID(id) {
		return "", "", ErrID
	}
	stamp = strconv.FormatInt(at.Unix(), 10)
	if at.Unix() < 0 || len(stamp) > maxTimestampDigits {
		return "", "", fmt.Errorf("webhook: the time %v cannot be signed", at)
	}
	out := make([]byte, 0, 48*len(s.secrets)) // a v1 has 47, a v1a more
	var whole []byte                          // v1a signs one slice
	for i, secret := range s.secrets {
		if i > 0 {
			out = append(out, ' ')
		}
		if secret.key().prefix == symmetricPrefix {
			out = append(out, "v1,"...)
			m, ok := s.idle[i].Get().(*mac)
			if !ok {
				m = newMAC(secret)
			}
			out = base64.StdEncoding.AppendEncode(out, m.sign(id, stamp, body))
			s.idle[i].Put(m)
			continue
		}
		if whole == nil {
			whole = signedContent(id, stamp, body)
		}
		out = append(out, "v1a,"...)
		out = base64.StdEncoding.AppendEncode(out, ed25519.Sign(secret.key().bytes, whole))
	}
	return string(out), stamp, nil
}

// SetHeaders signs a message and sets its three headers. Errors: as of
// [Signer.Sign]; no header is set then.
func (s *Signer) SetHeaders(h http.Header, id string, at time.Time, body []byte) error {
	signature, stamp, err := s.sign(id, at, body)
	if err != nil {
		return err
	}
	values := [...]string{id, stamp, signature}
	h[HeaderID], h[HeaderTimestamp], h[HeaderSignature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

// mac makes symmetric signatures with one key, one at a time.
type mac struct {
	hash hash.Hash
	buf  []byte // what is before the body, and then the signature
}

func newMAC(secret Secret) *mac {
	return &mac{hmac.New(sha256.New, secret.key().bytes), make([]byte, 0, 320)}
}

// sign returns a signature that is good until the next one.
func (m *mac) sign(id, stamp string, body []byte) []byte {
	m.hash.Reset()
	m.buf = append(append(append(append(m.buf[:0], id...), '.'), stamp...), '.')
	m.hash.Write(m.buf)
	m.hash.Write(body)
	m.buf = m.hash.Sum(m.buf[:0])
	return m.buf
}

func signSymmetric(secret Secret, id, stamp string, body []byte) []byte {
	return newMAC(secret).sign(id, stamp, body)
}

func signedContent(id, stamp string, body []byte) []byte {
	b := make([]byte, 0, len(id)+len(stamp)+2+len(body))
	return append(append(append(append(append(b, id...), '.'), stamp...), '.'), body...)
}

// SignGost returns the value of the header X-Gost-Signature: HMAC-SHA256 of the
// body in lower-case hexadecimal. It takes any symmetric secret; for others the
// error wraps [ErrSecret].
func SignGost(secret Secret, body []byte) (string, error) {
	if secret.key() == nil || secret.key().prefix != "" && secret.key().prefix != symmetricPrefix {
		return "", badSecret("the Gost format needs a symmetric secret")
	}
	return hex.EncodeToString(gostMAC(secret, body)), nil
}

func gostMAC(secret Secret, body []byte) []byte {
	mac := hmac.New(sha256.New, secret.key().bytes)
	mac.Write(body)
	return mac.Sum(nil)
}
