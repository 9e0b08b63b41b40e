package top

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// Line is the figures in one line, for who keeps or pipes them; after every so
// many lines a [Heading] helps.
func Line(f Figures) string {
	if f.Error != "" || f.Overview == nil {
		return f.At.Format(time.TimeOnly) + "  away: " + clean(f.Error, 200)
	}
	n, p := f.Overview.Now, f.Overview.Point
	dead, ready := int64(0), int64(0)
	if f.Queues != nil {
		for _, q := range f.Queues.Queues {
			if q.Dead != nil {
				dead += *q.Dead
			}
			if q.Waiting != nil {
				ready += *q.Waiting
			}
		}
	}
	return joined([]string{
		f.At.Format(time.TimeOnly), whole(n.Connections), count(p.MessagesIn), count(p.MessagesOut), millis(p.P50), millis(p.P99),
		size(float64(n.QueuedBytes)), whole(n.Slow), whole(n.Dropped), whole(n.Rooms), size(float64(p.Memory)), whole(n.Nodes), whole(ready), whole(dead),
	})
}

// JSON is the figures as one line of JSON, all of it in ASCII: what is in it
// from strangers does nothing to a terminal.
func JSON(f Figures) (string, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String(), nil
}

// Heading names the columns of [Line].
func Heading() string {
	return joined([]string{"time", "conns", "in/s", "out/s", "p50", "p99", "queued", "slow", "dropped", "rooms", "memory", "nodes", "ready", "dead"})
}

func joined(cells []string) string {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteString(fit(c, 9, true))
			continue
		}
		b.WriteString(fit(c, 8, false))
	}
	return b.String()
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }
