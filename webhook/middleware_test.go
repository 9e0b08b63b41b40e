package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// rig is a receiver behind the middleware, and what it saw.
type rig struct {
	h       http.Handler
	signer  *Signer
	status  int // what the handler answers
	handled []Received
	refused []error
}

func newRig(t *testing.T, o ReceiverOptions) *rig {
	t.Helper()
	signer, err := NewSigner(secret(t, v1Secret))
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(VerifierOptions{}, secret(t, v1Secret))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{signer: signer}
	o.Refused = func(_ *http.Request, err error) { r.refused = append(r.refused, err) }
	r.h = Middleware(v, o)(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		m, ok := FromContext(req.Context())
		b, err := io.ReadAll(req.Body)
		if !ok || err != nil || !bytes.Equal(b, m.Body) || req.ContentLength != int64(len(b)) {
			t.Errorf("the handler got %v, %v, %q", m, err, b)
		}
		r.handled = append(r.handled, m)
		if r.status != 0 {
			w.WriteHeader(r.status)
		}
	}))
	return r
}

// request returns a signed request of now.
func (r *rig) request(t *testing.T, id, body string) *http.Request {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	if err := r.signer.SetHeaders(req.Header, id, time.Now(), []byte(body)); err != nil {
		t.Fatal(err)
	}
	return req
}

func (r *rig) do(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	return w
}

func TestMiddleware(t *testing.T) {
	tests := []struct {
		name   string
		change func(r *http.Request)
		status int
		err    error
	}{
		{"right", func(*http.Request) {}, 200, nil},
		{"GET", func(r *http.Request) { r.Method = http.MethodGet }, 405, nil},
		{"no id", func(r *http.Request) { r.Header.Del(HeaderID) }, 400, ErrMissingHeader},
		{"two ids", func(r *http.Request) { r.Header.Add(HeaderID, "b") }, 400, ErrMalformed},
		{"odd time", func(r *http.Request) { r.Header.Set(HeaderTimestamp, "0"+r.Header.Get(HeaderTimestamp)) }, 400, ErrMalformed},
		{"old", func(r *http.Request) {
			r.Header.Set(HeaderTimestamp, strconv.FormatInt(time.Now().Add(-6*time.Minute).Unix(), 10))
		}, 401, ErrTooOld},
		{"early", func(r *http.Request) {
			r.Header.Set(HeaderTimestamp, strconv.FormatInt(time.Now().Add(6*time.Minute).Unix(), 10))
		}, 401, ErrTooNew},
		{"wrong signature", func(r *http.Request) { r.Header.Set(HeaderSignature, wrongV1) }, 401, ErrNoMatch},
		{"another body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"type":"b"}`)) }, 401, ErrNoMatch},
		{"large by its length", func(r *http.Request) { r.ContentLength = 101 }, 413, ErrTooLarge},
		{"large without a length", func(r *http.Request) {
			r.ContentLength = -1
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("a", 101)))
		}, 413, ErrTooLarge},
		{"breaks off", func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }, 400, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		r := newRig(t, ReceiverOptions{MaxBodyBytes: 100})
		req := r.request(t, "msg_1", `{"type":"a.b"}`)
		tt.change(req)
		w := r.do(req)
		if w.Code != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.name, w.Code, tt.status)
		}
		if (len(r.handled) == 1) != (tt.status == 200) || (len(r.refused) == 1) != (tt.status != 200) {
			t.Errorf("%s: handled %v, refused %v", tt.name, r.handled, r.refused)
		}
		if tt.err != nil && (len(r.refused) != 1 || !errors.Is(r.refused[0], tt.err)) {
			t.Errorf("%s: refused with %v, want %v", tt.name, r.refused, tt.err)
		}
		if tt.status == 200 && (r.handled[0].ID != "msg_1" || r.handled[0].Type != "a.b") {
			t.Errorf("%s: got %+v", tt.name, r.handled[0])
		}
		if tt.status == 405 && w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: allow %q", tt.name, w.Header().Get("Allow"))
		}
	}
}

// TestHeadersAreCheckedFirst has a body that must not be read.
func TestHeadersAreCheckedFirst(t *testing.T) {
	r := newRig(t, ReceiverOptions{})
	req := r.request(t, "a", "{}")
	req.Header.Set(HeaderTimestamp, "1")
	req.Body = io.NopCloser(iotest.ErrReader(errors.New("it was read")))
	if w := r.do(req); w.Code != 401 {
		t.Errorf("got status %d and %v", w.Code, r.refused)
	}
}

func TestReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ReceiverOptions{})
		steps := []struct {
			name   string
			wait   time.Duration
			answer int // of the handler
			want   int
			calls  int
		}{
			{"the handler fails", 0, 500, 500, 1},
			{"the next try is handled", time.Second, 202, 202, 2},
			{"a replay is not", time.Second, 202, 200, 2},
			{"nor one of minutes later", 9 * time.Minute, 202, 200, 2},
			{"after its time it is forgotten", 3 * time.Minute, 204, 204, 3},
		}
		for _, s := range steps {
			time.Sleep(s.wait)
			r.status = s.answer
			if w := r.do(r.request(t, "msg_1", "{}")); w.Code != s.want || len(r.handled) != s.calls {
				t.Errorf("%s: got status %d after %d calls, want %d after %d", s.name, w.Code, len(r.handled), s.want, s.calls)
			}
		}
		// The same bytes again, at the last moment that they are accepted: signed
		// by a clock that goes before ours, five minutes ago by it.
		ahead := r.request(t, "msg_2", "{}")
		if err := r.signer.SetHeaders(ahead.Header, "msg_2", time.Now().Add(5*time.Minute), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		again := ahead.Clone(t.Context())
		again.Body = io.NopCloser(strings.NewReader("{}"))
		r.do(ahead)
		time.Sleep(10 * time.Minute)
		if w := r.do(again); w.Code != 200 || len(r.handled) != 4 {
			t.Errorf("the replay had status %d, and there were %d calls", w.Code, len(r.handled))
		}
	})
}

