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

	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/bench/internal/programs"
	"github.com/polywire/polywire/internal/load"
	"github.com/polywire/polywire/internal/testenv"
)

// TestEveryCase builds the programs and runs each comparison, small and short:
// that the figures are there, not what they are.
func TestEveryCase(t *testing.T) {
	l, err := newLab(t.Context(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.duration, l.quiet, l.beats = 200*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	var plain, withNode []comparison
	for _, c := range comparisons(size{echo: 4, broadcast: 4, idle: 200, calls: 4, handshakes: 100, polls: 4}) {
		if c.peer.name == nodeServer {
			withNode = append(withNode, c)
		} else {
			plain = append(plain, c)
		}
	}
	t.Run("Go", func(t *testing.T) { tryAll(t, l, plain) })
	t.Run("Node", func(t *testing.T) {
		testenv.Need(t, "node")
		if _, err := os.Stat(filepath.Join(filepath.Dir(l.nodeScript()), "node_modules", "socket.io")); err != nil {
			testenv.Missing(t, "the npm packages of bench/socketio-node (make test installs them)")
		}
		tryAll(t, l, withNode)
	})
}

// tryAll runs comparisons, each for longer where the machine was too busy to
// answer anything, or to begin all handshakes in time. A case of memory may come
// out below zero when so few connections are open.
func tryAll(t *testing.T, l *lab, all []comparison) {
	var rep report
	short := l.duration
	defer func() { l.duration = short }()
	for _, c := range all {
		for l.duration = short; ; l.duration *= 5 {
			one, err := l.compare(t.Context(), []comparison{c}, 1)
			busy := err != nil && (strings.Contains(err.Error(), ": 0 messages, 0 errors") || strings.Contains(err.Error(), calls.ErrSilent.Error()))
			if err != nil && !busy {
				t.Fatal(err)
			}
			if !busy && one.Rows[0].Ours.Median.Lost+one.Rows[0].Peer.Median.Lost == 0 || l.duration > 10*time.Second {
				if err != nil {
					t.Fatal(err)
				}
				one.Rows = append(rep.Rows, one.Rows...)
				rep = one
				break
			}
			t.Logf("%s: in %v: %v, %+v", c.id, l.duration, err, one.Rows)
		}
	}
	if len(rep.Rows) != len(all) {
		t.Fatalf("%d rows of %d", len(rep.Rows), len(all))
	}
	text := rep.markdown()
	for _, row := range rep.Rows {
		for _, o := range []outcome{row.Ours, row.Peer} {
			if len(o.Rounds) != 1 || o.Median.PerSecond <= 0 || o.Median.CPUMicros <= 0 || o.Median.Lost != 0 ||
				(o.Median.Value <= 0 && !strings.Contains(row.Case, "idle")) {
				t.Errorf("%s, %s: %+v", row.Case, o.Server, o)
			}
		}
		if !strings.Contains(text, row.Title) || !strings.Contains(text, "| "+row.Case+" | Polywire |") {
			t.Errorf("%s is not in\n%s", row.Case, text)
		}
	}
}

func TestFailuresAreReported(t *testing.T) {
	l := &lab{Set: &programs.Set{Dir: t.TempDir()}, progress: io.Discard, duration: time.Second}
	script := func(name, text string) {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script("server", "echo listening on tcp://127.0.0.1:1; exec cat")
	script("failing", "echo no luck >&2; exit 3")
	script("chatty", "echo not JSON")
	for client, want := range map[string]string{"failing": "no luck", "chatty": "invalid character"} {
		_, err := l.underCalls(t.Context(), []string{"server"}, []string{client}, "-url", strings.Clone, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", client, err)
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

func TestFigures(t *testing.T) {
	beats, shakes := task{mode: "idle", conns: 5, beats: true}, task{mode: "handshakes", rate: 100}
	for _, tt := range []struct {
		name string
		task task
		res  loadResult
		lost float64
		want string
	}{
		{"some lost", shakes, loadResult{Mode: load.Handshakes, Messages: 3400, Errors: 10}, 100, ""},
		{"none lost", shakes, loadResult{Mode: load.Handshakes, Messages: 3500}, 0, ""},
		{"all lost", shakes, loadResult{Mode: load.Handshakes, Errors: 10, FirstError: "refused"}, 0, "refused"},
		{"broken", beats, loadResult{Mode: load.Idle, Messages: 5, Pings: 5, Errors: 1, FirstError: "gone"}, 0, "gone"},
		{"no heartbeats", beats, loadResult{Mode: load.Idle, Messages: 5, Pings: 4}, 0, "4 pings"},
		{"heartbeats", beats, loadResult{Mode: load.Idle, Messages: 5, Pings: 5}, 0, ""},
	} {
		f, err := tt.task.figures("server", perSecond, tt.res, idleBeats)
		if f.Lost != tt.lost || (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v lost, %v", tt.name, f.Lost, err)
		}
	}
}

// handshakes has a round for each slowest one, at 2,000 a second.
func handshakes(lost float64, slowest ...float64) outcome {
	o := rounds(slowest...)
	for i := range o.Rounds {
		o.Rounds[i].PerSecond = 2000
	}
	o.Rounds[0].Lost = lost
	return o
}

func TestMarkdown(t *testing.T) {
	r := fourCases()
	text := r.markdown()
	rest := text
	for _, want := range []string{
		"| first | messages | 400k | peer: 200k | 2.00 | 1.5 | met |",
		"| record | KiB each | 4.00 | peer: 2.00 | 2.00 | none |  |",
		"| b | peer |", "\n### Other\n",
		"| second | KiB each | 4.00 | peer: 2.00 | 2.00 | at most 3.00 KiB | **missed** |",
		"| third | ms of all | 40.00, 2 lost | peer: 50.00, 0 lost | 1.30 | none lost, at most 1000 ms, 2,000 a second | **missed** |",
		"| d | Polywire |",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no %q in its place in\n%s", want, text)
		}
		rest = after
	}
	if strings.Count(text, "| case |") != 4 {
		t.Errorf("two tables a section:\n%s", text)
	}
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
		{"at most", row{Ours: rounds(3.5), Peer: rounds(7), Bar: 3.5, Rule: atMost}, .5, true},
		{"more than that", row{Ours: rounds(3.6), Peer: rounds(7), Bar: 3.5, Rule: atMost}, 3.6 / 7, false},
		{"no bar", row{Ours: rounds(3), Peer: rounds(6), Rule: noBar}, .5, true},
		{"none over", row{Ours: handshakes(0, 10, 1000), Peer: rounds(10, 500), Bar: 1000, Rule: noneOver, Rate: 2000}, 1.5, true},
		{"one over", row{Ours: handshakes(0, 10, 1001, 20), Peer: rounds(10, 1001, 20), Bar: 1000, Rule: noneOver, Rate: 2000}, 1, false},
		{"one lost", row{Ours: handshakes(1, 10), Peer: rounds(10), Bar: 1000, Rule: noneOver, Rate: 2000}, 1, false},
		{"too slow", row{Ours: handshakes(0, 10), Peer: rounds(10), Bar: 1000, Rule: noneOver, Rate: 2100}, 1, false},
		{"a peer that did nothing", row{Ours: rounds(1), Peer: rounds(0), Bar: 1}, 0, false},
	} {
		got := tt.row.judged()
		if math.Abs(got.Ratio-tt.want) > 1e-9 || got.Met != tt.met {
			t.Errorf("%s: ratio %v, met %v", tt.name, got.Ratio, got.Met)
		}
		if got.Rule != noneOver && got.Ours.Median.KiB != 10*got.Ours.Median.Value {
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
