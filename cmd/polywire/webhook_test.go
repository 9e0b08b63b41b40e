package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/cmd/polywire/internal/webhookapi"
	"github.com/polywire/polywire/cmd/polywire/internal/webhookcmd"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// natsForTest starts a NATS server that is reached by a URL.
func natsForTest(t *testing.T) string {
	t.Helper()
	s, err := natsembed.Start(t.Context(), natsembed.Options{TemporaryDir: true, NoSync: true, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s.ClientURL()
}

// webhookTool runs polywire webhook and decodes what it prints.
func webhookTool[T any](t *testing.T, args ...string) (v T) {
	t.Helper()
	out, _, err := run(t, "", append([]string{"webhook", "--json"}, args...)...)
	if err != nil {
		t.Fatalf("polywire webhook %s: %v", strings.Join(args, " "), err)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("polywire webhook %s printed %s: %v", strings.Join(args, " "), out, err)
	}
	return v
}

// lines starts a command that prints lines, and returns them as they come.
func lines(t *testing.T, args ...string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	c := newRoot()
	c.SetArgs(args)
	c.SetOut(w)
	c.SetErr(t.Output())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.ExecuteContext(ctx); err != nil {
			t.Errorf("polywire %s: %v", strings.Join(args, " "), err)
		}
		w.Close()
	})
	ch := make(chan string, 1000)
	done.Go(func() {
		in := bufio.NewScanner(r)
		in.Buffer(nil, 4<<20)
		for in.Scan() {
			ch <- in.Text()
		}
		close(ch)
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return ch
}

// next returns a line of JSON.
func next[T any](t *testing.T, ch <-chan string) (v T) {
	t.Helper()
	select {
	case line, open := <-ch:
		if !open {
			t.Fatal("it has ended")
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	case <-time.After(patience):
		t.Fatal("it prints nothing")
	}
	return v
}

// A sender by the command, a receiver by the command: polywire serve in between
// makes the deliveries.
func TestWebhookCommand(t *testing.T) {
	at := []string{"--nats", natsForTest(t)}
	secret := webhook.GenerateSecret().Reveal()
	t.Setenv("HOOK_SECRET", secret)
	received := lines(t, "webhook", "listen", "--listen", "127.0.0.1:0", "--secret", "env:HOOK_SECRET", "--status", "500,204", "--json")
	url := next[struct{ Listening string }](t, received).Listening
	start(t, 1, append([]string{"serve", "--listen", "127.0.0.1:0", "--webhooks", "--webhook-allow-http", "--webhook-allow-network", "127.0.0.1/32"}, at...)...)

	add := append([]string{"endpoints", "add", url, "--id", "shop", "--type", "order.*", "--header", "X-Tenant: seven", "--secret", "env:HOOK_SECRET",
		"--schedule", "0s", "--allow-http", "--allow-network", "127.0.0.1/32"}, at...)
	if c := webhookTool[webhookapi.Created](t, add...); c.Endpoint.ID != "shop" || c.Secret != "" {
		t.Errorf("added: %+v", c)
	}
	eventually(t, "the server sees the endpoint", func() bool {
		return len(webhookTool[webhookapi.Endpoints](t, append([]string{"endpoints", "ls"}, at...)...).Endpoints) == 1
	})
	a := webhookTool[webhookapi.Accepted](t, append([]string{"send", "order.paid", `{"order":7}`}, at...)...)
	if a.Endpoints != 1 {
		t.Errorf("accepted: %+v", a)
	}
	h := next[webhookcmd.Received](t, received)
	if h.Verified != "yes" || h.ID != a.ID || h.Type != "order.paid" || h.Status != 500 || h.Header["X-Tenant"] != "seven" || h.Repeated {
		t.Errorf("received: %+v", h)
	}
	// It had one try: it failed, and is replayed in two ways.
	list := func() []webhookapi.Attempt {
		return webhookTool[webhookapi.Attempts](t, append([]string{"attempts", "shop"}, at...)...).Attempts
	}
	eventually(t, "the failed attempt", func() bool { return len(list()) == 1 })
	if n := webhookTool[map[string]int](t, append([]string{"replay", "shop", "--failed-since", "1h"}, at...)...); n["queued"] != 1 {
		t.Errorf("replay of what failed: %v", n)
	}
	if h = next[webhookcmd.Received](t, received); !h.Repeated || h.Status != 204 || h.ID != a.ID || h.Verified != "yes" {
		t.Errorf("received again: %+v", h)
	}
	eventually(t, "the second attempt", func() bool { return len(list()) == 2 })
	webhookTool[map[string]int](t, append([]string{"replay", "shop", a.ID}, at...)...)
	next[webhookcmd.Received](t, received)
	eventually(t, "the third attempt", func() bool { return len(list()) == 3 })
	if one := webhookTool[webhookapi.Attempt](t, append([]string{"attempts", "shop", "--event", a.ID}, at...)...); one.State != dispatch.StateDelivered || one.Status != 204 || one.Header == nil {
		t.Errorf("one attempt in full: %+v", one)
	}
	if n := webhookTool[map[string]int](t, append([]string{"replay", "--types", "order.*", "--since", "1h", "--rate", "1000"}, at...)...); n["queued"] != 1 {
		t.Errorf("replay of a range: %v", n)
	}
	next[webhookcmd.Received](t, received)

	// After a rotation the old secret signs too, for its time, then not.
	n := webhookTool[webhookapi.NewSecret](t, append([]string{"endpoints", "rotate", "shop", "--grace", "0s"}, at...)...)
	if !strings.HasPrefix(n.Secret, "whsec_") || n.Secret == secret {
		t.Errorf("rotated: %+v", n)
	}
	eventually(t, "a request with the new secret", func() bool {
		webhookTool[webhookapi.Accepted](t, append([]string{"send", "order.sent"}, at...)...)
		return next[webhookcmd.Received](t, received).Verified == "no"
	})
	for _, args := range [][]string{{"endpoints", "ls"}, {"endpoints", "ls", "shop"}, {"attempts", "shop"}, {"attempts", "--event", a.ID}} {
		for _, how := range [][]string{{"webhook"}, {"webhook", "--json"}} {
			out, _, err := run(t, "", append(append(how, args...), at...)...)
			if err != nil || !strings.Contains(out, "shop") || strings.Contains(out, n.Secret) || strings.Contains(out, secret) || strings.Contains(out, "seven") {
				t.Errorf("%v printed %s, %v", args, out, err)
			}
		}
	}
	if e := webhookTool[webhookapi.Endpoint](t, append([]string{"endpoints", "disable", "shop", "--reason", "a test"}, at...)...); !e.Disabled {
		t.Errorf("disabled: %+v", e)
	}
	if e := webhookTool[webhookapi.Endpoint](t, append([]string{"endpoints", "enable", "shop"}, at...)...); e.Disabled {
		t.Errorf("enabled: %+v", e)
	}
	if out, _, err := run(t, "", append([]string{"webhook", "endpoints", "rm", "shop"}, at...)...); err != nil || out != "removed shop\n" {
		t.Errorf("rm: %q, %v", out, err)
	}
	if out, _, err := run(t, "", append([]string{"webhook", "endpoints", "ls"}, at...)...); err != nil || out != "no endpoints\n" {
		t.Errorf("ls: %q, %v", out, err)
	}
}

// The directory of a server that is not running is managed by itself.
func TestWebhookDataDir(t *testing.T) {
	at := []string{"--data-dir", t.TempDir()}
	out, _, err := run(t, "", append([]string{"webhook", "endpoints", "add", "https://customer.example/hook", "--type", "*", "--key", "ed25519"}, at...)...)
	if err != nil || !strings.Contains(out, "public key whpk_") {
		t.Errorf("add: %q, %v", out, err)
	}
	out, _, err = run(t, `{"n":1}`, append([]string{"webhook", "send", "a.b", "-"}, at...)...)
	if err != nil || !strings.Contains(out, "is accepted for 1 endpoint\n") {
		t.Errorf("send: %q, %v", out, err)
	}
	out, _, err = run(t, "", append([]string{"webhook", "replay", "--types", "*"}, at...)...)
	if err != nil || out != "1 delivery queued\n" {
		t.Errorf("replay: %q, %v", out, err)
	}
	start(t, 1, append([]string{"serve", "--listen", "127.0.0.1:0"}, at...)...)
	if _, _, err = run(t, "", append([]string{"webhook", "endpoints", "ls"}, at...)...); err == nil || !strings.Contains(err.Error(), "--nats-listen") {
		t.Errorf("a directory in use: %v", err)
	}
}

func TestWebhookWrongInput(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("no-such-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := " --data-dir " + dir
	if _, _, err := run(t, "", append([]string{"webhook", "endpoints", "ls"}, strings.Fields(at)...)...); err == nil || !strings.Contains(err.Error(), "polywire serve --webhooks") {
		t.Errorf("where no webhooks are kept: %v", err)
	}
	run(t, "", append([]string{"webhook", "endpoints", "add", "https://a.example", "--type", "none"}, strings.Fields(at)...)...)
	for _, c := range []struct{ args, want string }{
		{"endpoints ls", "--nats URL, or --data-dir DIR"},
		{"endpoints ls --nats nats://127.0.0.1:1", "--nats nats://127.0.0.1:1"},
		{"endpoints ls --nats nats://user:hidden@127.0.0.1:1", "--nats nats://127.0.0.1:1"},
		{"endpoints ls --nats x --data-dir y", "use one or the other"},
		{"endpoints ls --data-dir " + dir + "/nothing", "no such file"},
		{"endpoints ls --nats-creds x" + at, "--nats-creds is for --nats"},
		{"endpoints ls nobody" + at, `not found: endpoint "nobody"`},
		{"endpoints add", "URL is missing"},
		{"endpoints add https://a.example", "--type says"},
		{"endpoints add http://a.example --type *" + at, "--allow-http"},
		{"endpoints add https://127.0.0.1:8443 --type *" + at, "--allow-network"},
		{"endpoints add https://a.example --type a..b" + at, "pattern"},
		{"endpoints add https://a.example --type * --secret whsec_abc" + at, "list of processes"},
		{"endpoints add https://a.example --type * --secret env:NOT_SET_HERE" + at, "NOT_SET_HERE is not set"},
		{"endpoints add https://a.example --type * --secret file:" + secret + at, "whsec_"},
		{"endpoints add https://a.example --type * --schedule now" + at, "units"},
		{"endpoints add https://a.example --type * --schedule 0s --jitter 7" + at, "jitter"},
		{"endpoints add https://a.example --type * --header a" + at, "Name: value"},
		{"endpoints add https://a.example --type * --allow-network here" + at, "10.1.0.0/16"},
		{"endpoints add https://a.example --type * --format xml" + at, "standard or gost"},
		{"endpoints rotate nobody" + at, "endpoints ls shows"},
		{"endpoints rotate", "ID is missing"},
		{"endpoints disable nobody" + at, "not found"},
		{"endpoints enable nobody" + at, "not found"},
		{"endpoints rm nobody" + at, `not found: endpoint "nobody"`},
		{"send", "TYPE is missing"},
		{"send a.b {" + at, "not JSON"},
		{"send a..b" + at, "type: want"},
		{"send a.b 1 --id x.y" + at, "id"},
		{"send a.b 1 --time yesterday" + at, "how long ago"},
		{"attempts" + at, "say whose"},
		{"attempts a --limit 0" + at, "1 to 1000"},
		{"attempts nobody" + at, `not found: endpoint "nobody"`},
		{"attempts nobody --event x" + at, "no such attempt"},
		{"attempts --event x --try 1" + at, "--try is for one"},
		{"attempts --event x --before 1" + at, "--before is for"},
		{"replay" + at, "ENDPOINT EVENT"},
		{"replay nobody" + at, "give one of"},
		{"replay nobody x" + at, "not found"},
		{"replay --types * --rate 0" + at, "--rate 0"},
		{"replay --types * --since never" + at, "--since"},
		{"replay nobody --failed-since tomorrow" + at, "--failed-since"},
		{"listen --status 99", "200 to 599"},
		{"listen --listen nowhere", "--listen"},
		{"listen --secret env:NOT_SET_HERE", "NOT_SET_HERE"},
		{"verify", "--secret says"},
		{"verify --secret file:" + secret, "whsec_"},
		{"verify --secret whpk_x", "secret cannot be used"},
		{"verify --format xml --secret whpk_x", "want standard or gost"},
	} {
		_, _, err := run(t, "", append([]string{"webhook"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "no-such-secret") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("polywire webhook %s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestWebhookListen(t *testing.T) {
	secret := webhook.GenerateSecret()
	t.Setenv("HOOK_SECRET", secret.Reveal())
	got := lines(t, "webhook", "listen", "--listen", "127.0.0.1:0", "--secret", "env:HOOK_SECRET", "--status", "503,200",
		"--header", "Retry-After: 2", "--body", "hello", "--max-body-bytes", "1000", "--delay", "1ms", "--count", "5", "--json")
	url := next[struct{ Listening string }](t, got).Listening
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i, c := range []struct {
		body     string
		sign     bool
		status   int
		verified string
		repeated bool
	}{
		{`{"type":"a.b"}`, true, 503, "yes", false},
		{`{"type":"a.b"}`, true, 200, "yes", true},
		{`{"type":"a.b"}`, false, 400, "no", false},
		{strings.Repeat("x", 1001), true, 413, "unchecked", false},
		{"no JSON \x1b[2J", true, 200, "yes", true},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.sign {
			if err := signer.SetHeaders(r.Header, "msg_1", time.Now(), []byte(c.body)); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		h := next[webhookcmd.Received](t, got)
		if resp.StatusCode != c.status || string(text) != "hello" || resp.Header.Get("Retry-After") != "2" {
			t.Errorf("request %d: %d %q", i+1, resp.StatusCode, text)
		}
		if h.N != i+1 || h.Verified != c.verified || h.Repeated != c.repeated || h.Status != c.status || (h.Problem != "") != (c.verified != "yes") {
			t.Errorf("request %d: printed %+v", i+1, h)
		}
	}
	if line, open := <-got; open {
		t.Errorf("after five requests: %s", line)
	}
}

func TestWebhookVerify(t *testing.T) {
	secret := webhook.GenerateSecret()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := webhook.GenerateSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := pair.Public()
	signer, err := webhook.NewSigner(secret, pair)
	if err != nil {
		t.Fatal(err)
	}
	const body = "{\"type\":\"a.b\",\n\"data\":\"\u00e9\"}\n"
	request := func(at time.Time) (string, []string) {
		h := make(http.Header)
		if err := signer.SetHeaders(h, "msg_1", at, []byte(body)); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := h.Write(&text); err != nil {
			t.Fatal(err)
		}
		var flags []string
		for name := range h {
			flags = append(flags, "--header", name+": "+h.Get(name))
		}
		return text.String() + "\r\n" + body, flags
	}
	fresh, flags := request(time.Now())
	old, _ := request(time.Now().Add(-time.Hour))
	by := []string{"--secret", "file:" + file}
	for _, c := range []struct {
		name, stdin string
		args        []string
		want, err   string
	}{
		{"a request", fresh, by, "verified: type a.b, id msg_1", ""},
		{"with its first line", "POST /hook HTTP/1.1\r\n" + fresh, by, "verified: ", ""},
		{"lines of one byte", strings.ReplaceAll(strings.TrimSuffix(fresh, body), "\r\n", "\n") + body, by, "verified: ", ""},
		{"the body alone", body, append(flags, by...), "verified: ", ""},
		{"by the public key", fresh, []string{"--secret", public.Reveal()}, "verified: ", ""},
		{"as JSON", fresh, append([]string{"--json"}, by...), `"verified": true`, ""},
		{"another body", fresh + " ", by, "", "not verified: no signature"},
		{"an old one", old, by, "", "--insecure-ignore-timestamp"},
		{"an old one as JSON", old, append([]string{"--json"}, by...), `"verified": false`, "not verified"},
		{"an old one with tolerance", old, append([]string{"--tolerance", "2h"}, by...), "verified: ", ""},
		{"an old one at any time", old, append([]string{"--insecure-ignore-timestamp"}, by...), "verified: ", ""},
		{"no header", body, by, "", "want a request"},
		{"nothing", "", by, "", "want a request"},
		{"no signature", "Host: a\r\n\r\n" + body, by, "", "not verified"},
	} {
		out, _, err := run(t, c.stdin, append([]string{"webhook", "verify"}, c.args...)...)
		if !strings.Contains(out, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: printed %q, error %v", c.name, out, err)
		}
	}
}