func TestReplayWhileHandling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ReceiverOptions{})
		inner := r.h.(*receiver)
		release := make(chan struct{})
		inner.next = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
		done := make(chan int)
		go func() { done <- r.do(r.request(t, "a", "{}")).Code }()
		synctest.Wait()
		w := r.do(r.request(t, "a", "{}"))
		if w.Code != 409 || w.Header().Get("Retry-After") == "" || !errors.Is(r.refused[0], ErrBusy) {
			t.Errorf("got status %d and %v", w.Code, r.refused)
		}
		close(release)
		if code := <-done; code != 200 {
			t.Errorf("the first had status %d", code)
		}
		if w := r.do(r.request(t, "a", "{}")); w.Code != 200 {
			t.Errorf("the third had status %d", w.Code)
		}
	})
}

func TestPanicForgets(t *testing.T) {
	r := newRig(t, ReceiverOptions{})
	inner := r.h.(*receiver)
	next := inner.next
	inner.next = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh") })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		r.do(r.request(t, "a", "{}"))
	}()
	inner.next = next
	if w := r.do(r.request(t, "a", "{}")); w.Code != 200 || len(r.handled) != 1 {
		t.Errorf("got status %d after %d calls", w.Code, len(r.handled))
	}
}

// failing is a store that is out of order.
type failing struct{ claim, finish error }

func (f failing) Claim(context.Context, string, time.Duration) (Claim, error) {
	return ClaimNew, f.claim
}
func (f failing) Finish(context.Context, string, bool, time.Duration) error { return f.finish }

func TestStoreFails(t *testing.T) {
	trouble := errors.New("no store")
	r := newRig(t, ReceiverOptions{Replays: failing{claim: trouble}})
	if w := r.do(r.request(t, "a", "{}")); w.Code != 503 || w.Header().Get("Retry-After") == "" || len(r.handled) != 0 {
		t.Errorf("got status %d after %d calls", w.Code, len(r.handled))
	}
	r = newRig(t, ReceiverOptions{Replays: failing{finish: trouble}})
	if w := r.do(r.request(t, "a", "{}")); w.Code != 200 || len(r.refused) != 1 || !errors.Is(r.refused[0], trouble) {
		t.Errorf("got status %d and %v", w.Code, r.refused)
	}
	r = newRig(t, ReceiverOptions{Replays: NewReplayMemory(1)})
	r.do(r.request(t, "a", "{}"))
	if w := r.do(r.request(t, "b", "{}")); w.Code != 503 || !errors.Is(r.refused[0], ErrReplayFull) {
		t.Errorf("full: got status %d and %v", w.Code, r.refused)
	}
	if w := r.do(r.request(t, "a", "{}")); w.Code != 200 {
		t.Errorf("full, known: got status %d", w.Code)
	}
}

func TestReplayMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewReplayMemory(100)
		ctx := t.Context()
		for round := range 50 {
			for i := range 100 {
				id := strconv.Itoa(round*100 + i)
				if c, err := m.Claim(ctx, id, time.Minute); c != ClaimNew || err != nil {
					t.Fatalf("%s: %v, %v", id, c, err)
				}
				if err := m.Finish(ctx, id, true, time.Minute); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			if _, err := m.Claim(ctx, "more", time.Minute); !errors.Is(err, ErrReplayFull) {
				t.Fatalf("full: %v", err)
			}
			time.Sleep(time.Minute)
		}
		if m.Len() != 0 || cap(m.queue) > 1000 {
			t.Errorf("%d ids are left in room for %d", m.Len(), cap(m.queue))
		}
		// A claim has no end of its own, and what was not handled is forgotten.
		for _, id := range []string{"a", "b"} {
			if c, _ := m.Claim(ctx, id, time.Minute); c != ClaimNew {
				t.Errorf("%s: %v", id, c)
			}
		}
		time.Sleep(time.Hour)
		if c, _ := m.Claim(ctx, "a", time.Minute); c != ClaimBusy {
			t.Errorf("got %v", c)
		}
		if err := errors.Join(m.Finish(ctx, "a", false, 0), m.Finish(ctx, "unknown", true, time.Minute)); err != nil || m.Len() != 1 {
			t.Errorf("%d ids, %v", m.Len(), err)
		}
		// Claimed again by somebody else, it is not forgotten with the old entry.
		_ = m.Finish(ctx, "b", true, time.Minute)
		time.Sleep(time.Minute)
		if c, _ := m.Claim(ctx, "b", time.Minute); c != ClaimNew || m.Len() != 1 {
			t.Errorf("got %v, %d ids", c, m.Len())
		}
	})
}

// TestWritersKeepTheirPowers wants what http.ResponseController can do.
func TestWritersKeepTheirPowers(t *testing.T) {
	r := newRig(t, ReceiverOptions{})
	r.h.(*receiver).next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "ok")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusInternalServerError) // too late to count
	})
	if w := r.do(r.request(t, "a", "{}")); !w.Flushed || w.Body.String() != "ok" {
		t.Errorf("got %+v", w)
	}
	r.h.(*receiver).next = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("handled again") })
	r.do(r.request(t, "a", "{}"))
}
