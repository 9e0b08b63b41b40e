package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
)

// hostile are answers that do not count, whatever they say.
func hostile() map[string]func(rw http.ResponseWriter, q asked) {
	text := func(s string) func(http.ResponseWriter, asked) {
		return func(rw http.ResponseWriter, _ asked) { say(rw, s) }
	}
	status := func(n int) func(http.ResponseWriter, asked) {
		return func(rw http.ResponseWriter, _ asked) {
			rw.Header().Set("Location", "http://127.0.0.1:1/")
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(n)
			_, _ = rw.Write([]byte(`{"allow":true}`))
		}
	}
	return map[string]func(rw http.ResponseWriter, q asked){
		"wrong type":   text(`{"allow":"yes"}`),
		"a number":     text(`{"allow":1}`),
		"not JSON":     text(`allow`),
		"an array":     text(`[{"allow":true}]`),
		"more behind":  text(`{"allow":true} {"allow":true}`),
		"a typo":       text(`{"alow":true}`),
		"much nesting": text(`{"values":` + strings.Repeat("[", 100_000)),
		"HTML": func(rw http.ResponseWriter, _ asked) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte(`{"allow":true}`))
		},
		"redirect": status(http.StatusFound), "not found": status(http.StatusNotFound), "error": status(http.StatusInternalServerError), "accepted": status(http.StatusAccepted),
		"huge": func(rw http.ResponseWriter, _ asked) {
			rw.Header().Set("Content-Type", "application/json")
			block := []byte(strings.Repeat(" ", 64<<10))
			for range 1000 {
				if _, err := rw.Write(block); err != nil {
					return
				}
			}
		},
		"cut": func(rw http.ResponseWriter, _ asked) {
			rw.Header().Set("Content-Length", "100")
			say(rw, `{"allow":true}`)
		},
		"drip": func(rw http.ResponseWriter, _ asked) {
			rw.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range tick.C { // until the other side has had enough
				if _, err := rw.Write([]byte(" ")); err != nil {
					return
				}
				_ = http.NewResponseController(rw).Flush()
			}
		},
		"gone":  func(http.ResponseWriter, asked) { panic(http.ErrAbortHandler) },
		"rooms": text(`{"allow":true,"join":[""],"leave":[""],"values":{}}`),
	}
}

// decisionsOnly are of no meaning for messages.
func decisionsOnly(name string) bool { return name == "rooms" }

func TestHostileAnswers(t *testing.T) {
	for name, answer := range hostile() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) {
				if name == "drip" { // which has to be waited for
					o.Timeout = 3 * time.Second
				}
			})
			c := w.connect("native")
			w.answers(answer)
			ctx := t.Context()
			for what, err := range map[string]error{
				"subscribe": c.Subscribe(ctx, "a"), "publish": c.Publish(ctx, "a", "k", 1), "message": c.Call(ctx, "ask.it", 1, nil),
			} {
				if decisionsOnly(name) && what != "message" {
					continue
				}
				e, ok := errors.AsType[*polywire.Error](err)
				if !ok || e.Code != polywire.CodeUnavailable || strings.Contains(e.Message, "backend") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := w.client("native").Connect(ctx); err == nil {
				t.Error("somebody was let in")
			}
			if s := w.b.Stats(); s.Failed == 0 {
				t.Errorf("stats %+v", s)
			}
			w.answers(allowAll)
			if err := c.Subscribe(ctx, "a"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestReplies(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("native")
	for _, r := range []struct{ answer, want, code string }{
		{``, "", ""},
		{`{}`, "", ""},
		{`{"reply":null}`, "null", ""},
		{`{"reply":12345678901234567890}`, "12345678901234567890", ""},
		{`{"reply":{"a":"<&>"}}`, `{"a":"<&>"}`, ""},
		{`{"reply_bytes":"AP8="}`, "\x00\xff", ""},
		{`{"reply":1,"reply_bytes":"AP8="}`, "", "internal"},
		{`{"error":{"code":"sold_out","message":"none left","details":{"n":0}}}`, "", "sold_out"},
		{`{"error":{}}`, "", "internal"},
		{`{"reply_bytes":"!"}`, "", "unavailable"},
		{`{"allow":true}`, "", "unavailable"},
		{`{"values":{"a":"` + strings.Repeat("x", maxValueBytes) + `"}}`, "", "unavailable"},
		{`{"join":["a"` + strings.Repeat(`,"a"`, maxRooms) + `]}`, "", "unavailable"},
	} {
		w.answers(func(rw http.ResponseWriter, _ asked) { say(rw, r.answer) })
		var got polywire.Payload
		err := c.Call(t.Context(), "ask.it", 1, &got)
		if string(polywire.CodeOf(err)) != r.code || string(got.Data) != r.want {
			t.Errorf("%s: %q, %v", r.answer, got.Data, err)
		}
	}
	w.answers(func(rw http.ResponseWriter, _ asked) { say(rw, `{"reply":1,"header":{"h":"v"}}`) })
	var header map[string]string
	if err := c.Call(t.Context(), "ask.it", []byte{0, 255}, nil, polywire.ReplyHeaders(&header), polywire.WithHeader("a", "b")); err != nil || header["h"] != "v" {
		t.Errorf("%v, %v", header, err)
	}
	if err := c.Call(t.Context(), "ask.it", polywire.Args{1, "two"}, nil); err != nil {
		t.Error(err)
	}
	all := w.find(Message)
	if q := all[len(all)-2].Data; string(q.Payload.Bytes) != "\x00\xff" {
		t.Errorf("bytes were told as %+v", q.Payload)
	}
	w.answers(func(rw http.ResponseWriter, _ asked) { say(rw, `{"error":{"code":"x"}}`) })
	if err := c.Send(t.Context(), "ask.oneway", 1); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, 20*time.Second, "it is asked", func() bool {
		all := w.find(Message)
		last := all[len(all)-1].Data
		return last.Kind == "ask.oneway" && !last.Call
	})
}

// TestBreaker has a backend that fails, and is asked no more until it may be back.
func TestBreaker(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AllowDown = []Event{Subscribe} })
	c := w.connect("native")
	w.answers(func(rw http.ResponseWriter, _ asked) { rw.WriteHeader(http.StatusBadGateway) })
	for i := range 60 {
		if err := c.Subscribe(t.Context(), fmt.Sprint("room", i)); err != nil { // allowed by name
			t.Fatal(err)
		}
	}
	s := w.b.Stats()
	if n := len(w.find(Subscribe)); n >= 60 || !s.Open || s.Shed == 0 {
		t.Errorf("asked %d times, %+v", n, s)
	}
	if err := c.Publish(t.Context(), "a", "k", 1); !errors.Is(err, &polywire.Error{Code: polywire.CodeUnavailable}) {
		t.Errorf("publishing is not allowed when it is down: %v", err)
	}
	w.answers(allowAll)
	testenv.Eventually(t, 20*time.Second, "the backend is asked again", func() bool {
		return c.Publish(t.Context(), "a", "k", 1) == nil
	})
}

