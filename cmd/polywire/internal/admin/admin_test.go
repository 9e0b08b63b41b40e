package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/polywire/polywire/observe/health"
)

const token = "a-token-that-nobody-guesses"

func newAdmin(t *testing.T, change func(o *Options)) *Server {
	t.Helper()
	o := Options{Address: "127.0.0.1:0", Token: token, Checks: health.New(health.Options{}), Hostnames: []string{"Admin.example.com."}}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Handle("/own", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "own") }))
	return s
}

// ask makes a request; header has "Name: value" lines.
func ask(s *Server, method, path, host string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ address, token, want string }{
		{"127.0.0.1:9090", "", ""},
		{"[::1]:9090", "", ""},
		{"[::ffff:127.0.0.1]:9090", "", ""},
		{"127.9.9.9:0", "", ""},
		{"localhost:9090", "", ""},
		{":9090", "", "needs a token"},
		{"0.0.0.0:9090", "", "needs a token"},
		{"[::]:9090", "", "needs a token"},
		{"192.0.2.1:9090", "", "needs a token"},
		{"localhost.example.com:9090", "", "needs a token"},
		{"127.0.0.1.example.com:9090", "", "needs a token"},
		{":9090", token, ""},
		{":9090", "short", "fewer than 16"},
		{"127.0.0.1", token, "want host:port"},
		{"", "", "want host:port"},
	} {
		err := Check(c.address, c.token)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: %v", c.address, c.token, err)
		}
		if err != nil && c.token != "" && strings.Contains(err.Error(), c.token) {
			t.Errorf("%v tells the token", err)
		}
	}
	if _, err := New(Options{Address: ":0", Checks: health.New(health.Options{})}); err == nil {
		t.Error("a public listener without a token")
	}
	if _, err := New(Options{Address: "127.0.0.1:0"}); err == nil {
		t.Error("no checks")
	}
}

func TestToken(t *testing.T) {
	s := newAdmin(t, nil)
	for _, c := range []struct {
		header []string
		want   int
	}{
		{nil, 401},
		{[]string{"Authorization: Bearer " + token}, 200},
		{[]string{"Authorization: bearer  " + token + " "}, 200},
		{[]string{"Authorization: Bearer " + token + "x"}, 401},
		{[]string{"Authorization: Bearer " + token[1:]}, 401},
		{[]string{"Authorization: Bearer"}, 401},
		{[]string{"Authorization: " + token}, 401},
		{[]string{"Authorization: Basic OmEtdG9rZW4tdGhhdC1ub2JvZHktZ3Vlc3Nlcw=="}, 200}, // :token
		{[]string{"Authorization: Basic YS10b2tlbi10aGF0LW5vYm9keS1ndWVzc2VzOg=="}, 401}, // token:
		{[]string{"Authorization: Basic !"}, 401},
		{[]string{"Authorization: Bearer " + strings.Repeat("x", 20_000)}, 401},
		{[]string{"Cookie: token=" + token}, 401},
	} {
		for _, path := range []string{"/own", "/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/cmdline"} {
			w := ask(s, http.MethodGet, path, "127.0.0.1:9090", c.header...)
			if w.Code != c.want || c.want == 401 && len(w.Header().Values("WWW-Authenticate")) != 2 {
				t.Errorf("%s %.60q: %d", path, c.header, w.Code)
			}
		}
	}
	if w := ask(s, http.MethodGet, "/own?token="+token, "127.0.0.1"); w.Code != 401 {
		t.Errorf("in the query: %d", w.Code)
	}
	if s.IsToken("") || newAdmin(t, func(o *Options) { o.Token = "" }).IsToken("") {
		t.Error("nothing is a token")
	}
	if !s.Guarded() || newAdmin(t, func(o *Options) { o.Token = "" }).Guarded() {
		t.Error("Guarded says whether there is a token")
	}
	s.Admit(func(r *http.Request) bool { return r.Header.Get("Cookie") == "session=1" })
	if w := ask(s, http.MethodGet, "/own", "localhost", "Cookie: session=1"); w.Code != 200 {
		t.Errorf("by a session: %d", w.Code)
	}
	if w := ask(newAdmin(t, func(o *Options) { o.Token = "" }), http.MethodGet, "/own", "localhost"); w.Code != 200 {
		t.Errorf("where there is no token: %d", w.Code)
	}
}

