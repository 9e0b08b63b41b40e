package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSend wants what the Gost framework's receivers expect, byte by byte.
func TestSend(t *testing.T) {
	const key = "my_secret_key"
	var fail atomic.Value
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var m struct {
			Event     string         `json:"event"`
			Timestamp int64          `json:"timestamp"`
			Data      map[string]int `json:"data"`
		}
		if err := json.Unmarshal(b, &m); err != nil {
			fail.Store(err.Error())
		}
		near := time.Since(time.Unix(m.Timestamp, 0)).Abs() < time.Minute
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || !near ||
			r.Header.Get("X-Gost-Event") != "user.created" || r.Header.Get("X-Gost-Signature") != sha(key, string(b)) ||
			m.Event != "user.created" || m.Data["id"] != 7 || !strings.HasPrefix(string(b), `{"event":"user.created","timestamp":`) {
			fail.Store(string(b))
		}
		w.WriteHeader(http.StatusAccepted)
	})
	data := map[string]int{"id": 7}
	if err := Send(t.Context(), s.URL, key, "user.created", data, inside); err != nil {
		t.Error(err)
	}
	if err := DispatchWithRetry(t.Context(), s.URL, key, "user.created", data, inside); err != nil {
		t.Error(err)
	}
	if f := fail.Load(); f != nil {
		t.Errorf("the receiver got %v", f)
	}
}

func TestSendFails(t *testing.T) {
	var requests atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.WriteHeader(map[string]int{"/gone": 410, "/no": 500}[r.URL.Path])
	})
	err := Send(t.Context(), s.URL+"/no", "k", "a", nil, inside)
	if a, ok := errors.AsType[*AttemptError](err); !ok || a.Attempt.Status != 500 {
		t.Errorf("got %v", err)
	}
	err = DispatchWithRetry(t.Context(), s.URL+"/gone", "k", "a", nil, inside)
	if a, ok := errors.AsType[*AttemptError](err); !ok || a.Attempt.Class != ClassGone {
		t.Errorf("got %v", err)
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests", requests.Load())
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := DispatchWithRetry(cancelled, s.URL, "k", "a", nil, inside); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for name, tt := range map[string]struct {
		url, secret, event string
		data               any
		o                  []ClientOptions
		want               error
	}{
		"inside":    {s.URL, "k", "a", nil, []ClientOptions{{AllowHTTP: true}}, ErrForbidden},
		"http":      {s.URL, "k", "a", nil, nil, ErrURL},
		"no secret": {s.URL, "", "a", nil, []ClientOptions{inside}, ErrSecret},
		"no event":  {s.URL, "k", "", nil, []ClientOptions{inside}, ErrType},
		"no URL":    {"", "k", "a", nil, []ClientOptions{inside}, ErrURL},
	} {
		if err := Send(t.Context(), tt.url, tt.secret, tt.event, tt.data, tt.o...); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
		if err := DispatchWithRetry(t.Context(), tt.url, tt.secret, tt.event, tt.data, tt.o...); !errors.Is(err, tt.want) {
			t.Errorf("%s, with retries: got %v, want %v", name, err, tt.want)
		}
	}
	if err := Send(t.Context(), s.URL, "k", "a", make(chan int), inside); err == nil {
		t.Error("a channel was sent")
	}
	if err := Send(t.Context(), s.URL, "k", "a", nil, ClientOptions{Ports: []uint16{0}}); err == nil {
		t.Error("port 0 is accepted")
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests", requests.Load())
	}
}

// TestRetry wants the Gost framework's times.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		answers := func(classes ...Class) func(try int) Attempt {
			at = nil
			start = time.Now()
			return func(try int) Attempt {
				at = append(at, time.Since(start))
				return Attempt{Try: try, Class: classes[min(try, len(classes))-1], RetryAfter: time.Hour}
			}
		}
		five := []time.Duration{0, 1e9, 3e9, 6e9, 10e9}
		if err := retry(t.Context(), GostSchedule(), answers(ClassTimeout)); err == nil || !reflect.DeepEqual(at, five) {
			t.Errorf("tries after %v, %v", at, err)
		}
		if err := retry(t.Context(), GostSchedule(), answers(ClassThrottled, ClassStatus, ClassOK)); err != nil || !reflect.DeepEqual(at, five[:3]) {
			t.Errorf("tries after %v, %v", at, err)
		}
		if err := retry(t.Context(), GostSchedule(), answers(ClassConnect, ClassGone)); err == nil || !reflect.DeepEqual(at, five[:2]) {
			t.Errorf("tries after %v, %v", at, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := retry(ctx, GostSchedule(), answers(ClassTimeout)); !errors.Is(err, context.DeadlineExceeded) || !reflect.DeepEqual(at, five[:2]) || time.Since(start) != 2*time.Second {
			t.Errorf("tries after %v, %v", at, err)
		}
	})
}
