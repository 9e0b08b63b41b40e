package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire/codec"
)

func TestTimeOrAgo(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"90m":                  now.Add(-90 * time.Minute),
		"0s":                   now,
		"2025-12-31T23:59:59Z": time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		if got, err := TimeOrAgo("--since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-5m", "yesterday", "5", "2026-01-02"} {
		if _, err := TimeOrAgo("--since", text, now); err == nil || !strings.Contains(err.Error(), `--since "`+text+`": want a time like 2026-01-02T03:04:05Z`) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	t.Setenv("A_SECRET", "of a variable")
	for content, want := range map[string]string{"of a file\r\n": "of a file", "\n": "", strings.Repeat("x", maxSecretBytes+1): ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSecret("file:" + file); got != want || (err == nil) != (want != "") {
			t.Errorf("a file of %d bytes: %q, %v", len(content), got, err)
		}
	}
	if got, err := ReadSecret("env:A_SECRET"); err != nil || got != "of a variable" {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{"env:NO_SUCH_ONE": "NO_SUCH_ONE is not set", "file:/nowhere/at/all": "no such file", "swordfish": "want env:NAME", "env:": "want env:NAME", "": "want env:NAME"} {
		if _, err := ReadSecret(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPayload(t *testing.T) {
	for _, c := range []struct {
		stdin string
		args  []string
		want  string
		wrong string
	}{
		{"", nil, "", ""},
		{" \n", []string{"-"}, "", ""},
		{"", []string{` {"a": 1} `}, `{"a": 1}`, ""},
		{"[1]\n", []string{"-"}, "[1]", ""},
		{"[1]\n", nil, "[1]", ""},
		{"[1]\n", []string{"2"}, "2", ""},
		{"", []string{"hello"}, "", "a string needs its quotes"},
	} {
		cmd := new(cobra.Command)
		cmd.SetIn(strings.NewReader(c.stdin))
		got, err := Payload(cmd, c.args, 0)
		if string(got) != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%q %q: %q, %v", c.stdin, c.args, got, err)
		}
	}
}

func TestPayloadJSON(t *testing.T) {
	for _, c := range []struct {
		payload codec.Payload
		want    string
	}{
		{codec.Payload{}, "null"},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte("[1]")}, "[1]"},
		{codec.Payload{Type: codec.TypeMsgpack, Data: []byte{0xc3}}, "true"},
		{codec.Payload{Type: "image/png", Data: []byte("hi")}, `{"contentType":"image/png","data":"aGk="}`},
	} {
		if got, err := PayloadJSON(c.payload); err != nil || string(got) != c.want {
			t.Errorf("%v: %s, %v, want %s", c.payload, got, err, c.want)
		}
	}
	number := codec.Payload{Type: codec.TypeJSON, Data: []byte("1")}
	for want, several := range map[string][]codec.Payload{"null": {}, "1": {number}, "[1,null]": {number, {}}} {
		if got, err := PayloadJSON(several...); err != nil || string(got) != want {
			t.Errorf("%v: %s, %v, want %s", several, got, err, want)
		}
	}
}

func TestHideUser(t *testing.T) {
	for urls, want := range map[string]string{
		"nats://a:4222":                     "nats://a:4222",
		"nats://user:p@ss@a:4222,tls://t@b": "nats://a:4222,tls://b",
		"user:pass@a":                       "nats://a",
	} {
		if got := HideUser(urls); got != want {
			t.Errorf("%s: %s, want %s", urls, got, want)
		}
	}
}
