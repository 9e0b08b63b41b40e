package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/client"
)

// unharmed connects somebody whom nothing may harm. The function that it
// returns wants that to be so.
func (b *besieged) unharmed() func(after string) {
	b.Helper()
	at := strings.Replace(b.web, "http:", "ws:", 1)
	c, err := dialAs(b.T, at, b.jwt("bystander", nil, nil, b.signing))
	if err != nil {
		b.Fatal(err)
	}
	answers := func(c *client.Client, after string) {
		var got string
		if err := c.Call(b.Context(), "echo", after, &got); err != nil || got != after {
			b.Errorf("after %s: %q, %v", after, got, err)
		}
	}
	return func(after string) {
		b.Helper()
		answers(c, after)
		next, err := dialAs(b.T, at, b.jwt("who comes after "+after, nil, nil, b.signing))
		if err != nil {
			b.Fatalf("after %s: %v", after, err)
		}
		answers(next, after)
		_ = next.Close()
		b.wants(http.StatusOK, http.MethodGet, b.web+"/api/v1/stats", "", authorization("Bearer", b.ops))
		b.wants(http.StatusOK, http.MethodGet, b.admin+"/metrics", "", authorization("Bearer", b.token))
		if _, said, panicked := strings.Cut(b.p.said(), "panic"); panicked {
			b.Errorf("after %s: a panic%s", after, said)
		}
	}
}

// TestHostileRequests has requests whose form, size, origin and fields are
// hostile, for each listener of a server with everything on.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	b := besiege(t, "text")
	unharmed := b.unharmed()
	for _, try := range []struct {
		name string
		do   func()
	}{
		{"raw requests", b.raw}, {"other sites", b.otherSites}, {"other hosts", b.otherHosts}, {"the console's fields", b.consoleFields}, {"the API's fields", b.apiFields},
	} {
		try.do()
		unharmed(try.name)
	}
}

// exchange writes bytes and returns the statuses of the answers; none, if the
// connection was closed without one.
func (b *besieged) exchange(address, raw string) (statuses []int) {
	b.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	go func() { // what is too long is not read to its end
		_, _ = io.WriteString(conn, raw)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	for in := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(in, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			b.Errorf("%.300q: no answer, and no end", raw)
		}
		if err != nil {
			return statuses
		}
		statuses = append(statuses, resp.StatusCode)
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		b.s.leakless(b.T, raw[:min(len(raw), 300)], string(text))
		if err != nil {
			return statuses
		}
	}
}

// rawRequest is one that is written as it is. HEAD stands for what a good
// request has, but for its length.
type rawRequest struct {
	text string
	most int // answers
}

