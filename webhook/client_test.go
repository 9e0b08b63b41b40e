package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// inside are options that reach the servers of tests.
var inside = ClientOptions{AllowHTTP: true, AllowNetworks: loopback}

func newClient(t testing.TB, o ClientOptions) *Client {
	t.Helper()
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// prepare returns a destination with a timeout for tests of hanging receivers.
func prepare(t testing.TB, c *Client, e Endpoint) *Destination {
	t.Helper()
	d, err := c.Prepare(e)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDeliver(t *testing.T) {
	var got atomic.Pointer[http.Request]
	var connections atomic.Int64
	v, err := NewVerifier(VerifierOptions{}, secret(t, v1aPublic))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Store(r)
		b, _ := io.ReadAll(r.Body)
		if m, err := v.Verify(r.Header, b); err != nil || m.Type != "user.created" {
			w.WriteHeader(http.StatusBadRequest)
		}
		w.Header().Set("X-Answer", "a")
		w.Header().Set("Set-Cookie", "b=c")
		_, _ = io.WriteString(w, "thanks")
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	e := endpoint(t, s.URL+"/hook?a=b")
	e.Secrets = secrets(t, v1Secret, v1aSecret)
	e.Headers = Headers{"authorization": "Bearer x", "User-Agent": "mine"}
	d := prepare(t, newClient(t, inside), e)
	body, err := Event{Type: "user.created", Time: time.Now(), Data: 1}.Body(FormatStandard)
	if err != nil {
		t.Fatal(err)
	}
	for try := 1; try <= 3; try++ {
		a := d.Deliver(t.Context(), "msg_1", "user.created", body, try)
		if a.Verdict() != Delivered || a.Status != 200 || string(a.Body) != "thanks" || a.Truncated || a.Error != "" || a.Err() != nil {
			t.Errorf("got %+v", a)
		}
		if a.ID != "msg_1" || a.Try != try || a.Duration <= 0 || time.Since(a.Start) > time.Minute {
			t.Errorf("got %+v", a)
		}
		if a.Header.Get("X-Answer") != "a" || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("header %v", a.Header)
		}
		b, err := json.Marshal(a)
		var again Attempt
		if err != nil || json.Unmarshal(b, &again) != nil || !again.Start.Equal(a.Start) {
			t.Errorf("%s: %v", b, err)
		}
		if again.Start = a.Start; !reflect.DeepEqual(again, a) {
			t.Errorf("stored %+v, got %+v", a, again)
		}
	}
	r := got.Load()
	if r.Method != http.MethodPost || r.RequestURI != "/hook?a=b" || r.ContentLength != int64(len(body)) {
		t.Errorf("got %s %s with %d bytes", r.Method, r.RequestURI, r.ContentLength)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer x", "User-Agent": "mine", "Content-Type": "application/json", "Accept-Encoding": "identity", "Webhook-Id": "msg_1",
	} {
		if v := r.Header[name]; len(v) != 1 || v[0] != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if n := connections.Load(); n > 2 { // net/http gives one up whose request it may not have written within 50 ms
		t.Errorf("%d connections for three deliveries", n)
	}
}

func TestStatuses(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
	})
	c := newClient(t, inside)
	for status, want := range map[int]Class{
		200: ClassOK, 201: ClassOK, 202: ClassOK, 204: ClassOK, 299: ClassOK,
		300: ClassRedirect, 301: ClassRedirect, 302: ClassRedirect, 304: ClassRedirect, 307: ClassRedirect, 308: ClassRedirect,
		400: ClassStatus, 401: ClassStatus, 404: ClassStatus, 409: ClassStatus, 410: ClassGone, 429: ClassThrottled,
		500: ClassStatus, 501: ClassStatus, 502: ClassThrottled, 503: ClassThrottled, 504: ClassThrottled, 599: ClassStatus, 999: ClassStatus,
	} {
		a := prepare(t, c, endpoint(t, s.URL+"/?status="+strconv.Itoa(status))).Deliver(t.Context(), "a", "a", nil, 1)
		if a.Class != want || a.Status != status {
			t.Errorf("status %d: got %v with %d %s, want %v", status, a.Class, a.Status, a.Error, want)
		}
		if (a.RetryAfter == 7*time.Second) != (want == ClassThrottled) {
			t.Errorf("status %d: retry after %v", status, a.RetryAfter)
		}
		if _, isAttempt := errors.AsType[*AttemptError](a.Err()); isAttempt == (want == ClassOK) {
			t.Errorf("status %d: error %v", status, a.Err())
		}
	}
}

// gzipBomb unfolds to 16 MiB.
func gzipBomb() []byte {
	var b bytes.Buffer
	packed := gzip.NewWriter(&b)
	for range 16 {
		_, _ = packed.Write(make([]byte, 1<<20))
	}
	packed.Close()
	return b.Bytes()
}

