package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/polywire/polywire/bench/internal/tool"
)

// report is all that came of a run.
type report struct {
	tool.Setting

	Rounds  int    `json:"rounds"`
	Seconds string `json:"duration"`
	Rows    []row  `json:"rows"`
}

// row is one case's outcome.
type row struct {
	Section string  `json:"section,omitempty"`
	Case    string  `json:"case"`
	Title   string  `json:"title"`
	Unit    string  `json:"unit"`
	Ours    outcome `json:"ours"`
	Peer    outcome `json:"peer"`
	Ratio   float64 `json:"ratio"` // the median of the rounds' ratios
	Bar     float64 `json:"bar"`
	Rule    rule    `json:"rule,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
	Met     bool    `json:"met"`
}

// outcome is what one server did.
type outcome struct {
	Server string    `json:"server"`
	Median figures   `json:"median"`
	Rounds []figures `json:"rounds"`
}

func newReport(ctx context.Context, l *lab, rounds int) report {
	return report{Setting: tool.NewSetting(ctx), Rounds: rounds, Seconds: l.duration.String()}
}

// judged fills in what follows from the rounds.
func (r row) judged() row {
	r.Ours.Median, r.Peer.Median = medians(r.Ours.Rounds), medians(r.Peer.Rounds)
	ratios := make([]float64, len(r.Ours.Rounds))
	for i := range ratios {
		ratios[i] = ratio(r.Ours.Rounds[i].Value, r.Peer.Rounds[i].Value)
	}
	r.Ratio = tool.Median(ratios)
	switch r.Rule {
	case atMost:
		r.Met = r.Ours.Median.Value <= r.Bar
	case noneOver:
		r.Ours.worst()
		r.Peer.worst()
		r.Met = r.Ours.Median.Value <= r.Bar && r.Ours.Median.Lost == 0 && r.Ours.kept(r.Rate)
	case noBar:
		r.Met = true
	case ratioAtLeast:
		r.Met = r.Ratio >= r.Bar
	}
	return r
}

// worst takes what no round may have in place of what the middle one has.
func (o *outcome) worst() {
	o.Median.Value, o.Median.Lost = 0, 0
	for _, f := range o.Rounds {
		o.Median.Value = max(o.Median.Value, f.Value)
		o.Median.Lost += f.Lost
	}
}

// kept reports whether every round had the rate, but for the time that the
// last handshakes take.
func (o *outcome) kept(rate float64) bool {
	for _, f := range o.Rounds {
		if f.PerSecond < .98*rate {
			return false
		}
	}
	return true
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
		return tool.Median(v)
	}
	return figures{
		Value:     of(func(f figures) float64 { return f.Value }),
		PerSecond: of(func(f figures) float64 { return f.PerSecond }),
		CPUMicros: of(func(f figures) float64 { return f.CPUMicros }),
		P50:       of(func(f figures) float64 { return f.P50 }),
		P99:       of(func(f figures) float64 { return f.P99 }),
		KiB:       of(func(f figures) float64 { return f.KiB }),
		Lost:      of(func(f figures) float64 { return f.Lost }),
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

// markdown returns the report as two tables for each section.
func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; medians of %d rounds of %s.\n", r.Setting, r.Rounds, r.Seconds)
	for rows := r.Rows; len(rows) > 0; {
		section := rows[0].Section
		n := slices.IndexFunc(rows, func(row row) bool { return row.Section != section })
		if n < 0 {
			n = len(rows)
		}
		if section != "" {
			fmt.Fprintf(&b, "\n### %s\n", section)
		}
		tables(&b, rows[:n])
		rows = rows[n:]
	}
	return b.String()
}

func tables(b *strings.Builder, rows []row) {
	b.WriteString("\n| case | compared | Polywire | beside it | ratio | bar | |\n|---|---|---:|---:|---:|---:|---|\n")
	for _, row := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s: %s | %.2f | %s | %s |\n", row.Title, row.Unit, row.value(row.Ours),
			row.Peer.Server, row.value(row.Peer), row.Ratio, row.bar(), row.verdict())
	}
	b.WriteString("\n| case | server | a second | CPU µs each | p50 ms | p99 ms |\n|---|---|---:|---:|---:|---:|\n")
	for _, row := range rows {
		for _, o := range []outcome{row.Ours, row.Peer} {
			m := o.Median
			fmt.Fprintf(b, "| %s | %s | %s | %.2f | %s | %s |\n", row.Case, o.Server, amount(m.PerSecond), m.CPUMicros,
				milliseconds(m.P50), milliseconds(m.P99))
		}
	}
}

// value is what an outcome is compared by.
func (r row) value(o outcome) string {
	if r.Rule == noneOver {
		return fmt.Sprintf("%s, %.0f lost", amount(o.Median.Value), o.Median.Lost)
	}
	return amount(o.Median.Value)
}

func (r row) bar() string {
	unit, _, _ := strings.Cut(r.Unit, " ")
	switch r.Rule {
	case atMost:
		return fmt.Sprintf("at most %s %s", amount(r.Bar), unit)
	case noneOver:
		return fmt.Sprintf("none lost, at most %s %s, %s a second", amount(r.Bar), unit, num(int(r.Rate)))
	case noBar:
		return "none"
	}
	return fmt.Sprintf("%.1f", r.Bar)
}

func (r row) verdict() string {
	switch {
	case r.Rule == noBar:
		return ""
	case r.Met:
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