func rawRequests() map[string]rawRequest {
	const post = "POST /api/v1/all/send HTTP/1.1\r\nHEAD"
	const smuggled = "GET /smuggled HTTP/1.1\r\nHEAD\r\n"
	body := `{"kind":"k"}`
	return map[string]rawRequest{
		"two lengths":             {post + "Content-Length: 12\r\nContent-Length: 0\r\n\r\n" + body + smuggled, 1},
		"a list of lengths":       {post + "Content-Length: 12, 0\r\n\r\n" + body + smuggled, 1},
		"a length with a sign":    {post + "Content-Length: +12\r\n\r\n" + body + smuggled, 1},
		"a length below zero":     {post + "Content-Length: -1\r\n\r\n" + body + smuggled, 1},
		"a length in hexadecimal": {post + "Content-Length: 0xc\r\n\r\n" + body + smuggled, 1},
		"a length too large":      {post + "Content-Length: 99999999999999999999\r\n\r\n" + body, 1},
		"a length that is late":   {post + "Content-Length: 4000\r\n\r\n" + body, 1},
		"a coding behind a space": {post + "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + smuggled, 1},
		"an unknown coding":       {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, 1},
		"two codings":             {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled, 1},
		"a coding in HTTP/1.0":    {"POST /api/v1/all/send HTTP/1.0\r\nHEADTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 1},
		"a chunk too large":       {post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + body, 1},
		"a chunk below zero":      {post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + body, 1},
		"an extension of 64 KiB":  {post + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 64<<10) + "\r\n", 1},
		"a line end alone":        {"GET /api/v1/stats HTTP/1.1\nHost: x\n\x00\n\n", 1},
		"a name with a space":     {"GET /api/v1/stats HTTP/1.1\r\nHEADX y: z\r\n\r\n", 1},
		"a NUL":                   {"GET /api/v1/stats HTTP/1.1\r\nHEADX: y\x00z\r\n\r\n", 1},
		"no host":                 {"GET /api/v1/stats HTTP/1.1\r\n\r\n", 1},
		"two hosts":               {"GET /api/v1/stats HTTP/1.1\r\nHEADHost: y\r\n\r\n", 1},
		"a strange host":          {"GET /api/v1/stats HTTP/1.1\r\nHost: a b/../@c\r\n\r\n", 1},
		"a header of 80 KiB":      {"GET /api/v1/stats HTTP/1.1\r\nHEADX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", 1},
		"a key of 60 KiB":         {"GET /api/v1/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + strings.Repeat("x", 60<<10) + "\r\n\r\n", 1},
		"20,000 headers":          {"GET /api/v1/stats HTTP/1.1\r\nHEAD" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", 1},
		"a path of 1 MiB":         {"GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHEAD\r\n", 1},
		"a line that has no end":  {strings.Repeat("x", 1<<20), 1},
		"another protocol":        {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 1},
		"no version":              {"GET /api/v1/stats\r\n\r\n", 1},
		"a version to come":       {"GET /api/v1/stats HTTP/9.9\r\nHEAD\r\n", 1},
		"HTTP/2 at once":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1},
		"a tunnel":                {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHEAD\r\n", 1},
		"an upgrade to nothing":   {"GET /api/v1/stats HTTP/1.1\r\nHEADConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 1},
		"paths that lead out":     {"GET /console/../../../../etc/passwd HTTP/1.1\r\nHEAD\r\n", 1},
		"a half escape":           {"GET /api/v1/rooms/%z/presence HTTP/1.1\r\nHEAD\r\n", 1},
		"many at once":            {strings.Repeat("GET /nothing HTTP/1.1\r\nHEAD\r\n", 200), 200},
	}
}

// raw writes requests that no client would. 501 and 505 are what HTTP has for
// codings and versions that are not known.
func (b *besieged) raw() {
	good := "Host: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer "
	for _, place := range []struct{ address, key string }{{b.web, b.ops}, {b.admin, b.token}} {
		for name, r := range rawRequests() {
			got := b.exchange(place.address, strings.ReplaceAll(r.text, "HEAD", good+place.key+"\r\n"))
			if len(got) > r.most {
				b.Errorf("%s: the answers %v", name, got)
			}
			for _, code := range got {
				if code < http.StatusBadRequest && r.most == 1 && !strings.Contains(name, "passwd") && !(name == "an upgrade to nothing" && code == http.StatusOK) && !leadsElsewhere(code) ||
					code >= http.StatusInternalServerError && code != http.StatusNotImplemented && code != http.StatusHTTPVersionNotSupported {
					b.Errorf("%s: %d", name, code)
				}
			}
		}
	}
}

func leadsElsewhere(code int) bool {
	return code == http.StatusMovedPermanently || code == http.StatusTemporaryRedirect
}

// otherSites are pages elsewhere whose visitor can reach the server, and whose
// browser adds what it has.
func (b *besieged) otherSites() {
	cookie := b.login(b.admin + "/console/")
	for _, site := range []map[string]string{
		{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
		{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
	} {
		for _, form := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
			with := func(more map[string]string) map[string]string {
				all := map[string]string{"Content-Type": form}
				maps.Copy(all, site)
				maps.Copy(all, more)
				return all
			}
			for _, path := range []string{"connection/disconnect", "queue/dead/replay", "queue/dead/discard", "webhooks/replay", "logout", "login"} {
				b.wants(http.StatusForbidden, http.MethodPost, b.admin+"/console/api/"+path, `{}`, with(map[string]string{"Cookie": cookie}))
			}
			for _, path := range []string{"/api/v1/all/disconnect", "/api/v1/all/send", "/polywire.api.v1.Connections/Disconnect", "/api/v1/webhooks/endpoints"} {
				b.wants(http.StatusForbidden, http.MethodPost, b.web+path, `{}`, with(authorization("Bearer", b.ops)))
			}
		}
		if site["Origin"] != "" || site["Sec-Fetch-Site"] == "cross-site" { // what a page would read
			for _, path := range []string{"/console/api/overview", "/settings", "/metrics", "/debug/pprof/heap"} {
				headers := map[string]string{"Cookie": cookie, "Sec-Fetch-Mode": "cors", "Authorization": "Bearer " + b.token}
				maps.Copy(headers, site)
				b.wants(http.StatusForbidden, http.MethodGet, b.admin+path, "", headers)
			}
		}
	}
	for _, path := range []string{"connection/disconnect", "queue/dead/replay", "queue/dead/discard", "webhooks/replay", "logout", "login"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
			b.wants(http.StatusMethodNotAllowed, method, b.admin+"/console/api/"+path, "", map[string]string{"Cookie": cookie})
		}
		for _, form := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
			if code, text := b.ask(http.MethodPost, b.admin+"/console/api/"+path, `{}`, map[string]string{"Cookie": cookie, "Content-Type": form}); code != http.StatusUnsupportedMediaType {
				b.Errorf("%s as %s: %d %s", path, form, code, text)
			}
		}
	}
	b.frames(cookie)
}

// frames wants headers that keep all pages out of others, and no page's script
// from elsewhere to read an answer.
func (b *besieged) frames(cookie string) {
	for _, u := range []string{b.admin + "/", b.admin + "/console/", b.admin + "/console/nothing", b.admin + "/console/api/overview", b.admin + "/settings", b.admin + "/debug/pprof/", b.web + "/api/v1/openapi.json", b.web + "/api/v1/stats"} {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, u, nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Cookie", cookie)
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
		h := resp.Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Access-Control-Allow-Credentials") != "" {
			b.Errorf("%s: %v", u, h)
		}
		if policy := h.Get("Content-Security-Policy"); strings.HasPrefix(u, b.admin) && (h.Get("X-Frame-Options") != "DENY" || !strings.Contains(policy, "frame-ancestors 'none'") ||
			!strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cross-Origin-Opener-Policy") != "same-origin") {
			b.Errorf("%s: %v", u, h)
		}
	}
}

// otherHosts are names that were made to lead here, so that a page of theirs
// is of the same origin.
func (b *besieged) otherHosts() {
	at := strings.TrimPrefix(b.admin, "http://")
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		b.Fatal(err)
	}
	for host, want := range map[string]int{
		"evil.example": http.StatusMisdirectedRequest, "evil.example:" + port: http.StatusMisdirectedRequest, "localhost.evil.example": http.StatusMisdirectedRequest, "127.0.0.1.evil.example:" + port: http.StatusMisdirectedRequest,
		"localhost:" + port: http.StatusOK, "LOCALHOST": http.StatusOK, "[::1]:" + port: http.StatusOK, at: http.StatusOK,
	} {
		for _, request := range []string{
			"GET /settings HTTP/1.1\r\nHost: " + host + "\r\n", "GET http://" + host + "/settings HTTP/1.1\r\nHost: " + at + "\r\n", "GET /settings HTTP/1.1\r\nHost: " + host + "\r\nX-Forwarded-Host: localhost\r\n",
		} {
			if got := b.exchange(b.admin, request+"Authorization: Bearer "+b.token+"\r\nConnection: close\r\n\r\n"); len(got) != 1 || got[0] != want {
				b.Errorf("%q: %v, want %d", request, got, want)
			}
		}
	}
}

// hostileTexts are for fields that are texts, in paths, queries and bodies.
func hostileTexts() []string {
	return []string{
		"", " ", "\x00", "\xff\xfe", "a\r\nX: y", "../../etc/passwd", "%2e%2e%2f", "\u202e", "<script>alert(1)</script>", "$user:x", "*.>", "-1", "1e999", "9223372036854775808", "null",
		strings.Repeat("x", 513), strings.Repeat("9", 10_000), "2026-13-45T99:99:99Z", "99999h", "true", "http://[::1", "javascript:alert(1)", "whsec_", "whsec_" + strings.Repeat("A", 10_000),
	}
}

// hostileValues are those of JSON.
func hostileValues() []string {
	values := []string{
		"null", "true", "0", "-1", "1.5", "1e999", "9223372036854775808", strings.Repeat("9", 10_000), "[]", "{}", "[null]", "[[]]", `{"x":{}}`, `["x","x"]`, `"\ud800"`, "\"\xff\"", "",
		strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000), strings.Repeat(`{"a":`, 50_000), `["x"` + strings.Repeat(`,"x"`, 10_000) + `]`, `"` + strings.Repeat("x", 2<<20) + `"`,
		`{"delays":["1ns"` + strings.Repeat(`,"0s"`, 1000) + `],"jitter":-1}`,
	}
	for _, text := range hostileTexts() {
		if quoted, err := json.Marshal(text); err == nil {
			values = append(values, string(quoted))
		}
	}
	if testing.Short() { // with the race detector
		values = slices.DeleteFunc(values, func(v string) bool { return len(v) > 8<<10 })
	}
	return values
}

