package webhookapi

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// masked stands for what is not shown again.
const masked = "***"

// Endpoint is an endpoint as it is listed: without its secrets.
type Endpoint struct {
	ID             string            `json:"id" doc:"Names it, for good."`
	URL            string            `json:"url" doc:"Gets the requests."`
	Types          []string          `json:"types" doc:"Patterns of the event types that it gets, as payment.* or *."`
	Description    string            `json:"description,omitempty" doc:"For people."`
	Headers        map[string]string `json:"headers,omitempty" doc:"Names of the headers that are sent with each request; the values are masked."`
	Secrets        []SecretView      `json:"secrets" doc:"What signs, newest first."`
	Format         string            `json:"format" enum:"standard,gost" doc:"Standard Webhooks, or that of the Gost framework."`
	Timeout        string            `json:"timeout" doc:"Of one try, as 20s."`
	Rate           float64           `json:"rate,omitempty" doc:"Tries a second at most; absent: no limit."`
	Burst          int               `json:"burst,omitempty" doc:"Tries at once within the rate."`
	Concurrency    int               `json:"concurrency" doc:"Tries in flight at most."`
	Ordered        bool              `json:"ordered,omitempty" doc:"Whether an event waits for those before it."`
	Schedule       webhook.Schedule  `json:"schedule" doc:"The waits before each try."`
	Disabled       bool              `json:"disabled" doc:"Whether it gets nothing."`
	DisabledReason string            `json:"disabled_reason,omitempty" doc:"Why."`
	Created        time.Time         `json:"created" doc:"When it was added."`
	Updated        time.Time         `json:"updated" doc:"When somebody changed it last."`
	FailingSince   time.Time         `json:"failing_since,omitzero" doc:"When the first attempt failed since the last success; absent: it did not."`
}

// SecretView is a secret as it is listed.
type SecretView struct {
	Kind      string    `json:"kind" enum:"symmetric,ed25519" doc:"HMAC-SHA256 with a secret that both have, or a signature with a public key."`
	PublicKey string    `json:"public_key,omitempty" doc:"For the receiver, of kind ed25519."`
	Retires   time.Time `json:"retires,omitzero" doc:"When it stops to sign, after a rotation; absent: never."`
}

// View returns an endpoint as it is listed.
func View(r dispatch.Record) Endpoint {
	e := r.Endpoint.WithDefaults()
	v := Endpoint{
		ID: e.ID, URL: e.URL, Types: e.Types, Description: e.Description, Secrets: []SecretView{}, Format: e.Format.String(),
		Timeout: e.Timeout.String(), Rate: e.Rate, Burst: e.Burst, Concurrency: e.Concurrency, Ordered: e.Ordered, Schedule: e.Schedule,
		Disabled: e.Disabled, DisabledReason: e.DisabledReason, Created: r.Created, Updated: r.Updated, FailingSince: r.FailingSince,
	}
	if len(e.Headers) > 0 {
		v.Headers = make(map[string]string, len(e.Headers))
		for name := range e.Headers {
			v.Headers[name] = masked
		}
	}
	now := time.Now()
	for i, s := range e.Secrets {
		shown := SecretView{Kind: KeySymmetric}
		if i < len(r.Retire) {
			shown.Retires = r.Retire[i]
		}
		if !shown.Retires.IsZero() && shown.Retires.Before(now) {
			continue
		}
		if public, ok := s.Public(); ok {
			shown.Kind, shown.PublicKey = KeyEd25519, public.Reveal()
		}
		v.Secrets = append(v.Secrets, shown)
	}
	return v
}

// Endpoints is a listing.
type Endpoints struct {
	Endpoints []Endpoint `json:"endpoints" doc:"All of them, sorted by id."`
}

// Kinds of keys.
const (
	KeySymmetric = "symmetric"
	KeyEd25519   = "ed25519"
)

// NewEndpoint is what an endpoint is made of.
type NewEndpoint struct {
	ID          string            `json:"id,omitempty" doc:"1 to 255 visible ASCII characters and no dot. Default: one is made."`
	URL         string            `json:"url" doc:"Gets the requests."`
	Types       []string          `json:"types" doc:"Patterns of the event types that it gets, as payment.* or *."`
	Description string            `json:"description,omitempty" doc:"For people, at most 1024 bytes."`
	Headers     map[string]string `json:"headers,omitempty" doc:"Sent with each request; at most 32."`
	Secret      string            `json:"secret,omitempty" doc:"whsec_..., or whsk_...; in the Gost format any text. Default: one is made, and the answer has it, once."`
	Key         string            `json:"key,omitempty" enum:"symmetric,ed25519" doc:"The kind of secret to make. Default: symmetric."`
	Format      string            `json:"format,omitempty" enum:"standard,gost" doc:"Default: standard."`
	Timeout     string            `json:"timeout,omitempty" doc:"Of one try, 100ms to 60s. Default: 20s."`
	Rate        float64           `json:"rate,omitempty" doc:"Tries a second at most. Default: no limit."`
	Burst       int               `json:"burst,omitempty" doc:"Tries at once within the rate. Default: the rate."`
	Concurrency int               `json:"concurrency,omitempty" doc:"Tries in flight at most, 1 to 1000. Default: 8."`
	Ordered     bool              `json:"ordered,omitempty" doc:"Whether an event waits for those before it."`
	Schedule    *webhook.Schedule `json:"schedule,omitempty" doc:"The waits before each try. Default: ten tries in 76 hours, in the Gost format five in ten seconds."`
	Disabled    bool              `json:"disabled,omitempty" doc:"Whether it begins disabled."`
}

