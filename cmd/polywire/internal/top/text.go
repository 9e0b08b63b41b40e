package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// clean is a stranger's text as it may be shown in a terminal: what controls
// it, joins letters, or runs from right to left is written as its code.
func clean(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError:
			b.WriteByte('?')
		case !unicode.IsPrint(r) || unicode.In(r, unicode.M, rightToLeft(), joining()):
			fmt.Fprintf(&b, "<%04X>", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// rightToLeft has the blocks of writing from right to left (Unicode, Bidi_Class R and AL).
func rightToLeft() *unicode.RangeTable {
	return &unicode.RangeTable{
		R16: []unicode.Range16{{Lo: 0x0590, Hi: 0x08FF, Stride: 1}, {Lo: 0xFB1D, Hi: 0xFDFF, Stride: 1}, {Lo: 0xFE70, Hi: 0xFEFF, Stride: 1}},
		R32: []unicode.Range32{{Lo: 0x10800, Hi: 0x10FFF, Stride: 1}, {Lo: 0x1E800, Hi: 0x1EFFF, Stride: 1}},
	}
}

// joining has letters that are one with their neighbours, as flags are: how wide
// that is terminals do not agree on.
func joining() *unicode.RangeTable {
	return &unicode.RangeTable{
		R16: []unicode.Range16{{Lo: 0x1100, Hi: 0x11FF, Stride: 1}, {Lo: 0xA960, Hi: 0xA97F, Stride: 1}, {Lo: 0xD7B0, Hi: 0xD7FF, Stride: 1}},
		R32: []unicode.Range32{{Lo: 0x1F1E6, Hi: 0x1F1FF, Stride: 1}, {Lo: 0x1F3FB, Hi: 0x1F3FF, Stride: 1}},
	}
}

// width is how many columns a cleaned text takes.
func width(s string) int { return uniseg.StringWidth(s) }

// fit is a text in exactly so many columns, cut at its end.
func fit(s string, columns int, right bool) string {
	w := width(s)
	if w > columns {
		var b strings.Builder
		w = 0
		for rest, state := s, -1; rest != ""; {
			var cluster string
			var next int
			if cluster, rest, next, state = uniseg.FirstGraphemeClusterInString(rest, state); w+next > columns-1 {
				break
			}
			w += next
			b.WriteString(cluster)
		}
		if columns > 0 {
			b.WriteString("…")
			w++
		}
		s = b.String()
	}
	pad := strings.Repeat(" ", max(columns-w, 0))
	if right {
		return pad + s
	}
	return s + pad
}

// count writes a number in few characters: 999, 12.3k, 4.5M.
func count(n float64) string {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return "?"
	case n < 0:
		return "-" + count(-n)
	case n == math.Trunc(n) && n < 10_000:
		return strconv.FormatFloat(n, 'f', 0, 64)
	case n < 10:
		return strconv.FormatFloat(n, 'f', 1, 64)
	case n < 10_000:
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return scaled(n, 1000, []string{"k", "M", "G", "T", "P", "E"})
}

// size writes bytes in few characters.
func size(n float64) string {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return "?"
	case n < 0:
		return "-" + size(-n)
	case n < 1024:
		return strconv.FormatFloat(n, 'f', 0, 64) + " B"
	}
	return scaled(n, 1024, []string{" K", " M", " G", " T", " P", " E"})
}

func scaled(n, step float64, units []string) string {
	unit := ""
	for _, u := range units {
		if n < step && unit != "" {
			break
		}
		n, unit = n/step, u
	}
	decimals := 1
	if n >= 100 {
		decimals = 0
	}
	return strconv.FormatFloat(n, 'f', decimals, 64) + unit
}

// millis writes a time that is given in milliseconds.
func millis(ms *float64) string {
	switch {
	case ms == nil:
		return "-"
	case *ms < 1:
		return strconv.FormatFloat(*ms*1000, 'f', 0, 64) + " µs"
	case *ms < 10:
		return strconv.FormatFloat(*ms, 'f', 1, 64) + " ms"
	case *ms < 10_000:
		return strconv.FormatFloat(*ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(*ms/1000, 'f', 1, 64) + " s"
}

// age writes how long something is ago.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// optional writes a number that may not be known.
func optional(n *int64) string {
	if n == nil {
		return "-"
	}
	return count(float64(*n))
}
