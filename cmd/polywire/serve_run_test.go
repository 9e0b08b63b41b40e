package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

const adminToken = "a-token-that-nobody-guesses"

// adminOf returns the address of a program's admin listener. What follows it
// is there, too, so that it is whole.
func adminOf(p *program) string { return p.logs(`the admin listener is there" at=(\S+)\s`) }

// read asks for a page.
func read(t *testing.T, client *http.Client, url, token string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

func oneShot() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

func rewrite(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What can be changed is, what cannot is named, and what is wrong changes nothing.
func TestReload(t *testing.T) {
	cert, key := certificate(t)
	const begin = "listen: ['wss://127.0.0.1:0']\nlimits: {message_bytes: 1MiB}\nlog: {level: info}\n"
	file := settingsFile(t, begin)
	variable, told := manager(t)
	p := startProgram(t, []string{variable}, "serve", "--config", file, "--tls-cert", cert, "--tls-key", key, "--admin", "127.0.0.1:0", "--admin-token", adminToken)
	address := strings.TrimPrefix(last(p.line()), "wss://")
	if got := told(); got != "READY=1" {
		t.Errorf("the service manager is told %q", got)
	}
	serial := func() string {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return string(c.ConnectionState().PeerCertificates[0].Raw)
	}
	before := serial()

	// Another certificate, other origins, hosts, limits and rules; and another size.
	otherCert, otherKey := certificate(t)
	for from, to := range map[string]string{otherCert: cert, otherKey: key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, to, string(b))
	}
	rewrite(t, file, strings.Replace(begin, "1MiB", "2MiB", 1)+"hostnames: [mine.example]\nallow: [publish]\n")
	p.signal(syscall.SIGHUP)
	p.logs(`the settings were read again" changed=3`)
	if got := told() + told(); got != "RELOADING=1READY=1" {
		t.Errorf("the service manager is told %q", got)
	}
	if log := p.said(); !strings.Contains(log, `a setting has changed that needs a restart" key=limits.message_bytes`) ||
		!strings.Contains(log, "changed\" key=hostnames") || !strings.Contains(log, "changed\" key=allow") {
		t.Error(log)
	}
	if c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("a host that is not its own has a handshake")
	}
	_, settings := read(t, oneShot(), adminOf(p)+"/settings", adminToken)
	if !strings.Contains(settings, `"value":"1MiB","default":"1MiB","source":"polywire.yaml:2"`) || !strings.Contains(settings, "mine.example") || strings.Contains(settings, adminToken) {
		t.Error(settings)
	}

	// What is wrong changes nothing.
	rewrite(t, file, begin+"hostname: [x]\n")
	p.signal(syscall.SIGHUP)
	p.logs(`nothing was changed" error="polywire.yaml:4:1: hostname: no such setting; did you mean hostnames`)
	rewrite(t, key, "nonsense")
	rewrite(t, file, begin)
	p.signal(syscall.SIGHUP)
	p.logs(`nothing was changed" error="--tls-cert and --tls-key: `)
	if c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("the hosts have changed")
	}

	// And back.
	b, err := os.ReadFile(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, key, string(b))
	p.signal(syscall.SIGHUP)
	p.logs(`changed" key=hostnames(?s:.*)changed" key=hostnames`)
	if after := serial(); after == before {
		t.Error("the certificate is the old one")
	}
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		t.Error(err)
	}
	for got := ""; got != "STOPPING=1"; {
		got = told()
	}
}