// Endpoint returns the endpoint, with a made key where that is not what
// dispatch.Dispatcher.Add makes by itself. Errors are about the fields.
func (n NewEndpoint) Endpoint() (webhook.Endpoint, error) {
	e := webhook.Endpoint{
		ID: n.ID, URL: n.URL, Types: n.Types, Description: n.Description, Headers: n.Headers, Rate: n.Rate, Burst: n.Burst,
		Concurrency: n.Concurrency, Ordered: n.Ordered, Disabled: n.Disabled,
	}
	if n.Schedule != nil {
		e.Schedule = *n.Schedule
	}
	var err error
	if e.Format, err = parseFormat(n.Format); err != nil {
		return e, err
	}
	if e.Timeout, err = parseTime("timeout", n.Timeout); err != nil {
		return e, err
	}
	switch {
	case n.Key != "" && n.Key != KeySymmetric && n.Key != KeyEd25519:
		return e, wrong("key: want symmetric or ed25519")
	case n.Secret != "" && n.Key != "":
		return e, wrong("key is the kind of secret to make, and there is a secret: give one of them")
	case n.Key == KeyEd25519 && e.Format == webhook.FormatGost:
		return e, wrong("key: the Gost format knows symmetric secrets only")
	case n.Secret != "":
		s, err := ParseSecret(e.Format, n.Secret)
		if err != nil {
			return e, err
		}
		e.Secrets = []webhook.Secret{s}
	case n.Key == KeyEd25519:
		s, err := webhook.GenerateSigningKey()
		if err != nil {
			return e, err
		}
		e.Secrets = []webhook.Secret{s}
	}
	return e, nil
}

// ParseSecret reads a secret that signs in a format.
func ParseSecret(f webhook.Format, text string) (webhook.Secret, error) {
	if f == webhook.FormatGost {
		return webhook.GostSecret(text)
	}
	return webhook.ParseSecret(text)
}

func parseFormat(text string) (f webhook.Format, err error) {
	if text == "" {
		return webhook.FormatStandard, nil
	}
	if f.UnmarshalText([]byte(text)) != nil {
		return f, wrong("format: want standard or gost")
	}
	return f, nil
}

// parseTime reads a duration; empty: zero.
func parseTime(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, wrong("%s: want a time with its unit, as 20s or 24h", name)
	}
	return d, nil
}

// wrong is an error about what somebody gave.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", dispatch.ErrInvalid, fmt.Sprintf(format, args...))
}

// EndpointChange changes what it has.
type EndpointChange struct {
	URL         *string           `json:"url,omitempty" doc:"Gets the requests."`
	Types       []string          `json:"types,omitempty" doc:"Patterns of event types, all of them."`
	Description *string           `json:"description,omitempty" doc:"For people."`
	Headers     map[string]string `json:"headers,omitempty" doc:"Headers to set; those with an empty value are removed, others stay."`
	Timeout     *string           `json:"timeout,omitempty" doc:"Of one try, 100ms to 60s."`
	Rate        *float64          `json:"rate,omitempty" doc:"Tries a second at most; 0: no limit."`
	Burst       *int              `json:"burst,omitempty" doc:"Tries at once within the rate; 0: the rate."`
	Concurrency *int              `json:"concurrency,omitempty" doc:"Tries in flight at most."`
	Schedule    *webhook.Schedule `json:"schedule,omitempty" doc:"The waits before each try."`
}

