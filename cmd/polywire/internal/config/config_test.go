package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// sample are settings of every kind.
type sample struct {
	name, token, url string
	level            string
	on               bool
	port, replicas   int
	rate             float64
	wait             time.Duration
	size             int
	hosts            []string
	rules            []sampleRule

	set   *Set
	flags *pflag.FlagSet
}

type sampleRule struct {
	kind, queue string
	keys        []string
	reach       bool
}

func splitSample(line string) ([]Pair, error) {
	kind, queue, ok := strings.Cut(line, "=")
	if !ok {
		return nil, errors.New("want kind=queue")
	}
	return []Pair{{"kind", kind}, {"queue", queue}}, nil
}

func buildSample(pairs []Pair) (r sampleRule, err error) {
	for _, p := range pairs {
		switch p.Name {
		case "kind":
			r.kind = p.Value
		case "queue":
			r.queue = p.Value
		case "key":
			r.keys = append(r.keys, p.Value)
		case "reach":
			r.reach = true
		}
	}
	if r.queue == "" {
		err = errors.New("want a queue's name")
	}
	return r, err
}

func newSample() *sample {
	s := &sample{set: New("APP"), flags: pflag.NewFlagSet("app", pflag.ContinueOnError)}
	s.set.Add(Setting{Key: "name", Flag: "name", Short: "n", Doc: "the `name` of it", Reload: true}, Text(&s.name, "anonymous", "a name", nil))
	s.set.Add(Setting{Key: "token", Flag: "token", Doc: "a secret", Secret: Secret}, Text(&s.token, "", "a text", nil))
	s.set.Add(Setting{Key: "broker.url", Flag: "broker", Doc: "where the broker is", Secret: SecretInURL}, Text(&s.url, "", "a URL", nil))
	s.set.Add(Setting{Key: "broker.replicas", Flag: "replicas", Doc: "how many", Default: "as many as there are"}, OneOfInts(&s.replicas, 0, 0, 1, 3))
	s.set.Add(Setting{Key: "log.level", Flag: "log-level", Doc: "what is logged", Reload: true}, OneOf(&s.level, "info", "info", "warn", "error"))
	s.set.Add(Setting{Key: "limits.on", Flag: "limit", Doc: "whether there are limits"}, Bool(&s.on))
	s.set.Add(Setting{Key: "port", Flag: "port", Doc: "port", Foreign: func(v string) bool { return strings.Contains(v, "://") }}, Int(&s.port, 80, 0, 65535))
	s.set.Add(Setting{Key: "limits.rate", Flag: "rate", Doc: "rate", Reload: true}, Float(&s.rate, 1.5, 0, math.MaxFloat64))
	s.set.Add(Setting{Key: "limits.wait", Flag: "wait", Doc: "time"}, Duration(&s.wait, time.Minute, time.Second, time.Hour))
	s.set.Add(Setting{Key: "limits.size", Flag: "size", Doc: "size"}, Bytes(&s.size, 1<<20, 1, 1<<30))
	s.set.Add(Setting{Key: "hosts", Flag: "host", Doc: "hosts"}, List(&s.hosts, []string{"localhost"}, "a list of names", true, notStar))
	s.set.Add(Setting{Key: "queues.in", Flag: "queue-in", Doc: "rules"}, Rules(&s.rules, Form{
		Want: "kind=queue",
		Fields: []Field{
			{Name: "kind", Required: true, Doc: "kind"},
			{Name: "queue", Required: true, Doc: "queue"},
			{Name: "key", Many: true, Doc: "keys", Check: PositiveInt},
			{Name: "reach", Word: true, Doc: "reach"},
		},
		Split: splitSample,
	}, buildSample))
	s.set.Register(s.flags)
	return s
}

func notStar(text string) error {
	if strings.Contains(text, "*") {
		return errors.New("want a name without stars")
	}
	return nil
}

// load reads a file, variables and flags.
func (s *sample) load(file string, env map[string]string, args ...string) error {
	if err := s.flags.Parse(args); err != nil {
		return err
	}
	return s.set.Load(Input{
		FileName: "a.yaml", File: []byte(file),
		Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(name string) ([]byte, error) {
			if name == "/secret" {
				return []byte("from a file\r\n"), nil
			}
			return nil, os.ErrNotExist
		},
	})
}

