package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Bounds of what an [Attempt] keeps of an answer.
const (
	MaxAttemptBodyBytes   = 64 << 10
	MaxAttemptHeaders     = 64
	MaxAttemptHeaderBytes = 8 << 10
	maxErrorBytes         = 256
)

// Class says how an attempt ended.
type Class int

// The classes of attempts.
const (
	ClassOK        Class = iota + 1 // a status of 2xx
	ClassStatus                     // another status
	ClassRedirect                   // a status of 3xx, which is not followed
	ClassGone                       // 410: the receiver wants no more, ever
	ClassThrottled                  // 429, 502, 503 or 504: slow down
	ClassTimeout                    // no status within the time
	ClassDNS                        // the name did not resolve
	ClassConnect                    // no connection, or it broke
	ClassTLS                        // the handshake failed, or a certificate is not trusted
	ClassForbidden                  // the address may not be connected to; no connection was opened
	ClassProtocol                   // the answer was not HTTP, or had too large a header
	ClassRequest                    // the request could not be made: a mistake on our side
	ClassCanceled                   // our side gave up before the receiver did
)

// classNames are the names of all classes; the index is the class.
//
//nolint:gochecknoglobals // a constant table
var classNames = [...]string{
	ClassOK: "ok", ClassStatus: "status", ClassRedirect: "redirect", ClassGone: "gone", ClassThrottled: "throttled",
	ClassTimeout: "timeout", ClassDNS: "dns", ClassConnect: "connect", ClassTLS: "tls", ClassForbidden: "forbidden",
	ClassProtocol: "protocol", ClassRequest: "request", ClassCanceled: "canceled",
}

// String returns a lower-case word.
func (c Class) String() string {
	if c < 1 || int(c) >= len(classNames) {
		return fmt.Sprintf("Class(%d)", int(c))
	}
	return classNames[c]
}

// MarshalText is [Class.String] for the classes that there are.
func (c Class) MarshalText() ([]byte, error) {
	if c < 1 || int(c) >= len(classNames) {
		return nil, errors.New("webhook: no such class")
	}
	return []byte(classNames[c]), nil
}

// UnmarshalText parses the word of a class.
func (c *Class) UnmarshalText(text []byte) error {
	for i, name := range classNames {
		if name != "" && name == string(text) {
			*c = Class(i)
			return nil
		}
	}
	return errors.New("webhook: no such class")
}

// Verdict is what follows from an attempt.
type Verdict int

// The verdicts.
const (
	Delivered Verdict = iota + 1 // the receiver has it
	Retry                        // it failed, and may be tried again
	Gone                         // it failed, and the endpoint is to be disabled
	Canceled                     // it does not count
)

// String returns a lower-case word.
func (v Verdict) String() string {
	switch v {
	case Delivered:
		return "delivered"
	case Retry:
		return "retry"
	case Gone:
		return "gone"
	case Canceled:
		return "canceled"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// Attempt is one try to deliver a message, and what came of it. It has no
// secrets of ours in it, and of the URL only the address.
type Attempt struct {
	// ID is the message's, the same for all its tries.
	ID string `json:"id"`
	// Try counts from 1.
	Try int `json:"try"`
	// Start is when it began.
	Start time.Time `json:"start"`
	// Duration is until the answer was read, or the error came; in nanoseconds.
	Duration time.Duration `json:"duration"`
	// Class says how it ended.
	Class Class `json:"class"`
	// Status is the answer's; 0: there was none.
	Status int `json:"status,omitempty"`
	// Header of the answer: at most 64 values and 8 KiB, without Set-Cookie.
	Header http.Header `json:"header,omitempty"`
	// Body of the answer as it came, its first 64 KiB.
	Body []byte `json:"body,omitempty"`
	// Truncated says that Body is not all: there was more, or the answer broke off.
	Truncated bool `json:"truncated,omitempty"`
	// Error says in words what went wrong, at most 256 bytes; for an answer that
	// broke off too, which after a status of 2xx is delivered none the less.
	Error string `json:"error,omitempty"`
	// RetryAfter is what a receiver with ClassThrottled asked for, at most 24 h.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
}

// Verdict returns what follows from the attempt. Only a status of 2xx is a
// delivery.
func (a Attempt) Verdict() Verdict {
	switch a.Class {
	case ClassOK:
		return Delivered
	case ClassGone:
		return Gone
	case ClassCanceled:
		return Canceled
	}
	return Retry
}

// Err returns nil for a delivery, else an [*AttemptError].
func (a Attempt) Err() error {
	if a.Verdict() == Delivered {
		return nil
	}
	return &AttemptError{a}
}

// AttemptError is an attempt that failed, as an error. Its text has nothing
// of the URL and of the answer but the status.
type AttemptError struct{ Attempt Attempt }

// Error returns the class and the status or what went wrong.
func (e *AttemptError) Error() string {
	if e.Attempt.Status != 0 {
		return fmt.Sprintf("webhook: attempt %d: %v: status %d", e.Attempt.Try, e.Attempt.Class, e.Attempt.Status)
	}
	return fmt.Sprintf("webhook: attempt %d: %v: %s", e.Attempt.Try, e.Attempt.Class, e.Attempt.Error)
}

// classOf returns the class of a status.
func classOf(status int) Class {
	switch {
	case status >= 200 && status <= 299:
		return ClassOK
	case status >= 300 && status <= 399:
		return ClassRedirect
	case status == http.StatusGone:
		return ClassGone
	case status == http.StatusTooManyRequests, status >= 502 && status <= 504:
		return ClassThrottled
	}
	return ClassStatus
}
