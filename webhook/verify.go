package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Errors of [Verifier.Verify], for errors.Is.
var (
	// ErrMissingHeader: a header that the format needs is not there.
	ErrMissingHeader = errors.New("webhook: a header is missing")
	// ErrMalformed: a header, or the part of the body that the format needs,
	// cannot be read, or is there twice.
	ErrMalformed = errors.New("webhook: a header or the body is malformed")
	// ErrTooOld: the message was signed longer ago than the tolerance.
	ErrTooOld = errors.New("webhook: the message is too old")
	// ErrTooNew: the message was signed further in the future than the tolerance.
	ErrTooNew = errors.New("webhook: the message is too new")
	// ErrNoMatch: no signature fits the message and a secret.
	ErrNoMatch = errors.New("webhook: no signature matches")
)

const (
	// DefaultTolerance is how far the time of a message may be from ours.
	DefaultTolerance = 5 * time.Minute

	maxSignatures     = 16
	maxSignatureBytes = 4 << 10
)

// VerifierOptions configure a [Verifier].
type VerifierOptions struct {
	// Format is what is accepted. Default: FormatStandard.
	Format Format
	// Tolerance is how far the time of a message may be from ours, both ways.
	// Default: 5 minutes. The Gost format has the time in its signed body.
	Tolerance time.Duration
	// InsecureIgnoreTimestamp accepts messages of any time, so that an old one
	// can be replayed for ever by whoever has seen it.
	InsecureIgnoreTimestamp bool
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Verifier verifies messages. It is immutable and safe for concurrent use.
type Verifier struct {
	o       VerifierOptions
	secrets []Secret
}

// Received is a message that was verified.
type Received struct {
	// ID is the same for all tries of a message: webhook-id. The Gost format has
	// none; here it is the signature, the same for the same bytes only.
	ID string
	// Timestamp is when it was signed, in whole seconds.
	Timestamp time.Time
	// Type is the event's type as the body says, empty if it says none.
	Type string
	// Secret is the index of the first secret that fits: an old one that is not
	// used any more can be removed.
	Secret int
	// Body is the raw body. Data in it has not been decoded.
	Body []byte
}

// NewVerifier returns a verifier that accepts what any of 1 to 16 secrets
// signed: whsec_, whpk_ (or the whsk_ that has it), in the Gost format any
// symmetric secret. Errors wrap [ErrSecret] or are about the options.
func NewVerifier(o VerifierOptions, secrets ...Secret) (*Verifier, error) {
	if o.Format == 0 {
		o.Format = FormatStandard
	}
	if o.Tolerance == 0 {
		o.Tolerance = DefaultTolerance
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Format != FormatStandard && o.Format != FormatGost:
		return nil, errors.New("webhook: no such format")
	case o.Tolerance < time.Second:
		return nil, errors.New("webhook: a tolerance is at least one second")
	case len(secrets) == 0 || len(secrets) > MaxSecrets:
		return nil, badSecret("a verifier needs 1 to %d secrets", MaxSecrets)
	}
	v := &Verifier{o: o}
	for _, s := range secrets {
		switch {
		case s.key() == nil:
			return nil, badSecret("it is empty")
		case o.Format == FormatGost && s.key().prefix != "" && s.key().prefix != symmetricPrefix,
			o.Format == FormatStandard && s.key().prefix == "":
			return nil, badSecret("it is not of the format's kind")
		}
		if public, ok := s.Public(); ok {
			s = public
		}
		v.secrets = append(v.secrets, s)
	}
	return v, nil
}

// Verify checks a message's headers and its body, byte by byte as it came.
// Errors wrap one of [ErrMissingHeader], [ErrMalformed], [ErrTooOld],
// [ErrTooNew] and [ErrNoMatch]. None says how far a signature was right, and
// symmetric ones are compared in constant time. At most 16 signatures are taken.
func (v *Verifier) Verify(h http.Header, body []byte) (Received, error) {
	head, err := v.parse(h)
	if err != nil {
		return Received{}, err
	}
	return v.verify(head, body)
}

// head is what the headers of a message say.
type head struct {
	id, stamp  string
	at         time.Time
	signatures string
	event      string
}

// parse reads the headers, and the time as far as they have it: what is
// refused here costs no reading of the body.
func (v *Verifier) parse(h http.Header) (head, error) {
	if v.o.Format == FormatGost {
		return parseGost(h)
	}
	var p head
	for _, f := range []struct {
		name string
		to   *string
		max  int
	}{
		{HeaderID, &p.id, MaxIDBytes},
		{HeaderTimestamp, &p.stamp, maxTimestampDigits},
		{HeaderSignature, &p.signatures, maxSignatureBytes},
	} {
		if err := one(h, f.name, f.max, f.to); err != nil {
			return head{}, err
		}
	}
	if !validID(p.id) {
		return head{}, fmt.Errorf("%w: %s", ErrMalformed, HeaderID)
	}
	seconds, ok := parseTimestamp(p.stamp)
	if !ok {
		return head{}, fmt.Errorf("%w: %s", ErrMalformed, HeaderTimestamp)
	}
	if strings.Count(p.signatures, " ") >= maxSignatures {
		return head{}, fmt.Errorf("%w: more than %d signatures", ErrMalformed, maxSignatures)
	}
	p.at = time.Unix(seconds, 0)
	return p, v.checkTime(p.at)
}

// one returns the value of a header that has to be there once.
func one(h http.Header, name string, longest int, to *string) error {
	values := h[name]
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return fmt.Errorf("%w: %s", ErrMissingHeader, name)
	case len(values) > 1:
		return fmt.Errorf("%w: %s is there %d times", ErrMalformed, name, len(values))
	case len(values[0]) > longest:
		return fmt.Errorf("%w: %s is too long", ErrMalformed, name)
	}
	*to = values[0]
	return nil
}

