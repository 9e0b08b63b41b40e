package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secrets are texts that may be seen nowhere but where they belong. Each is
// letters and digits, so that no way of quoting changes it.
type secrets map[string]string

// new makes one up.
func (s secrets) new(name string) string {
	s[name] = "zq" + rand.Text()[:22]
	return s[name]
}

// in returns the names of those that stand in a text, in any usual form.
func (s secrets) in(text string) (found []string) {
	lower := strings.ToLower(text)
	for name, core := range s {
		for _, form := range forms(core) {
			if strings.Contains(text, form) || strings.Contains(lower, strings.ToLower(core)) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// forms are how a text that is a part of something looks in base64 and hex.
func forms(core string) []string {
	all := []string{core, hex.EncodeToString([]byte(core)), strings.ToUpper(hex.EncodeToString([]byte(core)))}
	for shift := range 3 { // where it begins among the threes of base64
		b := append(make([]byte, shift), core...)
		whole := base64.RawStdEncoding.EncodeToString(b[:len(b)-len(b)%3])
		if shift > 0 {
			whole = whole[4:] // which has what stood before it
		}
		all = append(all, whole)
	}
	return all
}

// leakless fails where a secret stands in a text.
func (s secrets) leakless(t *testing.T, where, text string) {
	t.Helper()
	if found := s.in(text); len(found) > 0 {
		for line := range strings.Lines(text) {
			if len(s.in(line)) > 0 {
				text = line
				break
			}
		}
		t.Errorf("%s: the secrets %q are in\n%.2000s", where, found, text)
	}
}

func TestSecretsAreFound(t *testing.T) {
	s := make(secrets)
	core := s.new("one")
	for _, text := range []string{
		core, "x=" + strings.ToLower(core), hex.EncodeToString([]byte("ab" + core)),
		base64.StdEncoding.EncodeToString([]byte("user:" + core)), base64.URLEncoding.EncodeToString([]byte("a" + core + "b")),
		base64.RawURLEncoding.EncodeToString([]byte("ab" + core)),
	} {
		if len(s.in(text)) != 1 {
			t.Errorf("not found in %q", text)
		}
	}
	if len(s.in("nothing "+rand.Text())) != 0 {
		t.Error("found where it is not")
	}
}

// wrongSettings are files in which something is wrong beside a secret, or with it.
func wrongSettings(s string) []string {
	whsec := "whsec_" + base64.StdEncoding.EncodeToString([]byte(s+s))
	return []string{
		"admin: {token: [" + s + "]}",
		"admin: {token: {" + s + ": 1}}",
		"admin: {token: *" + s + "}",
		"admin: {token: &" + s + "}",
		"admin: {token: !" + s + " x}",
		"admin:\n  token: @" + s,
		"admin:\n  token: %" + s,
		"admin:\n  token: \"" + s + "\\q\"",
		"admin:\n  token: '" + s,
		"admin:\n  token: " + s + "\n  token: " + s,
		"admin:\n  token: " + s + ": x",
		"admin:\n  token: |2\n   " + s + "\n x",
		"admin: {listen: '127.0.0.1:0', token: s" + s[:8] + "}\nlog: {level: loud}",
		"admin: {listen: 'nowhere', token: " + s + "}",
		"admin:\n  tokn: " + s,
		"auth: {secret: " + s + "}",
		"auth: {secret: " + s[:20] + ", issuers: a, audiences: b}",
		"auth: {secret: [" + s + "], issuers: a}",
		"auth: {jwks: 'http://u:" + s + "@192.0.2.1/x?k=" + s + "', issuers: a, audiences: b}",
		"auth: {jwks: 'https://u:" + s + "@127.0.0.1:port/x?k=" + s + "', issuers: a, audiences: b}",
		"auth: {jwks: 'https://%zz" + s + "', issuers: a, audiences: b}",
		"auth: {jwks: {a: " + s + "}}",
		"api: {keys: '" + s + "'}",
		"api: {keys: 'shop:" + s + ",send'}",
		"api: {keys: 'shop=" + s + ",send'}",
		"api: {keys: 'shop=" + s + "," + s + "'}",
		"api: {keys: 'shop=env:X,send," + s + "'}",
		"api: {keys: [{name: shop, secret: " + s + ", scopes: send}]}",
		"api: {keys: [{name: shop, secret: [" + s + "], scopes: send}]}",
		"api: {keys: [{name: shop, " + s + ": secret, scopes: send}]}",
		"api: {keys: [{name: shop, secret: 'sha256:" + s + "', scopes: send}]}",
		"api: {keys: [{name: shop, secret: 'file:/nowhere/at/all', scopes: " + s + "}]}",
		"backend: {url: 'http://u:" + s + "@127.0.0.1:port/?k=" + s + "', secret: " + whsec + ", events: connect}",
		"backend: {url: 'ftp://u:" + s + "@127.0.0.1/?k=" + s + "', secret: " + whsec + ", events: connect}",
		"backend: {url: 'http://u:" + s + "@127.0.0.1%zz/?k=" + s + "', secret: " + whsec + ", events: connect}",
		"backend: {url: 'http://127.0.0.1/', secret: " + s + ", events: connect}",
		"backend: {url: 'http://127.0.0.1/', secret: whsec_" + s + "=, events: connect}",
		"backend: {secret: " + whsec + "}",
		"nats: {url: 'nats://u:" + s + "@127.0.0.1:port'}\nlog: {level: loud}",
		"nats: {token: [" + s + "]}",
		"nats: {token: " + s + "}\ndata: {no_sync: true}",
		"cluster: {secret: " + s + "}",
		"cluster: {secret: {a: " + s + "}}",
		"queues: {amqp: {a: 'amqp://u:" + s + "@127.0.0.1'}}",
		"queues: {amqp: 'amqp://u:" + s + "@127.0.0.1'}\nlog: {level: loud}",
		"queues: {amqp: [['amqp://u:" + s + "@127.0.0.1']]}",
		"webhooks: {api_key: " + s + "}",
		"webhooks: {api_key: '" + s[:4] + " " + s + "', enabled: true}\ndata: {dir: /nowhere}",
		"webhooks: {in: '" + whsec + "'}",
		"webhooks: {in: '/hooks/a:room:x,secret:" + whsec + "'}",
		"webhooks: {in: '/hooks/a=room:x,secret=" + whsec + "'}",
		"webhooks: {in: '/hooks/a=room:x," + s + "'}",
		"webhooks: {in: '/hooks/a=room:x,secret=env:X," + s + "=y'}",
		"webhooks: {in: '/hooks/a=" + s + "'}",
		"webhooks: {in: [{path: /hooks/a, room: x, secret: " + whsec + "}]}",
		"webhooks: {in: [{path: /hooks/a, room: x, secret: [a, " + s + "]}]}",
		"webhooks: {in: [{path: /hooks/a, room: x, secret: [[" + s + "]]}]}",
		"[" + s,
		"- " + s,
		s,
		"a: b: " + s,
		"\t" + s,
	}
}

// What is wrong with settings is said without what is secret in them, by
// check, by show and by the server, whichever way they are given.
func TestWrongSettingsKeepSecrets(t *testing.T) {
	all := make(secrets)
	s := all.new("the secret")
	for _, file := range wrongSettings(s) {
		name := settingsFile(t, file+"\n")
		for _, args := range [][]string{{"config", "check", name}, {"config", "show", name}, {"serve", "--listen", "127.0.0.1:0", "--config", name}} {
			if args[0] == "serve" && strings.Contains(file, "/nowhere") {
				continue
			}
			out, errOut, err := run(t, "", args...)
			if err == nil && args[1] != "show" {
				t.Errorf("%s is taken", file)
			}
			if err != nil {
				errOut += err.Error()
			}
			all.leakless(t, file, out+errOut)
			if args[1] == "show" && err == nil { // what is right in itself
				if out, _, err = run(t, "", append(args, "--json")...); err != nil {
					t.Errorf("%s: %v", file, err)
				}
				all.leakless(t, file, out)
			}
		}
	}
}

// The same of flags and of variables.
func TestWrongFlagsKeepSecrets(t *testing.T) {
	all := make(secrets)
	s := all.new("the secret")
	for _, setting := range [][2]string{
		{"--admin-token", s}, {"--auth-secret", s}, {"--auth-jwks", "http://u:" + s + "@192.0.2.1/?k=" + s}, {"--nats", "nats://u:" + s + "@127.0.0.1:port"},
		{"--nats", "nats://u:a," + s + "@127.0.0.1:1,nats://" + s + "@127.0.0.1:1"},
		{"--nats-token", s}, {"--cluster-secret", s}, {"--amqp", "amqp://u:" + s + "@127.0.0.1:port"}, {"--amqp", "amqp://u:a," + s + "@127.0.0.1:port"},
		{"--api-key", s}, {"--api-access", s}, {"--api-access", "shop=" + s + ",read"}, {"--backend-secret", s}, {"--backend-url", "http://u:" + s + "@127.0.0.1/?k=" + s},
		{"--webhook-in", "/a=room:b,secret=" + s}, {"--webhook-in", s},
		{"--traces-url", "http://u:" + s + "@127.0.0.1"}, {"--traces-url", "http://127.0.0.1?k=" + s}, {"--traces-header", s}, {"--traces-header", "A=" + s},
	} {
		flags := []string{setting[0], setting[1], "--log-level", "loud", "--admin", "127.0.0.1:0"}
		variable := "POLYWIRE_" + strings.ToUpper(strings.ReplaceAll(setting[0][2:], "-", "_"))
		for _, args := range [][]string{append([]string{"config", "check"}, flags...), append([]string{"serve"}, flags...), append([]string{"config", "show"}, flags...), {"config", "show"}, {"serve", "--log-level", "loud"}} {
			if len(args) < 4 {
				t.Setenv(variable, setting[1])
			}
			out, errOut, err := run(t, "", args...)
			if err != nil {
				errOut += err.Error()
			} else if args[1] != "show" {
				t.Errorf("%v is taken", args)
			}
			all.leakless(t, strings.Join(args[:2], " ")+" "+setting[0], out+errOut)
			if err := os.Unsetenv(variable); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\n"+s+"\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, err := run(t, "", "serve", "--listen", "wss://127.0.0.1:0", "--tls-cert", key, "--tls-key", key)
	if err == nil {
		t.Error("nonsense is a key")
	}
	all.leakless(t, "a key that is none", out+errOut+err.Error())
}
