package main

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryCase builds the programs and runs each comparison, small and short:
// that the figures are there, not what they are.
func TestEveryCase(t *testing.T) {
	root, err := findRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(t.Context(), root, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.duration, l.quiet = 200*time.Millisecond, 100*time.Millisecond
	all := comparisons(size{echo: 4, broadcast: 4, idle: 200, calls: 4})
	rep, err := l.compare(t.Context(), all, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Rows) != len(all) {
		t.Fatalf("%d rows of %d", len(rep.Rows), len(all))
	}
	text := rep.markdown()
	for _, row := range rep.Rows {
		for _, o := range []outcome{row.Ours, row.Peer} {
			if len(o.Rounds) != 1 || o.Median.PerSecond <= 0 || o.Median.CPUMicros <= 0 || (o.Median.Value <= 0 && row.Case != "idle") {
				t.Errorf("%s, %s: %+v", row.Case, o.Server, o)
			}
		}
		if !strings.Contains(text, row.Title) || !strings.Contains(text, "| "+row.Case+" | Polywire |") {
			t.Errorf("%s is not in\n%s", row.Case, text)
		}
	}
}

func TestFailuresAreReported(t *testing.T) {
	l := &lab{dir: t.TempDir(), progress: io.Discard, duration: time.Second}
	script := func(name, text string) {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script("mute", "echo sorry >&2")
	script("server", "echo listening on tcp://127.0.0.1:1; exec cat")
	script("failing", "echo no luck >&2; exit 3")
	script("chatty", "echo not JSON")
	if _, err := l.serve(t.Context(), []string{"absent"}); err == nil {
		t.Error("a program that is not there was started")
	}
	if _, err := l.serve(t.Context(), []string{"mute"}); err == nil || !strings.Contains(err.Error(), "sorry") {
		t.Errorf("a server that says nothing: %v", err)
	}
	for client, want := range map[string]string{"failing": "no luck", "chatty": "invalid character"} {
		_, err := l.underCalls(t.Context(), []string{"server"}, []string{client}, "-url", strings.Clone, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", client, err)
		}
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

func rounds(values ...float64) outcome {
	var o outcome
	for _, v := range values {
		o.Rounds = append(o.Rounds, figures{Value: v, KiB: 10 * v})
	}
	return o
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name string
		row  row
		want float64
		met  bool
	}{
		{"median of the rounds' ratios", row{Ours: rounds(4, 9, 6), Peer: rounds(2, 3, 6), Bar: 2}, 2, true},
		{"just below", row{Ours: rounds(199), Peer: rounds(100), Bar: 2}, 1.99, false},
		{"two rounds", row{Ours: rounds(2, 4), Peer: rounds(1, 1), Bar: 3}, 3, true},
		{"at most", row{Ours: rounds(3.5), Peer: rounds(7), Bar: 3.5, Absolute: true}, .5, true},
		{"more than that", row{Ours: rounds(3.6), Peer: rounds(7), Bar: 3.5, Absolute: true}, 3.6 / 7, false},
		{"a peer that did nothing", row{Ours: rounds(1), Peer: rounds(0), Bar: 1}, 0, false},
	} {
		got := tt.row.judged()
		if math.Abs(got.Ratio-tt.want) > 1e-9 || got.Met != tt.met {
			t.Errorf("%s: ratio %v, met %v", tt.name, got.Ratio, got.Met)
		}
		if got.Ours.Median.KiB != 10*got.Ours.Median.Value {
			t.Errorf("%s: medians %+v", tt.name, got.Ours.Median)
		}
	}
	r := report{Rows: []row{{Case: "a", Met: true}, {Case: "b"}}}
	if got := r.missed(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("missed %q", got)
	}
}

func TestAmount(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 3.456: "3.46", 812.3: "812", 9999: "9999", 123_456: "123k", 1_631_000: "1.63M"} {
		if got := amount(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	if num(100) != "100" || num(10_000) != "10,000" {
		t.Errorf("%s, %s", num(100), num(10_000))
	}
}

func TestWriteInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("a\n"+beginMark+"old\n"+endMark+"\nz\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeInto(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if want := "a\n" + beginMark + "\nnew\n\n" + endMark + "\nz\n"; err != nil || string(b) != want {
		t.Errorf("%v: %q, want %q", err, b, want)
	}
	if err := os.WriteFile(path, []byte("a\n"+endMark), 0o600); err != nil {
		t.Fatal(err)
	}
	if writeInto(path, "new") == nil || writeInto(path+"x", "new") == nil {
		t.Error("written to where there is no place for it")
	}
}

func TestFlags(t *testing.T) {
	all := comparisons(fullSize())
	if got, err := choose(all, "idle, echo-1"); err != nil || !slices.Equal(ids(got), []string{"idle", "echo-1"}) {
		t.Errorf("%q, %v", ids(got), err)
	}
	if got, err := choose(all, ""); err != nil || len(got) != len(all) {
		t.Errorf("%q, %v", ids(got), err)
	}
	for _, args := range [][]string{{"-cases", "x"}, {"-rounds", "0"}, {"-duration", "-1s"}, {"-x"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// TestDocumentHasItsPlace: make bench-peers writes there.
func TestDocumentHasItsPlace(t *testing.T) {
	b, err := os.ReadFile("../../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(b), beginMark) != 1 || strings.Count(string(b), endMark) != 1 {
		t.Error("docs/performance.md must have one pair of marks")
	}
}
