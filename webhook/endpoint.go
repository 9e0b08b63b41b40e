package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/safehttp"
)

// Bounds and defaults of an [Endpoint].
const (
	DefaultTimeout     = 20 * time.Second
	MaxTimeout         = 60 * time.Second
	DefaultConcurrency = 8
	MaxConcurrency     = 1000
	MaxPatterns        = 100
	MaxHeaders         = 32
	MaxHeaderBytes     = 8 << 10
)

// ErrEndpoint is in every error about an endpoint that cannot be used.
var ErrEndpoint = errors.New("webhook: the endpoint cannot be used")

func badEndpoint(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrEndpoint, fmt.Errorf(format, args...))
}

// Endpoint is where events go. Its print, log and JSON forms mask the secrets
// and the values of headers; the first two leave out all of the URL but its
// host. To store one use [MarshalEndpoint].
type Endpoint struct {
	// ID names it: 1 to 255 visible ASCII characters and no dot.
	ID string
	// Description is for people.
	Description string
	// URL gets the requests. See [ClientOptions] for what is refused.
	URL string
	// Types are patterns of the event types that it wants, as "payment.*"; see
	// [MatchType]. At least one.
	Types []string
	// Headers are sent with each request. Names of the formats, of HTTP's own
	// working and Content-Type are refused.
	Headers Headers
	// Secrets sign the requests, all of them each; the newest is first. The Gost
	// format uses the first only.
	Secrets []Secret
	// Format of the requests. Default: FormatStandard.
	Format Format
	// Timeout of one try, from resolving the name to the end of the answer.
	// Default 20 s, at most 60 s.
	Timeout time.Duration
	// Rate is how many tries a second are made at most. Default: no limit.
	Rate float64
	// Burst is how many tries may be made at once within the rate. Default: the
	// rate, but at least 1.
	Burst int
	// Concurrency is how many tries are in flight at most. Default 8.
	Concurrency int
	// Ordered holds back an event until those before it were delivered or given up.
	Ordered bool
	// Schedule of the tries. The zero value is [DefaultSchedule], for the Gost
	// format [GostSchedule].
	Schedule Schedule
	// Disabled endpoints get nothing.
	Disabled bool
	// DisabledReason says why, for people.
	DisabledReason string
}

// WithDefaults returns e with its defaults in place of zero values.
func (e Endpoint) WithDefaults() Endpoint {
	if e.Format == 0 {
		e.Format = FormatStandard
	}
	if e.Timeout == 0 {
		e.Timeout = DefaultTimeout
	}
	if e.Concurrency == 0 {
		e.Concurrency = DefaultConcurrency
	}
	if e.Rate > 0 && e.Burst == 0 {
		e.Burst = int(max(1, math.Ceil(e.Rate)))
	}
	if e.Schedule.Tries() == 0 {
		e.Schedule = DefaultSchedule()
		if e.Format == FormatGost {
			e.Schedule = GostSchedule()
		}
	}
	return e
}

// Validate checks everything that does not depend on where a client may connect
// to; [Client.Prepare] checks that too. Errors wrap [ErrEndpoint].
func (e Endpoint) Validate() error {
	e = e.WithDefaults()
	switch {
	case !validID(e.ID):
		return badEndpoint("its id has 1 to %d visible ASCII characters and no dot", MaxIDBytes)
	case len(e.Description) > 1024 || len(e.DisabledReason) > 1024:
		return badEndpoint("its description or reason is longer than 1024 bytes")
	case e.Format != FormatStandard && e.Format != FormatGost:
		return badEndpoint("no such format")
	case e.Timeout < 100*time.Millisecond || e.Timeout > MaxTimeout:
		return badEndpoint("its timeout is not between 100 ms and %v", MaxTimeout)
	case !(e.Rate >= 0 && e.Rate <= 1e6) || e.Burst < 0 || e.Burst > 1e6 || e.Rate == 0 && e.Burst > 0:
		return badEndpoint("its rate and burst are not between 0 and a million, or there is a burst without a rate")
	case e.Concurrency < 1 || e.Concurrency > MaxConcurrency:
		return badEndpoint("its concurrency is not between 1 and %d", MaxConcurrency)
	case len(e.Types) == 0 || len(e.Types) > MaxPatterns:
		return badEndpoint(`it needs 1 to %d patterns of event types; "*" has all`, MaxPatterns)
	}
	for _, p := range e.Types {
		if !ValidPattern(p) {
			return badEndpoint("%w: pattern %.150q", ErrType, p)
		}
	}
	if _, err := safehttp.ParseURL(e.URL); err != nil {
		return badEndpoint("%w", policyError{err})
	}
	if err := e.checkSecrets(); err != nil {
		return badEndpoint("%w", err)
	}
	return e.checkHeaders()
}

