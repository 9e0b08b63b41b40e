package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

func TestKeys(t *testing.T) {
	sum := sha256.Sum256([]byte("a-secret-that-nobody-guesses"))
	for _, c := range []struct {
		name, secret string
		scopes       []Scope
		ok           bool
	}{
		{"a", "a-secret-that-nobody-guesses", []Scope{ScopeRead}, true},
		{"a.b-C_9", "sha256:" + hex.EncodeToString(sum[:]), []Scope{ScopeRead, ScopeAll}, true},
		{"", "a-secret-that-nobody-guesses", []Scope{ScopeRead}, false},
		{"a b", "a-secret-that-nobody-guesses", []Scope{ScopeRead}, false},
		{strings.Repeat("a", 65), "a-secret-that-nobody-guesses", []Scope{ScopeRead}, false},
		{"a", "short", []Scope{ScopeRead}, false},
		{"a", strings.Repeat("x", 513), []Scope{ScopeRead}, false},
		{"a", "a secret that nobody guesses", []Scope{ScopeRead}, false},
		{"a", "sha256:00", []Scope{ScopeRead}, false},
		{"a", "sha256:" + strings.Repeat("g", 64), []Scope{ScopeRead}, false},
		{"a", "a-secret-that-nobody-guesses", nil, false},
		{"a", "a-secret-that-nobody-guesses", []Scope{"root"}, false},
	} {
		k, err := NewKey(c.name, c.secret, c.scopes...)
		if (err == nil) != c.ok {
			t.Errorf("%q %q %v: %v", c.name, c.secret, c.scopes, err)
		}
		if err != nil && strings.Contains(err.Error(), c.secret) {
			t.Errorf("the secret is in %q", err)
		}
		if err == nil && k.Name() != c.name {
			t.Errorf("name %q", k.Name())
		}
	}
	a, _ := NewKey("a", "a-secret-that-nobody-guesses", ScopeRead)
	same, _ := NewKey("b", "sha256:"+hex.EncodeToString(sum[:]), ScopeRead)
	for _, keys := range [][]Key{nil, {a, a}, {a, same}} {
		if _, err := newKeyring(keys); err == nil {
			t.Errorf("%d keys that cannot be told apart were taken", len(keys))
		}
	}
	if a.Opens(ScopeSend) || !a.Opens(ScopeRead) {
		t.Error("scopes")
	}
}

// everyPath calls f with each path of each operation, with values in the braces.
func everyPath(f func(op *operation, method, path string)) {
	for _, op := range operations() {
		for _, p := range op.paths {
			path := p.pattern
			for _, name := range braces(path) {
				path = strings.Replace(path, "{"+name+"}", "x", 1)
			}
			f(op, p.method, path)
		}
	}
}

