package top

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// View is the room there is.
type View struct {
	Width, Height int
	Color         bool
	Before        *Figures // some time ago, for what is told as totals; nil: none
}

// The least room in which anything is shown; less is taken for this.
const (
	minWidth  = 40
	minHeight = 4
)

// lines are the page in the making.
type lines struct {
	View

	out []string
}

// The ways to write.
const (
	plain  = ""
	strong = "\x1b[1m"
	dim    = "\x1b[2m"
	alarm  = "\x1b[31m"
	notice = "\x1b[33m"
	reset  = "\x1b[0m"
)

// style writes a text in some way, which takes no room.
func (l *lines) style(way, s string) string {
	if !l.Color || way == plain {
		return s
	}
	return way + s + reset
}

func (l *lines) add(way, s string) { l.out = append(l.out, l.style(way, fit(s, l.Width, false))) }

// Page draws figures: as many lines as there is height at most, each as wide as
// there is width, with nothing in them that moves the cursor.
func Page(f Figures, v View) []string {
	v.Width, v.Height = max(v.Width, minWidth), max(v.Height, minHeight)
	l := &lines{View: v}
	l.head(f)
	if f.Overview == nil {
		return l.out
	}
	l.grid(f.Overview)
	l.tables(tablesOf(f, v.Before))
	if len(l.out) > v.Height {
		l.out = l.out[:v.Height]
	}
	return l.out
}

func (l *lines) head(f Figures) {
	o := f.Overview
	left, right := "polywire top  "+clean(f.Server, 60), f.At.Format(time.TimeOnly)
	if o != nil {
		left = "polywire " + clean(cmp.Or(o.Name, o.Node), 40) + "  " + clean(o.State, 12)
		right = "up " + age(time.Duration(o.Uptime)*time.Millisecond) + "  " + right
	}
	room := max(l.Width-width(right)-1, 0)
	l.add(strong, fit(left, room, false)+" "+right)
	switch {
	case f.Error != "" && o != nil:
		l.add(alarm, "AWAY: "+clean(f.Error, 200)+" (figures are of before)")
	case f.Error != "":
		l.add(alarm, "AWAY: "+clean(f.Error, 200))
	case o != nil && o.Parts.Cluster && !o.Now.ClusterAvailable:
		l.add(notice, "the cluster's engine cannot be reached")
	}
}

// cell is a figure with its name.
type cell struct {
	name, value string
	way         string
}

func cellsOf(o *Overview) []cell {
	n, p := &o.Now, &o.Point
	worried := func(bad bool, way string) string {
		if bad {
			return way
		}
		return plain
	}
	whole := func(v int64) string { return count(float64(v)) }
	return []cell{
		{"connections", whole(n.Connections), strong}, {"in/s", count(p.MessagesIn), strong}, {"out/s", count(p.MessagesOut), strong}, {"p99", millis(p.P99), strong},
		{"asleep", whole(n.Asleep), plain}, {"in B/s", size(p.BytesIn), plain}, {"out B/s", size(p.BytesOut), plain}, {"p50", millis(p.P50), plain},
		{"rooms", whole(n.Rooms), plain}, {"members", whole(n.Memberships), plain}, {"handled/s", count(p.Handled), plain}, {"failed/s", count(p.Failed), worried(p.Failed > 0, notice)},
		{"queued", size(float64(n.QueuedBytes)), plain}, {"slow", whole(n.Slow), worried(n.Slow > 0, notice)},
		{"dropped", whole(n.Dropped), worried(p.Dropped > 0, alarm)}, {"refused", whole(n.Refused), worried(p.Refused > 0, notice)},
		{"memory", size(float64(p.Memory)), plain}, {"heap", size(float64(p.Heap)), plain}, {"goroutines", whole(p.Goroutines), plain}, {"accepted/s", count(p.Accepted), plain},
	}
}

// grid writes the figures of the whole in columns.
func (l *lines) grid(o *Overview) {
	const least = 19
	columns := min(max(l.Width/least, 2), 4)
	room := l.Width / columns
	var row strings.Builder
	for i, c := range cellsOf(o) {
		name := fit(c.name, 12, false)
		value := fit(c.value, max(room-14, 6), true)
		row.WriteString(l.style(dim, name) + l.style(c.way, value) + strings.Repeat(" ", max(room-12-max(room-14, 6), 0)))
		if (i+1)%columns == 0 {
			l.out = append(l.out, row.String()+strings.Repeat(" ", l.Width-columns*room))
			row.Reset()
		}
	}
	if rest := len(cellsOf(o)) % columns; rest > 0 {
		l.out = append(l.out, row.String()+strings.Repeat(" ", l.Width-rest*room))
	}
}

// table is rows under a title. The first column takes the room that is left;
// those at the end go where there is none.
type table struct {
	title   string
	columns []string
	widths  []int // of all but the first
	rows    [][]string
	way     func(row int) string
	note    string
}

// firstColumn is the least of the first.
const firstColumn = 12

// tables writes them in the lines that are left: each gets a row, and then in
// turn as many as it has.
func (l *lines) tables(all []table) {
	left := l.Height - len(l.out)
	given := make([]int, len(all)) // rows
	shown := make([]bool, len(all))
	for i, t := range all {
		if need := min(len(t.rows), 1) + 1; left >= need {
			shown[i], given[i] = true, need-1
			left -= need
		}
	}
	for more := true; more && left > 0; {
		more = false
		for i, t := range all {
			if shown[i] && given[i] < len(t.rows) && left > 0 {
				given[i]++
				left--
				more = true
			}
		}
	}
	for i, t := range all {
		if shown[i] {
			l.table(t, given[i])
		}
	}
}

func (l *lines) table(t table, rows int) {
	title := t.title
	if rows < len(t.rows) {
		title += fmt.Sprintf(" %d of %d", rows, len(t.rows))
	}
	if t.note != "" {
		title += "  " + t.note
	}
	columns, room := 0, l.Width-max(firstColumn, min(width(title), 20))
	for _, w := range t.widths {
		if room < w+1 {
			break
		}
		room -= w + 1
		columns++
	}
	first := l.Width
	for _, w := range t.widths[:columns] {
		first -= w + 1
	}
	line := func(head string, cells []string) string {
		var b strings.Builder
		b.WriteString(fit(head, first, false))
		for i, c := range cells[:columns] {
			b.WriteString(" " + fit(c, t.widths[i], true))
		}
		return b.String()
	}
	l.out = append(l.out, l.style(dim, line(title, t.columns)))
	for i, row := range t.rows[:rows] {
		way := plain
		if t.way != nil {
			way = t.way(i)
		}
		l.out = append(l.out, l.style(way, line(row[0], row[1:])))
	}
}