// refuses wants an answer that is no fault of the server, and tells why.
func (b *besieged) refuses(what, method, target, body string, headers map[string]string) {
	b.Helper()
	if len(body) > 8<<10 || body != "" && (method == http.MethodGet || method == http.MethodDelete) {
		b.tooLarge(method, target, body, headers)
		return
	}
	code, text := b.ask(method, target, body, headers, "a wrong token of the console")
	if code >= http.StatusInternalServerError && code != http.StatusNotImplemented && code != http.StatusInsufficientStorage && !strings.Contains(target, "queue") {
		b.Errorf("%s: %s %.200s %.200s: %d %.300s", what, method, target, body, code, text)
	}
	if code >= http.StatusBadRequest && (!json.Valid([]byte(text)) || len(text) > 4<<10) {
		b.Errorf("%s: %s %.200s %.200s: %d without a reason, or with too many words: %.300s", what, method, target, body, code, text)
	}
}

// tooLarge makes a request whose body need not be read to its end, so that
// writing it may fail before the answer is there.
func (b *besieged) tooLarge(method, target, body string, headers map[string]string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, target, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	resp, err := oneShot().Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError && resp.StatusCode != http.StatusNotImplemented && !strings.Contains(target, "queue") {
		b.Errorf("%s %s with %d bytes: %s", method, target, len(body), resp.Status)
	}
}