// TestDoors tries every path with keys that do not open it.
func TestDoors(t *testing.T) {
	w := newWorld(t, worldOptions{})
	everyPath(func(op *operation, method, path string) {
		for name, change := range map[string]change{
			"none":       func(r *http.Request) { r.Header.Del("Authorization") },
			"wrong":      with("Authorization", "Bearer a-secret-that-nobody-guesses"),
			"empty":      with("Authorization", "Bearer "),
			"no scheme":  with("Authorization", secretOf("all")),
			"basic":      with("Authorization", "Basic "+secretOf("all")),
			"two":        func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+secretOf("all")) },
			"more":       with("Authorization", "Bearer "+secretOf("all")+" x"),
			"much":       with("Authorization", "Bearer "+strings.Repeat("x", 1<<20)),
			"the query":  func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "key=" + secretOf("all") },
			"the cookie": func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Cookie", "key="+secretOf("all")) },
		} {
			if rec := w.refused(codeUnauthorized, method, path, "{}", change); rec.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", name)
			}
		}
		for _, scope := range Scopes() {
			if scope != op.scope && scope != ScopeAll {
				rec := w.refused(codeForbidden, method, path, "{}", as(string(scope)))
				if !strings.Contains(rec.Body.String(), string(op.scope)) {
					t.Errorf("the scope is not named: %s", rec.Body)
				}
			}
		}
		if rec := w.do(method, path, "{", as(string(op.scope))); rec.Code == http.StatusForbidden || rec.Code == http.StatusUnauthorized {
			t.Errorf("%s %s: the key does not open it: %s", method, path, rec.Body)
		}
		if method != http.MethodGet {
			for _, c := range []change{with("Sec-Fetch-Site", "cross-site"), with("Origin", "https://evil.example")} {
				w.refused(codeCrossSite, method, path, "{}", c)
			}
		}
	})
	for _, path := range []string{"/nothing", "/rooms/a", "/rooms/a/b/c", "/", ""} {
		w.refused(codeNotFound, http.MethodGet, path, "")
		w.refused(codeUnauthorized, http.MethodGet, path, "", with("Authorization", "x"))
	}
	for _, path := range []string{"/../secret", "//rooms"} {
		if rec := w.do(http.MethodGet, path, ""); rec.Code == http.StatusOK {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	if rec := w.refused(codeMethod, http.MethodDelete, "/rooms", ""); rec.Header().Get("Allow") != "GET" {
		t.Errorf("Allow: %q", rec.Header().Get("Allow"))
	}
	if rec := w.do(http.MethodOptions, "/rooms", "", with("Origin", "https://evil.example")); rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("other sites are let in")
	}
}

type badRequest struct {
	path, body string
	code       problemCode
}

// long is longer than a name may be.
func long() string { return strings.Repeat("x", 300) }

// badJSON is not the JSON that is wanted.
func badJSON() []badRequest {
	return []badRequest{
		{"/all/send", `{`, codeJSON},
		{"/all/send", `[]`, codeJSON},
		{"/all/send", `"x"`, codeJSON},
		{"/all/send", `null`, codeJSON},
		{"/all/send", `{"kind":"k"} x`, codeJSON},
		{"/all/send", `{"kind":"k","more":1}`, codeJSON},
		{"/all/send", `{"kind":"k","Kind":"k"}`, codeJSON},
		{"/all/send", `{"kind":null}`, codeJSON},
		{"/all/send", `{"kind":1}`, codeJSON},
		{"/all/send", `{"kind":{}}`, codeJSON},
		{"/all/send", `{"kind":"k","header":{"a":1}}`, codeJSON},
		{"/all/send", `{"kind":"k","header":["a"]}`, codeJSON},
		{"/all/send", `{"kind":"k","header":null}`, codeJSON},
		{"/all/send", `{"kind":"k","text":1}`, codeJSON},
		{"/all/send", `{"kind":"k","volatile":1}`, codeJSON},
		{"/all/send", `{"kind":"k","volatile":"true"}`, codeJSON},
		{"/all/send", `{"kind":"k","json":1,"text":"x"}`, codeJSON},
		{"/all/send", `{"kind":"k","target":[]}`, codeJSON},
		{"/all/send", `{"kind":"k","target":{"rooms":"x"}}`, codeJSON},
		{"/all/send", `{"kind":"k","target":{"rooms":[1]}}`, codeJSON},
		{"/all/send", `{"kind":"k","target":{"x":1}}`, codeJSON},
		{"/all/disconnect", `{"code":"x"}`, codeJSON},
		{"/all/disconnect", `{"code":1.5}`, codeJSON},
		{"/all/disconnect", `{"code":1e30}`, codeJSON},
		{"/all/disconnect", `{"code":"4000"}`, codeJSON},
		{"/join", `{"target":{"all":true},"rooms":{}}`, codeJSON},
	}
}

