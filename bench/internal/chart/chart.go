// Package chart draws bars as SVG, for documents: no script, no font of its
// own, readable on light and on dark pages and by who hears them.
package chart

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Bars compares some values.
type Bars struct {
	Title string
	Note  string // the unit, and whether more or less is better
	Bars  []Bar
	// Mark is where a bar had to end, with a text beside it; 0: nowhere.
	Mark     float64
	MarkText string
}

// Bar is one value, from 0 on. Values below are drawn as 0.
type Bar struct {
	Name  string
	Value float64
	Text  string // as it is to be read
	Ours  bool   // in the colour that stands out
}

// Measures of the drawing, in pixels.
const (
	width     = 720
	left      = 150 // of the bars
	longest   = 430 // of them
	firstLine = 24
	head      = 56 // above the bars
	barHeight = 22
	step      = 32
	foot      = 26 // below them, for the mark's text
	margin    = 16
	letter    = 8 // about the width of one
)

// style has the colours twice: pages say which they are.
const style = `text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.b{fill:#ffffff}.t{font-weight:600;font-size:14px}.n{fill:#57606a}.o{fill:#0969da}.p{fill:#9aa4af}.m{stroke:#bc4c00;stroke-width:2;stroke-dasharray:4 3}.k{fill:#a04100}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#0d1117}.n{fill:#9da7b1}.o{fill:#4493f8}.p{fill:#6e7781}.m{stroke:#f0883e}.k{fill:#f0883e}}`

// SVG returns the drawing, which is the same for the same values.
func (c Bars) SVG() string {
	height := head + len(c.Bars)*step
	if c.Mark > 0 {
		height += foot
	}
	full := c.Mark
	var read []string
	for _, b := range c.Bars {
		full = max(full, b.Value)
		read = append(read, b.Name+": "+b.Text)
	}
	if c.MarkText != "" {
		read = append(read, c.MarkText)
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">`+"\n", width, height, width, height)
	fmt.Fprintf(&s, "<title id=\"t\">%s</title>\n<desc id=\"d\">%s. %s.</desc>\n<style>%s</style>\n", escape(c.Title), escape(c.Note), escape(strings.Join(read, "; ")), style)
	fmt.Fprintf(&s, `<rect class="b" width="%d" height="%d" rx="6"/>`+"\n", width, height)
	text(&s, "t", margin, firstLine, "", c.Title)
	text(&s, "n", margin, firstLine+18, "", c.Note)
	for i, b := range c.Bars {
		y := head + i*step
		class := "p"
		if b.Ours {
			class = "o"
		}
		w := length(b.Value, full)
		text(&s, "", left-10, y+barHeight-6, "end", b.Name)
		fmt.Fprintf(&s, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="3"/>`+"\n", class, left, y, max(w, 1), barHeight)
		x := left + w + 8
		if mark := left + length(c.Mark, full); c.Mark > 0 && mark > x-6 && mark < x+letter*len(b.Text) {
			x = mark + 8 // behind the line, not across
		}
		text(&s, "", x, y+barHeight-6, "", b.Text)
	}
	if c.Mark > 0 {
		x, end := left+length(c.Mark, full), head+len(c.Bars)*step
		fmt.Fprintf(&s, `<line class="m" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", x, head-6, x, end)
		half := letter * len(c.MarkText) / 2
		text(&s, "k", max(min(x, width-margin-half), margin+half), end+14, "middle", c.MarkText)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func length(v, full float64) int {
	if v <= 0 || full <= 0 {
		return 0
	}
	return int(math.Round(longest * v / full))
}

func text(s *strings.Builder, class string, x, y int, anchor, content string) {
	if content == "" {
		return
	}
	s.WriteString("<text")
	for _, a := range []struct{ name, value string }{{"class", class}, {"text-anchor", anchor}} {
		if a.value != "" {
			fmt.Fprintf(s, ` %s="%s"`, a.name, a.value)
		}
	}
	fmt.Fprintf(s, ` x="%d" y="%d">%s</text>`+"\n", x, y, escape(content))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder never fails
	return b.String()
}