// Rules for webhooks come and go, and the level of the log.
func TestReloadWebhooks(t *testing.T) {
	file := settingsFile(t, "listen: ['127.0.0.1:0']\n")
	p := startProgram(t, []string{"HOOK_SECRET=whsec_" + strings.Repeat("A", 32)}, "serve", "--config", file)
	url := strings.Replace(last(p.line()), "ws://", "http://", 1) + "/hooks/pay"
	status := func() int {
		code, _ := read(t, oneShot(), url, "")
		return code
	}
	if code := status(); code != http.StatusNotFound {
		t.Errorf("before: %d", code)
	}
	rewrite(t, file, "listen: ['127.0.0.1:0']\nwebhooks: {in: ['/hooks/pay=room:payments,secret=env:HOOK_SECRET']}\n")
	p.signal(syscall.SIGHUP)
	p.logs("the settings were read again")
	if code := status(); code == http.StatusNotFound || code == 0 {
		t.Errorf("with the rule: %d", code)
	}
	rewrite(t, file, "listen: ['127.0.0.1:0']\nwebhooks: {in: ['/hooks/pay=queue:q,secret=env:HOOK_SECRET']}\n")
	p.signal(syscall.SIGHUP)
	p.logs(`nothing was changed" error=.*a queue needs --webhooks|nothing was changed" error=.*a queue needs`)
	if code := status(); code == http.StatusNotFound {
		t.Errorf("after a wrong rule: %d", code)
	}
	rewrite(t, file, "listen: ['127.0.0.1:0']\n")
	p.signal(syscall.SIGHUP)
	eventually(t, "the rule is gone", func() bool { return status() == http.StatusNotFound })
}

// Readiness goes first, while everything else goes on. A second signal ends it
// at once.
func TestReadinessGoesFirst(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-token", adminToken, "--drain-delay", "1h")
	url, admin := last(p.line()), adminOf(p)
	if code, body := read(t, oneShot(), admin+"/readyz", adminToken); code != http.StatusOK || !strings.Contains(body, "listeners") {
		t.Errorf("%d %s", code, body)
	}
	p.signal(syscall.SIGTERM)
	p.logs("the server ends")
	if code, body := read(t, oneShot(), admin+"/readyz", ""); code != http.StatusServiceUnavailable || body != "failed\n" {
		t.Errorf("while it ends: %d %s", code, body)
	}
	if code, body := read(t, oneShot(), admin+"/readyz", adminToken); code != http.StatusServiceUnavailable || !strings.Contains(body, "the server is ending") {
		t.Errorf("while it ends: %d %s", code, body)
	}
	if code, _ := read(t, oneShot(), admin+"/livez", ""); code != http.StatusOK {
		t.Errorf("it is not alive while it ends: %d", code)
	}
	if out, _, err := run(t, "", "call", "echo", "1", "--url", url); err != nil || out != "1\n" {
		t.Errorf("it does not answer while load balancers see that it ends: %q %v", out, err)
	}
	p.signal(syscall.SIGTERM)
	if err := p.ends(); !wasKilledBy(err, syscall.SIGTERM) {
		t.Errorf("it ended with %v", err)
	}
}

// Peers are told to come back, and the program ends without an error.
func TestDrainOfProgram(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--drain", "40s")
	url := last(p.line())
	sub := startProgram(t, nil, "sub", "news", "--url", url)
	eventually(t, "somebody is there", func() bool { return len(members(t, url, "news")) == 1 })
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		t.Error(err)
	}
	sub.signal(syscall.SIGTERM)
	if err := sub.ends(); err != nil && !wasKilledBy(err, syscall.SIGTERM) {
		t.Logf("the subscriber ended with %v", err) // it was looking for the server
	}
}

func TestHealthCommand(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--no-sync", "--queue-in", "a=b", "--admin", "127.0.0.1:0", "--admin-token", adminToken)
	p.line()
	at := strings.TrimPrefix(adminOf(p), "http://")
	var out string
	eventually(t, "it is ready", func() bool {
		var err error
		out, _, err = run(t, "", "health", "--admin", at, "--admin-token", adminToken)
		return err == nil
	})
	for _, check := range []string{"server", "listeners", "nats", "disk", "queues"} {
		if !strings.Contains(out, check) {
			t.Errorf("no check %q: %s", check, out)
		}
	}
	if out, _, err := run(t, "", "health", "--admin", at, "--live"); err != nil || out != "ok\n" {
		t.Errorf("%q %v", out, err)
	}
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		t.Error(err)
	}
	if _, _, err := run(t, "", "health", "--admin", at); err == nil {
		t.Error("a server that is gone is well")
	}
	if _, _, err := run(t, "", "health"); err == nil || !strings.Contains(err.Error(), "--admin says where") {
		t.Error(err)
	}
}

