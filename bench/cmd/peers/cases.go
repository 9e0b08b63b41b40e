package main

import (
	"context"
	"strconv"
)

// figures are what one server did in one round. Those that a case does not
// have are zero.
type figures struct {
	// Value is what the case compares.
	Value     float64 `json:"value"`
	PerSecond float64 `json:"per_second"`
	CPUMicros float64 `json:"cpu_us"` // for one message; for calls client and server together
	P50       float64 `json:"p50_ms,omitempty"`
	P99       float64 `json:"p99_ms,omitempty"`
	KiB       float64 `json:"kib_per_conn,omitempty"`
}

// side is a server and the load on it.
type side struct {
	name    string
	measure func(ctx context.Context, l *lab) (figures, error)
}

// comparison is one row of the table.
type comparison struct {
	id    string
	title string
	unit  string // of figures.Value
	ours  side
	peer  side
	bar   float64
	// absolute: the bar is the most that our value may be. Otherwise it is
	// the least that our value may be as a multiple of the peer's.
	absolute bool
}

// size scales the cases down for tests.
type size struct{ echo, broadcast, idle, calls int }

func fullSize() size { return size{echo: 100, broadcast: 1000, idle: 10_000, calls: 100} }

func comparisons(n size) []comparison {
	perCPU := func(r loadResult) float64 { return 1e6 / max(r.ServerMicros, 1e-3) }
	perSecond := func(r loadResult) float64 { return r.PerSecond }
	kib := func(r loadResult) float64 { return r.KiBPerConn }
	return []comparison{
		{
			id: "echo-16", title: num(n.echo) + " connections, 16 echoes in flight on each",
			unit: "messages per server CPU second", bar: 2,
			ours: native(perCPU, "echo", n.echo, 16), peer: gwsRaw(perCPU, "echo", n.echo, 16),
		},
		{
			id: "echo-1", title: num(n.echo) + " connections, one echo in flight on each",
			unit: "messages per server CPU second", bar: 0.9,
			ours: native(perCPU, "echo", n.echo, 1), peer: gwsRaw(perCPU, "echo", n.echo, 1),
		},
		{
			id: "broadcast", title: "broadcasts to " + num(n.broadcast) + " connections, 16 in flight",
			unit: "deliveries per second", bar: 3,
			ours: native(perSecond, "broadcast", n.broadcast, 16), peer: gwsRaw(perSecond, "broadcast", n.broadcast, 16),
		},
		{
			id: "idle", title: num(n.idle) + " connections, quiet for ten seconds",
			unit: "KiB of memory per connection", bar: 3.5, absolute: true,
			ours: native(kib, "idle", n.idle, 1), peer: gwsRaw(kib, "idle", n.idle, 1),
		},
		{
			id: "call", title: num(n.calls) + " calls in flight on one TCP connection",
			unit: "calls per CPU second of client and server", bar: 4,
			ours: clientCall(n.calls), peer: grpcUnary(n.calls),
		},
	}
}

func ids(all []comparison) []string {
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = c.id
	}
	return out
}

func num(n int) string {
	s := strconv.Itoa(n)
	if len(s) > 3 {
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

// native is `polywire bench serve`, on its own wire in the binary form over
// WebSocket: ids, kinds and content types are decoded and encoded, a handler
// runs for each message.
func native(value func(loadResult) float64, mode string, conns, window int) side {
	return side{"Polywire", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, []string{"polywire", "bench", "serve", "--listen", "127.0.0.1:0"},
			"native", mode, conns, window)
	}}
}

// gwsRaw is a server of bare WebSocket messages.
func gwsRaw(value func(loadResult) float64, mode string, conns, window int) side {
	return side{"gws, raw frames", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, []string{"gws-raw", "-listen", "127.0.0.1:0"}, "raw", mode, conns, window)
	}}
}

func clientCall(inFlight int) side {
	return side{"Polywire", func(ctx context.Context, l *lab) (figures, error) {
		return l.underCalls(ctx, []string{"polywire", "bench", "serve", "--listen", "tcp://127.0.0.1:0"},
			[]string{"client-call"}, "-url", func(url string) string { return url }, inFlight)
	}}
}

func grpcUnary(inFlight int) side {
	return side{"grpc-go, unary", func(ctx context.Context, l *lab) (figures, error) {
		return l.underCalls(ctx, []string{"grpc-unary", "serve", "-listen", "127.0.0.1:0"},
			[]string{"grpc-unary", "run"}, "-target", func(url string) string { return url[len("tcp://"):] }, inFlight)
	}}
}
