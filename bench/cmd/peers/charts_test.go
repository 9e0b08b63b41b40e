package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/polywire/polywire/bench/internal/tool"
)

// fourCases are a report with a case of each rule.
func fourCases() report {
	r := report{Rows: []row{
		{Case: "a", Title: "first", Unit: "messages", Ours: rounds(400_000), Peer: rounds(200_000), Bar: 1.5},
		{Case: "b", Title: "record", Unit: "KiB each", Ours: rounds(4), Peer: rounds(2), Rule: noBar},
		{Section: "Other", Case: "c", Title: "second", Unit: "KiB each", Ours: rounds(4), Peer: rounds(2), Bar: 3, Rule: atMost},
		{Section: "Other", Case: "d", Title: "third", Unit: "ms of all", Ours: handshakes(2, 30, 40), Peer: handshakes(0, 50, 20),
			Bar: 1000, Rule: noneOver, Rate: 2000},
	}}
	for i := range r.Rows {
		r.Rows[i].Ours.Server, r.Rows[i].Peer.Server = "Polywire", "peer"
		r.Rows[i] = r.Rows[i].judged()
	}
	return r
}

func TestCharts(t *testing.T) {
	all, err := charts(fourCases().markdown())
	if err != nil || len(all) != 4 {
		t.Fatalf("%d charts, %v", len(all), err)
	}
	for i, want := range []struct {
		section, id, title, note string
		ours, peer, mark         float64
	}{
		{"", "a", "first", "messages; more is better", 400_000, 200_000, 300_000},
		{"", "b", "record", "KiB each; less is better", 4, 2, 0},
		{"Other", "c", "second", "KiB each; less is better", 4, 2, 3},
		{"Other", "d", "third", "ms of all; less is better", 40, 50, 1000},
	} {
		d := all[i]
		c := d.chart
		if d.section != want.section || d.id != want.id || c.Title != want.title || c.Note != want.note || c.Bars[0].Value != want.ours ||
			c.Bars[1].Value != want.peer || c.Bars[1].Name != "peer" || math.Abs(c.Mark-want.mark) > 1e-6 {
			t.Errorf("%+v, want %+v", d, want)
		}
	}
	if text := pictures(all); !strings.Contains(text, "![first](charts/a.svg)\n") || !strings.Contains(text, "![Other: third](charts/d.svg)\n") {
		t.Error(text)
	}
	good := fourCases().markdown()
	comparisonOnly, _, _ := strings.Cut(good, "| case | server")
	for name, text := range map[string]string{
		"nothing": "", "no names": comparisonOnly, "figures": strings.Replace(good, "| 400k |", "| many |", 1),
		"a bar": strings.Replace(good, "| 1.5 |", "| high |", 1), "one name too many": good + "| e | peer | 1 | 1 | 1 | 1 |\n",
	} {
		if all, err := charts(text); err == nil {
			t.Errorf("%s: drawn as %+v", name, all)
		}
	}
}

func TestDraw(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "docs", "charts"), 0o700); err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(root, "docs", "performance.md")
	text := ""
	for _, name := range []string{"bench", "charts"} {
		begin, end := tool.Marks(name)
		text += begin + "\n" + end + "\n"
	}
	for path, text := range map[string]string{doc: text, filepath.Join(root, "docs", "charts", "gone.svg"): "old"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if draw(root) == nil {
		t.Error("charts were drawn of no tables")
	}
	if err := tool.WriteBetween(doc, "bench", fourCases().markdown()); err != nil {
		t.Fatal(err)
	}
	if err := draw(root); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "charts", "*"))
	if err != nil || len(files) != 4 {
		t.Errorf("%q, %v", files, err)
	}
}

// The repository's charts are those of its tables: peers -charts draws them.
func TestDocumentHasItsCharts(t *testing.T) {
	docs := filepath.Join("..", "..", "..", "docs")
	text, err := tool.Between(filepath.Join(docs, "performance.md"), "bench")
	if err != nil {
		t.Fatal(err)
	}
	all, err := charts(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if svg, err := os.ReadFile(filepath.Join(docs, "charts", d.file())); err != nil || string(svg) != d.chart.SVG() {
			t.Errorf("%s is not what the table says (go run ./cmd/peers -charts): %v", d.file(), err)
		}
	}
	if shown, err := tool.Between(filepath.Join(docs, "performance.md"), "charts"); err != nil || shown != strings.TrimSpace(pictures(all)) {
		t.Errorf("docs/performance.md does not show all charts: %v", err)
	}
}
