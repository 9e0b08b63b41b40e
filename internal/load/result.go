package load

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

var errNoProcess = errors.New("load: no process to look at")

// Result is what a run measured. Figures that the mode does not have, or for
// which no PID was given, are zero and left out.
type Result struct {
	Mode         Mode   `json:"mode"`
	Wire         string `json:"wire"`
	URL          string `json:"url"`
	Conns        int    `json:"conns"`
	OpenConns    int    `json:"open_conns"` // at the end
	Window       int    `json:"window,omitempty"`
	PayloadBytes int    `json:"payload_bytes,omitempty"`

	// Seconds that were measured: of load or, in the other modes, of opening.
	Seconds float64 `json:"seconds"`
	// Messages counts answers (Echo, Steady), deliveries (Broadcast), or handshakes.
	Messages  uint64  `json:"messages"`
	Asked     uint64  `json:"asked,omitempty"` // requests (Steady), or handshakes that were begun
	PerSecond float64 `json:"per_second"`
	// Latency of an answer, a sampled delivery, or a handshake.
	Latency Latency `json:"latency"`

	// ServerMicros is the CPU time of the server's process for one message
	// (or handshake), in microseconds; ServerCPUs is how many processors that
	// kept busy, LoadCPUs the same for this process.
	ServerMicros float64 `json:"server_cpu_us_per_message,omitempty"`
	ServerCPUs   float64 `json:"server_cpus,omitempty"`
	LoadCPUs     float64 `json:"load_cpus,omitempty"`
	// Resident memory of the server's process before the first connection
	// and at the end, and the difference for one connection.
	ServerMiBBefore float64 `json:"server_mib_before,omitempty"`
	ServerMiB       float64 `json:"server_mib,omitempty"`
	KiBPerConn      float64 `json:"kib_per_conn,omitempty"`

	// Pings that the server sent and that were answered, after the opening.
	Pings uint64 `json:"pings,omitempty"`
	// Errors counts connections that failed; FirstError says how the first did.
	Errors     int    `json:"errors"`
	FirstError string `json:"first_error,omitempty"`
}

// Latency is a distribution in milliseconds, to within 3 %.
type Latency struct {
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

// result puts together what the run's goroutines have counted, after they have ended.
func (r *runner) result(i interval, handshakes *histogram) Result {
	res := Result{Mode: r.cfg.Mode, Wire: r.cfg.Wire, URL: r.cfg.URL, Conns: len(r.conns),
		Seconds: i.elapsed.Seconds(), Messages: i.messages, Errors: r.failed()}
	lat := new(histogram)
	switch {
	case r.cfg.Mode == Steady:
		all := &r.own.all
		lat, res.Messages, res.Asked, res.PayloadBytes = &all.latency, all.answered, all.sent, r.cfg.PayloadBytes
	case r.cfg.Mode >= Idle:
		lat, res.Messages, res.Asked = handshakes, handshakes.total, r.asked
	default:
		res.Window, res.PayloadBytes = r.cfg.Window, r.cfg.PayloadBytes
	}
	for _, c := range r.conns {
		if c == nil {
			continue
		}
		res.Pings += c.pings
		if c.latency != nil {
			lat.merge(c.latency)
		}
	}
	if err := r.first(); err != nil {
		res.FirstError = err.Error()
	}
	res.Latency = latencyOf(lat)
	if s := res.Seconds; s > 0 {
		res.PerSecond = float64(res.Messages) / s
		res.ServerCPUs = i.server.Seconds() / s
		res.LoadCPUs = i.self.Seconds() / s
	}
	if res.Messages > 0 {
		res.ServerMicros = float64(i.server.Nanoseconds()) / 1e3 / float64(res.Messages)
	}
	return res
}

func latencyOf(h *histogram) Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return Latency{P50: ms(h.quantile(.5)), P99: ms(h.quantile(.99)), P999: ms(h.quantile(.999)), Max: ms(time.Duration(h.max))}
}

// withMemory adds the figures of the server's memory, in bytes; 0 is unknown.
func (r Result) withMemory(before, after int64) Result {
	if before == 0 || after == 0 {
		return r
	}
	r.ServerMiBBefore, r.ServerMiB = float64(before)/(1<<20), float64(after)/(1<<20)
	if r.Mode == Idle {
		r.KiBPerConn = float64(after-before) / 1024 / float64(r.Conns)
	}
	return r
}

// Table returns the result in lines for people, each ended by a newline.
func (r Result) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(show bool, name, format string, v ...any) {
		if show {
			fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, v...)...)
		}
	}
	window, lossy := r.Mode == Echo || r.Mode == Broadcast, r.Mode == Handshakes || r.Mode == Steady
	row(true, "run", "%s, wire %s, %s", r.Mode, r.Wire, r.URL)
	row(r.Mode != Handshakes, "connections", "%d of %d", r.OpenConns, r.Conns)
	row(window, "in flight", "%d of %d bytes", r.Window, r.PayloadBytes)
	row(true, r.unit(), "%d in %.2f s, %.0f a second", r.Messages, r.Seconds, r.PerSecond)
	row(lossy, "lost", "%d of %d", r.Asked-r.Messages, r.Asked)
	row(r.Pings > 0, "pings", "%d answered", r.Pings)
	row(true, "latency", "p50 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, most %.3f ms",
		r.Latency.P50, r.Latency.P99, r.Latency.P999, r.Latency.Max)
	row(r.ServerMicros > 0, "server's CPU", "%.2f us each, %.2f processors", r.ServerMicros, r.ServerCPUs)
	row(r.LoadCPUs > 0, "generator's CPU", "%.2f processors", r.LoadCPUs)
	row(r.ServerMiB > 0, "server's memory", "%.1f MiB, %.1f before", r.ServerMiB, r.ServerMiBBefore)
	row(r.KiBPerConn != 0, "for a connection", "%.2f KiB", r.KiBPerConn)
	row(r.Errors > 0, "errors", "%d, first: %s", r.Errors, r.FirstError)
	_ = w.Flush() // a strings.Builder never fails
	return b.String()
}

func (r Result) unit() string {
	switch r.Mode {
	case Echo, Steady:
		return "answers"
	case Broadcast:
		return "deliveries"
	}
	return "handshakes"
}
