package engineio

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport/websocket"
)

func TestNewServerRefusesMistakes(t *testing.T) {
	accept := func(*Conn, *http.Request) error { return nil }
	rows := []struct {
		name string
		o    Options
	}{
		{"nobody accepts", Options{}},
		{"no transport", Options{Accept: accept, NoPolling: true, NoWebSocket: true}},
		{"negative interval", Options{Accept: accept, PingInterval: -1}},
		{"heartbeat below a millisecond", Options{Accept: accept, PingTimeout: time.Microsecond}},
		{"negative timeout", Options{Accept: accept, UpgradeTimeout: -1}},
		{"negative limit", Options{Accept: accept, MaxPayloadBytes: -1}},
		{"negative poll bytes", Options{Accept: accept, PollBytes: -1}},
		{"cookie without name", Options{Accept: accept, Cookie: &http.Cookie{}}},
		{"cookie that smuggles", Options{Accept: accept, Cookie: &http.Cookie{Name: "io; Domain=evil"}}},
		{"cookie path that smuggles", Options{Accept: accept, Cookie: &http.Cookie{Name: "io", Path: "/;Domain=evil"}}},
		{"credentials for everybody", Options{Accept: accept, CORS: &CORS{AnyOrigin: true, Credentials: true}}},
	}
	for _, row := range rows {
		if _, err := NewServer(row.o); err == nil {
			t.Errorf("%s: no error", row.name)
		}
	}
	if _, err := NewServer(Options{Accept: accept, Cookie: SessionCookie()}); err != nil {
		t.Error(err)
	}
}

// refused is a request and the error that it is answered with.
type refused struct {
	name   string
	o      Options
	method string
	query  string
	header []string
	status int
	body   string
}

