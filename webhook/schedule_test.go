package webhook

import (
	"encoding/json"
	"math"
	"net/http"
	"reflect"
	"testing"
	"time"
)

func TestDefaultSchedule(t *testing.T) {
	s := DefaultSchedule()
	var sum time.Duration
	for i, want := range []string{
		"0s", "5s", "5m5s", "35m5s", "2h35m5s", "7h35m5s", "17h35m5s", "31h35m5s", "51h35m5s", "75h35m5s",
	} {
		d, ok := s.Delay(i+1, 0.5)
		if sum += d; !ok || sum.String() != (mustDuration(t, want)).String() {
			t.Errorf("try %d is after %v, want %s", i+1, sum, want)
		}
	}
	for _, try := range []int{-1, 0, 11} {
		if d, ok := s.Delay(try, 0.5); ok || d != 0 {
			t.Errorf("try %d is after %v", try, d)
		}
	}
	low, _ := s.Delay(3, 0)
	high, _ := s.Delay(3, 1)
	if low != 4*time.Minute || high != 6*time.Minute {
		t.Errorf("with jitter %v to %v, want 4 to 6 minutes", low, high)
	}
	if first, _ := s.Delay(1, 1); first != 0 {
		t.Errorf("the first try waits %v", first)
	}
	if s.Jitter() != 0.2 || s.Tries() != 10 {
		t.Errorf("%d tries with jitter %v", s.Tries(), s.Jitter())
	}
}

func mustDuration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGostSchedule(t *testing.T) {
	want := []time.Duration{0, 1e9, 2e9, 3e9, 4e9}
	if got := GostSchedule().Delays(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for i, w := range want {
		if d, ok := GostSchedule().Delay(i+1, 1); !ok || d != w {
			t.Errorf("try %d waits %v", i+1, d)
		}
	}
}

func TestNext(t *testing.T) {
	s := DefaultSchedule()
	for _, tt := range []struct {
		name  string
		a     Attempt
		wait  time.Duration
		again bool
	}{
		{"delivered", Attempt{Try: 1, Class: ClassOK}, 0, false},
		{"gone", Attempt{Try: 1, Class: ClassGone}, 0, false},
		{"failed", Attempt{Try: 1, Class: ClassStatus}, 5 * time.Second, true},
		{"redirect", Attempt{Try: 2, Class: ClassRedirect}, 5 * time.Minute, true},
		{"name that leads inside", Attempt{Try: 2, Class: ClassForbidden}, 5 * time.Minute, true},
		{"last", Attempt{Try: 10, Class: ClassTimeout}, 0, false},
		{"after the last", Attempt{Try: 11, Class: ClassTimeout}, 0, false},
		{"not counted", Attempt{Try: 0, Class: ClassTimeout}, 0, false},
		{"cancelled", Attempt{Try: 3, Class: ClassCanceled}, 0, true},
		{"longer by the receiver", Attempt{Try: 1, Class: ClassThrottled, RetryAfter: time.Minute}, time.Minute, true},
		{"never shorter", Attempt{Try: 2, Class: ClassThrottled, RetryAfter: time.Second}, 5 * time.Minute, true},
		{"at most a day", Attempt{Try: 1, Class: ClassThrottled, RetryAfter: 1000 * time.Hour}, 24 * time.Hour, true},
		{"unknown class", Attempt{Try: 1}, 5 * time.Second, true},
	} {
		if wait, again := s.Next(tt.a, 0.5); wait != tt.wait || again != tt.again {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, wait, again, tt.wait, tt.again)
		}
	}
	// Its own delay may be longer than what a receiver can ask for.
	if wait, _ := s.Next(Attempt{Try: 9, Class: ClassThrottled, RetryAfter: time.Hour}, 1); wait != 24*time.Hour*12/10 {
		t.Errorf("waits %v", wait)
	}
}

