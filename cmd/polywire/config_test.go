package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/internal/testenv"
)

// settingsFile writes a file of settings.
func settingsFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "polywire.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSettingsAreDeclaredRight(t *testing.T) {
	if err := newServeFlags().set.Check(); err != nil {
		t.Error(err)
	}
}

// docs/configuration.md is what make generate writes, and has every flag.
func TestReference(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, reference()) {
		t.Error("docs/configuration.md is not up to date: make generate writes it")
	}
	newServe().Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" && !strings.Contains(string(want), "`--"+f.Name+"`") {
			t.Errorf("--%s is not in the reference", f.Name)
		}
	})
}

// The reference's examples are right.
func TestReferenceExamples(t *testing.T) {
	t.Setenv("PAYMENTS_SECRET", "whsec_"+strings.Repeat("A", 32))
	t.Setenv("PAYMENTS_SECRET_OLD", "whsec_"+strings.Repeat("B", 32))
	cert, key := certificate(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token-that-nobody-guesses\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(referenceHead, "```yaml\n")[1:]
	for _, e := range examples {
		e, _, _ = strings.Cut(e, "```")
		e = strings.NewReplacer("/etc/polywire/cert.pem", cert, "/etc/polywire/key.pem", key, "/etc/polywire/admin-token", token).Replace(e)
		if _, errOut, err := run(t, "", "config", "check", settingsFile(t, e), "--data-dir", "x"); err != nil {
			t.Errorf("%v %s\n%s", err, errOut, e)
		}
	}
	if len(examples) < 2 {
		t.Error("the examples are not found")
	}
}

// Each line of the default file can be taken out of its comment.
func TestConfigDefault(t *testing.T) {
	out, _, err := run(t, "", "config", "default")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, "", "config", "check", settingsFile(t, out)); err != nil {
		t.Errorf("as it comes: %v", err)
	}
	setting := regexp.MustCompile(`(?m)^( *)#([a-z_]+: .*)$`)
	lines := setting.FindAllStringIndex(out, -1)
	if want := len(newServeFlags().set.Effective()); len(lines) != want {
		t.Errorf("%d settings in the file, want %d", len(lines), want)
	}
	for _, at := range lines {
		line := out[at[0]:at[1]]
		file := out[:at[0]] + setting.ReplaceAllString(line, "$1$2") + out[at[1]:]
		if _, _, err := run(t, "", "config", "check", settingsFile(t, file)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for file, want := range map[string]string{
		"limits: {conections: 5}": "polywire.yaml:1:10: limits.conections: no such setting; did you mean limits.connections?",
		"max_connections: 5":      "polywire.yaml:1:1: max_connections: no such setting; did you mean limits.connections?",
		"listen: [':8080', ftp://x:1, tcp://x, unix://, 'a b:1', '']": "polywire.yaml:1:19: listen \"ftp://x:1\": unknown scheme \"ftp\"\n" +
			"polywire.yaml:1:30: listen \"tcp://x\": has no port\npolywire.yaml:1:39: listen \"unix://\": want a path, as unix:///run/polywire.sock\n" +
			"polywire.yaml:1:48: listen \"a b:1\": want host:port, or a URL as tcp://127.0.0.1:7000\npolywire.yaml:1:57: listen: want host:port, or a URL as tcp://127.0.0.1:7000",
		"without: [smoke]":                                          `polywire.yaml:1:11: without "smoke": there is no such wire; there are native, socketio, drs, goomerang, sse`,
		"allow: [everything]":                                       `polywire.yaml:1:9: allow "everything": want publish or broadcast`,
		"log: {level: loud}":                                        `polywire.yaml:1:14: log.level "loud": want debug, info, warn or error`,
		"nats:\n  credentials: x":                                   "nats.credentials (polywire.yaml:2) is for nats.url",
		"listen: a:1\nport: 5":                                      "host, port (polywire.yaml:2) and secure say in parts what listen (polywire.yaml:1) says: use one or the other",
		"queues: {in: ['a']}":                                       `polywire.yaml:1:15: queues.in "a": want kind=queue`,
		"data: {dir: x}\nqueues: {in: [a=b, a=c]}":                  `queues.in (polywire.yaml:2) "a=c": polywire: invalid configuration: pattern "a" registered twice`,
		"rooms: {history: [{pattern: a, storage: d}]}":              `polywire.yaml:1:41: rooms.history: storage "d": want memory or disk`,
		"webhooks: {in: [{path: /a, room: b, secret: xyz}]}":        "polywire.yaml:1:17: webhooks.in: secret: want env:NAME or file:PATH: a secret among the arguments stands in the list of processes",
		"data: {dir: x}\nwebhooks: {enabled: true, event_age: 30s}": "webhooks.attempt_age and webhooks.event_age (polywire.yaml:2): at least 1m",
		"webhooks: {attempt_bytes: 1MiB}":                           "webhooks.api_key, webhooks.out, webhooks.replicas, --webhook-allow-..., and what says how much is kept, are for outgoing webhooks: add webhooks.enabled",
		"webhooks: {out: ['a..b']}":                                 `polywire.yaml:1:18: webhooks.out "a..b": want a type of events, as order.paid, order.* or *`,
	} {
		_, _, err := run(t, "", "config", "check", settingsFile(t, file))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", file, err, want)
		}
		if exitCode(err) != 2 {
			t.Errorf("%s: status %d", file, exitCode(err))
		}
	}
	// All mistakes that have to do with several settings are told together, too.
	_, _, err := run(t, "", "config", "check", settingsFile(t, "nats: {credentials: x}\nsecure: true\nport: 0\nwebhooks: {enabled: true}"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Error(err)
	}
	for _, args := range [][]string{{"config", "check", "/nowhere.yaml"}, {"config", "check", t.TempDir()}, {"config", "check", "a", "--config", "b"}, {"config", "check", "a", "b"}, {"config", "chekc"}} {
		if _, _, err := run(t, "", args...); err == nil || errors.Is(err, config.Errors{}) {
			t.Errorf("%v: %v", args, err)
		}
	}
	out, _, err := run(t, "", "config", "check", "--port", "9000")
	if err != nil || out != "the settings are right\n" {
		t.Errorf("%q %v", out, err)
	}
}

func TestConfigWarnsOfStrayVariables(t *testing.T) {
	t.Setenv("POLYWIRE_LISEN", "x")
	_, errOut, err := run(t, "", "config", "check")
	if err != nil || !strings.Contains(errOut, "variable=POLYWIRE_LISEN nearest=POLYWIRE_LISTEN") {
		t.Errorf("%v %s", err, errOut)
	}
}

func TestConfigShow(t *testing.T) {
	t.Setenv("POLYWIRE_CLUSTER_SECRET", "geheim1")
	t.Setenv("SOME_KEY", "geheim2-long-enough")
	t.Setenv("POLYWIRE_NATS", "nats://user:geheim3@nats.example.com")
	file := settingsFile(t, "webhooks: {api_key: 'env:SOME_KEY'}\nport: 5\nqueues: {amqp: ['amqp://u:geheim4@h']}\n")
	for _, args := range [][]string{{"--nats-token", "geheim5"}, {"--nats-token", "geheim5", "--json"}} {
		out, errOut, err := run(t, "", append([]string{"config", "show", file, "--port", "6"}, args...)...)
		if err != nil || strings.Contains(out+errOut, "geheim") {
			t.Errorf("%v %s %s", err, out, errOut)
		}
		var all []config.Effective
		if len(args) < 3 {
			for _, want := range []string{
				"api_key: 'env:SOME_KEY' # polywire.yaml:1\n", "port: 6 # --port\n", "url: nats://********@nats.example.com # POLYWIRE_NATS\n",
				"amqp: ['amqp://********@h'] # polywire.yaml:3\n", "drain: 10s # default\n",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("without %q:\n%s", want, out)
				}
			}
		} else if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) < 40 {
			t.Errorf("%v: %d settings", err, len(all))
		}
	}
	t.Setenv(configVariable, file)
	if out, _, err := run(t, "", "config", "show"); err != nil || !strings.Contains(out, "port: 5 # polywire.yaml:2\n") {
		t.Errorf("%s: %v %s", configVariable, err, out)
	}
}

