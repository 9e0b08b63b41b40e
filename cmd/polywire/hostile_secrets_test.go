package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/webhook"
)

// besieged is a server with everything on, whose secrets are all known.
type besieged struct {
	*testing.T

	s        secrets
	p        *program
	web, tcp string // where it is
	admin    string
	config   string // the file
	key      string // of TLS, a file
	signing  string // secret of the tokens
	ops      string // key of the API
	hooks    string // key of the webhooks' API
	in       string // secret of a webhook that comes in
	token    string // of the admin listener
	backend  *httptest.Server
}

// besiege starts it.
func besiege(t *testing.T, format string) *besieged {
	t.Helper()
	b := &besieged{T: t, s: make(secrets)}
	b.signing, b.ops, b.hooks, b.token = "sign-"+b.s.new("auth.secret")+"-more-of-it", b.s.new("api.keys"), b.s.new("webhooks.api_key"), b.s.new("admin.token")
	standard := func(name string) string {
		core := b.s.new(name)
		text := base64.StdEncoding.EncodeToString([]byte(core + core[:6]))
		b.s[name+", encoded"] = text[4:28]
		return "whsec_" + text
	}
	b.in = standard("webhooks.in")
	b.backend = httptest.NewServer(http.HandlerFunc(b.decide))
	t.Cleanup(b.backend.Close)
	part := b.s.new("a key of the set") // the server reads them when it likes
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"oct","kid":"k","k":%q},{"kty":"RSA","n":"AQAB","e":%q},%q]}`, part, part, part)
	}))
	t.Cleanup(keys.Close)
	cert, key := certificate(t)
	b.key = key
	private, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	b.s["tls.key"] = strings.Split(string(private), "\n")[1][:32]
	proxy := "http://u:" + b.s.new("proxy") + "@127.0.0.1:1"
	b.config = settingsFile(t, strings.NewReplacer(
		"FORMAT", format, "CERT", cert, "KEY", key, "SIGNING", b.signing, "DIR", t.TempDir(), "NATS", b.s.new("nats.token"),
		"JWKS", strings.Replace(keys.URL, "http://", "http://u:"+b.s.new("auth.jwks")+"@", 1)+"/keys?k="+b.s["auth.jwks"],
		"AMQP", "amqp://u:"+b.s.new("queues.amqp")+"@"+freeAddress(t), "HOOKS", b.hooks, "BACKEND", b.backend.URL+"/decide?k="+b.s.new("backend.url"),
		"SIGNED", standard("backend.secret"), "TOKEN", b.token, "AUDIENCE", "chat",
		"COLLECTOR", freeAddress(t), "TRACES", b.s.new("traces.headers"),
	).Replace(besiegedSettings))
	b.p = startProgram(t, []string{"HT_OPS=" + b.ops, "HT_IN=" + b.in, "HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy, "ALL_PROXY=" + proxy, "GOTRACEBACK=all"}, "serve", "--config", b.config)
	for range 3 {
		at := last(b.p.line())
		switch scheme, _, _ := strings.Cut(at, ":"); scheme {
		case "ws":
			b.web = strings.Replace(at, "ws:", "http:", 1)
		case "tcp":
			b.tcp = at
		}
	}
	b.admin = b.p.logs(`the admin listener is there"(?: at=|,"at":")([^" ]+)[" ]`)
	return b
}

const besiegedSettings = `
listen: ['127.0.0.1:0', 'tcp://127.0.0.1:0', 'wss://127.0.0.1:0']
log: {level: debug, format: FORMAT}
shutdown: {drain: 1s}
tls: {cert: CERT, key: KEY}
rooms: {presence: ['*'], history: ['*']}
auth:
  secret: 'SIGNING'
  jwks: 'JWKS'
  issuers: test
  audiences: AUDIENCE
  query: access_token
  rooms: ['*=subscribe,publish']
data: {dir: 'DIR'}
nats: {listen: '127.0.0.1:0', token: NATS}
queues: {amqp: 'AMQP', amqp_optional: true, in: ['order.*=orders'], wait: 100ms}
webhooks:
  enabled: true
  api_key: HOOKS
  out: [paid]
  in: ['/hooks/in=room:x,secret=env:HT_IN']
  allow_http: true
  allow_networks: 127.0.0.0/8
api: {keys: ['ops=env:HT_OPS,all']}
backend: {url: 'BACKEND', secret: 'SIGNED', events: [connect, disconnect, subscribe, publish], kinds: ['ask.*'], timeout: 30s}
admin: {listen: '127.0.0.1:0', token: TOKEN}
traces: {url: 'http://COLLECTOR', headers: ['Authorization=Bearer TRACES']}
`

// decide is the backend, whose answers to some messages are no answers.
func (b *besieged) decide(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for kind, answer := range map[string]string{"ask.no-json": "{", "ask.wrong": `{"reply":1,"reply_bytes":"AA=="}`, "ask.html": "<p>"} {
		if strings.Contains(string(body), kind) {
			_, _ = io.WriteString(w, answer)
			return
		}
	}
	switch {
	case strings.Contains(string(body), "ask.panic"):
		panic(http.ErrAbortHandler)
	case strings.Contains(string(body), `"room":"refused"`):
		_, _ = io.WriteString(w, `{"allow":false}`)
	case strings.Contains(string(body), `"type":"message"`):
		_, _ = io.WriteString(w, `{"reply":1}`)
	default:
		_, _ = io.WriteString(w, `{"allow":true}`)
	}
}

// jwt makes a token, whose signature is a secret of that name.
func (b *besieged) jwt(name string, claims jwt.MapClaims, header map[string]any, key string) string {
	b.Helper()
	whole := jwt.MapClaims{"iss": "test", "aud": "chat", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "name": name}
	maps.Copy(whole, claims)
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, whole)
	maps.Copy(token.Header, header)
	raw, err := token.SignedString([]byte(key))
	if err != nil {
		b.Fatal(err)
	}
	b.s["token: "+name] = strings.Split(raw, ".")[2][:28]
	return raw
}

// ask makes a request, and looks for secrets in the answer. Those that belong
// into it are named.
func (b *besieged) ask(method, url, body string, headers map[string]string, belongs ...string) (code int, text string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, url, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	c := oneShot()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(r)
	if err != nil {
		b.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		b.Fatalf("%s %s: %v", method, url, err)
	}
	hidden := maps.Clone(b.s)
	for _, name := range belongs {
		delete(hidden, name)
	}
	hidden.leakless(b.T, method+" "+url, fmt.Sprint(resp.Header)+string(all))
	return resp.StatusCode, string(all)
}

// wants is ask, with the status that the answer has to have.
func (b *besieged) wants(code int, method, url, body string, headers map[string]string, belongs ...string) string {
	b.Helper()
	got, text := b.ask(method, url, body, headers, belongs...)
	if got != code {
		b.Errorf("%s %s: %d, want %d\n%.500s", method, url, got, code, text)
	}
	return text
}

func authorization(scheme, secret string) map[string]string {
	return map[string]string{"Authorization": scheme + " " + secret}
}

// Everything is tried, and no secret is in what is logged, shown or answered.
func TestSecretsStayInside(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			b := besiege(t, format)
			tail := b.tail()
			b.connect()
			b.talk()
			b.askAPI()
			b.sendWebhooks()
			b.receiveWebhooks()
			b.reload()
			b.look()
			b.console(tail())
			b.crash()
		})
	}
}

// connect shows tokens in all places, good and bad ones.
func (b *besieged) connect() {
	tokens := map[string]int{
		b.jwt("good", nil, nil, b.signing):                                             http.StatusOK,
		b.jwt("expired", jwt.MapClaims{"exp": 1}, nil, b.signing):                      http.StatusUnauthorized,
		b.jwt("future", jwt.MapClaims{"nbf": 1 << 33}, nil, b.signing):                 http.StatusUnauthorized,
		b.jwt("for others", jwt.MapClaims{"aud": "others"}, nil, b.signing):            http.StatusUnauthorized,
		b.jwt("wrong key", nil, nil, "another key that has as many bytes as it needs"): http.StatusUnauthorized,
		b.jwt("unknown kid", nil, map[string]any{"kid": "nobody's"}, b.signing):        0, // whatever the set of keys is good for
		b.jwt("critical", nil, map[string]any{"crit": []string{"x"}}, b.signing):       http.StatusUnauthorized,
		b.s.new("no token at all"):                                                     http.StatusUnauthorized,
		"eyJ." + b.s.new("hardly a token") + ".x":                                      http.StatusUnauthorized,
	}
	for token, code := range tokens {
		for _, q := range []struct {
			url     string
			headers map[string]string
		}{
			{"/events?room=x", authorization("Bearer", token)},
			{"/events?room=x&access_token=" + token, nil},
			{"/events?room=x", map[string]string{"Cookie": "token=" + token}},
			{"/polywire?access_token=" + token, nil}, // no WebSocket
			{"/nothing?access_token=" + token, authorization("Bearer", token)},
			{"/socket.io/?EIO=4&transport=polling&access_token=" + token, authorization("Bearer", token)},
		} {
			if strings.HasPrefix(q.url, "/events") && q.headers["Cookie"] == "" {
				b.events(q.url, q.headers, code)
				continue
			}
			b.ask(http.MethodGet, b.web+q.url, "", q.headers)
		}
		for _, url := range []string{b.tcp, strings.Replace(b.web, "http:", "ws:", 1), "drs+" + b.tcp} {
			c, err := dialAs(b.T, url, token)
			if code != 0 && (err == nil) != (code == http.StatusOK) && !strings.HasPrefix(url, "drs") { // which opens before
				b.Errorf("%s with a token that is to get %d: %v", url, code, err)
			}
			if err == nil {
				_ = c.Close()
				continue
			}
			b.s.leakless(b.T, "what a client is told", err.Error())
		}
	}
}

// events begins to read a stream of events, and looks at its status.
func (b *besieged) events(path string, headers map[string]string, code int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.web+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	resp, err := oneShot().Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if code != 0 && resp.StatusCode != code {
		b.Errorf("%s: %s, want %d", path, resp.Status, code)
	}
	text := fmt.Sprint(resp.Header)
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			b.Error(err)
		}
		text += string(body)
	}
	b.s.leakless(b.T, path, text)
}

// talk sends what is secret in messages, to who is there and who is not.
func (b *besieged) talk() {
	content, header := b.s.new("a message's content"), b.s.new("a message's header")
	for _, url := range []string{b.tcp, strings.Replace(b.web, "http:", "ws:", 1)} {
		c, err := dialAs(b.T, url, b.jwt("talker at "+url[:3], nil, nil, b.signing))
		if err != nil {
			b.Fatal(err)
		}
		for _, kind := range []string{"echo", "presence", "presence.set", "ask.good", "ask.panic", "ask.no-json", "ask.wrong", "ask.html", "order.place", "paid", "nothing", "time"} {
			for _, v := range []any{content, map[string]string{"secret": content}, []string{content}} {
				if err := b.call(c, kind, v, header); kind != "echo" && err != nil && kind != "presence" { // which names the room
					b.s.leakless(b.T, "the error of "+kind, err.Error())
				}
			}
		}
		for i, claims := range []jwt.MapClaims{nil, {"sub": "bob"}, {"exp": 1}, {"aud": "others"}} {
			err := b.call(c, "auth.refresh", b.jwt(fmt.Sprintf("refresh %d at %s", i, url[:3]), claims, nil, b.signing), header)
			if (err == nil) != (i == 0) {
				b.Errorf("refresh %d: %v", i, err)
			}
			if err != nil {
				b.s.leakless(b.T, "the error of a refresh", err.Error())
			}
		}
		if err := c.Subscribe(b.Context(), "x"); err != nil {
			b.Error(err)
		}
		if err := c.Subscribe(b.Context(), "refused"); err == nil {
			b.Error("the backend's refusal does not count")
		}
		if err := c.Publish(b.Context(), "x", "said", content); err != nil {
			b.Error(err)
		}
		_ = c.Publish(b.Context(), "refused", "said", content) // which is
		_ = c.Close()
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.tcp, "tcp://"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "\x00"+b.s.new("bytes that are no wire's")+"\r\n\r\n") // it may be closed
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	answer, _ := io.ReadAll(io.LimitReader(conn, 1<<20)) // or there is none
	b.s.leakless(b.T, "the answer to nonsense", string(answer))
}

// call sends what is secret in a header, too, and one that is a credential.
func (b *besieged) call(c *client.Client, kind string, v any, header string) error {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	if b.s["a credential in a header"] == "" {
		b.s.new("a credential in a header")
	}
	return c.Call(ctx, kind, v, nil, polywire.WithHeader("x-note", header), polywire.WithHeader("authorization", "Bearer "+b.s["a credential in a header"]))
}

// askAPI asks the API for all sorts of things.
func (b *besieged) askAPI() {
	good, at := authorization("Bearer", b.ops), b.web+"/api/v1"
	secret := b.s.new("a payload of the API")
	b.wants(http.StatusOK, http.MethodPost, at+"/rooms/x/send", `{"kind":"k","text":"`+secret+`","header":{"h":"`+secret+`"}}`, good)
	b.wants(http.StatusNotFound, http.MethodPost, at+"/all/call", `{"kind":"k","text":"`+secret+`","timeout":"1s"}`, good)
	b.wants(http.StatusOK, http.MethodGet, at+"/rooms/x/history", "", good, "a payload of the API", "a message's content")
	for _, path := range []string{"/connections", "/rooms", "/nodes", "/stats", "/queues", "/rooms/x/presence", "/openapi.json", "/webhooks/endpoints", "/queues/nothing", "/connections/nobody"} {
		b.ask(http.MethodGet, at+path, "", good)
	}
	for _, body := range []string{`{"kind":"k",` + secret, `{"kind":"k","text":` + secret + `}`, `{"kind":"k","json":"` + secret, `{"kind":["` + secret + `"]}`} {
		b.wants(http.StatusBadRequest, http.MethodPost, at+"/all/send", body, good)
	}
	b.wants(http.StatusUnprocessableEntity, http.MethodPost, at+"/all/send", `{"kind":"","text":"`+secret+`"}`, good)
	b.ask(http.MethodPost, at+"/queues/orders/messages", `{"text":"`+secret+`"}`, good) // the broker is away
	for _, headers := range []map[string]string{
		nil, authorization("Bearer", b.s.new("a wrong key")), authorization("Basic", base64.StdEncoding.EncodeToString([]byte("u:"+b.ops))),
		{"Cookie": "key=" + b.ops}, {"X-Api-Key": b.ops},
	} {
		for _, path := range []string{"/stats?key=" + b.ops, "/webhooks/endpoints?api_key=" + b.hooks} {
			b.wants(http.StatusUnauthorized, http.MethodGet, at+path, "", headers)
		}
	}
	b.wants(http.StatusForbidden, http.MethodPost, at+"/all/send", `{"kind":"k"}`, map[string]string{"Authorization": "Bearer " + b.ops, "Origin": "https://evil.example"})
	b.ask(http.MethodPost, b.web+"/polywire.api.v1.Messages/Send", `{"target":{"all":true},"kind":"k","text":"`+secret+`"}`, good)
	b.ask(http.MethodPost, b.web+"/polywire.api.v1.Messages/Send", `{"text":"`+secret+`"`, good)
}

// sendWebhooks has endpoints that cannot be reached, or answer nonsense.
func (b *besieged) sendWebhooks() {
	at, key := b.web+webhookAPIPath, authorization("Bearer", b.hooks)
	path, header := b.s.new("an endpoint's path"), b.s.new("an endpoint's header")
	signs := b.s.new("an endpoint's secret")
	text := base64.StdEncoding.EncodeToString([]byte(signs + signs[:6]))
	b.s["an endpoint's secret, encoded"] = text[4:28]
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	b.Cleanup(failing.Close)
	tries := make(chan struct{}, 100)
	aborting := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		tries <- struct{}{}
		panic(http.ErrAbortHandler)
	}))
	b.Cleanup(aborting.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes fail
	secure.StartTLS()
	b.Cleanup(secure.Close)
	timeout := webhook.MaxTimeout.String()
	for i, url := range []string{failing.URL, aborting.URL, "http://" + freeAddress(b.T), secure.URL, "https://nowhere.invalid", "http://192.0.2.1:8081"} {
		if i > 3 { // who does not answer, maybe
			timeout = "1s"
		}
		body, err := json.Marshal(map[string]any{
			"id": fmt.Sprintf("e%d", i), "url": url + "/" + path + "?k=" + path, "types": []string{"*"}, "headers": map[string]string{"X-Token": header},
			"secret": "whsec_" + text, "timeout": timeout, "schedule": map[string]any{"delays": []string{"0s", "1ms"}},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ask(http.MethodPost, at+"/endpoints", string(body), key, "an endpoint's path", "an endpoint's secret, encoded", "an endpoint's secret")
	}
	b.wants(http.StatusUnprocessableEntity, http.MethodPost, at+"/endpoints", `{"url":"http://u:`+path+`@127.0.0.1:9999/`+path+`","types":["*"]}`, key)
	b.wants(http.StatusUnprocessableEntity, http.MethodPost, at+"/endpoints", `{"url":"http://127.0.0.1:9999/","types":["*"],"secret":"`+signs+`"}`, key)
	b.wants(http.StatusUnprocessableEntity, http.MethodPost, at+"/endpoints", `{"url":"http://127.0.0.1:9999/","types":["*"],"headers":{"X-Token":"`+header+`\r\n"}}`, key)
	b.wants(http.StatusBadRequest, http.MethodPost, at+"/endpoints", `{"url":["`+path+`"],"secret":"`+signs+`"}`, key)
	b.wants(http.StatusAccepted, http.MethodPost, at+"/events", `{"type":"paid","data":"`+b.s.new("an event's content")+`"}`, key)
	<-tries
	<-tries
	b.wants(http.StatusOK, http.MethodGet, at+"/endpoints", "", key, "an endpoint's path")
	b.p.logs(`a webhook was tried.*e2`)
	for i := range 5 {
		b.ask(http.MethodGet, fmt.Sprintf("%s/endpoints/e%d/attempts", at, i), "", key, "an event's content")
	}
	b.wants(http.StatusUnauthorized, http.MethodGet, at+"/endpoints", "", authorization("Bearer", b.s.new("a wrong key of the webhooks")))
}

// receiveWebhooks has good ones and bad ones come in.
func (b *besieged) receiveWebhooks() {
	secret, err := webhook.ParseSecret(b.in)
	if err != nil {
		b.Fatal(err)
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		b.Fatal(err)
	}
	body := `{"type":"t","data":"` + b.s.new("a webhook that came in") + `"}`
	h := make(http.Header)
	if err := signer.SetHeaders(h, "one", time.Now(), []byte(body)); err != nil {
		b.Fatal(err)
	}
	headers := make(map[string]string)
	for name := range h {
		headers[name] = h.Get(name)
	}
	b.s["a signature"] = strings.TrimPrefix(h.Get("Webhook-Signature"), "v1,")[:30]
	b.wants(http.StatusNoContent, http.MethodPost, b.web+"/hooks/in", body, headers)
	b.wants(http.StatusUnauthorized, http.MethodPost, b.web+"/hooks/in", body+" ", headers)
	headers["Webhook-Signature"] = "v1," + b.s.new("a wrong signature")
	b.wants(http.StatusUnauthorized, http.MethodPost, b.web+"/hooks/in", body, headers)
}

// reload has the settings read again, wrong ones too.
func (b *besieged) reload() {
	before, err := os.ReadFile(b.config)
	if err != nil {
		b.Fatal(err)
	}
	key, err := os.ReadFile(b.key)
	if err != nil {
		b.Fatal(err)
	}
	for _, wrong := range []string{
		strings.Replace(string(before), "token: ", "tokn: ", 1),
		strings.Replace(string(before), "api_key: ", "api_key: *", 1),
		strings.Replace(string(before), "secret: '", "secret: 'x", 1) + "\n\t",
	} {
		told := strings.Count(b.p.said(), "nothing was changed")
		rewrite(b.T, b.config, wrong)
		b.p.signal(syscall.SIGHUP)
		eventually(b.T, "it says that the settings are wrong", func() bool { return strings.Count(b.p.said(), "nothing was changed") > told })
	}
	rewrite(b.T, b.config, strings.ReplaceAll(string(before), "wait: 100ms", "wait: 200ms"))
	rewrite(b.T, b.key, "-----BEGIN PRIVATE KEY-----\n"+b.s["tls.key"]+"\n-----END PRIVATE KEY-----\n")
	b.p.signal(syscall.SIGHUP)
	b.p.logs("nothing was changed.*tls-key|nothing was changed.*tls.key")
	rewrite(b.T, b.key, string(key))
	b.p.signal(syscall.SIGHUP)
	b.p.logs("the settings were read again.*changed")
}

// look reads everything that is shown to those who run the server.
func (b *besieged) look() {
	good := authorization("Bearer", b.token)
	for _, path := range []string{
		"/metrics", "/settings", "/livez", "/readyz", "/readyz?format=json", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2",
		"/debug/pprof/goroutine?debug=1", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1", "/debug/pprof/threadcreate?debug=1", "/debug/pprof/symbol?0x1",
	} {
		code, text := b.ask(http.MethodGet, b.admin+path, "", good)
		if text == "" || code != http.StatusOK && !strings.Contains(path, "readyz") { // the broker is away
			b.Errorf("%s: %d %s", path, code, text)
		}
		if strings.Contains(path, "readyz") || strings.Contains(path, "livez") {
			continue
		}
		for _, headers := range []map[string]string{nil, authorization("Bearer", b.s.new("a wrong admin token")), authorization("Basic", base64.StdEncoding.EncodeToString([]byte("u:"+b.s["a wrong admin token"]))), {"Cookie": "token=" + b.token}} {
			b.wants(http.StatusUnauthorized, http.MethodGet, b.admin+path+"?token="+b.token, "", headers)
		}
	}
	for _, args := range [][]string{{"config", "show", b.config}, {"config", "show", "--json", b.config}, {"config", "check", b.config}} {
		out, errOut, err := run(b.T, "", args...)
		if err != nil {
			errOut += err.Error()
		}
		b.s.leakless(b.T, strings.Join(args, " "), out+errOut)
	}
}

// crash ends it with all stacks, and reads what it has said from the first line.
func (b *besieged) crash() {
	b.p.signal(syscall.SIGQUIT)
	if err := b.p.ends(); err == nil {
		b.Error("it has ended well")
	}
	said := b.p.said()
	if !strings.Contains(said, "goroutine 1 ") {
		b.Errorf("no stacks:\n%s", said)
	}
	if len(b.s) < 40 {
		b.Errorf("%d secrets only", len(b.s))
	}
	b.s.leakless(b.T, "what it has said", said)
	dir := filepath.Dir(b.config)
	if found, err := filepath.Glob(filepath.Join(dir, "core*")); err != nil || len(found) > 0 {
		b.Errorf("%v, %v", found, err)
	}
}

// A server of a cluster, which has no other yet.
func TestClusterSecretStaysInside(t *testing.T) {
	all := make(secrets)
	file := settingsFile(t, "listen: '127.0.0.1:0'\nlog: {level: debug}\ncluster: {listen: '127.0.0.1:0', secret: "+all.new("cluster.secret")+"}\nadmin: {listen: '127.0.0.1:0'}\n")
	p := startProgram(t, nil, "serve", "--config", file)
	p.line()
	for _, path := range []string{"/settings", "/metrics", "/debug/pprof/goroutine?debug=2", "/readyz"} {
		_, text := read(t, oneShot(), adminOf(p)+path, "")
		all.leakless(t, path, text)
	}
	p.signal(syscall.SIGQUIT)
	if p.ends() == nil {
		t.Error("it has ended well")
	}
	all.leakless(t, "what it has said", p.said())
}