func TestHostsAndSites(t *testing.T) {
	s := newAdmin(t, func(o *Options) { o.Token = "" })
	for _, c := range []struct {
		method, host string
		header       []string
		want         int
	}{
		{"GET", "127.0.0.1:9090", nil, 200},
		{"GET", "10.1.2.3:9090", nil, 200},
		{"GET", "[::1]:9090", nil, 200},
		{"GET", "[::1]", nil, 200},
		{"GET", "localhost:9090", nil, 200},
		{"GET", "LOCALHOST.", nil, 200},
		{"GET", "admin.example.com:9090", nil, 200},
		{"GET", "evil.example.com:9090", nil, 421},
		{"GET", "127.0.0.1.evil.example.com", nil, 421},
		{"GET", "localhost.evil.example.com", nil, 421},
		{"GET", "", nil, 421},
		{"GET", "[", nil, 421},
		{"GET", "localhost:9090:1", nil, 421},
		{"POST", "localhost:9090", nil, 200}, // a program, or curl
		{"POST", "localhost:9090", []string{"Origin: http://localhost:9090"}, 200},
		{"POST", "localhost:9090", []string{"Sec-Fetch-Site: same-origin", "Origin: http://localhost:9090"}, 200},
		{"POST", "localhost:9090", []string{"Origin: http://evil.example.com"}, 403},
		{"POST", "localhost:9090", []string{"Origin: null"}, 403},
		{"POST", "localhost:9090", []string{"Origin: http://localhost:9091"}, 403},
		{"POST", "localhost:9090", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"POST", "localhost:9090", []string{"Sec-Fetch-Site: same-site"}, 403},
		{"GET", "localhost:9090", []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"GET", "localhost:9090", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"GET", "localhost:9090", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 403},
		{"GET", "localhost:9090", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, 403},
		{"GET", "localhost:9090", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"}, 403},
		{"GET", "localhost:9090", []string{"Origin: http://evil.example.com"}, 403},
	} {
		w := ask(s, c.method, "/own", c.host, c.header...)
		if w.Code != c.want || (w.Body.String() == "own") != (c.want == 200) {
			t.Errorf("%s %q %q: %d %s", c.method, c.host, c.header, w.Code, w.Body)
		}
		if strings.Contains(w.Header().Get("Access-Control-Allow-Origin"), "*") {
			t.Error("any page may read this")
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); !strings.Contains(got, want) {
				t.Errorf("%s is %q", name, got)
			}
		}
	}
}

func TestProbes(t *testing.T) {
	checks := health.New(health.Options{})
	var broken error
	if err := checks.Add("queues", func(context.Context) error { return broken }); err != nil {
		t.Fatal(err)
	}
	s := newAdmin(t, func(o *Options) { o.Checks = checks })
	show := "Authorization: Bearer " + token
	if w := ask(s, http.MethodGet, "/readyz", "10.0.0.1"); w.Code != 200 || w.Body.String() != "ok\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	broken = errors.New("the broker at amqp.internal is away")
	if w := ask(s, http.MethodGet, "/readyz", "10.0.0.1"); w.Code != 503 || w.Body.String() != "failed\n" {
		t.Errorf("without the token: %d %s", w.Code, w.Body)
	}
	if w := ask(s, http.MethodGet, "/readyz", "10.0.0.1", show); w.Code != 503 || !strings.Contains(w.Body.String(), "amqp.internal") {
		t.Errorf("with the token: %d %s", w.Code, w.Body)
	}
	if w := ask(s, http.MethodGet, "/livez", "10.0.0.1"); w.Code != 200 {
		t.Errorf("it is dead: %d %s", w.Code, w.Body)
	}
	if w := ask(s, http.MethodPost, "/livez", "10.0.0.1"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	if w := ask(s, http.MethodGet, "/nothing", "10.0.0.1"); w.Code != 404 {
		t.Errorf("nothing: %d", w.Code)
	}
}

// The command line, which may have secrets, is not shown.
func TestProfiles(t *testing.T) {
	s := newAdmin(t, func(o *Options) { o.Token = "" })
	if w := ask(s, http.MethodGet, "/debug/pprof/cmdline", "localhost"); w.Body.String() != "polywire" {
		t.Errorf("%s", w.Body)
	}
	if w := ask(s, http.MethodGet, "/debug/pprof/heap?debug=1", "localhost"); w.Code != 200 || !strings.Contains(w.Body.String(), "heap profile") {
		t.Errorf("%d", w.Code)
	}
}

func TestServe(t *testing.T) {
	s := newAdmin(t, nil)
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + l.Addr().String() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if err := errors.Join(s.Shutdown(t.Context()), <-done); err != nil {
		t.Error(err)
	}
	other := newAdmin(t, func(o *Options) { o.Address = "256.0.0.1:0" })
	if _, err := other.Listen(); err == nil {
		t.Error("no such address")
	}
}