func (e Endpoint) checkSecrets() error {
	if e.Format == FormatStandard {
		_, err := NewSigner(e.Secrets...)
		return err
	}
	if len(e.Secrets) == 0 || len(e.Secrets) > MaxSecrets {
		return badSecret("an endpoint needs 1 to %d secrets", MaxSecrets)
	}
	for _, s := range e.Secrets {
		if _, err := SignGost(s, nil); err != nil {
			return err
		}
	}
	return nil
}

func (e Endpoint) checkHeaders() error {
	if len(e.Headers) > MaxHeaders {
		return badEndpoint("it has more than %d headers", MaxHeaders)
	}
	size := 0
	seen := make(map[string]bool, len(e.Headers))
	for name, value := range e.Headers {
		size += len(name) + len(value)
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !validToken(name):
			return badEndpoint("header %.100q is no name", name)
		case reserved(canonical):
			return badEndpoint("header %.100q cannot be set", name)
		case seen[canonical]:
			return badEndpoint("header %.100q is there twice", name)
		case !validValue(value):
			return badEndpoint("the value of header %.100q has a control character, or blanks around it", name)
		}
		seen[canonical] = true
	}
	if size > MaxHeaderBytes {
		return badEndpoint("its headers have more than %d bytes", MaxHeaderBytes)
	}
	return nil
}

// validToken: RFC 9110, section 5.6.2.
func validToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		switch ch := s[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", ch) < 0:
			return false
		}
	}
	return true
}

// validValue allows visible ASCII with blanks inside: nothing that could end a line.
func validValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return strings.TrimSpace(s) == s
}

func reserved(canonical string) bool {
	return strings.HasPrefix(canonical, "Webhook-") || strings.HasPrefix(canonical, "X-Gost-") ||
		strings.HasPrefix(canonical, "Proxy-") || slices.Contains([]string{
		"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host",
		"Http2-Settings", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}, canonical)
}

// Wants reports whether an event of a type goes to the endpoint: it is not
// disabled, and one of its patterns has the type.
func (e Endpoint) Wants(t string) bool {
	return !e.Disabled && slices.ContainsFunc(e.Types, func(p string) bool { return MatchType(p, t) })
}