// consoleFields has hostile values in all that the console's API takes.
func (b *besieged) consoleFields() {
	at, headers := b.admin+"/console/api/", authorization("Bearer", b.token)
	for path, names := range map[string]string{
		"series": "span", "connections": "q wire user room namespace node sort limit after", "connection": "id", "rooms": "q namespace limit after",
		"queues": "limit after", "queue/dead": "queue kind reason error limit after", "webhooks/attempts": "endpoint event before limit", "overview": "", "settings": "", "nodes": "",
	} {
		for name := range strings.FieldsSeq(names + " unheard") {
			for _, text := range hostileTexts() {
				b.refuses("a query", http.MethodGet, at+path+"?"+name+"="+url.QueryEscape(text), "", headers)
			}
			b.refuses("a query twice", http.MethodGet, at+path+"?"+name+"=1&"+name+"=2", "", headers)
		}
		b.wants(http.StatusBadRequest, http.MethodGet, at+path+"?unheard=1", "", headers)
	}
	for path, names := range map[string]string{
		"connection/disconnect": "id code reason", "queue/dead/replay": "queue ids all kind reason error", "queue/dead/discard": "queue ids all kind reason error",
		"webhooks/replay": "endpoint event failed_since", "logout": "", "login": "token",
	} {
		for name := range strings.FieldsSeq(names + " unheard") {
			for _, value := range hostileValues() {
				b.refuses("a field", http.MethodPost, at+path, `{"`+name+`":`+value+`}`, headers)
			}
			b.refuses("a field twice", http.MethodPost, at+path, `{"`+name+`":"x","`+name+`":"y"}`, headers)
		}
		for _, value := range hostileValues() {
			b.refuses("a body", http.MethodPost, at+path, value, headers)
		}
	}
}