// Apply makes the change.
func (c EndpointChange) Apply(e *webhook.Endpoint) error {
	set(&e.URL, c.URL)
	set(&e.Description, c.Description)
	set(&e.Rate, c.Rate)
	set(&e.Burst, c.Burst)
	set(&e.Concurrency, c.Concurrency)
	set(&e.Schedule, c.Schedule)
	if c.Rate != nil && c.Burst == nil {
		e.Burst = 0 // that of the old rate
	}
	if c.Types != nil {
		e.Types = slices.Clone(c.Types)
	}
	if c.Timeout != nil {
		var err error
		if e.Timeout, err = parseTime("timeout", *c.Timeout); err != nil {
			return err
		}
	}
	headers := maps.Clone(e.Headers)
	for name, value := range c.Headers {
		if value == "" {
			delete(headers, name)
			continue
		}
		if headers == nil {
			headers = make(webhook.Headers)
		}
		headers[name] = value
	}
	e.Headers = headers
	return nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Created is a new endpoint.
type Created struct {
	Endpoint Endpoint `json:"endpoint" doc:"As it is listed from now on."`
	NewSecret
}

// NewSecret is what a receiver has to know, shown once.
type NewSecret struct {
	Secret    string `json:"secret,omitempty" doc:"The secret that was made, for the receiver. It is not shown again."`
	PublicKey string `json:"public_key,omitempty" doc:"The public key of the key that signs, for the receiver."`
}

// Show reveals a new secret to whom it was made for: of a key to sign with
// its public half, which is all that a receiver needs.
func Show(s webhook.Secret) NewSecret {
	if public, ok := s.Public(); ok {
		return NewSecret{PublicKey: public.Reveal()}
	}
	return NewSecret{Secret: s.Reveal()}
}

// Rotation says how a secret is replaced.
type Rotation struct {
	Secret string `json:"secret,omitempty" doc:"The new one. Default: one is made, of the kind that the endpoint has, and the answer has it, once."`
	Grace  string `json:"grace,omitempty" doc:"How long the old ones still sign as well, at most 720h; 0s: not at all. Default: 24h."`
}

// Options returns what package dispatch wants to know. The format is the endpoint's.
func (r Rotation) Options(f webhook.Format) (o dispatch.RotateOptions, err error) {
	if r.Secret != "" {
		if o.Secret, err = ParseSecret(f, r.Secret); err != nil {
			return o, err
		}
	}
	if r.Grace == "" {
		return o, nil
	}
	o.Grace, err = time.ParseDuration(r.Grace)
	if err != nil || o.Grace < 0 {
		return o, wrong("grace: want a time with its unit, as 24h, or 0s")
	}
	if o.Grace == 0 {
		o.Grace = -1
	}
	return o, nil
}

// Reason says why an endpoint is disabled.
type Reason struct {
	Reason string `json:"reason,omitempty" doc:"For people, at most 1024 bytes."`
}

// Attempt is one try of a delivery.
type Attempt struct {
	Endpoint   string              `json:"endpoint" doc:"Whom it was for."`
	Event      string              `json:"event" doc:"The event's id."`
	Type       string              `json:"type" doc:"The event's type."`
	Try        int                 `json:"try" doc:"Counts from 1."`
	State      dispatch.State      `json:"state" enum:"delivered,scheduled,failed,dropped" doc:"Where the delivery is after it."`
	Start      time.Time           `json:"start" doc:"When it began."`
	DurationMS float64             `json:"duration_ms" doc:"Until the answer was read."`
	Class      string              `json:"class,omitempty" doc:"How it ended; absent of a dropped one."`
	Status     int                 `json:"status,omitempty" doc:"Of the answer; absent: there was none."`
	Error      string              `json:"error,omitempty" doc:"What went wrong."`
	Next       time.Time           `json:"next,omitzero" doc:"When the next try is due, of a scheduled one."`
	RetryAfter string              `json:"retry_after,omitempty" doc:"What the receiver asked for."`
	Replay     string              `json:"replay,omitempty" doc:"Tells the tries of a replay from others."`
	Accepted   time.Time           `json:"accepted" doc:"When the event was accepted."`
	Header     map[string][]string `json:"header,omitempty" doc:"Of the answer; asked for with full."`
	Body       string              `json:"body,omitempty" doc:"Of the answer, its first 64 KiB, where it is text; asked for with full."`
	BodyBytes  []byte              `json:"body_base64,omitempty" doc:"The same where it is no text."`
	Truncated  bool                `json:"truncated,omitempty" doc:"Whether the answer's body had more."`
}

// ViewAttempt returns an attempt, with the answer's header and body if full.
func ViewAttempt(e dispatch.Entry, full bool) Attempt {
	a := e.Attempt
	v := Attempt{
		Endpoint: e.Endpoint, Event: a.ID, Type: e.Type, Try: a.Try, State: e.State, Start: a.Start,
		DurationMS: float64(a.Duration.Microseconds()) / 1000, Status: a.Status, Error: a.Error, Next: e.Next, Replay: e.Replay,
		Accepted: e.Accepted, Truncated: a.Truncated,
	}
	if a.Class != 0 {
		v.Class = a.Class.String()
	}
	if a.RetryAfter > 0 {
		v.RetryAfter = a.RetryAfter.String()
	}
	if full {
		v.Header = a.Header
		if utf8.Valid(a.Body) {
			v.Body = string(a.Body)
		} else {
			v.BodyBytes = a.Body
		}
	}
	return v
}

// Attempts is a page of attempts.
type Attempts struct {
	Attempts []Attempt `json:"attempts" doc:"Newest first; those of one event oldest first."`
	Next     string    `json:"next,omitempty" doc:"What to give as before for the next page; absent: this was the last."`
}

// ViewAttempts returns many.
func ViewAttempts(entries []dispatch.Entry, full bool) []Attempt {
	all := make([]Attempt, len(entries))
	for i, e := range entries {
		all[i] = ViewAttempt(e, full)
	}
	return all
}
