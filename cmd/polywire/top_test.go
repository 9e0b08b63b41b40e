package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/polywire/polywire/cmd/polywire/internal/top"
)

// The figures of a server come in a page, a line, or JSON.
func TestTopOnce(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-token", adminToken)
	p.line()
	at := strings.TrimPrefix(adminOf(p), "http://")
	t.Setenv("POLYWIRE_ADMIN_TOKEN", adminToken)
	out, _, err := run(t, "", "top", "--admin", at, "--once")
	if err != nil || !strings.Contains(out, "running") || !strings.Contains(out, "connections") || !strings.Contains(out, "WIRES") || strings.Contains(out, "\x1b") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = run(t, "", "top", "http://"+at, "--once", "--json")
	var f top.Figures
	if err != nil || json.Unmarshal([]byte(out), &f) != nil || f.Overview == nil || f.Overview.State != "running" || strings.Count(out, "\n") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, c := range []struct{ args, want string }{
		{"--admin " + at + " --once --token a-token-that-is-wrong", "the token is missing, or wrong"},
		{"--admin " + at + " --token a-token-that-is-wrong", "the token is missing, or wrong"},
		{"127.0.0.1:1 --once", "refused"},
		{"", "--admin says where"},
		{"nonsense", "host:port"},
		{at + " --every 1ms", "at least 100ms"},
		{at + " more", `"more" is one argument too many`},
	} {
		if _, _, err := run(t, "", append([]string{"top"}, strings.Fields(c.args)...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("polywire top %s: %v, want %q", c.args, err, c.want)
		}
	}
}

// Into a pipe goes a line for each look, for as long as somebody reads.
func TestTopLines(t *testing.T) {
	p := startProgram(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	p.line()
	lines := startProgram(t, nil, "top", adminOf(p), "--every", "100ms")
	if heading := lines.line(); !strings.Contains(heading, "p99") {
		t.Error(heading)
	}
	for range 2 {
		if line := strings.Fields(lines.line()); len(line) < 14 {
			t.Errorf("%q", line)
		}
	}
	_ = p.c.Process.Kill() // it goes on
	for !strings.Contains(lines.line(), "away: ") {
	}
}