// apiFields has hostile values in all that the API's description has, but for
// the queues, whose broker is away, and for what reaches the bystander.
func (b *besieged) apiFields() {
	type schema struct {
		Ref        string            `json:"$ref"`
		Properties map[string]schema `json:"properties"`
	}
	var d struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name string `json:"name"`
				In   string `json:"in"`
			} `json:"parameters"`
			RequestBody struct {
				Content map[string]struct {
					Schema schema `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(b.wants(http.StatusOK, http.MethodGet, b.web+"/api/v1/openapi.json", "", nil)), &d); err != nil {
		b.Fatal(err)
	}
	key, fields, braces := authorization("Bearer", b.ops), 0, regexp.MustCompile(`\{[a-z]+\}`)
	for path, methods := range d.Paths {
		if strings.Contains(path, "queue") || strings.HasSuffix(path, "/disconnect") || strings.HasPrefix(path, "/all/") || strings.HasPrefix(path, "/users/") {
			continue
		}
		for method, op := range methods {
			method = strings.ToUpper(method)
			at := b.web + "/api/v1" + braces.ReplaceAllString(path, "nobody")
			for _, p := range op.Parameters {
				for _, text := range hostileTexts() {
					fields++
					if p.In == "path" {
						b.refuses("a path", method, b.web+"/api/v1"+braces.ReplaceAllLiteralString(path, strings.ReplaceAll(url.PathEscape(text), ".", "%2e")), "", key)
					} else {
						b.refuses("a query", method, at+"?"+p.Name+"="+url.QueryEscape(text), "", key)
					}
				}
			}
			for name := range d.Components.Schemas[strings.TrimPrefix(op.RequestBody.Content["application/json"].Schema.Ref, "#/components/schemas/")].Properties {
				for _, value := range hostileValues() {
					fields++
					b.refuses("a field", method, at, strings.Replace(goodBody(path, name), "VALUE", value, 1), key)
				}
			}
			for _, value := range hostileValues() {
				b.refuses("a body", method, at, value, key)
			}
		}
	}
	if fields < 1000 {
		b.Errorf("%d fields were tried", fields)
	}
}

// goodBody is a body that would do, with VALUE in one of its fields.
func goodBody(path, field string) string {
	all := map[string]string{}
	switch last := path[strings.LastIndexByte(path, '/'):]; last {
	case "/endpoints":
		all = map[string]string{"url": `"http://127.0.0.1:9"`, "types": `["nothing"]`}
	case "/events":
		all = map[string]string{"type": `"nothing"`, "data": `1`}
	case "/send", "/call":
		all["kind"] = `"nothing"`
	case "/join", "/leave":
		all["rooms"] = `["nowhere"]`
	}
	if strings.Count(path, "/") == 1 {
		all["target"] = `{"rooms":["nowhere"]}`
	}
	body := `{"` + field + `":VALUE`
	for name, value := range all {
		if name != field {
			body += `,"` + name + `":` + value
		}
	}
	return body + "}"
}