// badValues are the JSON that is wanted, and cannot be done.
func badValues() []badRequest {
	long := long()
	return []badRequest{
		{"/send", `{"kind":"k"}`, codeInvalid},
		{"/send", `{"kind":"k","target":{}}`, codeInvalid},
		{"/send", `{"target":{"all":true}}`, codeInvalid},
		{"/all/send", ``, codeInvalid},
		{"/all/send", `{"kind":""}`, codeInvalid},
		{"/all/send", `{"kind":"` + long + `"}`, codeInvalid},
		{"/all/send", `{"kind":"k","target":{"rooms":["x"]}}`, codeInvalid},
		{"/all/send", `{"kind":"k","header":{"":"x"}}`, codeInvalid},
		{"/all/send", `{"kind":"k","header":{"a":"x\r\ny"}}`, codeInvalid},
		{"/all/send", `{"kind":"k","header":{"a":"` + strings.Repeat("x", 17<<10) + `"}}`, codeInvalid},
		{"/all/send", `{"kind":"k","target":{"pick":"best"}}`, codeInvalid},
		{"/all/send", `{"kind":"k","target":{"pick":"key"}}`, codeInvalid},
		{"/all/send", `{"kind":"k","target":{"key":"x"}}`, codeInvalid},
		{"/all/send", `{"kind":"k","target":{"except_rooms":[""]}}`, codeInvalid},
		{"/send", `{"kind":"k","target":{"rooms":["` + long + `"]}}`, codeInvalid},
		{"/send", `{"kind":"k","target":{"users":[""]}}`, codeInvalid},
		{"/send", `{"kind":"k","target":{"connections":[""]}}`, codeInvalid},
		{"/send", `{"kind":"k","target":{"rooms":["a"` + strings.Repeat(`,"a"`, 100) + `]}}`, codeInvalid},
		{"/send", `{"kind":"k","target":{"users":["a"` + strings.Repeat(`,"a"`, 100) + `]}}`, codeInvalid},
		{"/rooms/" + long + "/send", `{"kind":"k"}`, codeInvalid},
		{"/rooms/%ff/send", `{"kind":"k"}`, codeInvalid},
		{"/all/send?x=1", `{"kind":"k"}`, codeInvalid},
		{"/all/call", `{"kind":"k","timeout":"x"}`, codeInvalid},
		{"/all/call", `{"kind":"k","timeout":"-1s"}`, codeInvalid},
		{"/all/call", `{"kind":"k","timeout":"61s"}`, codeInvalid},
		{"/all/disconnect", `{"code":1000}`, codeInvalid},
		{"/all/disconnect", `{"code":1e3}`, codeInvalid},
		{"/all/disconnect", `{"code":5000}`, codeInvalid},
		{"/all/disconnect", `{"reason":"` + long + `"}`, codeInvalid},
		{"/all/disconnect", `{"target":{"pick":"random"}}`, codeInvalid},
		{"/all/join", `{}`, codeInvalid},
		{"/all/join", `{"rooms":[]}`, codeInvalid},
		{"/all/join", `{"rooms":[""]}`, codeInvalid},
		{"/all/leave", `{"rooms":["` + long + `"]}`, codeInvalid},
		{"/queues/q/messages", `{"id":"a b"}`, codeInvalid},
		{"/queues/q/messages", `{"delay":"9000h"}`, codeInvalid},
		{"/queues/q/messages", `{"kind":"` + long + `"}`, codeInvalid},
		{"/queues/q/messages", `{"header":{"polywire-x":"y"}}`, codeInvalid},
		{"/queues/" + long + "/messages", ``, codeInvalid},
		{"/queues/%20/purge", ``, codeInvalid},
		{"/queues/q/dead/purge", `{"filter":{"reason":"age"}}`, codeInvalid},
		{"/queues/q/dead/purge", `{"filter":{"since":"yesterday"}}`, codeInvalid},
		{"/queues/q/dead/replay", `{"all":true,"limit":-1}`, codeInvalid},
		{"/queues/q/dead/replay", `{"all":true,"limit":10001}`, codeInvalid},
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, worldOptions{})
	long := long()
	for _, c := range append(badJSON(), badValues()...) {
		w.refused(c.code, http.MethodPost, c.path, c.body)
	}
	r := httptest.NewRequest(http.MethodPost, DefaultBase+"/queues/q/messages", strings.NewReader(`{"queue":"p"}`))
	as("all")(r)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	if w.api.ServeHTTP(rec, r); rec.Code != http.StatusUnprocessableEntity { // what the path says may not be in the body, too
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for _, path := range []string{
		"/connections?limit=0x1", "/connections?limit=-1", "/connections?limit=1001", "/connections?limit=", "/connections?x=1", "/connections?room=a&room=b",
		"/connections?room=a&user=b", "/connections?room=" + long, "/connections?room=%ff", "/connections?%zz", "/rooms?limit=9999999999",
		"/rooms/" + long + "/presence", "/rooms/a/history?limit=-1", "/rooms/" + long + "/history", "/queues/q/dead?reason=x", "/queues/q/dead?since=x",
		"/queues/q/dead?filter=x", "/queues/q/dead?queue=x", "/nodes?x=1", "/connections/" + long, "/queues/%20", "/queues?x=y", "/stats?x", "/rooms?x=1",
	} {
		w.refused(codeInvalid, http.MethodGet, path, "")
	}
}

// TestEveryStatus brings about every status that the description has, of every
// operation; TestDoors and TestBadRequests are part of it.
func TestEveryStatus(t *testing.T) {
	w := newWorld(t, worldOptions{})
	everyPath(func(op *operation, method, path string) {
		w.refused(codeUnauthorized, method, path, "", with("Authorization", "x"))
		wrong := ScopeRead
		if op.scope == wrong {
			wrong = ScopeSend
		}
		w.refused(codeForbidden, method, path, "", as(string(wrong)))
		good := goodBody(op, path)
		if method == http.MethodGet {
			good = ""
			w.refused(codeInvalid, method, path+"?unheard=of", "")
		} else {
			w.refused(codeInvalid, method, path+"?unheard=of", good)
			w.refused(codeJSON, method, path, `{"unheard":"of"}`)
			w.refused(codeMediaType, method, path, good, with("Content-Type", "text/plain"))
			w.refused(codeMediaType, method, path, "\x1f\x8b\x08\xff", with("Content-Encoding", "gzip"))
			w.refused(codeTooLarge, method, path, `{"x":"`+strings.Repeat("x", int(op.limit()))+`"}`)
		}
		srv := w.api.s.srv
		w.api.s.srv, w.api.s.queues = nil, nil // whoever touches it panics
		if op.scope != ScopeQueues && !strings.Contains(op.procedure, "Queue") {
			if rec := w.refused(codeInternal, method, path, good); strings.Contains(rec.Body.String(), "nil") {
				t.Errorf("more is told than need be: %s", rec.Body)
			}
		} else {
			w.refused(codeUnsupported, method, path, good)
		}
		w.api.s.srv, w.api.s.queues = srv, w.broker
		if op.write {
			w.tryStores(method, path, good)
		} else {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			w.do(method, path, good, func(r *http.Request) { *r = *r.WithContext(ctx) })
		}
		w.do(method, path, good)
	})
	missing := []string{}
	for _, ops := range w.paths {
		for _, op := range ops {
			for status := range op.Responses {
				if !w.seen[op.ID+" "+status] {
					missing = append(missing, op.ID+" "+status)
				}
			}
		}
	}
	slices.Sort(missing)
	for _, m := range missing {
		op, status, _ := strings.Cut(m, " ")
		n, _ := strconv.Atoi(status)
		switch n {
		case http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable: // not to be had of each in memory
		case http.StatusOK:
			switch op { // of others' tests
			case "roomCall", "userCall", "connectionCall", "connectionSend", "connectionDisconnect", "connectionJoin", "connectionLeave", "call", "callToAll",
				"readConnection", "history", "readQueue":
				continue
			}
			t.Errorf("%s: no good answer", op)
		default:
			t.Errorf("%s: no %s", op, status)
		}
	}
}

// goodBody is one that an operation takes.
func goodBody(op *operation, path string) string {
	good := `{"kind":"k","target":{"rooms":["x"]}}`
	switch {
	case op.scope == ScopeManage && op.method() == "Disconnect":
		good = `{"target":{"rooms":["x"]}}`
	case op.scope == ScopeManage:
		good = `{"rooms":["r"],"target":{"rooms":["x"]}}`
	case op.method() == "PublishToQueue", op.method() == "PurgeQueue":
		return `{}`
	case op.scope == ScopeQueues:
		return `{"all":true}`
	}
	if strings.HasPrefix(path, "/all/") {
		good = strings.Replace(good, `"rooms":["x"]`, `"except_rooms":["x"]`, 1)
	}
	return good
}

// tryStores has a store that knows every request.
func (w *world) tryStores(method, path, good string) {
	w.Helper()
	store := w.api.store
	for _, s := range []struct {
		store stubStore
		code  problemCode
	}{
		{stubStore{err: errors.New("away")}, codeUnavailable},
		{stubStore{there: &Record{}}, codeKeyReused},
		{stubStore{there: &Record{}, same: true}, codeInProgress},
		{stubStore{there: &Record{Done: true}, same: true}, codeNotKept},
		{stubStore{there: &Record{Done: true, Kept: true, Answer: []byte("\xff")}, same: true}, codeInternal},
	} {
		w.api.store = s.store
		w.refused(s.code, method, path, good, with(idempotencyHeader, "x"))
	}
	w.api.store = store
	w.refused(codeInvalid, method, path, good, with(idempotencyHeader, "a b"))
}

// stubStore answers as it is told.
type stubStore struct {
	there *Record
	same  bool // the fingerprint is that of what is asked
	err   error
}

func (s stubStore) Claim(_ context.Context, _ string, r Record) (*Record, uint64, error) {
	if s.there == nil {
		return nil, 1, s.err
	}
	there := *s.there
	if s.same {
		there.Print = r.Print
	}
	return &there, 0, s.err
}

func (stubStore) Finish(context.Context, string, uint64, *Record) error { return nil }

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"kind":"k","target":{"rooms":["a"],"all":true},"json":{"a":[1]},"header":{"a":"b"}}`, `{"bytes":"AP8=","volatile":true}`,
		`{"text":"\ud800"}`, `{"kind":"k","kind":"k"}`, `{"json":` + strings.Repeat("[", 1000), `{"target":{"target":{}}}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, op := range operations() {
			in := op.newIn()
			if decodeJSON(b, in.ProtoReflect()) != nil {
				continue
			}
			// What was taken is said again the same way.
			again := op.newIn()
			text := appendJSON(nil, in.ProtoReflect())
			if err := decodeJSON(text, again.ProtoReflect()); err != nil || !proto.Equal(in, again) {
				t.Fatalf("%q became %q: %v", b, text, err)
			}
			if len(text) > 20*len(b)+500 {
				t.Fatalf("%d bytes became %d", len(b), len(text))
			}
		}
	})
}

// timed is an answer that can be told until when it reads.
type timed struct {
	*httptest.ResponseRecorder

	until time.Time
}

func (w *timed) SetReadDeadline(t time.Time) error {
	w.until = t
	return nil
}

// Who is refused has a bounded time for the rest of the body, which nobody reads
// but net/http.
func TestRefusedBodiesEnd(t *testing.T) {
	b := besiege(t)
	for _, secret := range []string{"", secretOf("read"), secretOf("all")} {
		for _, path := range []string{"/all/send", "/nothing"} {
			w := &timed{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest(http.MethodPost, DefaultBase+path, strings.NewReader("{"))
			if secret != "" {
				r.Header.Set("Authorization", "Bearer "+secret)
			}
			b.api.ServeHTTP(w, r)
			if w.Code < 400 || w.until.IsZero() {
				t.Errorf("%s with %q: %d, read until %v", path, secret, w.Code, w.until)
			}
		}
	}
}