// parseTimestamp parses seconds since 1970 in their one canonical form, so that
// what was signed and what was read cannot differ.
func parseTimestamp(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && len(s) <= maxTimestampDigits && strconv.FormatInt(n, 10) == s
}

func (v *Verifier) checkTime(at time.Time) error {
	if v.o.InsecureIgnoreTimestamp {
		return nil
	}
	now := v.o.Now()
	switch {
	case now.Sub(at) > v.o.Tolerance:
		return ErrTooOld
	case at.Sub(now) > v.o.Tolerance:
		return ErrTooNew
	}
	return nil
}

func (v *Verifier) verify(p head, body []byte) (Received, error) {
	if v.o.Format == FormatGost {
		return v.verifyGost(p, body)
	}
	match := -1
	var whole []byte
	for i, secret := range v.secrets {
		var fits bool
		if secret.key().prefix == symmetricPrefix {
			want := base64.StdEncoding.EncodeToString(signSymmetric(secret, p.id, p.stamp, body))
			fits = matchSymmetric(p.signatures, want)
		} else {
			if whole == nil {
				whole = signedContent(p.id, p.stamp, body)
			}
			fits = matchPublic(p.signatures, secret.key().bytes, whole)
		}
		if fits && match < 0 {
			match = i
		}
	}
	if match < 0 {
		return Received{}, ErrNoMatch
	}
	var typed struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(body, &typed) != nil {
		typed.Type = "" // the body need not be JSON, nor have a type
	}
	return Received{ID: p.id, Timestamp: p.at, Type: typed.Type, Secret: match, Body: body}, nil
}

// matchSymmetric compares texts, of which base64 has several for the same
// bytes: only the canonical one matches. Signatures are separated by blanks;
// what has another version, or none, is passed over.
func matchSymmetric(signatures, want string) bool {
	found := false
	for s := range strings.SplitSeq(signatures, " ") {
		if version, value, _ := strings.Cut(s, ","); version == "v1" && hmac.Equal([]byte(value), []byte(want)) {
			found = true
		}
	}
	return found
}

// matchPublic has no secret to protect, and ends with the first that fits.
func matchPublic(signatures string, public ed25519.PublicKey, content []byte) bool {
	for s := range strings.SplitSeq(signatures, " ") {
		version, value, _ := strings.Cut(s, ",")
		if version != "v1a" {
			continue
		}
		b, ok := decode64(value)
		if ok && len(b) == ed25519.SignatureSize && ed25519.Verify(public, content, b) {
			return true
		}
	}
	return false
}

func parseGost(h http.Header) (head, error) {
	var p head
	if err := one(h, HeaderGostSignature, hex.EncodedLen(32), &p.signatures); err != nil {
		return head{}, err
	}
	if err := one(h, HeaderGostEvent, MaxTypeBytes, &p.event); err != nil {
		return head{}, err
	}
	return p, nil
}

// verifyGost verifies a message of [FormatGost]. Only the body is signed: its
// event has to be the header's, and its time within the tolerance.
func (v *Verifier) verifyGost(p head, body []byte) (Received, error) {
	match := -1
	for i, secret := range v.secrets {
		if want := hex.EncodeToString(gostMAC(secret, body)); hmac.Equal([]byte(p.signatures), []byte(want)) && match < 0 {
			match = i
		}
	}
	if match < 0 {
		return Received{}, ErrNoMatch
	}
	var content struct {
		Event     *string `json:"event"`
		Timestamp *int64  `json:"timestamp"`
	}
	if err := json.Unmarshal(body, &content); err != nil || content.Event == nil || content.Timestamp == nil ||
		*content.Timestamp < 0 || *content.Timestamp > maxTimestamp {
		return Received{}, fmt.Errorf("%w: the body needs an event and a timestamp", ErrMalformed)
	}
	if *content.Event != p.event {
		return Received{}, fmt.Errorf("%w: the event is not the header's", ErrMalformed)
	}
	at := time.Unix(*content.Timestamp, 0)
	if err := v.checkTime(at); err != nil {
		return Received{}, err
	}
	return Received{ID: p.signatures, Timestamp: at, Type: p.event, Secret: match, Body: body}, nil
}