// refusals has a row for each line of the official table of errors, and for
// which comes first.
func refusals() []refused {
	const (
		unknownTransport = `{"code":0,"message":"Transport unknown"}`
		unknownSession   = `{"code":1,"message":"Session ID unknown"}`
		badMethod        = `{"code":2,"message":"Bad handshake method"}`
		badRequest       = `{"code":3,"message":"Bad request"}`
		badVersion       = `{"code":5,"message":"Unsupported protocol version"}`
	)
	deny := func(*http.Request) error { return errors.New("") }
	why := func(*http.Request) error { return errors.New(`not "you" <yet>`) }
	none := sidOf("&sid=AAAAAAAAAAAAAAAAAAAA")
	return []refused{
		{"no query", Options{}, "GET", "", nil, 400, unknownTransport},
		{"no transport", Options{}, "GET", "EIO=4", nil, 400, unknownTransport},
		{"unknown transport", Options{}, "GET", "EIO=4&transport=abc", nil, 400, unknownTransport},
		{"constructor", Options{}, "GET", "EIO=4&transport=constructor", nil, 400, unknownTransport},
		{"__proto__", Options{}, "GET", "EIO=4&transport=__proto__", nil, 400, unknownTransport},
		{"webtransport", Options{}, "GET", "EIO=4&transport=webtransport", nil, 400, unknownTransport},
		{"case matters", Options{}, "GET", "EIO=4&transport=Polling", nil, 400, unknownTransport},
		{"last value counts", Options{}, "GET", "EIO=4&transport=polling&transport=x", nil, 400, unknownTransport},
		{"disabled polling", Options{NoPolling: true}, "GET", poll4, nil, 400, unknownTransport},
		{"disabled websocket", Options{NoWebSocket: true}, "GET", sock4, nil, 400, unknownTransport},
		{"unknown transport beats all", Options{AllowRequest: deny, NoV3: true}, "POST", "EIO=3&transport=x" + none, nil, 400, unknownTransport},
		{"unknown sid", Options{}, "GET", poll4 + none, nil, 400, unknownSession},
		{"unknown sid, POST", Options{}, "POST", poll4 + none, nil, 400, unknownSession},
		{"sid of another form", Options{}, "GET", poll4 + "&sid=x", nil, 400, unknownSession},
		{"long sid", Options{}, "GET", poll4 + "&sid=" + strings.Repeat("A", 5000), nil, 400, unknownSession},
		{"sid is not asked for", Options{AllowRequest: deny}, "GET", poll4 + none, nil, 400, unknownSession},
		{"unknown sid beats version", Options{NoV3: true}, "GET", poll3 + none, nil, 400, unknownSession},
		{"POST without sid", Options{}, "POST", poll4, nil, 400, badMethod},
		{"PUT without sid", Options{}, "PUT", poll4, nil, 400, badMethod},
		{"OPTIONS without CORS", Options{}, "OPTIONS", poll4, nil, 400, badMethod},
		{"method beats version", Options{NoV3: true}, "POST", poll3, nil, 400, badMethod},
		{"method beats websocket", Options{}, "POST", sock4, nil, 400, badMethod},
		{"empty sid is none", Options{}, "POST", poll4 + "&sid=", nil, 400, badMethod},
		{"websocket without upgrade", Options{}, "GET", sock4, nil, 400, badRequest},
		{"scripts are not served", Options{}, "GET", poll4 + "&j=0", nil, 400, badRequest},
		{"denied", Options{AllowRequest: deny}, "GET", poll4, nil, 403, `{"code":4,"message":"Forbidden"}`},
		{"denied with a word", Options{AllowRequest: why}, "GET", poll4, nil, 403, `{"code":4,"message":"not \"you\" <yet>"}`},
		{"denied beats version", Options{AllowRequest: deny, NoV3: true}, "GET", poll3, nil, 403, `{"code":4,"message":"Forbidden"}`},
		{"foreign origin", Options{}, "GET", poll4, []string{"Origin", "https://evil.test"}, 403, `{"code":4,"message":"Forbidden"}`},
		{"two origins", Options{}, "GET", poll4, []string{"Origin", "http://server.test", "Origin", "http://server.test"}, 403, `{"code":4,"message":"Forbidden"}`},
		{"version 3", Options{NoV3: true}, "GET", poll3, nil, 400, badVersion},
		{"no version", Options{NoV3: true}, "GET", "transport=polling", nil, 400, badVersion},
		{"version abc", Options{NoV3: true}, "GET", "EIO=abc&transport=polling", nil, 400, badVersion},
		{"version 5", Options{NoV3: true}, "GET", "EIO=5&transport=polling", nil, 400, badVersion},
	}
}

func TestRefusals(t *testing.T) {
	for _, row := range refusals() {
		t.Run(row.name, func(t *testing.T) {
			said := ""
			row.o.Refused = func(_ *http.Request, _ int, message string) { said = message }
			inRig(t, row.o, func(r *rig) {
				got := r.do(row.method, row.query, "", row.header...)
				r.is(got, row.status, row.body)
				if got.header.Get("Content-Type") != "application/json" {
					r.Errorf("content type %q", got.header.Get("Content-Type"))
				}
				if !strings.Contains(string(toJSON(said)), strings.Trim(row.body[strings.Index(row.body, "age\":")+5:], "}")) {
					r.Errorf("the observer was told %q", said)
				}
				if n := len(r.sessions()); n != 0 {
					r.Errorf("%d sessions were left", n)
				}
			})
		})
	}
	// net/http lets no such header through, other servers may.
	t.Run("illegal origin", func(t *testing.T) {
		s, err := NewServer(Options{Accept: func(*Conn, *http.Request) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?"+poll4, nil)
		r.Header.Set("Origin", "http://a\x01")
		if s.ServeHTTP(w, r); w.Body.String() != `{"code":3,"message":"Bad request"}` {
			t.Errorf("answer %q", w.Body)
		}
	})
}

// TestSocketRefusals: a WebSocket is refused in plain text, always with 400.
func TestSocketRefusals(t *testing.T) {
	deny := func(*http.Request) error { return errors.New("no") }
	rows := []struct {
		name   string
		o      Options
		query  string
		header http.Header
		body   string
	}{
		{"unknown transport", Options{}, "EIO=4&transport=__proto__", nil, "Transport unknown"},
		{"disabled", Options{NoWebSocket: true}, sock4, nil, "Transport unknown"},
		{"unknown sid", Options{}, sock4 + "&sid=AAAAAAAAAAAAAAAAAAAA", nil, "Session ID unknown"},
		{"denied", Options{AllowRequest: deny}, sock4, nil, "no"},
		{"foreign origin", Options{}, sock4, http.Header{"Origin": {"https://evil.test"}}, "Forbidden"},
		{"version", Options{NoV3: true}, sock3, nil, "Unsupported protocol version"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, row.o, func(r *rig) {
				_, err := r.dial(row.query, websocket.DialOptions{Header: row.header})
				var refused *websocket.HandshakeError
				if !errors.As(err, &refused) || refused.StatusCode != http.StatusBadRequest || string(refused.Body) != row.body {
					r.Errorf("refused with %v %q, want %q", err, refused.Body, row.body)
				}
			})
		})
	}
}

