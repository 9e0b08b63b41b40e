package top_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/top"
)

const token = "a-token-that-nobody-guesses"

// console answers as a console does.
type console struct {
	mu    sync.Mutex
	said  map[string]string // by path
	asked []string          // paths with queries
	down  bool
}

func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/console/api/")
	c.asked = append(c.asked, strings.TrimPrefix(r.URL.RequestURI(), "/console/api/"))
	switch {
	case c.down:
		w.WriteHeader(http.StatusBadGateway)
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
	case !ok || c.said[path] == "":
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = fmt.Fprint(w, c.said[path])
	}
}

func (c *console) say(path, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[path] = text
}

func (c *console) goes(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// questions returns what was asked since.
func (c *console) questions() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := strings.Join(c.asked, " ")
	c.asked = nil
	return asked
}

func newConsole(t *testing.T) (c *console, url string) {
	t.Helper()
	c = &console{said: answers()}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return c, s.URL
}

func newClient(t *testing.T, o top.Options) *top.Client {
	t.Helper()
	o.Timeout = time.Minute
	c, err := top.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAsk(t *testing.T) {
	s, url := newConsole(t)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	c := newClient(t, top.Options{URL: url, Token: token, Clock: func() time.Time { return now }})
	f := c.Ask(t.Context(), "in")
	if f.Error != "" || f.Overview.Now.Connections != 12345 || len(f.Nodes.Nodes) != 2 || len(f.Queues.Queues) != 3 || len(f.Webhooks.Endpoints) != 2 || f.Busiest.By != "in" {
		t.Errorf("%+v", f)
	}
	if asked := s.questions(); len(strings.Fields(asked)) != 5 || !strings.Contains(asked, "connections?limit=50&sort=in") {
		t.Error(asked)
	}
	// At once again: what takes work is not asked for, but in another order.
	if f := c.Ask(t.Context(), "in"); f.Busiest == nil || f.Nodes == nil {
		t.Error("what was known is forgotten")
	}
	if asked := s.questions(); asked != "overview" {
		t.Error(asked)
	}
	if f := c.Ask(t.Context(), "queued"); f.Busiest == nil || f.Busiest.By != "queued" {
		t.Errorf("%+v", f.Busiest)
	}
	if asked := s.questions(); asked != "overview connections?limit=50&sort=queued" {
		t.Error(asked)
	}
	now = now.Add(2 * time.Second)
	c.Ask(t.Context(), "queued")
	if asked := s.questions(); len(strings.Fields(asked)) != 4 || strings.Contains(asked, "connections") {
		t.Error(asked)
	}
	// While it is away the figures are those of before; then everything is new.
	s.goes(true)
	if f := c.Ask(t.Context(), "in"); !strings.Contains(f.Error, "502") || f.Overview == nil || f.Queues == nil {
		t.Errorf("%+v", f)
	}
	s.goes(false)
	s.questions()
	if f := c.Ask(t.Context(), "in"); f.Error != "" {
		t.Error(f.Error)
	}
	if asked := s.questions(); len(strings.Fields(asked)) != 5 {
		t.Error(asked)
	}
}

// Answers that are none are told, and do no harm.
func TestStrangeAnswers(t *testing.T) {
	s, url := newConsole(t)
	for said, want := range map[string]string{
		"<html>": "none of a console", "[]": "none of a console", `{"now":{"connections":"x"}}`: "none of a console", "": "no console",
		`{"x":"` + strings.Repeat("x", 5<<20) + `"}`: "more than",
	} {
		s.say("overview", said)
		if f := newClient(t, top.Options{URL: url, Token: token}).Ask(t.Context(), "in"); !strings.Contains(f.Error, want) {
			t.Errorf("%.20q: %.100q", said, f.Error)
		}
	}
	s.say("overview", `{"parts":{"queues":true,"webhooks":true,"cluster":true}}`)
	for _, path := range []string{"queues", "webhooks", "nodes", "connections"} {
		s.say(path, "nonsense")
	}
	if f := newClient(t, top.Options{URL: url, Token: token}).Ask(t.Context(), "in"); f.Error != "" || f.Queues != nil || f.Webhooks != nil || f.Nodes != nil || f.Busiest != nil {
		t.Errorf("%+v", f)
	}
	if f := newClient(t, top.Options{URL: url}).Ask(t.Context(), "in"); f.Error != top.ErrToken.Error() {
		t.Error(f.Error)
	}
}

// The token goes where it was meant to go only.
func TestTokenStays(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) }))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	t.Cleanup(s.Close)
	f := newClient(t, top.Options{URL: s.URL, Token: token}).Ask(t.Context(), "in")
	if f.Error == "" || len(got) > 0 {
		t.Errorf("%q, %v", f.Error, got)
	}
}

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, ":1": true, "http://a": true, "https://a.example/": true,
		"": false, "a": false, "ftp://a": false, "http://": false, "http://u:p@a": false, "http://a?token=x": false, "a b:1": false,
	} {
		c, err := top.NewClient(top.Options{URL: address})
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if err == nil {
			c.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := newClient(t, top.Options{URL: "127.0.0.1:1"}).Ask(ctx, "in"); f.Error == "" {
		t.Error("nobody is asked, and answers")
	}
}