// What is given in a stronger way holds, also where it is another setting.
func TestStrongerSettings(t *testing.T) {
	for _, c := range []struct {
		file, env, args, want string
	}{
		{"listen: 127.0.0.1:1", "", "--port 0", "ws://127.0.0.1:0"},
		{"port: 1", "", "--listen tcp://127.0.0.1:0", "tcp://127.0.0.1:0"},
		{"port: 1", "POLYWIRE_PORT=2", "", "ws://127.0.0.1:2"},
		{"host: ::1", "POLYWIRE_PORT=2", "--listen 127.0.0.1:3", "ws://127.0.0.1:3"},
		{"host: ::1", "POLYWIRE_PORT=tcp://10.0.0.1:80", "", "ws://[::1]:8080"},
		{"data: {dir: x}", "POLYWIRE_AMQP=amqp://x", "", "ws://127.0.0.1:8080"},
		{"", "POLYWIRE_NATS=nats://x", "--data-dir x", "ws://127.0.0.1:8080"},
		{"", "POLYWIRE_API_KEY=short", "", "ws://127.0.0.1:8080"},
	} {
		name, value, set := strings.Cut(c.env, "=")
		if set {
			t.Setenv(name, value)
		}
		f := newServeFlags()
		command := &cobra.Command{}
		f.register(command)
		if err := command.ParseFlags(append(strings.Fields(c.args), "--config", settingsFile(t, c.file))); err != nil {
			t.Fatal(err)
		}
		if _, err := f.prepare(t.Output()); err != nil || f.addresses()[0] != c.want {
			t.Errorf("%+v: %v %v", c, f.addresses(), err)
		}
		if set {
			os.Unsetenv(name) // t.Setenv puts it back
		}
	}
}