// raw answers with a text that need not be HTTP, and closes.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is left unread would make the end a reset

		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, text)
	}
}

// hostile is a receiver, and what a delivery to it comes to.
type hostile struct {
	name      string
	h         http.HandlerFunc
	class     Class
	size      int
	truncated bool
}

func hostileBodies() []hostile {
	bomb := gzipBomb()
	return []hostile{
		{"hangs", hang, ClassTimeout, 0, false},
		{"drips the header", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			for _, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-A: "); err == nil; _, err = io.WriteString(conn, "a") {
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) {
					return
				}
			}
		}, ClassTimeout, 0, false},
		{"never ends its body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "drip")
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}, ClassOK, 4, true},
		{"a body of a gigabyte", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
			for b := make([]byte, 1<<20); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, ClassOK, MaxAttemptBodyBytes, true},
		{"an endless body", func(w http.ResponseWriter, _ *http.Request) {
			for b := make([]byte, 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, ClassOK, MaxAttemptBodyBytes, true},
		{"exactly as much as is kept", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, MaxAttemptBodyBytes))
		}, ClassOK, MaxAttemptBodyBytes, false},
		{"one byte more", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, MaxAttemptBodyBytes+1))
		}, ClassOK, MaxAttemptBodyBytes, true},
		{"a gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}, ClassOK, len(bomb), false}, // as it came
	}
}

func hostileAnswers() []hostile {
	return []hostile{
		{"resets", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}, ClassConnect, 0, false},
		{"closes", raw(""), ClassConnect, 0, false},
		{"breaks off in the header", raw("HTTP/1.1 200 OK\r\nX-A"), ClassProtocol, 0, false},
		{"breaks off in the body", raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), ClassOK, 3, true},
		{"breaks off after a refusal", raw("HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nabc"), ClassStatus, 3, true},
		{"speaks something else", raw("220 mail.example ESMTP\r\n"), ClassProtocol, 0, false},
		{"an odd status", raw("HTTP/1.1 20x OK\r\n\r\n"), ClassProtocol, 0, false},
		{"a large header", raw("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), ClassProtocol, 0, false},
		{"endless informational answers", raw(strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n", 1<<14)), ClassProtocol, 0, false},
		{"two lengths", raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), ClassProtocol, 0, false},
	}
}

// TestHostileReceivers delivers to receivers that hang, drip, break off and send
// too much. None may cost more than the timeout and 64 KiB.
func TestHostileReceivers(t *testing.T) {
	c := newClient(t, inside)
	for _, tt := range append(hostileBodies(), hostileAnswers()...) {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.h)
			e := endpoint(t, s.URL+"/secret-path")
			switch e.Timeout = 30 * time.Second; { // else it takes all of its timeout
			case tt.class == ClassTimeout:
				e.Timeout = 300 * time.Millisecond
			case strings.Contains(tt.name, "never ends"): // its answer has to be there by then
				e.Timeout = 3 * time.Second
			}
			start := time.Now()
			a := prepare(t, c, e).Deliver(t.Context(), "a", "a", []byte("{}"), 1)
			if a.Class != tt.class || len(a.Body) != tt.size || a.Truncated != tt.truncated {
				t.Errorf("got %v (%s) with %d bytes, truncated %v; want %v with %d, %v",
					a.Class, a.Error, len(a.Body), a.Truncated, tt.class, tt.size, tt.truncated)
			}
			if cap(a.Body) > 2*MaxAttemptBodyBytes || len(a.Error) > maxErrorBytes || strings.Contains(a.Error, "secret") {
				t.Errorf("%d bytes are kept, and the error %q", cap(a.Body), a.Error)
			}
			if took := time.Since(start); took > e.Timeout+20*time.Second || a.Duration > took {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// hang keeps a request until its sender has gone. The server notices that once
// the body was read.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

func TestUnreachable(t *testing.T) {
	const closed = "http://127.0.0.1:1025" // a port that the system gives nobody
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	noDNS := inside
	noDNS.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network")
	}}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	hanging := serve(t, hang)
	for name, tt := range map[string]struct {
		ctx  context.Context
		o    ClientOptions
		url  string
		want Class
	}{
		"nobody listens":      {t.Context(), inside, closed, ClassConnect},
		"no such name":        {t.Context(), noDNS, "http://receiver.example", ClassDNS},
		"unknown certificate": {t.Context(), inside, untrusted.URL, ClassTLS},
		"no TLS":              {t.Context(), inside, strings.Replace(plain.URL, "http", "https", 1), ClassTLS},
		"canceled":            {cancelled, inside, plain.URL, ClassCanceled},
		"the caller's time":   {late, inside, hanging.URL, ClassCanceled},
	} {
		a := prepare(t, newClient(t, tt.o), endpoint(t, tt.url)).Deliver(tt.ctx, "a", "a", []byte("{}"), 1)
		if a.Class != tt.want || a.Status != 0 || a.Error == "" {
			t.Errorf("%s: got %+v, want %v", name, a, tt.want)
		}
	}
}

// TestNoConnectionInside has endpoints that lead inside: by literal address they
// cannot be prepared, by name they end at the dialler.
func TestNoConnectionInside(t *testing.T) {
	var requests atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, ClientOptions{AllowHTTP: true})
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "[fd00:ec2::254]"} {
		if _, err := c.Prepare(endpoint(t, "http://"+host+":"+port)); !errors.Is(err, ErrForbidden) || !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"2130706433", "0x7f.1", "0177.0.0.1", "127.1", "a@127.0.0.1"} {
		if _, err := c.Prepare(endpoint(t, "http://"+host+":"+port)); !errors.Is(err, ErrURL) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := newClient(t, ClientOptions{}).Prepare(endpoint(t, "http://example.com")); !errors.Is(err, ErrURL) {
		t.Errorf("plain http: %v", err)
	}
	a := prepare(t, c, endpoint(t, "http://localhost:"+port)).Deliver(t.Context(), "a", "a", nil, 1)
	if a.Class != ClassForbidden || a.Verdict() != Retry {
		t.Errorf("localhost: got %+v", a)
	}
	if requests.Load() != 0 {
		t.Errorf("%d requests came inside", requests.Load())
	}
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	var requests atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	c := newClient(t, inside)
	standard := prepare(t, c, endpoint(t, s.URL))
	e := endpoint(t, s.URL)
	e.Format = FormatGost
	gost := prepare(t, c, e)
	for name, a := range map[string]Attempt{
		"id with a line break":    standard.Deliver(t.Context(), "a\r\nX-B: c", "a", nil, 1),
		"id with a dot":           standard.Deliver(t.Context(), "a.b", "a", nil, 1),
		"event with a line break": gost.Deliver(t.Context(), "a", "a\r\nX-B: c", nil, 1),
		"no event":                gost.Deliver(t.Context(), "a", "", nil, 1),
	} {
		if a.Class != ClassRequest {
			t.Errorf("%s: got %+v", name, a)
		}
	}
	if requests.Load() != 0 {
		t.Errorf("%d requests were made", requests.Load())
	}
	for _, agent := range []string{"a\r\nb", strings.Repeat("a", 257)} {
		if _, err := NewClient(ClientOptions{UserAgent: agent}); err == nil {
			t.Errorf("user agent %q is accepted", agent)
		}
	}
	if _, err := NewClient(ClientOptions{Ports: []uint16{0}}); err == nil {
		t.Error("port 0 is accepted")
	}
	if text := fmt.Sprintf("%+v %#v %s", standard, standard, standard); strings.Count(text, "webhook destination") != 3 {
		t.Errorf("a destination prints as %s", text)
	}
}

