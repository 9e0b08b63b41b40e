package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/queue"
)

func newBroker(t *testing.T) *queue.Broker {
	t.Helper()
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// refusal is a request that is refused.
type refusal struct {
	method, path, body string
	status             int
	code, says         string
}

func refusedReads() []refusal {
	long, tooLong := strings.Repeat("x", 300), strings.Repeat("x", maxQueryBytes+1)
	return []refusal{
		{"GET", "nothing", "", 404, codeNotFound, "no such path"},
		{"GET", "", "", 404, codeNotFound, ""},
		{"GET", "overview/", "", 404, codeNotFound, ""},
		{"GET", "../api/overview", "", 307, "", ""}, // the path is cleaned, by a redirect
		{"POST", "overview", "{}", 405, codeMethod, ""},
		{"HEAD", "overview", "", 405, "", ""},
		{"DELETE", "connections", "", 405, codeMethod, ""},
		{"GET", "login", "", 405, codeMethod, ""},
		{"GET", "connection/disconnect", "", 405, codeMethod, ""},
		{"GET", "overview?x=1", "", 400, codeBadRequest, `"x" is not known`},
		{"GET", "overview?" + tooLong + "=1", "", 400, codeBadRequest, "not known"},
		{"GET", "series?span=10m&span=2h", "", 400, codeBadRequest, "twice"},
		{"GET", "series?span=1h", "", 400, codeBadRequest, "10m or 2h"},
		{"GET", "series?span=%zz", "", 400, codeBadRequest, "cannot be read"},
		{"GET", "series?span=%ff", "", 400, codeBadRequest, "UTF-8"},
		{"GET", "series;span=2h", "", 404, codeNotFound, ""},
		{"GET", "connections?q=" + tooLong, "", 400, codeBadRequest, "at most 512 bytes"},
		{"GET", "connections?limit=0", "", 400, codeBadRequest, "limit: want 1 to 500"},
		{"GET", "connections?limit=501", "", 400, codeBadRequest, "limit"},
		{"GET", "connections?limit=-1", "", 400, codeBadRequest, "limit"},
		{"GET", "connections?limit=1e1", "", 400, codeBadRequest, "limit"},
		{"GET", "connections?limit=99999999999999999999", "", 400, codeBadRequest, "limit"},
		{"GET", "connections?sort=user", "", 400, codeBadRequest, "sort"},
		{"GET", "connections?sort=queued&after=a", "", 400, codeBadRequest, "after"},
		{"GET", "connection", "", 400, codeBadRequest, "id is missing"},
		{"GET", "connection?id=nobody", "", 404, codeNotFound, "no such connection"},
		{"GET", "connection?id=%00%0d%0a", "", 404, codeNotFound, "no such connection"},
		{"GET", "rooms?limit=x", "", 400, codeBadRequest, "limit"},
		{"GET", "events?tail=2", "", 400, codeBadRequest, "tail"},
		{"GET", "events?tail=1&dir=up", "", 400, codeBadRequest, "dir"},
		{"GET", "events?tail=1&kind=" + long, "", 400, codeBadRequest, "at most 255"},
		{"GET", "events?tail=1&since=1", "", 400, codeBadRequest, "not known"},
		{"GET", "queues?limit=201", "", 400, codeBadRequest, "limit"},
		{"GET", "queue/dead", "", 400, codeBadRequest, ""},
		{"GET", "queue/dead?queue=" + long, "", 400, codeBadRequest, ""},
		{"GET", "queue/dead?queue=a&reason=old", "", 400, codeBadRequest, "reason"},
		{"GET", "queue/dead?queue=a&kind=" + long, "", 400, codeBadRequest, "kind"},
		{"GET", "queue/dead?queue=a&limit=101", "", 400, codeBadRequest, "limit"},
		{"GET", "queue/dead?queue=none", "", 404, codeNotFound, ""},
		{"GET", "webhooks/attempts", "", 400, codeBadRequest, "endpoint, or event"},
		{"GET", "webhooks/attempts?endpoint=a&event=b", "", 400, codeBadRequest, "endpoint, or event"},
		{"GET", "webhooks/attempts?event=b&before=c", "", 400, codeBadRequest, "before"},
		{"GET", "webhooks/attempts?endpoint=a&limit=201", "", 400, codeBadRequest, "limit"},
	}
}

func refusedChanges() []refusal {
	long, tooLong := strings.Repeat("x", 300), strings.Repeat("x", maxQueryBytes+1)
	return []refusal{
		{"POST", "login", `{"token":"` + strings.Repeat("x", maxTokenBytes+1) + `"}`, 400, codeBadRequest, "at most 512"},
		{"POST", "login", `{"token":1}`, 400, codeBadRequest, "token cannot be"},
		{"POST", "login", `{"Token":"a"}`, 400, codeBadRequest, "not known"},
		{"POST", "login", `{"token":"a","token":"b"}`, 400, codeBadRequest, "twice"},
		{"POST", "login", `{"token":"a"`, 400, codeBadRequest, ""},
		{"POST", "login", `[]`, 400, codeBadRequest, "one object"},
		{"POST", "login", "{\"token\":\"\xff\"}", 400, codeBadRequest, "UTF-8"},
		{"POST", "login?token=" + token, `{}`, 400, codeBadRequest, "not known"},
		{"POST", "login", strings.Repeat(" ", maxBodyBytes+1), 413, codeTooLarge, ""},
		{"POST", "logout", `{"all":true}`, 400, codeBadRequest, "not known"},
		{"POST", "connection/disconnect", ``, 400, codeBadRequest, "id"},
		{"POST", "connection/disconnect", `{"id":"a","code":1000}`, 400, codeBadRequest, "code"},
		{"POST", "connection/disconnect", `{"id":"a","code":5000}`, 400, codeBadRequest, "code"},
		{"POST", "connection/disconnect", `{"id":"a","code":1e400}`, 400, codeBadRequest, ""},
		{"POST", "connection/disconnect", `{"id":"a","reason":"` + long + `"}`, 400, codeBadRequest, "reason"},
		{"POST", "connection/disconnect", `{"id":"` + tooLong + `"}`, 400, codeBadRequest, "id"},
		{"POST", "connection/disconnect", `{"id":"nobody"}`, 404, codeNotFound, "no such connection"},
		{"POST", "queue/dead/replay", `{}`, 400, codeBadRequest, ""},
		{"POST", "queue/dead/replay", `{"queue":"a"}`, 400, codeBadRequest, "ids, or all"},
		{"POST", "queue/dead/replay", `{"queue":"a","ids":[]}`, 400, codeBadRequest, "ids, or all"},
		{"POST", "queue/dead/replay", `{"queue":"a","ids":["b"],"all":true}`, 400, codeBadRequest, "ids, or all"},
		{"POST", "queue/dead/replay", `{"queue":"a","ids":[""]}`, 400, codeBadRequest, "ids"},
		{"POST", "queue/dead/replay", `{"queue":"a","ids":["` + tooLong + `"]}`, 400, codeBadRequest, "ids"},
		{"POST", "queue/dead/discard", `{"queue":"a","ids":[` + strings.Repeat(`"x",`, maxIDs) + `"x"]}`, 400, codeBadRequest, "at most 100"},
		{"POST", "queue/dead/discard", `{"queue":"a","all":"yes"}`, 400, codeBadRequest, "all cannot be"},
		{"POST", "queue/dead/discard", `{"queue":"none","ids":["a"]}`, 404, codeNotFound, ""},
		{"POST", "webhooks/replay", `{}`, 404, codeNotFound, ""},
		{"POST", "webhooks/replay", `{"endpoint":"nobody","event":"e"}`, 404, codeNotFound, ""},
		{"POST", "webhooks/replay", `{"endpoint":"a","failed_since":"yesterday"}`, 400, codeBadRequest, ""},
		{"POST", "webhooks/replay", `{"endpoint":"` + tooLong + `","event":"e"}`, 400, codeBadRequest, "at most"},
	}
}

// Everything that can be wrong with a request is an answer in one form, before
// and after a login.
func TestRefusals(t *testing.T) {
	w := newWorld(t, worldOptions{token: token, queues: newBroker(t), webhooks: newDispatcher(t)})
	for _, c := range append(refusedReads(), refusedChanges()...) {
		resp, body := w.ask(c.method, apiPath+c.path, c.body, bearer)
		name := fmt.Sprintf("%s %.60s %.60s", c.method, c.path, c.body)
		if resp.Code != c.status {
			t.Errorf("%s: %s %s", name, resp.Status, body)
			continue
		}
		var p struct {
			Error struct{ Code, Message string }
		}
		if c.code != "" && (json.Unmarshal([]byte(body), &p) != nil || p.Error.Code != c.code || !strings.Contains(p.Error.Message, c.says)) {
			t.Errorf("%s: %s", name, body)
		}
		if len(body) > 700 || c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s: %d bytes, Allow %q", name, len(body), resp.Header.Get("Allow"))
		}
		if c.code != "" && resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: it is %s", name, resp.Header.Get("Content-Type"))
		}
		if open := strings.HasPrefix(c.path, "login") || strings.HasPrefix(c.path, "logout"); !open && c.status != 307 {
			if resp, body := w.ask(c.method, apiPath+c.path, c.body); resp.Code != 401 {
				t.Errorf("%s: nobody is told %s %s", name, resp.Status, body)
			}
		}
	}
	if resp, body := w.ask("POST", apiPath+"logout", "a=b", "Content-Type: text/plain"); resp.Code != 415 {
		t.Errorf("%s %s", resp.Status, body)
	}
	if text := w.log.String(); strings.Contains(text, "level=ERROR") {
		t.Errorf("a wrong request is an error of ours: %s", text)
	}
}

