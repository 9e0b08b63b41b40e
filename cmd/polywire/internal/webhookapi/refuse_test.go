package webhookapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Every operation answers each of its statuses, and no other.
func TestEveryOperationRefuses(t *testing.T) {
	w := newWorld(t, nil)
	count := 0
	for template, ops := range w.paths {
		path := strings.Replace(template, "{id}", "nobody", 1)
		for method, op := range ops {
			method = strings.ToUpper(method)
			for _, h := range []string{"", "Bearer", "Bearer ", "Bearer " + key + "x", "Basic " + key, key} {
				rec := w.do(method, path, "{}", func(r *http.Request) { r.Header.Set("Authorization", h) })
				if rec.Code != http.StatusUnauthorized || rec.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s with %q: %d", method, path, h, rec.Code)
				}
			}
			rec := w.do(method, path, "{}", func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+key) })
			if rec.Code != http.StatusUnauthorized {
				t.Errorf("%s %s with two keys: %d", method, path, rec.Code)
			}
			w.status422(method, path)
			if op.RequestBody.Content != nil {
				w.refusesBodies(method, path)
			}
			if strings.Contains(template, "{id}") && op.Responses["404"].Content != nil {
				if rec := w.do(method, path, "{}"); rec.Code != http.StatusNotFound {
					t.Errorf("%s %s of nobody: %d %s", method, path, rec.Code, rec.Body)
				}
			}
			count++
		}
	}
	if count < 14 {
		t.Errorf("the description has %d operations", count)
	}
}

func (w *world) status422(method, path string) {
	w.Helper()
	for _, query := range []string{"?nothing=1", "?limit=1&limit=2"} {
		if rec := w.do(method, path+query, "{}"); rec.Code != http.StatusUnprocessableEntity {
			w.Errorf("%s %s%s: %d", method, path, query, rec.Code)
		}
	}
}

func (w *world) refusesBodies(method, path string) {
	w.Helper()
	for body, want := range map[string]int{
		`[]`: 400, `null`: 400, `"a"`: 400, `{`: 400, `{}{}`: 400, `{} x`: 400, "\xff": 400, `{"nothing":1}`: 400, `{"":1}`: 400,
		`{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`: 400,
		`{"nothing":"` + strings.Repeat("x", 1<<20) + `"}`:                        http.StatusRequestEntityTooLarge,
	} {
		if rec := w.do(method, path, body); rec.Code != want {
			w.Errorf("%s %s with %.40s: %d %.200s, want %d", method, path, body, rec.Code, rec.Body, want)
		}
	}
	for _, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json;;"} {
		rec := w.do(method, path, "{}", func(r *http.Request) { r.Header.Set("Content-Type", ct) })
		if rec.Code != http.StatusUnsupportedMediaType {
			w.Errorf("%s %s with Content-Type %q: %d", method, path, ct, rec.Code)
		}
	}
	for encoding, want := range map[string]bool{"gzip": true, "br": true, "Identity": false} {
		rec := w.do(method, path, "{}", func(r *http.Request) { r.Header.Set("Content-Encoding", encoding) })
		if (rec.Code == http.StatusUnsupportedMediaType) != want {
			w.Errorf("%s %s with Content-Encoding %q: %d", method, path, encoding, rec.Code)
		}
	}
}

