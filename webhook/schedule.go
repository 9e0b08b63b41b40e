package webhook

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// MaxTries is how many tries a schedule has at most.
	MaxTries = 100
	// MaxRetryAfter is the longest wait that a receiver can ask for.
	MaxRetryAfter = 24 * time.Hour

	maxDelay = 30 * 24 * time.Hour
)

// Schedule says when a delivery is tried: the wait before each try, and by
// which part of it the wait may be shorter or longer, so that many failed
// deliveries do not come back at the same time. It is immutable. The zero value
// has no tries and stands for a default where one is asked for.
type Schedule struct {
	delays []time.Duration
	jitter float64
}

// NewSchedule returns a schedule with a try after each of 1 to 100 delays of 0
// to 30 days, the first of which is mostly 0. Jitter is 0 to 1: 0.2 means 20 %
// more or less. The error says which of these bounds was passed.
func NewSchedule(jitter float64, delays ...time.Duration) (Schedule, error) {
	if len(delays) == 0 || len(delays) > MaxTries {
		return Schedule{}, errors.New("webhook: a schedule has 1 to 100 tries")
	}
	if !(jitter >= 0 && jitter <= 1) { // NaN too
		return Schedule{}, errors.New("webhook: a schedule's jitter is between 0 and 1")
	}
	for _, d := range delays {
		if d < 0 || d > maxDelay {
			return Schedule{}, errors.New("webhook: a schedule's delays are between 0 and 30 days")
		}
	}
	return Schedule{slices.Clone(delays), jitter}, nil
}

// DefaultSchedule returns the ten tries that Standard Webhooks suggests: at
// once, and after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h; some
// 76 hours together. Jitter 20 %.
func DefaultSchedule() Schedule {
	return Schedule{[]time.Duration{
		0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
		5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}, 0.2}
}

// GostSchedule returns the five tries of the Gost framework: at once, and after
// 1 s, 2 s, 3 s and 4 s. No jitter.
func GostSchedule() Schedule {
	return Schedule{[]time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}, 0}
}

// Tries returns how many tries there are, the first one included.
func (s Schedule) Tries() int { return len(s.delays) }

// Delays returns the waits before each try, without jitter.
func (s Schedule) Delays() []time.Duration { return slices.Clone(s.delays) }

// Jitter returns the part of a wait by which it may differ.
func (s Schedule) Jitter() float64 { return s.jitter }

// Delay returns the wait before a try, counted from 1, or false if there is no
// such try. Chance is a random number from 0 to 1, as of rand.Float64; 0.5 is
// the wait as it stands.
func (s Schedule) Delay(try int, chance float64) (time.Duration, bool) {
	if try < 1 || try > len(s.delays) {
		return 0, false
	}
	d := float64(s.delays[try-1])
	return time.Duration(math.Round(d * (1 + s.jitter*(2*chance-1)))), true
}

// Next returns the wait after an attempt until the next one, or false if there
// is none: it was delivered, the receiver is gone for good, or it was the last
// try. A receiver's Retry-After makes the wait longer, up to [MaxRetryAfter],
// never shorter. An attempt that our own side cancelled is made again with the
// same number.
func (s Schedule) Next(a Attempt, chance float64) (wait time.Duration, again bool) {
	switch a.Verdict() {
	case Delivered, Gone:
		return 0, false
	case Canceled:
		return 0, a.Try >= 1 && a.Try <= len(s.delays)
	}
	if a.Try < 1 { // the first of which we know
		return 0, false
	}
	own, again := s.Delay(a.Try+1, chance)
	if !again {
		return 0, false
	}
	return max(own, min(a.RetryAfter, MaxRetryAfter)), true
}

type scheduleJSON struct {
	Delays []string `json:"delays"`
	Jitter float64  `json:"jitter"`
}

// MarshalJSON encodes as {"delays": ["0s", "5s"], "jitter": 0.2}.
func (s Schedule) MarshalJSON() ([]byte, error) {
	j := scheduleJSON{Delays: make([]string, len(s.delays)), Jitter: s.jitter}
	for i, d := range s.delays {
		j.Delays[i] = d.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON decodes what MarshalJSON encodes, or refuses what
// [NewSchedule] refuses. No delays are the zero value.
func (s *Schedule) UnmarshalJSON(b []byte) error {
	var j scheduleJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return errors.New("webhook: it is not the JSON of a schedule")
	}
	if len(j.Delays) == 0 {
		*s = Schedule{}
		return nil
	}
	if len(j.Delays) > MaxTries {
		return errors.New("webhook: a schedule has 1 to 100 tries")
	}
	delays := make([]time.Duration, len(j.Delays))
	for i, text := range j.Delays {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("webhook: a schedule's delay does not parse")
		}
		delays[i] = d
	}
	parsed, err := NewSchedule(j.Jitter, delays...)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// parseRetryAfter returns how long a receiver asks to be left alone (RFC 9110,
// section 10.2.3): seconds, or a date in one of HTTP's three forms. What is
// neither, is there twice or lies in the past counts for nothing. The longest
// is [MaxRetryAfter].
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	values := h["Retry-After"]
	if len(values) != 1 || len(values[0]) > 64 {
		return 0
	}
	text := strings.TrimSpace(values[0])
	if text != "" && strings.Trim(text, "0123456789") == "" {
		text = strings.TrimLeft(text, "0")
		if len(text) > len("86400") {
			return MaxRetryAfter
		}
		seconds := 0
		for _, digit := range text {
			seconds = seconds*10 + int(digit-'0')
		}
		return min(time.Duration(seconds)*time.Second, MaxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
