package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is all that came of a run.
type report struct {
	Machine string `json:"machine"`
	Date    string `json:"date"`
	Commit  string `json:"commit,omitempty"`
	Rounds  int    `json:"rounds"`
	Seconds string `json:"duration"`
	Rows    []row  `json:"rows"`
}

// row is one case's outcome.
type row struct {
	Case     string  `json:"case"`
	Title    string  `json:"title"`
	Unit     string  `json:"unit"`
	Ours     outcome `json:"ours"`
	Peer     outcome `json:"peer"`
	Ratio    float64 `json:"ratio"` // the median of the rounds' ratios
	Bar      float64 `json:"bar"`
	Absolute bool    `json:"absolute"` // the bar is for Ours.Median.Value, and the most
	Met      bool    `json:"met"`
}

// outcome is what one server did.
type outcome struct {
	Server string    `json:"server"`
	Median figures   `json:"median"`
	Rounds []figures `json:"rounds"`
}

func newReport(ctx context.Context, l *lab, rounds int) report {
	r := report{Machine: machine(), Date: time.Now().UTC().Format(time.DateOnly), Rounds: rounds, Seconds: l.duration.String()}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(out)) // else it was not cloned, and has none
	}
	return r
}

// machine says on what it was measured.
func machine() string {
	cpu := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(b) {
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
				cpu = string(bytes.TrimSpace(value))
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d processors, %s, %s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}

// judged fills in what follows from the rounds.
func (r row) judged() row {
	r.Ours.Median, r.Peer.Median = medians(r.Ours.Rounds), medians(r.Peer.Rounds)
	ratios := make([]float64, len(r.Ours.Rounds))
	for i := range ratios {
		ratios[i] = ratio(r.Ours.Rounds[i].Value, r.Peer.Rounds[i].Value)
	}
	r.Ratio = median(ratios)
	if r.Absolute {
		r.Met = r.Ours.Median.Value <= r.Bar
	} else {
		r.Met = r.Ratio >= r.Bar
	}
	return r
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// medians takes each figure's own median.
func medians(rounds []figures) figures {
	of := func(field func(figures) float64) float64 {
		v := make([]float64, len(rounds))
		for i, f := range rounds {
			v[i] = field(f)
		}
		return median(v)
	}
	return figures{
		Value:     of(func(f figures) float64 { return f.Value }),
		PerSecond: of(func(f figures) float64 { return f.PerSecond }),
		CPUMicros: of(func(f figures) float64 { return f.CPUMicros }),
		P50:       of(func(f figures) float64 { return f.P50 }),
		P99:       of(func(f figures) float64 { return f.P99 }),
		KiB:       of(func(f figures) float64 { return f.KiB }),
	}
}

// median of an even number is the mean of the two in the middle; of none, 0.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	switch n := len(v); {
	case n == 0:
		return 0
	case n%2 == 1:
		return v[n/2]
	default:
		return (v[n/2-1] + v[n/2]) / 2
	}
}

// missed lists the cases that did not meet their bar.
func (r report) missed() []string {
	var out []string
	for _, row := range r.Rows {
		if !row.Met {
			out = append(out, row.Case)
		}
	}
	return out
}

// markdown returns the report as two tables.
func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %s", r.Machine, r.Date)
	if r.Commit != "" {
		fmt.Fprintf(&b, "; commit %s", r.Commit)
	}
	fmt.Fprintf(&b, "; medians of %d rounds of %s.\n\n", r.Rounds, r.Seconds)
	b.WriteString("| case | compared | Polywire | beside it | ratio | bar | |\n|---|---|---:|---:|---:|---:|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s: %s | %.2f | %s | %s |\n", row.Title, row.Unit, amount(row.Ours.Median.Value),
			row.Peer.Server, amount(row.Peer.Median.Value), row.Ratio, row.bar(), row.verdict())
	}
	b.WriteString("\n| case | server | a second | CPU µs each | p50 ms | p99 ms |\n|---|---|---:|---:|---:|---:|\n")
	for _, row := range r.Rows {
		for _, o := range []outcome{row.Ours, row.Peer} {
			m := o.Median
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s | %s |\n", row.Case, o.Server, amount(m.PerSecond), m.CPUMicros,
				milliseconds(m.P50), milliseconds(m.P99))
		}
	}
	return b.String()
}

func (r row) bar() string {
	if r.Absolute {
		return fmt.Sprintf("at most %s %s", amount(r.Bar), strings.Fields(r.Unit)[0])
	}
	return fmt.Sprintf("%.1f", r.Bar)
}

func (r row) verdict() string {
	if r.Met {
		return "met"
	}
	return "**missed**"
}

// amount has three digits or so, and thousands apart.
func amount(v float64) string {
	switch {
	case v < 100:
		return fmt.Sprintf("%.2f", v)
	case v < 10_000:
		return fmt.Sprintf("%.0f", v)
	case v < 1e6:
		return fmt.Sprintf("%.0fk", v/1e3)
	}
	return fmt.Sprintf("%.2fM", v/1e6)
}

func milliseconds(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v)
}

// The marks between which the tables stand.
const (
	beginMark = "<!-- bench:begin -->\n"
	endMark   = "<!-- bench:end -->"
)

// writeInto puts text between the marks in a file.
func writeInto(path, text string) error {
	b, err := os.ReadFile(path) //nolint:gosec // our own document
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(b, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return errors.New(path + " has no bench:begin and bench:end marks")
	}
	out := slices.Concat(before, []byte(beginMark+"\n"+text+"\n"+endMark), after)
	return os.WriteFile(path, out, 0o644) //nolint:gosec // a document, for all to read
}