func TestScheduleRefuses(t *testing.T) {
	for name, f := range map[string]func() (Schedule, error){
		"no tries":       func() (Schedule, error) { return NewSchedule(0) },
		"too many":       func() (Schedule, error) { return NewSchedule(0, make([]time.Duration, MaxTries+1)...) },
		"negative delay": func() (Schedule, error) { return NewSchedule(0, -1) },
		"long delay":     func() (Schedule, error) { return NewSchedule(0, 31*24*time.Hour) },
		"jitter":         func() (Schedule, error) { return NewSchedule(1.1, 0) },
		"no number":      func() (Schedule, error) { return NewSchedule(math.NaN(), 0) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	given := []time.Duration{1, 2}
	s, err := NewSchedule(0, given...)
	if given[0] = 9; err != nil || s.Delays()[0] != 1 {
		t.Errorf("the schedule changes with the caller's slice: %v, %v", s, err)
	}
	s.Delays()[0] = 9
	if s.Delays()[0] != 1 {
		t.Error("the schedule changes with the slice that it gave")
	}
}

func TestScheduleJSON(t *testing.T) {
	for _, s := range []Schedule{DefaultSchedule(), GostSchedule(), {}} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got Schedule
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s became %v, %v", b, got, err)
		}
	}
	for _, bad := range []string{`1`, `{"delays":["1"]}`, `{"delays":["-1s"]}`, `{"delays":["1s"],"jitter":-1}`, `{"delays":[1]}`} {
		var got Schedule
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "0": 0, "00120": 2 * time.Minute, " 5 ": 5 * time.Second, "86400": 24 * time.Hour,
		"86401": 24 * time.Hour, "99999999999999999999999999": 24 * time.Hour,
		"Sun, 01 Mar 2026 12:01:00 GMT":  time.Minute,
		"Sunday, 01-Mar-26 12:01:00 GMT": time.Minute,
		"Sun Mar  1 12:01:00 2026":       time.Minute,
		"Sun, 01 Mar 2026 11:00:00 GMT":  0,
		"Sun, 01 Mar 2099 12:00:00 GMT":  24 * time.Hour,
		"":                               0, "-1": 0, "+5": 0, "1.5": 0, "1e3": 0, "0x10": 0, "5s": 0, "soon": 0, "５": 0, "1 2": 0,
		"Sun, 32 Mar 2026 12:01:00 GMT": 0, "2026-03-01T12:01:00Z": 0,
		"0000000000000000000000000000000000000000000000000000000000000000000001": 0,
	} {
		if got := parseRetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
	if got := parseRetryAfter(http.Header{"Retry-After": {"5", "6"}}, now); got != 0 {
		t.Errorf("two of them: %v", got)
	}
	if got := parseRetryAfter(nil, now); got != 0 {
		t.Errorf("none: %v", got)
	}
}

// FuzzRetryAfter wants a wait within the bounds, whatever a receiver says.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "86401", "-1", "Sun, 01 Mar 2026 12:01:00 GMT", "Sun, 01 Mar 0000 12:01:00 GMT"} {
		f.Add(s, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if got := parseRetryAfter(http.Header{"Retry-After": {value}}, time.Unix(now, 0)); got < 0 || got > MaxRetryAfter {
			t.Fatalf("%q: %v", value, got)
		}
	})
}

// FuzzScheduleJSON wants what is accepted to be within the bounds.
func FuzzScheduleJSON(f *testing.F) {
	f.Add([]byte(`{"delays":["0s","5s"],"jitter":0.2}`))
	f.Add([]byte(`{"delays":["9999h"],"jitter":1e9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Schedule
		if json.Unmarshal(b, &s) != nil {
			return
		}
		for i := range s.Tries() {
			if d, ok := s.Delay(i+1, 1); !ok || d < 0 || d > 2*maxDelay {
				t.Fatalf("%s: try %d waits %v", b, i+1, d)
			}
		}
	})
}