func TestHandshake(t *testing.T) {
	o := Options{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond, MaxPayloadBytes: 1e6}
	open := func(sid, upgrades string) string {
		return `{"sid":"` + sid + `","upgrades":[` + upgrades + `],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}`
	}
	sid := func(r *rig, i int) string {
		for _, c := range r.sessions() {
			i--
			if i < 0 {
				return c.ID()
			}
		}
		r.Fatal("no session")
		return ""
	}
	inRig(t, o, func(r *rig) {
		got := r.get(poll4)
		id := sid(r, 0)
		r.is(got, 200, "0"+open(id, `"websocket"`))
		for name, want := range map[string]string{
			"Content-Type": "text/plain; charset=UTF-8", "Cache-Control": "no-store", "Set-Cookie": "",
			"Access-Control-Allow-Origin": "", "X-Xss-Protection": "", "Content-Encoding": "",
		} {
			if got.header.Get(name) != want {
				r.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
			}
		}
		if len(id) != 20 {
			r.Errorf("the id %q has not 20 characters", id)
		}
	})
	inRig(t, o, func(r *rig) {
		got := r.get(poll3)
		r.is(got, 200, "114:0"+open(sid(r, 0), `"websocket"`))
	})
	inRig(t, o, func(r *rig) {
		got := r.do("GET", poll4, "", "User-Agent", "Mozilla/5.0 (Trident/7.0)")
		if got.header.Get("X-XSS-Protection") != "0" {
			r.Error("no X-XSS-Protection for Internet Explorer")
		}
	})
	inRig(t, o, func(r *rig) {
		w := r.socket(sock4)
		got := w.receive()
		if want := "0" + open(sid(r, 0), ""); got != want {
			r.Errorf("first packet %q, want %q", got, want)
		}
	})
	o.NoUpgrade = true
	inRig(t, o, func(r *rig) {
		got := r.get(poll4)
		r.is(got, 200, "0"+open(sid(r, 0), ""))
		r.socket(sock4 + "&sid=" + sid(r, 0)).hears(bareClose)
		r.alive()
	})
	o.Accept = func(*Conn, *http.Request) error { return errors.New("full") }
	inRig(t, o, func(r *rig) {
		r.is(r.get(poll4), 503, "")
		w := r.socket(sock4)
		w.opened()
		w.hears(eof)
		if len(r.sessions()) != 0 {
			r.Error("a refused session stays in the table")
		}
	})
}

// TestIDs: they are random, and nobody's after their session.
func TestIDs(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		seen := map[string]bool{}
		for range 50 {
			seen[r.open(poll4)] = true
		}
		if len(seen) != 50 || len(r.sessions()) != 50 {
			r.Errorf("%d ids of 50, %d sessions", len(seen), len(r.sessions()))
		}
		for _, c := range r.sessions() {
			c.Close()
		}
		for session := range seen {
			r.refusedAs(r.get(session), codeSession)
		}
	})
}

