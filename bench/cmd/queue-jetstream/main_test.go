package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestCompare(t *testing.T) {
	var out strings.Builder
	args := []string{"compare", "-messages", "100", "-rounds", "1", "-in-flight", "16", "-workers", "4", "-dir", t.TempDir()}
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(strings.NewReader(out.String()))
	seen := 0
	for lines.More() {
		var c comparison
		if err := lines.Decode(&c); err != nil || c.Bare <= 0 || c.Ours <= 0 || c.Ratio <= 0 || c.Work == "" {
			t.Errorf("%v: %+v", err, c)
		}
		seen++
	}
	if seen != 4 {
		t.Errorf("%d lines: %s", seen, out.String())
	}
}

func TestStart(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"start", "-messages", "50", "-dir", t.TempDir()}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var s start
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil || s.Waiting != 50 || s.Handled != 50 || s.FirstSeconds <= 0 || s.PeakMegabytes <= 0 {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{nil, {"dance"}, {"compare", "-rounds", "0"}, {"compare", "-workers", "9", "-in-flight", "8"},
		{"start", "-messages", "0"}, {"start", "-dir", "/nowhere/at/all"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