func TestKeptHeadersAreBounded(t *testing.T) {
	many := make(http.Header)
	for i := range 200 {
		many.Set(fmt.Sprintf("X-%03d", i), "a")
	}
	if got := keepHeader(many); len(got) != MaxAttemptHeaders || got.Get("X-000") != "a" || got.Get("X-063") != "a" {
		t.Errorf("%d headers are kept", len(got))
	}
	large := http.Header{"A": {strings.Repeat("a", 8000), strings.Repeat("b", 8000)}, "B": {"c"}}
	if got := keepHeader(large); len(got["A"]) != 1 || len(got["B"]) != 0 {
		t.Errorf("%d and %d values are kept", len(got["A"]), len(got["B"]))
	}
}

func TestDescribe(t *testing.T) {
	got := describe(ClassProtocol, errors.New("a\r\n\x1b[31m\xff"+strings.Repeat("ż", 300)))
	if len(got) > maxErrorBytes || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x1b") || !strings.HasPrefix(got, "a???[31m?ż") || !strings.HasSuffix(got, "ż") {
		t.Errorf("got %q", got)
	}
}

func TestClasses(t *testing.T) {
	for c := ClassOK; c <= ClassCanceled; c++ {
		b, err := c.MarshalText()
		var again Class
		if err != nil || again.UnmarshalText(b) != nil || again != c {
			t.Errorf("%v became %v by %s, %v", c, again, b, err)
		}
	}
	var c Class
	if _, err := c.MarshalText(); err == nil || c.UnmarshalText(nil) == nil || c.UnmarshalText([]byte("x")) == nil || Class(99).String() != "Class(99)" {
		t.Error("classes that there are not")
	}
	for v, want := range map[Verdict]string{Delivered: "delivered", Retry: "retry", Gone: "gone", Canceled: "canceled", 0: "Verdict(0)"} {
		if v.String() != want {
			t.Errorf("got %v, want %s", v, want)
		}
	}
}