func TestCookieAndHeaders(t *testing.T) {
	o := Options{
		Cookie: SessionCookie(),
		Header: func(h http.Header, _ *http.Request, first bool) {
			h.Set("X-App", "yes")
			if first {
				h.Set("X-First", "yes")
			}
		},
	}
	inRig(t, o, func(r *rig) {
		got := r.get(poll4)
		session := poll4 + "&sid=" + r.sessions()[0].ID()
		want := "io=" + r.sessions()[0].ID() + "; Path=/; HttpOnly; SameSite=Lax"
		if got.header.Get("Set-Cookie") != want {
			r.Errorf("cookie %q, want %q", got.header.Get("Set-Cookie"), want)
		}
		if got.header.Get("X-First") == "" || got.header.Get("X-App") == "" {
			r.Error("the first answer lacks the application's headers")
		}
		for _, got := range []response{r.post(session, "4a"), r.get(session)} {
			if got.header.Get("X-First") != "" || got.header.Get("X-App") == "" || got.header.Get("Set-Cookie") != "" {
				r.Errorf("a later answer has %v", got.header)
			}
		}
	})
}

func TestCORS(t *testing.T) {
	const page = "https://page.test"
	all := func(*http.Request) bool { return true }
	only := func(r *http.Request) bool { return r.Header.Get("Origin") == page }
	preflight := []string{"Origin", page, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-a,x-b"}
	full := &CORS{
		Credentials: true, Methods: []string{"GET", "POST"}, Headers: []string{"x-my"},
		Expose: []string{"x-out", "x-too"}, MaxAge: time.Hour,
	}
	rows := []struct {
		name   string
		o      Options
		method string
		header []string
		status int
		want   map[string]string
	}{
		{"no origin", Options{AllowOrigin: only}, "GET", nil, 403, map[string]string{"Allow-Origin": ""}},
		{"allowed", Options{AllowOrigin: only}, "GET", []string{"Origin", page}, 200, map[string]string{"Allow-Origin": page, "Allow-Credentials": "", "Vary": "Origin"}},
		{"foreign", Options{AllowOrigin: only}, "GET", []string{"Origin", "https://evil.test"}, 403, map[string]string{"Allow-Origin": "", "Vary": "Origin"}},
		{"preflight by default", Options{AllowOrigin: only}, "OPTIONS", preflight, 204, map[string]string{
			"Allow-Origin": page, "Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE", "Allow-Headers": "x-a,x-b", "Max-Age": "",
		}},
		{"OPTIONS that is no preflight", Options{AllowOrigin: only}, "OPTIONS", []string{"Origin", page}, 400, nil},
		{"foreign preflight by default", Options{AllowOrigin: only}, "OPTIONS", []string{"Origin", "https://evil.test", "Access-Control-Request-Method", "POST"}, 403, map[string]string{"Allow-Origin": "", "Allow-Methods": ""}},
		{"any", Options{AllowOrigin: all, CORS: &CORS{AnyOrigin: true}}, "GET", []string{"Origin", page}, 200, map[string]string{"Allow-Origin": "*", "Vary": ""}},
		{"all said", Options{AllowOrigin: only, CORS: full}, "GET", []string{"Origin", page}, 200, map[string]string{
			"Allow-Origin": page, "Allow-Credentials": "true", "Expose-Headers": "x-out,x-too", "Allow-Methods": "", "Max-Age": "", "Vary": "Origin",
		}},
		{"all said, preflight", Options{AllowOrigin: only, CORS: full}, "OPTIONS", preflight, 204, map[string]string{
			"Allow-Origin": page, "Allow-Credentials": "true", "Allow-Methods": "GET,POST", "Allow-Headers": "x-my", "Max-Age": "3600",
		}},
		{"all said, foreign preflight", Options{AllowOrigin: only, CORS: full}, "OPTIONS", []string{"Origin", "https://evil.test"}, 204, map[string]string{"Allow-Origin": ""}},
		{"headers of errors", Options{AllowOrigin: only, CORS: full}, "PUT", []string{"Origin", page}, 400, map[string]string{"Allow-Origin": page}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, row.o, func(r *rig) {
				got := r.do(row.method, poll4, "", row.header...)
				if got.status != row.status {
					r.Fatalf("status %d, want %d", got.status, row.status)
				}
				for name, want := range row.want {
					if name != "Vary" {
						name = "Access-Control-" + name
					}
					if got.header.Get(name) != want {
						r.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
					}
				}
			})
		})
	}
}