// Before there is a server, and where it has no queues and no webhooks.
func TestNothingThere(t *testing.T) {
	w := newWorld(t, worldOptions{token: token, unstarted: true})
	if resp, body := w.ask("GET", apiPath+"overview", "", bearer); resp.Code != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ := w.ask("GET", apiPath+"session", ""); resp.Code != 200 {
		t.Error(resp.Status)
	}
	if err := w.console.Attach(Parts{Server: w.srv}); err != nil {
		t.Fatal(err)
	}
	if err := w.console.Attach(Parts{Server: w.srv}); err == nil {
		t.Error("it shows two servers")
	}
	var q queuesAnswer
	if w.get("queues", &q); q.Available || q.Queues == nil {
		t.Errorf("%+v", q)
	}
	var h webhooksAnswer
	if w.get("webhooks", &h); h.Available || h.Endpoints == nil {
		t.Errorf("%+v", h)
	}
	var s settingsAnswer
	if w.get("settings", &s); s.Settings == nil || len(s.Settings) != 0 {
		t.Errorf("%+v", s)
	}
	for path, body := range map[string]string{
		"queue/dead?queue=a": "", "webhooks/attempts?endpoint=a": "", "webhooks/replay": `{"endpoint":"a","event":"b"}`,
		"queue/dead/replay": `{"queue":"a","all":true}`, "queue/dead/discard": `{"queue":"a","all":true}`,
	} {
		method := "GET"
		if body != "" {
			method = "POST"
		}
		if resp, text := w.ask(method, apiPath+path, body, bearer); resp.Code != 501 || !strings.Contains(text, codeUnsupported) {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	w.console.Close()
	if resp, body := w.ask("GET", apiPath+"events", "", bearer); resp.Code != 503 {
		t.Errorf("when it is closed: %s %s", resp.Status, body)
	}
	if err := w.console.Attach(Parts{Server: w.srv}); err == nil {
		t.Error("it is closed")
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	if resp, _ := w.ask("GET", "/", ""); resp.Code != 302 || resp.Header.Get("Location") != "/console/" {
		t.Errorf("%s %s", resp.Status, resp.Header.Get("Location"))
	}
	resp, body := w.ask("GET", "/console/", "")
	if resp.Code != http.StatusOK || !strings.Contains(body, "<html") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("%s %s", resp.Status, body)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, word := range []string{"unsafe", "*", "http:", "https:"} {
		if strings.Contains(policy, word) {
			t.Errorf("the policy lets in %s", word)
		}
	}
	for _, path := range []string{"/console/nothing.js", "/console/views", "/console/views/", "/console/a/../../etc/passwd", "/console/%2e%2e/serve.go", "/console/index.html/"} {
		if resp, _ := w.ask("GET", path, ""); resp.Code/100 == 2 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if resp, _ := w.ask("POST", "/console/", "{}"); resp.Code != 405 {
		t.Errorf("POST: %s", resp.Status)
	}
	if resp, _ := w.ask("GET", "/console/", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"); resp.Code != 403 {
		t.Errorf("in a frame: %s", resp.Status)
	}
}

func TestSettings(t *testing.T) {
	w := newWorld(t, worldOptions{token: token, settings: func() []config.Effective {
		return []config.Effective{{Key: "admin.token", Value: "********", Secret: true}}
	}})
	var s settingsAnswer
	w.get("settings", &s)
	if len(s.Settings) != 1 || s.Settings[0].Key != "admin.token" || !s.Settings[0].Secret {
		t.Errorf("%+v", s)
	}
}

// A text is cut where a character begins, and is UTF-8 then.
func FuzzClip(f *testing.F) {
	f.Add("hällo", 2)
	f.Add("\xff\xfe\x80\x80\x80", 3)
	f.Add("€€€", 4)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 0 || n > 1<<16 {
			return
		}
		got := clip(s, n)
		if !utf8.ValidString(got) || len(got) > 3*n {
			t.Errorf("%q to %d bytes: %q", s, n, got)
		}
		if utf8.ValidString(s) && (len(got) > n || !strings.HasPrefix(s, got) || len(s) > n && len(got) < n-utf8.UTFMax) {
			t.Errorf("%q to %d bytes: %q", s, n, got)
		}
	})
}

// What is shown of a body is text, or says that it is not, and is bounded.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "text", "\xff", "h€llo", "{\"a\":\"€\"}", strings.Repeat("€", 40)} {
		f.Add([]byte(s), 20)
	}
	f.Fuzz(func(t *testing.T, data []byte, most int) {
		if most < 0 || most > 1<<12 {
			return
		}
		var b body
		b.text(data, most)
		if !utf8.ValidString(b.Body) || len(b.Body) > 2*most+4 || b.Cut != (len(data) > most) {
			t.Errorf("%q to %d bytes: %+v", data, most, b)
		}
		if utf8.Valid(data) && (b.Base64 || !strings.HasPrefix(string(data), b.Body)) {
			t.Errorf("%q to %d bytes: %+v", data, most, b)
		}
	})
}

// A query is read, or refused, and what is read is bounded.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "q=a", "q=a&q=b", "q=%zz", "q=%ff", "x=1", "q;b=1", "limit=3&q=%20", "&&&", "=", "q"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := readQuery(raw, []string{"q", "limit"})
		if err != nil {
			if p := problemOf(err); p.status != http.StatusBadRequest || len(p.message) > 2000 {
				t.Errorf("%q: %+v", raw, p)
			}
			return
		}
		for name, all := range values {
			if name != "q" && name != "limit" || len(all) != 1 || len(all[0]) > maxQueryBytes || !utf8.ValidString(all[0]) {
				t.Errorf("%q: %q is %q", raw, name, all)
			}
		}
	})
}
