package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/cmd/polywire/internal/strictjson"
)

// Bounds of requests.
const (
	maxBusy       = 8        // at work at once, streams apart
	maxQueryBytes = 512      // of one value
	maxBodyBytes  = 64 << 10 //
	readTime      = 10 * time.Second
	writeTime     = 60 * time.Second // of what changes many things
)

// apiPath is below what everything but the pages is.
const apiPath = "/console/api/"

// route is what a path does.
type route struct {
	open    bool     // for those who are not logged in, too
	early   bool     // also before there is a server
	query   []string // names of its parameters
	body    bool     // it has one
	takes   time.Duration
	do      func(r *request) (any, error) // nil: 204
	streams func(w http.ResponseWriter, r *request)
}

// request is what a route gets.
type request struct {
	*http.Request
	Parts

	w      http.ResponseWriter
	values url.Values
	body   []byte
}

// table returns all routes.
func (c *Console) table() map[string]map[string]route {
	get := func(do func(*request) (any, error), query ...string) map[string]route {
		return map[string]route{http.MethodGet: {do: do, query: query}}
	}
	post := func(do func(*request) (any, error), takes time.Duration) map[string]route {
		return map[string]route{http.MethodPost: {do: do, body: true, takes: takes}}
	}
	return map[string]map[string]route{
		"session":               {http.MethodGet: {do: c.session, open: true, early: true}},
		"login":                 {http.MethodPost: {do: c.login, open: true, early: true, body: true}},
		"logout":                {http.MethodPost: {do: c.logout, open: true, early: true, body: true}},
		"events":                {http.MethodGet: {streams: c.events, query: eventsQuery()}},
		"overview":              get(c.overview),
		"series":                get(c.past, "span"),
		"connections":           get(c.connections, "q", "wire", "user", "room", "namespace", "node", "sort", "limit", "after"),
		"connection":            get(c.connection, "id"),
		"connection/disconnect": post(c.disconnect, readTime),
		"rooms":                 get(c.rooms, "q", "namespace", "limit", "after"),
		"nodes":                 get(c.nodes),
		"queues":                get(c.queues, "limit", "after"),
		"queue/dead":            get(c.dead, "queue", "kind", "reason", "error", "limit", "after"),
		"queue/dead/replay":     post(c.replayDead, writeTime),
		"queue/dead/discard":    post(c.discardDead, writeTime),
		"webhooks":              get(c.webhooks),
		"webhooks/attempts":     get(c.attempts, "endpoint", "event", "before", "limit"),
		"webhooks/replay":       post(c.replayWebhooks, writeTime),
		"settings":              get(c.settings),
	}
}

// serve answers what is below apiPath.
func (c *Console) serve(w http.ResponseWriter, r *http.Request) {
	methods := c.routes[strings.TrimPrefix(r.URL.Path, apiPath)]
	rt, ok := methods[r.Method]
	switch {
	case !rt.open && !c.o.Admin.Authorized(r): // before anything is said about what is there
		c.tell(w, r, problem{http.StatusUnauthorized, codeUnauthorized, "log in, or show the token: Authorization: Bearer TOKEN", 0})
		return
	case methods == nil:
		c.tell(w, r, problem{http.StatusNotFound, codeNotFound, "no such path", 0})
		return
	case !ok:
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
		c.tell(w, r, problem{http.StatusMethodNotAllowed, codeMethod, "this path does not take that method", 0})
		return
	}
	out, err := c.answer(w, r, rt)
	switch {
	case err != nil:
		c.tell(w, r, err)
	case rt.streams != nil:
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, out)
	}
}

// answer does what a route does.
func (c *Console) answer(w http.ResponseWriter, r *http.Request, rt route) (out any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	req := &request{Request: r, w: w}
	if p := c.parts.Load(); p != nil {
		req.Parts = *p
	} else if !rt.early {
		return nil, problem{http.StatusServiceUnavailable, codeUnavailable, "the server is starting", time.Second}
	}
	if req.values, err = readQuery(r.URL.RawQuery, rt.query); err != nil {
		return nil, err
	}
	if rt.streams != nil {
		rt.streams(w, req)
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), max(rt.takes, readTime))
	defer cancel()
	req.Request = r.WithContext(ctx)
	if rt.body {
		if req.body, err = readBody(w, r); err != nil {
			return nil, err
		}
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-ctx.Done():
		return nil, problem{http.StatusTooManyRequests, codeTooMany, "too much is asked at once", time.Second}
	}
	return rt.do(req)
}

// tell answers with an error, and logs what is ours.
func (c *Console) tell(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.code == codeInternal && r.Context().Err() == nil {
		c.o.Logger.Error("console", "path", r.URL.Path, "error", err)
	}
	p.write(w)
}

// readQuery reads a query whose parameters are known and there once.
func readQuery(raw string, known []string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, wrong("the query cannot be read")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, wrong("query parameter %.50q is not known here", name)
		case len(all) != 1:
			return nil, wrong("query parameter %s is there twice", name)
		case len(all[0]) > maxQueryBytes:
			return nil, wrong("%s: at most %d bytes", name, maxQueryBytes)
		case !utf8.ValidString(all[0]):
			return nil, wrong("%s: it is not UTF-8", name)
		}
	}
	return values, nil
}

// readBody reads a body, nil where there is none.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, problem{http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("the body has more than %d bytes", maxBodyBytes), 0}
	}
	if err != nil {
		return nil, wrong("the body broke off")
	}
	if len(body) == 0 {
		return nil, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, problem{http.StatusUnsupportedMediaType, codeMediaType, "the body's Content-Type must be application/json", 0}
	}
	return body, nil
}

// bind decodes the body; none is the zero value.
func bind[T any](r *request) (v T, err error) {
	if len(r.body) == 0 {
		return v, nil
	}
	if !utf8.Valid(r.body) {
		return v, wrong("the body is not UTF-8")
	}
	if err := strictjson.Decode(r.body, &v); err != nil {
		return v, wrong("the body is not the JSON that is wanted here: %.200s", err)
	}
	return v, nil
}

// limit reads how many things are asked for.
func (r *request) limit(usual, most int) (int, error) {
	text := r.values.Get("limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, wrong("limit: want 1 to %d", most)
	}
	return n, nil
}

// clip cuts a text to at most n bytes, at the beginning of a character, and
// replaces what is not UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