// Host returns the host and port of the URL, empty if it does not parse. It may
// stand in logs, while the rest of a URL may be secret.
func (e Endpoint) Host() string {
	u, err := safehttp.ParseURL(e.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// String returns the id and the host.
func (e Endpoint) String() string { return fmt.Sprintf("webhook endpoint %q at %q", e.ID, e.Host()) }

// GoString is [Endpoint.String].
func (e Endpoint) GoString() string { return e.String() }

// LogValue has the id, the host, and whether it is disabled.
func (e Endpoint) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", e.ID), slog.String("host", e.Host()), slog.Bool("disabled", e.Disabled))
}

// MarshalJSON is for listings: secrets and the values of headers are masked. What
// it returns cannot be read back; see [MarshalEndpoint].
func (e Endpoint) MarshalJSON() ([]byte, error) {
	e = e.WithDefaults()
	j := e.json()
	for i, s := range e.Secrets {
		j.Secrets[i] = s.String()
	}
	j.Headers = e.Headers.masked()
	return json.Marshal(j)
}

type endpointJSON struct {
	ID             string            `json:"id"`
	Description    string            `json:"description,omitempty"`
	URL            string            `json:"url"`
	Types          []string          `json:"types"`
	Headers        map[string]string `json:"headers,omitempty"`
	Secrets        []string          `json:"secrets,omitempty"`
	Format         Format            `json:"format"`
	Timeout        string            `json:"timeout"`
	Rate           float64           `json:"rate,omitempty"`
	Burst          int               `json:"burst,omitempty"`
	Concurrency    int               `json:"concurrency"`
	Ordered        bool              `json:"ordered,omitempty"`
	Schedule       Schedule          `json:"schedule"`
	Disabled       bool              `json:"disabled,omitempty"`
	DisabledReason string            `json:"disabled_reason,omitempty"`
}

// json returns e for encoding, with all that is secret.
func (e Endpoint) json() endpointJSON {
	j := endpointJSON{
		ID: e.ID, Description: e.Description, URL: e.URL, Types: e.Types, Headers: e.Headers, Format: e.Format,
		Timeout: e.Timeout.String(), Rate: e.Rate, Burst: e.Burst, Concurrency: e.Concurrency, Ordered: e.Ordered,
		Schedule: e.Schedule, Disabled: e.Disabled, DisabledReason: e.DisabledReason,
		Secrets: make([]string, len(e.Secrets)),
	}
	for i, s := range e.Secrets {
		j.Secrets[i] = s.Reveal()
	}
	return j
}

// MarshalEndpoint encodes an endpoint for a store, secrets and header values
// in the clear: who can read the store can sign. It refuses what
// [Endpoint.Validate] refuses.
func MarshalEndpoint(e Endpoint) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(e.WithDefaults().json())
}

// UnmarshalEndpoint decodes what [MarshalEndpoint] encoded, and validates it.
// Fields that it does not know are passed over. Errors wrap [ErrEndpoint] and
// have no values in them.
func UnmarshalEndpoint(b []byte) (Endpoint, error) {
	var j endpointJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Endpoint{}, badEndpoint("it is not the JSON of an endpoint")
	}
	timeout, err := time.ParseDuration(j.Timeout)
	if err != nil {
		return Endpoint{}, badEndpoint("its timeout does not parse")
	}
	e := Endpoint{
		ID: j.ID, Description: j.Description, URL: j.URL, Types: j.Types, Headers: j.Headers, Format: j.Format,
		Timeout: timeout, Rate: j.Rate, Burst: j.Burst, Concurrency: j.Concurrency, Ordered: j.Ordered,
		Schedule: j.Schedule, Disabled: j.Disabled, DisabledReason: j.DisabledReason,
	}
	if len(j.Secrets) > MaxSecrets {
		return Endpoint{}, badEndpoint("it has more than %d secrets", MaxSecrets)
	}
	for _, text := range j.Secrets {
		s, err := parseFor(e.Format, text)
		if err != nil {
			return Endpoint{}, badEndpoint("%w", err)
		}
		e.Secrets = append(e.Secrets, s)
	}
	return e, e.Validate()
}

// parseFor parses a secret for a format: in the Gost format any text is one.
func parseFor(f Format, text string) (Secret, error) {
	if f == FormatGost {
		return GostSecret(text)
	}
	return ParseSecret(text)
}

// Headers are HTTP headers whose values print, log and encode as masks.
type Headers map[string]string

func (h Headers) masked() map[string]string {
	if h == nil {
		return nil
	}
	m := make(map[string]string, len(h))
	for name := range h {
		m[name] = masked
	}
	return m
}

// String returns the names, sorted, with masks.
func (h Headers) String() string { return fmt.Sprint(h.masked()) }

// Format writes [Headers.String], whatever the verb.
func (h Headers) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.String()) }

// LogValue is [Headers.String].
func (h Headers) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalJSON encodes the names with masks.
func (h Headers) MarshalJSON() ([]byte, error) { return json.Marshal(h.masked()) }