func TestAdminRefusals(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--admin :9090", "other machines may reach"},
		{"--admin 0.0.0.0:9090", "other machines may reach"},
		{"--admin 127.0.0.1:0 --admin-token short", "fewer than 16"},
		{"--admin localhost", "want host:port"},
	} {
		_, _, err := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}

// The figures are those of the server, of its queues too.
func TestMetricsOfProgram(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--no-sync", "--webhooks", "--queue-in", "a=b",
		"--admin", "127.0.0.1:0", "--admin-token", adminToken)
	url := last(p.line())
	put(t, url, "a", "1")
	code, body := read(t, oneShot(), adminOf(p)+"/metrics", adminToken)
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	for _, want := range []string{"polywire_", "queue=\"b\"", "go_goroutines", "process_"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s among %d bytes", want, len(body))
		}
	}
	if strings.Contains(body, adminToken) {
		t.Error("the token is in the metrics")
	}
}

// What is for those who run the server is not on the public listeners.
func TestAdminIsNotPublic(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-token", adminToken)
	public := strings.Replace(last(p.line()), "ws://", "http://", 1)
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/settings", "/debug/pprof/", "/debug/pprof/heap"} {
		if code, _ := read(t, oneShot(), public+path, adminToken); code != http.StatusNotFound {
			t.Errorf("public %s: %d", path, code)
		}
		if strings.HasSuffix(path, "z") {
			continue
		}
		if code, _ := read(t, oneShot(), adminOf(p)+path, "another-token-of-somebody"); code != http.StatusUnauthorized && code != http.StatusNotFound {
			t.Errorf("admin %s with another token: %d", path, code)
		}
	}
}

// The unit asks for what the program has.
func TestSystemdUnit(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testenv.Root(t), "deploy", "polywire.service"))
	if err != nil {
		t.Fatal(err)
	}
	settings, section := make(map[string][]string), ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = line
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Errorf("%q is no setting", line)
			}
			settings[section+name] = append(settings[section+name], value)
		}
	}
	for name, want := range map[string]string{
		"[Service]Type": "notify", "[Service]NoNewPrivileges": "yes", "[Service]ProtectSystem": "strict", "[Service]DynamicUser": "yes", "[Install]WantedBy": "multi-user.target",
	} {
		if got := strings.Join(settings[name], "|"); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, name := range []string{"[Service]ExecStart", "[Service]ExecStartPre", "[Service]ExecReload"} {
		words := strings.Fields(settings[name][0])
		if c, _, err := newRoot().Find(words[1:]); err != nil || !c.Runnable() {
			t.Errorf("%s: %q is no command: %v", name, words, err)
		}
	}
	if got := settings["[Service]ExecReload"]; got[len(got)-1] != "/bin/kill -HUP $MAINPID" {
		t.Errorf("ExecReload is %q", got)
	}
	stop, err := time.ParseDuration(settings["[Service]TimeoutStopSec"][0])
	f := newServeFlags()
	if err != nil || stop <= 2*(f.delay+f.drain) {
		t.Errorf("TimeoutStopSec is %v: %v", stop, err)
	}
}

// The Dockerfile's variables are settings, and its commands are there.
func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testenv.Root(t), "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	variables := make(map[string]bool)
	for _, s := range newServeFlags().set.Effective() {
		variables[s.Variable] = true
	}
	found := 0
	for word := range strings.FieldsSeq(strings.ReplaceAll(text, "\\", " ")) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || !strings.HasPrefix(name, "POLYWIRE_") || strings.HasPrefix(value, "/etc") {
			continue
		}
		found++
		if !variables[name] {
			t.Errorf("%s is no setting", name)
		}
		t.Setenv(name, value)
	}
	if found < 3 {
		t.Errorf("%d variables", found)
	}
	if _, _, err := run(t, "", "config", "check"); err != nil {
		t.Errorf("they do not go together: %v", err)
	}
	for _, want := range []string{"USER 65532", "CGO_ENABLED=0", `CMD ["/polywire", "health"]`, "STOPSIGNAL SIGTERM"} {
		if !strings.Contains(text, want) {
			t.Error(errors.New("without " + want))
		}
	}
}
