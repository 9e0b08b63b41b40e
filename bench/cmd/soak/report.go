package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	mebi = 1 << 20
	// Memory that grew by less than one of both is flat: a collector lets it
	// breathe.
	growthShare = 0.05
	growthBytes = 8 * mebi
	// So many times its own standard error a slope must be to count.
	surely = 3
)

// trend is how a figure went over time.
type trend struct {
	from, to  float64 // of the straight line through all
	perMinute float64
	unsure    float64 // standard error of perMinute
}

// trendOf fits a straight line through the samples from some time on, by least
// squares.
func trendOf(samples []sample, since time.Duration, of func(sample) float64) (t trend) {
	var x, y []float64
	for _, s := range samples {
		if s.at >= since {
			x, y = append(x, s.at.Minutes()), append(y, of(s))
		}
	}
	if len(x) == 0 {
		return t
	}
	n := float64(len(x))
	var sx, sy, sxx, sxy, rest float64
	for i := range x {
		sx, sy = sx+x[i], sy+y[i]
	}
	for i := range x {
		sxx, sxy = sxx+(x[i]-sx/n)*(x[i]-sx/n), sxy+(x[i]-sx/n)*(y[i]-sy/n)
	}
	if sxx > 0 {
		t.perMinute = sxy / sxx
	}
	at := func(x float64) float64 { return sy/n + t.perMinute*(x-sx/n) }
	for i := range x {
		rest += (y[i] - at(x[i])) * (y[i] - at(x[i]))
	}
	if n > 2 && sxx > 0 {
		t.unsure = math.Sqrt(rest / (n - 2) / sxx)
	}
	t.from, t.to = at(x[0]), at(x[len(x)-1])
	return t
}

// grows reports whether it is more than breathing.
func (t trend) grows() bool {
	grown := t.to - t.from
	return grown > growthBytes && grown > growthShare*t.from && t.perMinute > surely*t.unsure
}

func (s *soak) resident() trend {
	return trendOf(s.samples, s.settle, func(s sample) float64 { return s.resident })
}

func (s *soak) heap() trend {
	return trendOf(s.samples, s.settle, func(s sample) float64 { return s.heap })
}

// lost is how many messages had no answer.
func (s *soak) lost() uint64 { return s.total.Sent - s.total.Answered }

// wrong says what a soak must not have.
func (s *soak) wrong() []string {
	var out []string
	bad := func(is bool, format string, v ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, v...))
		}
	}
	bad(s.total.Sent == 0, "no message was sent")
	bad(s.lost() > 0, "%d of %d messages were lost", s.lost(), s.total.Sent)
	for i, r := range s.results {
		bad(r.Errors > 0, "%s: %d connections failed, the first with %s", s.wires[i], r.Errors, r.FirstError)
	}
	for _, m := range []struct {
		name string
		trend
	}{{"resident memory", s.resident()}, {"the heap", s.heap()}} {
		bad(m.grows(), "%s grew from %.1f to %.1f MiB", m.name, m.from/mebi, m.to/mebi)
	}
	bad(s.after.conns > 0, "%.0f connections are left", s.after.conns)
	bad(s.after.answered < float64(s.total.Sent), "metrics have %.0f messages of %d", s.after.answered, s.total.Sent)
	bad(s.logged <= 1, "the server has logged nothing of its connections")
	bad(len(s.bad) > 0, "%d complaints in the log, the first: %s", len(s.bad), strings.Join(s.bad[:min(1, len(s.bad))], ""))
	return out
}

// markdown returns the summary, and the way there.
func (s *soak) markdown() string {
	var b strings.Builder
	var parts []string
	for i, w := range s.wires {
		parts = append(parts, fmt.Sprintf("%s %s", thousands(uint64(s.share(i))), w))
	}
	memory := func(t trend) string {
		return fmt.Sprintf("%.1f MiB after %s, %.1f MiB at the end: %+.0f KiB a minute, ± %.0f", t.from/mebi, shortly(s.settle), t.to/mebi, t.perMinute/1024, t.unsure/1024)
	}
	fmt.Fprintf(&b, "%s.\n\n| what | |\n|---|---|\n", s.setting)
	row := func(what, format string, v ...any) { fmt.Fprintf(&b, "| %s | %s |\n", what, fmt.Sprintf(format, v...)) }
	row("connections", "%s: %s", thousands(uint64(s.conns)), strings.Join(parts, ", "))
	row("held", "%s, a message of %d bytes each %s", shortly(s.elapsed), s.payloadBytes, shortly(s.every))
	row("messages", "%s, %s lost", thousands(s.total.Sent), thousands(s.lost()))
	l := s.total.Latency
	row("latency", "p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, slowest %.0f ms", l.P50, l.P99, l.P999, l.Max)
	row("resident memory", "%s", memory(s.resident()))
	row("heap, as large as the collector lets it become", "%s", memory(s.heap()))
	row("before and after", "%.1f and %.1f MiB, %.0f and %.0f goroutines, %.0f and %.0f open files", s.before.resident/mebi, s.after.resident/mebi,
		s.before.goroutines, s.after.goroutines, s.before.files, s.after.files)
	row("server's CPU time", "%.1f µs a message, %.2f processors", float64(s.cpu.Microseconds())/max(float64(s.answeredWhileWatched()), 1),
		s.cpu.Seconds()/max(s.elapsed.Seconds(), 1e-3))
	row("logged", "%s lines, %d complaints", thousands(uint64(s.logged)), len(s.bad))
	b.WriteString("\n| minute | messages a second | p50 ms | p99 ms | p99.9 ms | MiB | heap MiB | goroutines |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, s := range s.perMinute() {
		fmt.Fprintf(&b, "| %.1f | %.0f | %.2f | %.2f | %.2f | %.1f | %.1f | %.0f |\n", s.at.Minutes(), float64(s.load.Answered)/max(s.load.Seconds, 1e-3),
			s.load.Latency.P50, s.load.Latency.P99, s.load.Latency.P999, s.resident/mebi, s.heap/mebi, s.goroutines)
	}
	fmt.Fprintf(&b, "\nEach line is the last %s of its minute.\n", shortly(s.report))
	return b.String()
}

// answeredWhileWatched are the messages that the processor's time is for.
func (s *soak) answeredWhileWatched() (n uint64) {
	for _, x := range s.samples {
		n += x.load.Answered
	}
	return n
}

// perMinute is the sample at the end of each minute, and the last.
func (s *soak) perMinute() (out []sample) {
	before := 0
	for i, x := range s.samples {
		minute := int((x.at + s.report/2) / time.Minute)
		if minute > before || i == len(s.samples)-1 {
			out = append(out, x)
		}
		before = minute
	}
	return out
}

// thousands has commas.
func thousands(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// shortly is a duration in whole seconds, or as it is below.
func shortly(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	text := d.String()
	text = strings.TrimSuffix(text, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(text, "m0s")]
	return text
}