// TestBounds has more to ask than the backend answers.
func TestBounds(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Concurrency, o.Queue, o.Timeout = 2, 3, 30*time.Second })
	hang := make(chan struct{})
	var mu sync.Mutex
	now, most := 0, 0
	w.answers(func(rw http.ResponseWriter, _ asked) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-hang
		mu.Lock()
		now--
		mu.Unlock()
		say(rw, `{"allow":true}`)
	})
	ask := func() error { return w.b.decide(t.Context(), Subscribe, asking{Room: "a"}) }
	done := make(chan error, 100)
	for range 5 {
		go func() { done <- ask() }()
	}
	testenv.Eventually(t, 20*time.Second, "two are asked and three wait", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return now == 2 && w.b.waiting.Load() == 3
	})
	if err := ask(); !errors.Is(err, &polywire.Error{Code: polywire.CodeUnavailable}) || w.b.Stats().Shed != 1 {
		t.Errorf("one too many: %v, %+v", err, w.b.Stats())
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- w.b.decide(ctx, Subscribe, asking{Room: "a"}) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("one who has gone was answered")
	}
	close(hang)
	for range 5 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most != 2 || w.b.waiting.Load() != 0 {
		t.Errorf("%d at a time, %d wait", most, w.b.waiting.Load())
	}
}

// TestDisconnectsAreBounded has a backend that hangs while many leave.
func TestDisconnectsAreBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Queue, o.Timeout = 2, 20*time.Second })
	hang := make(chan struct{})
	w.answers(func(rw http.ResponseWriter, q asked) {
		if q.Type == Disconnect {
			<-hang
		}
		say(rw, `{"allow":true}`)
	})
	w.connect("native")
	conn := w.conn()
	for range 20 {
		w.b.disconnected(conn, nil)
	}
	if lost := w.b.Stats().Lost; lost < 20-2-tellers {
		t.Errorf("%d were lost", lost)
	}
	close(hang)
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"allow":true,"user":"ada","claims":{"a":1},"join":["a"],"values":{"a":null},"expires":"2100-01-01T00:00:00Z"}`,
		`{"reply":{},"error":{"code":"x"}}`, `{"reply":null}`, `{"header":{"a":"b"}}`, `[`, "", "{} {}", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var w welcome
		if err := decode(b, &w); err == nil {
			_ = w.verdict()
			_ = w.check()
			if values, err := w.merged(map[string]json.RawMessage{"a": json.RawMessage("1")}); err == nil && len(values) > maxValues {
				t.Fatal("too many values")
			}
		} else if !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		var r reply
		_ = decode(b, &r)
	})
}
