package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/natsembed"
)

func TestIdempotency(t *testing.T) {
	w := newWorld(t, worldOptions{})
	ada := make(messages, 100)
	w.connect("ada", ada.handle)
	const body = `{"kind":"k","json":1}`
	key := with(idempotencyHeader, "a-key")
	replayed := func(path, body string, changes ...change) bool {
		t.Helper()
		rec := w.do(http.MethodPost, path, body, changes...)
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", body, rec.Code, rec.Body)
		}
		return rec.Header().Get(replayedHeader) == "true"
	}
	if replayed("/users/ada/send", body, key) || !replayed("/users/ada/send", body, key) {
		t.Error("replayed at the wrong time")
	}
	if !replayed("/send", `{"target":{"users":["ada"]},"json":1,"kind":"k"}`, key) { // the same in other words
		t.Error("not replayed")
	}
	ada.want(t, "k 1")
	w.refused(codeKeyReused, http.MethodPost, "/users/ada/send", `{"kind":"k","json":2}`, key)
	w.refused(codeKeyReused, http.MethodPost, "/users/ada/disconnect", `{}`, key)
	if replayed("/users/ada/send", body, key, as("two")) { // another API key's
		t.Error("answers are told to others")
	}
	ada.want(t, "k 1")
	ada.none(t)

	// What failed is tried again.
	other := with(idempotencyHeader, "another")
	w.refused(codeNoConnections, http.MethodPost, "/users/bob/send", `{"kind":"k","must_reach":true}`, other)
	w.connect("bob")
	if replayed("/users/bob/send", `{"kind":"k","must_reach":true}`, other) {
		t.Error("a failure was kept")
	}
	for _, bad := range []string{"a b", strings.Repeat("x", 256), "é", "a\tb"} {
		w.refused(codeInvalid, http.MethodPost, "/users/ada/send", body, with(idempotencyHeader, bad))
	}
	w.refused(codeInvalid, http.MethodPost, "/users/ada/send", body, key, func(r *http.Request) { r.Header.Add(idempotencyHeader, "more") })
	// Reading has nothing to do with it.
	w.ok(http.MethodGet, "/nodes", "", nil, with(idempotencyHeader, "a b"))
}

func TestIdempotencyInProgress(t *testing.T) {
	w := newWorld(t, worldOptions{})
	asked, answer := make(chan struct{}), make(chan struct{})
	w.connect("ada", func(c *client.Client) {
		c.Handle("slow", func(context.Context, *polywire.Message) (any, error) {
			close(asked)
			<-answer
			return 42, nil
		})
	})
	const body = `{"kind":"slow","timeout":"60s"}`
	key := with(idempotencyHeader, "k")
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.do(http.MethodPost, "/users/ada/call", body, key, func(r *http.Request) { *r = *r.WithContext(ctx) })
	}()
	<-asked
	if rec := w.refused(codeInProgress, http.MethodPost, "/users/ada/call", body, key); rec.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	leave() // whoever asked goes, and asks again later
	close(answer)
	<-done
	rec := w.do(http.MethodPost, "/users/ada/call", body, key)
	if rec.Header().Get(replayedHeader) != "true" || !strings.Contains(rec.Body.String(), "42") {
		t.Errorf("%v %s", rec.Header(), rec.Body)
	}
}

// stores runs a test with each store.
func stores(t *testing.T, test func(t *testing.T, s Store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, NewMemory(0)) })
	t.Run("NATS", func(t *testing.T) {
		e, err := natsembed.Start(t.Context(), natsembed.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Shutdown(context.Background()) }()
		conn, err := e.Connect(nats.Name("test"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s, err := OpenShared(t.Context(), conn, 1)
		if err != nil {
			t.Fatal(err)
		}
		again, err := OpenShared(t.Context(), conn, 1)
		if err != nil {
			t.Fatal(err)
		}
		test(t, both{s, again})
	})
}

// both claims at one server of a cluster and finishes at another.
type both struct{ one, other *Shared }

func (b both) Claim(ctx context.Context, key string, r Record) (*Record, uint64, error) {
	return b.one.Claim(ctx, key, r)
}

func (b both) Finish(ctx context.Context, key string, claim uint64, r *Record) error {
	return b.other.Finish(ctx, key, claim, r)
}

func TestStores(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		key := func(i int) string { return hex.EncodeToString(fmt.Appendf(nil, "key %d", i)) }
		for i, finish := range []*Record{nil, {Print: [32]byte{1}, Done: true, Kept: true, Answer: []byte("answer")}, {Print: [32]byte{2}, Done: true}} {
			there, claim, err := s.Claim(t.Context(), key(i), Record{Print: [32]byte{byte(i)}})
			if there != nil || err != nil {
				t.Fatalf("%d: %+v, %v", i, there, err)
			}
			there, _, err = s.Claim(t.Context(), key(i), Record{Print: [32]byte{9}})
			if err != nil || there == nil || there.Done || there.Print != [32]byte{byte(i)} {
				t.Fatalf("%d: claimed twice: %+v, %v", i, there, err)
			}
			if err := s.Finish(t.Context(), key(i), claim, finish); err != nil {
				t.Fatal(err)
			}
			there, claim, err = s.Claim(t.Context(), key(i), Record{Print: [32]byte{9}})
			if finish == nil {
				if there != nil || err != nil {
					t.Fatalf("%d: not forgotten: %+v, %v", i, there, err)
				}
				continue
			}
			if err != nil || there == nil || there.Print != finish.Print || there.Done != finish.Done || there.Kept != finish.Kept || string(there.Answer) != string(finish.Answer) {
				t.Fatalf("%d: kept %+v (%d), %v", i, there, claim, err)
			}
		}
	})
}

func TestMemoryBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(100 * (rememberedBytes + 100))
		add := func(i int) {
			_, claim, err := m.Claim(t.Context(), fmt.Sprint(i), Record{})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Finish(t.Context(), fmt.Sprint(i), claim, &Record{Done: true, Answer: make([]byte, 100)}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1000 {
			add(i)
		}
		if len(m.by) != 100 || m.order.Len() != 100 || m.bytes > m.limit {
			t.Errorf("%d records of %d bytes", len(m.by), m.bytes)
		}
		// A claim that nobody finishes.
		_, old, _ := m.Claim(t.Context(), "x", Record{})
		time.Sleep(claimLapse - time.Second)
		if there, _, _ := m.Claim(t.Context(), "x", Record{}); there == nil {
			t.Error("a claim was taken too early")
		}
		time.Sleep(2 * time.Second)
		there, young, _ := m.Claim(t.Context(), "x", Record{})
		if there != nil {
			t.Error("a claim lasts for ever")
		}
		_ = m.Finish(t.Context(), "x", old, &Record{Done: true}) // too late
		if there, _, _ := m.Claim(t.Context(), "x", Record{}); there == nil || there.Done {
			t.Error("somebody else's claim was ended")
		}
		_ = m.Finish(t.Context(), "x", young, &Record{Done: true})
		time.Sleep(KeepAnswers)
		add(1)
		if len(m.by) != 1 || m.bytes != rememberedBytes+100 {
			t.Errorf("%d records of %d bytes after a day", len(m.by), m.bytes)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("\x03"+strings.Repeat("x", 40)), true)
	f.Add([]byte("\x04"+strings.Repeat("x", 40)), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, _ bool) {
		r, err := parseRecord(b)
		if err == nil && string(r.append(nil)) != string(b) {
			t.Fatalf("%q became %+v", b, r)
		}
	})
}
