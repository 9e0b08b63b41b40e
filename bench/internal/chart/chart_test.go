package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

func sample() Bars {
	return Bars{
		Title: "Echoes & <others>", Note: "messages a second; more is better",
		Bars: []Bar{{"Polywire", 287_000, "287k", true}, {"gws", 125_000, "125k", false}, {"none", -3, "-3", false}},
		Mark: 250_000, MarkText: "the bar: 250k",
	}
}

// elements returns an SVG's elements with their attributes and texts.
func elements(t *testing.T, svg string) (all []xml.StartElement, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, text
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			all = append(all, token.Copy())
		case xml.CharData:
			text += string(token) + "\n"
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func TestSVG(t *testing.T) {
	all, text := elements(t, sample().SVG())
	for _, want := range []string{"Echoes & <others>", "messages a second; more is better", "Polywire", "287k", "125k", "the bar: 250k",
		"messages a second; more is better. Polywire: 287k; gws: 125k; none: -3; the bar: 250k."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var widths []string
	for _, e := range all {
		switch {
		case e.Name.Local == "script", e.Name.Local == "image", e.Name.Local == "foreignObject":
			t.Errorf("a %s", e.Name.Local)
		case e.Name.Local == "rect" && attribute(e, "x") != "":
			widths = append(widths, attribute(e, "width"))
		case e.Name.Local == "line" && attribute(e, "x1") != "525": // 150 + 430 * 250 / 287
			t.Errorf("the mark is at %s", attribute(e, "x1"))
		}
	}
	if got := strings.Join(widths, " "); got != "430 187 1" {
		t.Errorf("bars of %s", got)
	}
}

// Every class that is drawn has a colour on light and on dark pages.
func TestColours(t *testing.T) {
	light, dark, _ := strings.Cut(style, "@media")
	used := regexp.MustCompile(` class="(\w)"`).FindAllStringSubmatch(sample().SVG(), -1)
	if len(used) < 7 {
		t.Fatalf("%d classes", len(used))
	}
	for _, m := range used {
		if m[1] == "t" { // has that of all texts
			continue
		}
		for name, part := range map[string]string{"light": light, "dark": dark} {
			if !strings.Contains(part, "."+m[1]+"{fill:#") && !strings.Contains(part, "."+m[1]+"{stroke:#") {
				t.Errorf("class %s has no colour on %s pages", m[1], name)
			}
		}
	}
}

func TestNothing(t *testing.T) {
	all, _ := elements(t, Bars{}.SVG())
	if len(all) != 5 { // svg, title, desc, style, background
		t.Errorf("%d elements", len(all))
	}
	elements(t, Bars{Bars: []Bar{{"a", 0, "0", true}}}.SVG())
}
