package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

// tail follows what the console shows of messages. The function that it
// returns ends that and returns what was shown.
func (b *besieged) tail() func() string {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.admin+"/console/api/events?tail=1", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(resp, err)
	}
	var mu sync.Mutex
	var shown strings.Builder
	var done sync.WaitGroup
	done.Go(func() {
		for part := make([]byte, 64<<10); ; {
			n, err := resp.Body.Read(part)
			mu.Lock()
			shown.Write(part[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	end := func() {
		cancel()
		_ = resp.Body.Close()
		done.Wait()
	}
	b.Cleanup(end)
	return func() string {
		testenv.Eventually(b.T, patience, "the tail shows what was last", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(shown.String(), `"kind":"said"`)
		})
		end()
		return shown.String()
	}
}

// contents are secrets that only the console's tail shows, since it is for
// that.
func (b *besieged) contents() (names []string) {
	for name := range b.s {
		if strings.Contains(name, "content") || strings.Contains(name, "payload") || name == "a message's header" || name == "a webhook that came in" {
			names = append(names, name)
		}
	}
	return names
}

// console logs in, reads all that there is, and says wrong things.
func (b *besieged) console(tail string) {
	hidden := maps.Clone(b.s)
	for _, name := range b.contents() {
		delete(hidden, name)
	}
	hidden.leakless(b.T, "the tail", tail)
	if !strings.Contains(tail, "auth.refresh") || !strings.Contains(tail, "x-note") {
		b.Errorf("the tail does not show what it is for: %.2000s", tail)
	}

	at := b.admin + "/console/"
	for _, path := range []string{"", "index.html", "api/session", "nothing", "api/nothing", "../etc/passwd", "..%2f..%2fetc%2fpasswd"} {
		code, text := b.ask(http.MethodGet, at+path, "", nil)
		if code >= http.StatusInternalServerError || strings.Contains(text, "root:") {
			b.Errorf("%s: %d %s", path, code, text)
		}
	}
	wrong := b.s.new("a wrong token of the console")
	for _, body := range []string{`{"token":"` + wrong + `"}`, `{"token":["` + wrong + `"]}`, `{"` + wrong + `":1}`, `{"token":"` + wrong, `"` + wrong + `"`} {
		if code, text := b.ask(http.MethodPost, at+"api/login", body, nil, "a wrong token of the console"); code != http.StatusUnauthorized && code != http.StatusBadRequest {
			b.Errorf("%d %s", code, text)
		}
	}
	cookie := b.login(at)
	for _, path := range []string{
		"overview", "series", "series?span=2h", "connections", "connection?id=nobody", "rooms", "nodes", "queues", "queue/dead?queue=orders", "webhooks",
		"webhooks/attempts?endpoint=e0", "webhooks/attempts?endpoint=e2", "settings", "connections?q=" + url.QueryEscape(wrong), "connections?" + wrong + "=1", "rooms?limit=" + wrong,
	} {
		for _, headers := range []map[string]string{{"Cookie": cookie}, authorization("Bearer", b.token)} {
			code, text := b.ask(http.MethodGet, at+"api/"+path, "", headers, "a wrong token of the console")
			if code == http.StatusUnauthorized || code == http.StatusInternalServerError || !json.Valid([]byte(text)) {
				b.Errorf("%s: %d %s", path, code, text)
			}
		}
		b.wants(http.StatusUnauthorized, http.MethodGet, at+"api/"+path, "", map[string]string{"Cookie": cookie + "x"}, "a wrong token of the console")
	}
	b.wants(http.StatusNoContent, http.MethodPost, at+"api/logout", "{}", map[string]string{"Cookie": cookie})
	b.wants(http.StatusUnauthorized, http.MethodGet, at+"api/overview", "", map[string]string{"Cookie": cookie})
}

// login returns the cookie, which is a secret from then on.
func (b *besieged) login(at string) string {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, at+"api/login", strings.NewReader(`{"token":"`+b.token+`"}`))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := oneShot().Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusNoContent || len(resp.Cookies()) != 1 {
		b.Fatalf("%s %s %v", resp.Status, body, err)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.MaxAge <= 0 || c.MaxAge > int(24*time.Hour/time.Second) || c.Domain != "" {
		b.Errorf("the cookie is %s", c)
	}
	b.s["the console's cookie"] = c.Value[:20]
	return c.Name + "=" + c.Value
}
