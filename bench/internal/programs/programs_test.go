package programs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scripts are programs of the test's own.
func scripts(t *testing.T, texts map[string]string) *Set {
	t.Helper()
	s := &Set{Dir: t.TempDir(), Root: t.TempDir()}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestServe(t *testing.T) {
	s := scripts(t, map[string]string{
		"mute":     "echo sorry >&2",
		"server":   "echo hello >&2; echo one moment; echo listening on tcp://127.0.0.1:1, process $$; exec cat",
		"stubborn": `trap 'exit 3' TERM; echo listening on ws://127.0.0.1:2; while :; do sleep 0.01; done`,
	})
	if _, err := s.Serve(t.Context(), nil, "absent"); err == nil {
		t.Error("a program that is not there was started")
	}
	if _, err := s.Serve(t.Context(), nil, "mute"); err == nil || !strings.Contains(err.Error(), "sorry") {
		t.Errorf("a server that says nothing: %v", err)
	}
	var log bytes.Buffer
	server, err := s.Serve(t.Context(), &log, "server")
	if err != nil {
		t.Fatal(err)
	}
	if server.URL != "tcp://127.0.0.1:1" || server.PID == 0 {
		t.Errorf("%+v", server)
	}
	if err := server.Stop(); err != nil || log.String() != "hello\n" {
		t.Errorf("%v, log %q", err, log.String())
	}
	if server, err = s.Serve(t.Context(), nil, "stubborn"); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a server that fails at its end: %v", err)
	}
}

func TestRun(t *testing.T) {
	s := scripts(t, map[string]string{"failing": "echo no luck >&2; exit 3", "chatty": "echo not JSON", "good": "echo $1"})
	var n int
	for program, want := range map[string]string{"failing": "no luck", "chatty": "invalid character", "absent": "absent"} {
		if err := s.Run(t.Context(), []string{program}, &n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", program, err)
		}
	}
	if err := s.Run(t.Context(), []string{"good", "42"}, &n); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestPath(t *testing.T) {
	s := scripts(t, nil)
	if got := s.Path("node"); got != "node" {
		t.Error(got)
	}
	own := filepath.Join(s.Root, ".cache", "bin", "node")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := s.Path("node"); got != own {
		t.Error(got)
	}
}

func TestAnnouncements(t *testing.T) {
	for line, want := range map[string]string{
		"listening on ws://127.0.0.1:8080, process 12": "ws://127.0.0.1:8080",
		"listening on tcp://127.0.0.1:7000":            "tcp://127.0.0.1:7000",
		"not listening on anything":                    "",
	} {
		got := ""
		if m := announced.FindStringSubmatch(line); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
