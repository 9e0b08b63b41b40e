package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/polywire/polywire/bench/internal/tool"
	"github.com/polywire/polywire/internal/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A soak of some seconds, of all that a long one has.
func TestShortly(t *testing.T) {
	var out, progress strings.Builder
	err := run(t.Context(), []string{"-conns", "201", "-duration", "4s", "-every", "200ms", "-report", "500ms", "-settle", "1s"}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, progress.String(), out.String())
	}
	for _, want := range []string{"| connections | 201: 67 native, 67 native-json, 67 socketio |", ", 0 lost |", "| latency | p50 ", "after 1s", "lines, 0 complaints |", "\n| 0.", "last 500ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if !strings.Contains(progress.String(), "201 connections are open\n") {
		t.Error(progress.String())
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{"-conns", "2"}, {"-wires", "smoke"}, {"-settle", "6m"}, {"-duration", "0"}, {"-every", "-1s"}, {"-report", "0"}, {"-size", "0"}, {"-x"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// line is a series of samples, ten seconds apart, from first on.
func line(n int, first, each float64) (all []sample) {
	for i := range n {
		v := first + float64(i)*each + float64(i%2)*mebi // it breathes
		all = append(all, sample{at: time.Duration(i+1) * 10 * time.Second, resident: v, heap: v})
	}
	return all
}

func TestTrend(t *testing.T) {
	resident := func(s sample) float64 { return s.resident }
	for _, tt := range []struct {
		name      string
		samples   []sample
		perMinute float64
		grows     bool
	}{
		{"none", nil, 0, false},
		{"one", line(6, 100*mebi, 0), 0, false},
		{"flat", line(60, 100*mebi, 0), 0, false},
		{"shrinking", line(60, 100*mebi, -mebi), -6 * mebi, false},
		{"a little", line(60, 100*mebi, mebi/20), 6 * mebi / 20, false},
		{"growing", line(60, 100*mebi, mebi), 6 * mebi, true},
		{"growing, but little of much", line(60, 2000*mebi, mebi), 6 * mebi, false},
	} {
		got := trendOf(tt.samples, time.Minute, resident)
		if d := got.perMinute - tt.perMinute; d > mebi/10 || d < -mebi/10 || got.grows() != tt.grows {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	up := append(line(5, 100*mebi, 0), sample{at: time.Minute, resident: 140 * mebi})
	if got := trendOf(up, 0, resident); got.grows() {
		t.Errorf("up at the end, as a collector may be: %+v", got)
	}
}

// good is a soak that nothing is wrong with.
func good() *soak {
	s := &soak{
		options: options{conns: 2, wires: []string{"native", "drs"}, settle: time.Minute, report: 10 * time.Second, every: time.Second, payloadBytes: 1},
		setting: tool.Setting{Machine: "a machine"}, samples: line(60, 100*mebi, 0), logged: 3, elapsed: 10 * time.Minute,
		results: make([]load.Result, 2),
	}
	s.total.Sent, s.total.Answered, s.after.answered = 1_234_567, 1_234_567, 1_234_567
	return s
}

func TestWhatIsWrong(t *testing.T) {
	if wrong := good().wrong(); len(wrong) != 0 {
		t.Errorf("of a good one: %q", wrong)
	}
	for want, spoil := range map[string]func(*soak){
		"no message":                func(s *soak) { s.total.Sent, s.total.Answered = 0, 0 },
		"1 of 1234567 messages":     func(s *soak) { s.total.Answered-- },
		"drs: 1 connections failed": func(s *soak) { s.results[1].Errors = 1 },
		"resident memory grew from": func(s *soak) {
			s.samples = line(60, 100*mebi, mebi)
		},
		"the heap grew":                    func(s *soak) { s.samples = line(60, 100*mebi, mebi) },
		"1 connections are left":           func(s *soak) { s.after.conns = 1 },
		"metrics have 5 messages":          func(s *soak) { s.after.answered = 5 },
		"logged nothing":                   func(s *soak) { s.logged = 1 },
		"1 complaints in the log, the fir": func(s *soak) { s.bad = []string{"oh"} },
	} {
		s := good()
		spoil(s)
		if got := strings.Join(s.wrong(), "\n"); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	text := good().markdown()
	for _, want := range []string{
		"a machine; .\n", "| connections | 2: 1 native, 1 drs |", "| held | 10m, a message of 1 bytes each 1s |", "| messages | 1,234,567, 0 lost |",
		"| resident memory | 100.5 MiB after 1m, 100.5 MiB at the end: ", "\n| 1.0 |", "\n| 10.0 |", "the last 10s of its minute",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n| ") - 10; n != 11 {
		t.Errorf("%d lines of minutes:\n%s", n, text)
	}
}

func TestForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{500 * time.Millisecond: "500ms", 1001 * time.Millisecond: "1s", 10 * time.Minute: "10m", 90 * time.Second: "1m30s"} {
		if got := shortly(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}