// TestGzip: long answers are compressed for those who can read that.
func TestGzip(t *testing.T) {
	long := "4" + strings.Repeat("a", 1023)
	rows := []struct {
		name, accept, packet string
		from                 int
		zipped               bool
	}{
		{"long", "gzip, deflate", long, 0, true},
		{"short", "gzip", long[:1023], 0, false},
		{"not asked for", "", long, 0, false},
		{"refused", "gzip;q=0, *", long, 0, false},
		{"anything", "*;q=0.5", long, 0, true},
		{"another", "br, deflate", long, 0, false},
		{"off", "gzip", long, -1, false},
		{"all", "GZIP", "4" + strings.Repeat("a", 100), 1, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, Options{CompressMinBytes: row.from}, func(r *rig) {
				session := r.open(poll4)
				r.is(r.post(session, row.packet), 200, "ok")
				got := r.do("GET", session, "", "Accept-Encoding", row.accept)
				if zipped := got.header.Get("Content-Encoding") == "gzip"; zipped != row.zipped {
					r.Fatalf("compressed: %v, want %v", zipped, row.zipped)
				}
				if row.zipped {
					got.body = gunzip(t, got.body)
				}
				if got.body != row.packet {
					r.Errorf("body %q", got.body)
				}
			})
		})
	}
}

// TestAddresses: they are those of the first request, whatever comes later.
func TestAddresses(t *testing.T) {
	conns := make(chan *Conn, 1)
	s, err := NewServer(Options{Accept: unserved(conns)})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ remote, want, network string }{
		{"192.0.2.1:4711", "192.0.2.1:4711", "tcp"}, {"@", "@", "http"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?"+poll4, nil)
		r.RemoteAddr, r.TLS = row.remote, &tls.ConnectionState{ServerName: "a.test"}
		s.ServeHTTP(httptest.NewRecorder(), r)
		c := <-conns
		if got := c.RemoteAddr(); got.String() != row.want || got.Network() != row.network {
			t.Errorf("address %v of %s, want %s of %s", got, got.Network(), row.want, row.network)
		}
		if c.ConnectionState() == nil || c.ConnectionState().ServerName != "a.test" || c.NetConn() != nil {
			t.Error("the TLS state is not that of the request, or there is a connection")
		}
		c.Close()
	}
}

// A parameter is what url.ParseQuery has as the last value.
func TestParam(t *testing.T) {
	for _, query := range []string{
		"", "sid", "sid=", "sid=a", "sid=a&sid=b", "sid=b&sid=", "x=1&sid=a=b&y", "&&sid=a&", "%73id=a", "sid=%61+%2B",
		"sid=%6", "sid=a&s%zzd=b", "sid=a;b", "sid=a&x;y=1", "=a", "+sid=a", "sid=a&x=%", "SID=a", "sidx=a", "s=id",
	} {
		values, _ := url.ParseQuery(query) // what is malformed is left out
		for _, name := range []string{"sid", "", "x"} {
			want, there := "", values.Has(name)
			if there {
				want = values[name][len(values[name])-1]
			}
			if got, ok := param(query, name); got != want || ok != there {
				t.Errorf("%q of %q: %q, %v; want %q, %v", name, query, got, ok, want, there)
			}
		}
	}
}

func TestContinues(t *testing.T) {
	s, err := NewServer(Options{Accept: func(*Conn, *http.Request) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]bool{poll4: false, poll4 + "&sid=": false, poll4 + "&sid=abc": true, poll4 + "&sid=abc&sid=": false} {
		if got := s.Continues(httptest.NewRequest(http.MethodGet, "/?"+query, nil)); got != want {
			t.Errorf("%s: %v", query, got)
		}
	}
}
