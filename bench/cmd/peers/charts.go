package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/polywire/polywire/bench/internal/chart"
	"github.com/polywire/polywire/bench/internal/tool"
)

// Charts are drawn from the tables as they stand in the document, so that both
// always say the same.

// drawn is a case's chart.
type drawn struct {
	section, id string
	chart       chart.Bars
}

// draw writes a chart for each case of the document's tables beside it, shows
// them in it, and removes those of cases that are no more.
func draw(root string) error {
	doc := filepath.Join(root, "docs", "performance.md")
	text, err := tool.Between(doc, "bench")
	if err != nil {
		return err
	}
	all, err := charts(text)
	if err != nil {
		return fmt.Errorf("%s: %w", doc, err)
	}
	dir := filepath.Join(root, "docs", "charts")
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documents, for all to read
		return err
	}
	for _, d := range all {
		if err := os.WriteFile(filepath.Join(dir, d.file()), []byte(d.chart.SVG()), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return tool.WriteBetween(doc, "charts", pictures(all))
}

func (d *drawn) file() string { return d.id + ".svg" }

// pictures shows the charts in Markdown.
func pictures(all []*drawn) string {
	var b strings.Builder
	for _, d := range all {
		fmt.Fprintf(&b, "![%s](charts/%s)\n\n", strings.TrimPrefix(d.section+": "+d.chart.Title, ": "), d.file())
	}
	return b.String()
}

// charts reads the tables of all sections: in each the comparisons, then the
// figures of the same cases in the same order, which have their names.
func charts(text string) (all []*drawn, err error) {
	section := ""
	var open []*drawn // without a name yet
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case strings.HasPrefix(line, "### "):
			section = strings.TrimSpace(strings.TrimPrefix(line, "### "))
		case !strings.HasPrefix(line, "| "), cells[0] == "case":
		case len(cells) == 7:
			d, err := chartOf(section, cells)
			if err != nil {
				return nil, err
			}
			open = append(open, d)
		case len(cells) == 6 && (len(all) == 0 || all[len(all)-1].id != cells[0]):
			if len(open) == 0 {
				return nil, fmt.Errorf("case %q is in no comparison", cells[0])
			}
			open[0].id = cells[0]
			all, open = append(all, open[0]), open[1:]
		}
	}
	if len(all) == 0 || len(open) > 0 {
		return nil, errors.New("the tables are not what peers -write makes of them")
	}
	return all, nil
}

// chartOf reads a row: case, compared, ours, peer: theirs, ratio, bar, verdict.
func chartOf(section string, cells []string) (*drawn, error) {
	peer, theirs, ok := strings.Cut(cells[3], ": ")
	ours, err := quantity(cells[2])
	other, err2 := quantity(theirs)
	if err := errors.Join(err, err2); err != nil || !ok {
		return nil, fmt.Errorf("case %q: not figures: %q and %q", cells[0], cells[2], cells[3])
	}
	better := "more is better"
	if less := []string{"KiB", "ms"}; slices.Contains(less, strings.Fields(cells[1] + " -")[0]) {
		better = "less is better"
	}
	d := &drawn{section: section, chart: chart.Bars{
		Title: cells[0], Note: cells[1] + "; " + better,
		Bars: []chart.Bar{{Name: "Polywire", Value: ours, Text: cells[2], Ours: true}, {Name: peer, Value: other, Text: theirs}},
	}}
	return d, d.mark(cells[5], other)
}

// mark draws the bar that the case has: a number is a multiple of the other
// side's figure.
func (d *drawn) mark(bar string, other float64) error {
	if bar == "none" {
		return nil
	}
	if times, err := strconv.ParseFloat(bar, 64); err == nil {
		d.chart.Mark, d.chart.MarkText = times*other, "the bar: "+bar+" times"
		return nil
	}
	m := regexp.MustCompile(`at most ([\d.]+) `).FindStringSubmatch(bar)
	if m == nil {
		return fmt.Errorf("case %q: not a bar: %q", d.chart.Title, bar)
	}
	most, err := strconv.ParseFloat(m[1], 64)
	d.chart.Mark, d.chart.MarkText = most, "the bar: "+bar
	return err
}

// quantity is the inverse of amount; what follows a comma is passed over.
func quantity(text string) (float64, error) {
	text, _, _ = strings.Cut(text, ",")
	factor := 1.0
	for suffix, f := range map[string]float64{"k": 1e3, "M": 1e6} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, factor = rest, f
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * factor, err
}