func TestWrongContent(t *testing.T) {
	w := newWorld(t, nil)
	w.add("shop", "")
	w.add("off", `,"disabled":true`)
	url := w.receiver.URL
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/endpoints", `{}`, 422, "types"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"id":"shop"}`, 409, "already"},
		{"POST", "/endpoints", `{"URL":"` + url + `","types":["*"]}`, 400, `URL\" is not known`},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"types":["a"]}`, 400, "twice"},
		{"POST", "/endpoints", `{"url":null,"types":["*"]}`, 400, "null"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":"*"}`, 400, "types cannot be a string"},
		{"POST", "/endpoints", `{"url":"http://10.0.0.1/","types":["*"]}`, 422, ""},
		{"POST", "/endpoints", `{"url":"ftp://example.com/","types":["*"]}`, 422, ""},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["a..b"]}`, 422, "a..b"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"secret":"short-secret-text"}`, 422, "whsec_"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"secret":"x","key":"ed25519"}`, 422, "one of them"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"key":"rsa"}`, 422, "ed25519"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"key":"ed25519","format":"gost"}`, 422, "Gost"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"format":"xml"}`, 422, "standard or gost"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"timeout":"20"}`, 422, "unit"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"timeout":"2h"}`, 422, "1m0s"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"headers":{"Host":"x"}}`, 422, "Host"},
		{"POST", "/endpoints", `{"url":"` + url + `","types":["*"],"schedule":{"delays":["soon"]}}`, 400, "delay"},
		{"PATCH", "/endpoints/shop", `{"url":"http://10.0.0.1/"}`, 422, ""},
		{"PATCH", "/endpoints/shop", `{"timeout":"never"}`, 422, "timeout"},
		{"PATCH", "/endpoints/shop", `{"secret":"x"}`, 400, "secret"},
		{"POST", "/endpoints/shop/rotate", `{"grace":"-1h"}`, 422, "grace"},
		{"POST", "/endpoints/shop/rotate", `{"grace":"10000h"}`, 422, "30 days"},
		{"POST", "/endpoints/shop/rotate", `{"secret":"short-secret-text"}`, 422, "whsec_"},
		{"GET", "/endpoints/shop/attempts?limit=0", "", 422, "1 to 1000"},
		{"GET", "/endpoints/shop/attempts?limit=1001", "", 422, "1 to 1000"},
		{"GET", "/endpoints/shop/attempts?before=x", "", 422, "page"},
		{"GET", "/endpoints/shop/attempts?full=yes", "", 422, "true or false"},
		{"POST", "/events", `{"data":1}`, 422, "type"},
		{"POST", "/events", `{"type":"a b"}`, 422, "type"},
		{"POST", "/events", `{"type":"a","id":"x.y"}`, 422, "id"},
		{"POST", "/events", `{"type":"a","time":"today"}`, 400, ""},
		{"POST", "/events", `{"type":"a","data":"` + strings.Repeat("x", 300<<10) + `"}`, 422, "262144"},
		{"POST", "/replays", `{}`, 422, "one of"},
		{"POST", "/replays", `{"event":"a","types":"b"}`, 422, "one of"},
		{"POST", "/replays", `{"event":"a"}`, 422, "endpoint"},
		{"POST", "/replays", `{"event":"a","endpoint":"nobody"}`, 404, "not found"},
		{"POST", "/replays", `{"types":"*","endpoint":"off"}`, 422, "disabled"},
		{"POST", "/replays", `{"types":"a..b"}`, 422, "pattern"},
		{"POST", "/replays", `{"types":"*","rate":-1}`, 422, "negative"},
		{"POST", "/replays", `{"event":"a","endpoint":"shop","since":"2026-01-01T00:00:00Z"}`, 422, "go with types"},
		{"POST", "/replays", `{"types":"*","since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`, 422, "before"},
	} {
		rec := w.do(c.method, c.path, c.body)
		text := rec.Body.String()
		if rec.Code != c.status || !strings.Contains(text, c.want) || strings.Contains(text, "short-secret-text") {
			t.Errorf("%s %s %.80s: %d %s, want %d and %q", c.method, c.path, c.body, rec.Code, text, c.status, c.want)
		}
	}
	if n := len(w.d.Endpoints()); n != 2 {
		t.Errorf("%d endpoints, want 2", n)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t, nil)
	for path, want := range map[string]int{"/": 404, "/endpoint": 404, "/endpoints/a/b": 404, "/openapi.yaml": 404} {
		if rec := w.do(http.MethodGet, path, ""); rec.Code != want {
			t.Errorf("%s: %d, want %d", path, rec.Code, want)
		}
	}
	rec := w.do(http.MethodPut, "/endpoints/a", "{}")
	if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "DELETE, GET, PATCH" {
		t.Errorf("PUT: %d, Allow %q", rec.Code, rec.Header().Get("Allow"))
	}
}

// broken is a store that fails in two ways.
type broken struct {
	dispatch.Endpoints
	err error
}

func (b *broken) Load(context.Context, string) (dispatch.Record, error) {
	return dispatch.Record{}, b.err
}

func TestTrouble(t *testing.T) {
	store := &broken{dispatch.NewMemory(dispatch.MemoryOptions{}).Endpoints, errors.New("words from inside")}
	w := newWorld(t, store)
	rec := w.do(http.MethodGet, "/endpoints/a", "")
	if rec.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "inside") {
		t.Errorf("a store that fails: %d %s", rec.Code, rec.Body)
	}
	store.err = context.DeadlineExceeded
	if rec := w.do(http.MethodGet, "/endpoints/a", ""); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("a store that is away: %d %s", rec.Code, rec.Body)
	}
	w.api.Close()
	if rec := w.do(http.MethodPost, "/replays", `{"types":"*"}`); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a replay after the end: %d %s", rec.Code, rec.Body)
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t, nil)
	for _, k := range []string{"", "short", strings.Repeat("a b ", 10), strings.Repeat("é", 10), strings.Repeat("x", 600)} {
		if _, err := webhookapi.New(webhookapi.Options{Dispatcher: w.d, Key: k}); err == nil || k != "" && strings.Contains(err.Error(), k) {
			t.Errorf("key %q: %v", k, err)
		}
	}
	if _, err := webhookapi.New(webhookapi.Options{Key: key}); err == nil {
		t.Error("no dispatcher, and no error")
	}
}

// timed is an answer that can be told until when its request is read.
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
	w := newWorld(t, nil)
	for _, shown := range []string{"", key} {
		for _, path := range []string{"/nothing", "/events"} {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{"))
			r.Header.Set("Authorization", "Bearer "+shown)
			answer := &timed{ResponseRecorder: httptest.NewRecorder()}
			w.api.ServeHTTP(answer, r)
			if answer.Code < 400 || answer.until.IsZero() {
				t.Errorf("%s with %q: %d, read until %v", path, shown, answer.Code, answer.until)
			}
		}
	}
}