func TestDeclarations(t *testing.T) {
	if err := newSample().set.Check(); err != nil {
		t.Error(err)
	}
	for name, settings := range map[string][]Setting{
		"twice":                 {{Key: "a", Flag: "a", Doc: "x"}, {Key: "a", Flag: "b", Doc: "x"}},
		"flag twice":            {{Key: "a", Flag: "a", Doc: "x"}, {Key: "b", Flag: "a", Doc: "x"}},
		"a section, too":        {{Key: "a", Flag: "a", Doc: "x"}, {Key: "a.b", Flag: "b", Doc: "x"}},
		"capitals":              {{Key: "A", Flag: "a", Doc: "x"}},
		"without a description": {{Key: "a", Flag: "a"}},
	} {
		set := New("X")
		var v [2]bool
		for i, d := range settings {
			set.Add(d, Bool(&v[i]))
		}
		if set.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := "name: file\nport: 1\nlimits: {on: true, wait: 2s, size: 64KiB, rate: 3}\nhosts: [a, b]\nlog: {level: warn}\n" +
		"queues:\n  in: [x=y]\n"
	env := map[string]string{"APP_NAME": "env", "APP_HOST": "c, d", "APP_WAIT": "3s", "APP_LOG_LEVEL": "", "APP_QUEUE_IN": "e=f; g=h\ni=j", "APP_PORT": "tcp://10.0.0.1:80"}
	s := newSample()
	if err := s.load(file, env, "--name", "flag", "--host", "e,f", "--host=g", "-n", "last", "--limit=false"); err != nil {
		t.Fatal(err)
	}
	want := sample{
		name: "last", level: "warn", port: 1, rate: 3, wait: 3 * time.Second, size: 64 << 10, hosts: []string{"e", "f", "g"},
		rules: []sampleRule{{kind: "e", queue: "f"}, {kind: "g", queue: "h"}, {kind: "i", queue: "j"}},
		set:   s.set, flags: s.flags,
	}
	if !reflect.DeepEqual(*s, want) {
		t.Errorf("%+v", *s)
	}
	for key, want := range map[string]Source{"name": Flag, "hosts": Flag, "limits.on": Flag, "limits.wait": Environment, "port": File, "log.level": File, "token": Default, "nothing": Default} {
		if got := s.set.Source(key); got != want {
			t.Errorf("%s comes from %v", key, got)
		}
	}
	if got := s.set.Strongest("port", "limits.wait", "token"); got != Environment {
		t.Errorf("the strongest is %v", got)
	}
	// A second load begins anew.
	if err := s.load("", nil); err != nil || s.port != 80 || s.rules != nil || s.name != "last" {
		t.Errorf("%v %+v", err, *s)
	}
}

// What a flag has made stronger must be right all the same.
func TestWeakerMistakes(t *testing.T) {
	s := newSample()
	err := s.load("port: x\n", map[string]string{"APP_PORT": "y"}, "--port", "z")
	want := `a.yaml:1:7: port "x": want a number from 0 to 65535` + "\n" +
		`APP_PORT "y": want a number from 0 to 65535` + "\n" + `--port "z": want a number from 0 to 65535`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestStructuredRules(t *testing.T) {
	s := newSample()
	err := s.load(`
queues:
  in:
    - a=b
    - kind: c
      queue: d
      key: [1, 2]
      reach: true
    - {queue: f, kind: e, reach: false, key: 3}
`, nil)
	want := []sampleRule{{kind: "a", queue: "b"}, {"c", "d", []string{"1", "2"}, true}, {"e", "f", []string{"3"}, false}}
	if err != nil || !reflect.DeepEqual(s.rules, want) {
		t.Errorf("%v %+v", err, s.rules)
	}
	if err := s.load("queues: {in: {kind: a, queue: b}}", nil); err != nil || len(s.rules) != 1 {
		t.Errorf("one alone: %v %+v", err, s.rules)
	}
}

func TestBadFiles(t *testing.T) {
	for file, want := range map[string]string{
		"nmea: x":                       "a.yaml:1:1: nmea: no such setting; did you mean name?",
		"a: 1\nlog:\n  lvl: x":          "a.yaml:1:1: a: no such setting; did you mean name?\na.yaml:3:3: log.lvl: no such setting; did you mean log.level?",
		"level: warn":                   "a.yaml:1:1: level: no such setting; did you mean log.level?",
		"log_level: warn":               "a.yaml:1:1: log_level: no such setting; did you mean log.level?",
		"broker: {port: 1}":             "a.yaml:1:10: broker.port: no such setting; did you mean port?",
		"port: eight":                   `a.yaml:1:7: port "eight": want a number from 0 to 65535`,
		"port: 65536":                   `a.yaml:1:7: port "65536": want a number from 0 to 65535`,
		"port: 1.5":                     `a.yaml:1:7: port "1.5": want a number from 0 to 65535`,
		"port: [1]":                     "a.yaml:1:7: port: want a number from 0 to 65535, not a list",
		"port: {a: 1}":                  "a.yaml:1:7: port: want a number from 0 to 65535, not names with values",
		"port:":                         "a.yaml:1:1: port: no value; want a number from 0 to 65535. Without this line it has its default",
		"port: ~":                       "a.yaml:1:1: port: no value; want a number from 0 to 65535. Without this line it has its default",
		"name: yes\nport: 1\nname: b":   "a.yaml:3:1: name: it is there already, in line 1",
		"log: {level: info}\nlog: {}":   "a.yaml:2:1: log: it is there already, in line 1",
		"name: true":                    `a.yaml:1:7: name "true": want a name; in quotes it is text`,
		"log: warn":                     "a.yaml:1:6: log: want the settings of this section below it: level",
		"log: [level]":                  "a.yaml:1:6: log: want the settings of this section below it: level",
		"log: {level: loud}":            `a.yaml:1:14: log.level "loud": want info, warn or error`,
		"limits: {on: maybe}":           `a.yaml:1:14: limits.on "maybe": want true or false`,
		"limits: {rate: fast}":          `a.yaml:1:16: limits.rate "fast": want a number, at least 0`,
		"limits: {rate: .nan}":          `a.yaml:1:16: limits.rate ".nan": want a number, at least 0`,
		"limits: {wait: 5}":             `a.yaml:1:16: limits.wait "5": want a time with its unit, as 500ms, 30s or 5m, from 1s to 1h`,
		"limits: {wait: 2h}":            `a.yaml:1:16: limits.wait "2h": want a time with its unit, as 500ms, 30s or 5m, from 1s to 1h`,
		"limits: {size: 5MB}":           `a.yaml:1:16: limits.size "5MB": want a size, as 4096, 64KiB or 1MiB, from 1 to 1GiB`,
		"limits: {size: 9000000000GiB}": `a.yaml:1:16: limits.size "9000000000GiB": want a size, as 4096, 64KiB or 1MiB, from 1 to 1GiB`,
		"broker: {replicas: 2}":         `a.yaml:1:20: broker.replicas "2": want 0, 1 or 3`,
		"hosts: [a, '*', [b]]":          "a.yaml:1:12: hosts \"*\": want a name without stars\na.yaml:1:17: hosts: want a list of names, not a list",
		"hosts: {a: b}":                 "a.yaml:1:8: hosts: want a list of names, not names with values",
		"hosts: [~]":                    `a.yaml:1:9: hosts "~": want a list of names; in quotes it is text`,
		"token: [a]":                    "a.yaml:1:8: token: want a text, not a list",
		"token: env:NOTHING":            "a.yaml:1:8: token: the variable NOTHING is not set",
		"token: file:/nothing":          "a.yaml:1:8: token: file does not exist",
		"queues: {in: [a]}":             `a.yaml:1:15: queues.in "a": want kind=queue`,
		"queues: {in: [~]}":             "a.yaml:1:15: queues.in: no value; want kind=queue",
		"queues: {in: [[a]]}":           "a.yaml:1:15: queues.in: want kind=queue, or its parts with their names",
		"queues: {in: [{kind: a}]}":     "a.yaml:1:15: queues.in: queue is missing",
		"queues: {in: [{kidn: a, kind: b, kind: c, queue: d, key: [0, {}], reach: perhaps}]}": "" +
			`a.yaml:1:16: queues.in: no such part "kidn"; did you mean kind? There are kind, queue, key, reach` + "\n" +
			"a.yaml:1:34: queues.in: kind is there twice\n" +
			`a.yaml:1:59: queues.in: key "0": want a number, at least 1` + "\n" +
			"a.yaml:1:62: queues.in: key: want a value\n" +
			`a.yaml:1:74: queues.in: reach "perhaps": want true or false`,
		"name: &a x":                "a.yaml:1:7: name: anchors, aliases and tags of your own are not taken here",
		"name: !mine x":             "a.yaml:1:7: name: anchors, aliases and tags of your own are not taken here",
		"hosts: [a, !!binary YQ==]": "a.yaml:1:12: hosts: anchors, aliases and tags of your own are not taken here",
		"[name, x]":                 "a.yaml:1:1: want settings, as listen: 127.0.0.1:8080",
		"{[a]: b}":                  "a.yaml:1:2: want a name before the colon",
		"name: a\n---\nname: b":     "a.yaml:2:1: a second document; there is one in a file",
		"name: a\n  port: 1":        "a.yaml:2:3: mapping values are not allowed in this context",
		"log:\n\tlevel: info":       "a.yaml:2:2: found character that cannot start any token; YAML is indented with spaces, not with tabs",
		"name: \"a":                 "a.yaml:1:1: found unexpected end of stream",
		"name: *nobody":             "a.yaml:1:1: anchors and aliases are not taken here; text that begins with * stands in quotes",
		"name: " + strings.Repeat("x", MaxFileBytes): fmt.Sprintf("a.yaml:1:1: the file has %d bytes, more than %d", MaxFileBytes+6, MaxFileBytes),
	} {
		s := newSample()
		err := s.load(file, nil)
		if err == nil || err.Error() != want {
			t.Errorf("%.100q:\n got %v\nwant %s", file, err, want)
		}
	}
}

func TestGoodFiles(t *testing.T) {
	for _, file := range []string{
		"", "# nothing\n", "---\n", "{}", "log:\n# level: info\n", "name: 5", "name: ''", "port: '8080'", "hosts: a", "limits: {size: 1 MiB}", "\ufeffname: x",
	} {
		if err := newSample().load(file, nil); err != nil {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	s := newSample()
	env := map[string]string{"T": "hidden1", "APP_BROKER": "amqp://me:hidden2@host,amqp://you:hidden3@other"}
	if err := s.load("token: env:T", env); err != nil || s.token != "hidden1" || s.url != env["APP_BROKER"] {
		t.Fatalf("%v %+v", err, s)
	}
	show := func() string {
		var out bytes.Buffer
		s.set.WriteEffective(&out)
		fmt.Fprint(&out, s.set.Effective())
		return out.String()
	}
	if text := show(); strings.Contains(text, "hidden") || !strings.Contains(text, "token: env:T # a.yaml:1\n") ||
		!strings.Contains(text, "  url: amqp://********@host,amqp://********@other # APP_BROKER\n") {
		t.Error(text)
	}
	if err := s.load("token: file:/secret", nil, "--broker", "hidden4@host"); err != nil || s.token != "from a file" {
		t.Fatalf("%v %+v", err, s)
	}
	if text := show(); strings.Contains(text, "hidden") || strings.Contains(text, "from a file") {
		t.Error(text)
	}
	if err := s.load("token: hidden5", nil); err != nil {
		t.Fatal(err)
	}
	if text := show(); strings.Contains(text, "hidden") || !strings.Contains(text, "token: '********' # a.yaml:1") && !strings.Contains(text, "token: \"********\" # a.yaml:1") && !strings.Contains(text, "token: ******** # a.yaml:1") {
		t.Error(text)
	}
	if err := s.load("token: [hidden6]\nbroker: {url: {a: hidden7}}", nil); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
}

// What is shown can be read again, and means the same.
func TestShowIsAFile(t *testing.T) {
	s := newSample()
	file := "name: 'a: #b'\nport: 0\nlimits: {on: true, wait: 90s, size: 3MiB, rate: 2}\nhosts: [yes, '1', \"a\\nb\"]\nqueues: {in: [a=b, {kind: 'x: y', queue: z, key: [1]}]}"
	if err := s.load(file, nil); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.set.WriteEffective(&out)
	again := newSample()
	if err := again.load(out.String(), nil); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(s.set.Changes(again.set)) > 0 || !reflect.DeepEqual(s.rules, again.rules) || !reflect.DeepEqual(s.hosts, again.hosts) {
		t.Errorf("%v\n%s", s.set.Changes(again.set), out.String())
	}
}

func TestChanges(t *testing.T) {
	before, after := newSample(), newSample()
	if err := before.load("name: a\nport: 80\ntoken: env:T\nlimits: {size: 1MiB}\nhosts: [x]", map[string]string{"T": "1"}); err != nil {
		t.Fatal(err)
	}
	if err := after.load("name: b\ntoken: env:T\nlimits: {size: 1024k}\nhosts: x\nqueues: {in: [a=b]}", map[string]string{"T": "2"}); err != nil {
		t.Fatal(err)
	}
	want := []Change{{"name", true}, {"token", false}, {"queues.in", false}}
	if got := before.set.Changes(after.set); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// Of what is read anew only that is taken which can be changed at run time.
func TestAdopt(t *testing.T) {
	before, after := newSample(), newSample()
	if err := before.load("name: a\nport: 80\nlimits: {rate: 1}", nil, "--log-level", "warn"); err != nil {
		t.Fatal(err)
	}
	after.set.Inherit(before.set)
	if err := after.load("name: b\nport: 81\nlog: {level: error}", nil); err != nil {
		t.Fatal(err)
	}
	if err := before.set.Adopt(after.set); err != nil {
		t.Fatal(err)
	}
	if before.name != "b" || before.port != 80 || before.rate != 1.5 || before.level != "warn" {
		t.Errorf("%+v", before)
	}
	var out bytes.Buffer
	before.set.WriteEffective(&out)
	for _, want := range []string{"name: b # a.yaml:1\n", "port: 80 # a.yaml:2\n", "rate: 1.5 # default\n", "level: warn # --log-level\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("without %q:\n%s", want, out.String())
		}
	}
}

func TestExplain(t *testing.T) {
	s := newSample()
	if err := s.load("name: a", map[string]string{"APP_PORT": "5"}, "--rate", "2"); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("--name and --port and --rate and --other and --wait do not fit")
	err := s.set.Explain(cause)
	if err.Error() != "name (a.yaml:1) and APP_PORT and --rate and --other and --wait do not fit" || !errors.Is(err, cause) {
		t.Error(err)
	}
	if err := s.set.Explain(nil); err != nil {
		t.Error(err)
	}
}

func TestStray(t *testing.T) {
	s := newSample()
	got := s.set.Stray([]string{"APP_NAM=x", "APP_NAME=y", "APP_SERVICE_HOST=z", "PATH=/", "APP_POTR"})
	if want := map[string]string{"APP_NAM": "APP_NAME", "APP_POTR": "APP_PORT"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

// Without a Load, flags are read when they are parsed.
func TestFlagsAlone(t *testing.T) {
	var port int
	set, flags := New("APP"), pflag.NewFlagSet("app", pflag.ContinueOnError)
	set.Add(Setting{Key: "port", Flag: "port", Doc: "port"}, Int(&port, 80, 0, 65535))
	set.RegisterOnly(flags)
	if port != 80 {
		t.Errorf("the default is %d", port)
	}
	if err := flags.Parse([]string{"--port", "9"}); err != nil || port != 9 {
		t.Errorf("%v %d", err, port)
	}
	if err := flags.Parse([]string{"--port", "x"}); err == nil || !strings.Contains(err.Error(), "want a number from 0 to 65535") {
		t.Error(err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"port", "prot", 1}, {"level", "levels", 1}, {"kitten", "sitting", 3}, {"ä", "a", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q %q: %d", c.a, c.b, got)
		}
	}
}

// A file never makes more than its own size of values, and whatever it has,
// reading it ends, and what was accepted is accepted again as it is shown.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "name: a\nport: 5", "limits: {on: true, size: 1k}", "queues:\n  in:\n    - a=b\n    - {kind: x, queue: y}", "hosts: [a, b]", "a: &x [*x]", "--- !t\n? [a]\n: b",
		"{a: {a: {a: {a: 1}}}}", "name: |\n  x\n  y\n", "\xff", "- - - -", "name: \"\\x00\"", "name: 2001-01-01", "<<: {name: a}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		s := newSample()
		err := s.load(file, nil)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || len(all) > 1+len(file) {
				t.Fatalf("%d errors of %d bytes: %v", len(all), len(file), err)
			}
			return
		}
		var out bytes.Buffer
		s.set.WriteEffective(&out)
		again := newSample()
		if err := again.load(out.String(), nil); err != nil && s.token == "" && s.url == "" {
			t.Fatalf("%v\n%s", err, out.String())
		}
	})
}

func TestHideUser(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"nats://127.0.0.1:4222":     "nats://127.0.0.1:4222",
		"127.0.0.1:4222,b":          "127.0.0.1:4222,b",
		"/etc/keys.json":            "/etc/keys.json",
		"nats://t@a:1,nats://u:p@b": "nats://********@a:1,nats://********@b",
		"u:p@host":                  "********@host",
		"amqp://u:p,q@host":         "amqp://********,********@host",
		"amqp://u:p@q@host":         "amqp://********@host",
		"https://h/p?key=s#f":       "https://h/p?********",
		"https://u:p@h/p?a@b":       "https://********@h/p?********",
		"https://h/#f":              "https://h/#********",
		"https://u:p@h:port/":       "https://********",
		"https://%zz":               "https://********",
	} {
		if got := HideUser(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
