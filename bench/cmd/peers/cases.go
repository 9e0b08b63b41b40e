package main

import (
	"context"
	"slices"
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
	Lost      float64 `json:"lost,omitempty"` // handshakes that failed, or could not be begun in time
}

// side is a server and the load on it.
type side struct {
	name    string
	measure func(ctx context.Context, l *lab) (figures, error)
}

// rule is how a case is judged.
type rule string

const (
	// ratioAtLeast: our value is at least bar times the peer's. The default.
	ratioAtLeast rule = ""
	// atMost: our value is at most the bar.
	atMost rule = "at most"
	// noneOver: in every round our value was at most the bar, nothing was lost
	// and the rate was kept.
	noneOver rule = "none over"
	// noBar: for the record.
	noBar rule = "no bar"
)

// comparison is one row of the table.
type comparison struct {
	section string // heading of the table that it stands in; empty for the first
	id      string
	title   string
	unit    string // of figures.Value
	ours    side
	peer    side
	bar     float64
	rule    rule
	rate    float64 // noneOver: handshakes a second
}

// size scales the cases down for tests.
type size struct{ echo, broadcast, idle, calls, handshakes, polls int }

func fullSize() size {
	return size{echo: 100, broadcast: 1000, idle: 10_000, calls: 100, handshakes: 2000, polls: 200}
}

// task is what the load generator does.
type task struct {
	mode          string
	conns, window int
	rate          int  // handshakes a second
	speak         bool // idle: each connection has a request answered first
	beats         bool // idle: long enough for a heartbeat on each connection
}

func comparisons(n size) []comparison {
	return slices.Concat(ownWire(n), socketIO(n), drs(n), goomerang(n))
}

func perCPU(r loadResult) float64    { return 1e6 / max(r.ServerMicros, 1e-3) }
func perSecond(r loadResult) float64 { return r.PerSecond }
func kib(r loadResult) float64       { return r.KiBPerConn }
func slowest(r loadResult) float64   { return r.Latency.Max }

const (
	perCPUUnit     = "messages per server CPU second"
	deliveriesUnit = "deliveries per second"
	memoryUnit     = "KiB of memory per connection"
)

// ownWire has the cases of our own wire.
func ownWire(n size) []comparison {
	busy, single := task{mode: "echo", conns: n.echo, window: 16}, task{mode: "echo", conns: n.echo, window: 1}
	broadcast, idle := task{mode: "broadcast", conns: n.broadcast, window: 16}, task{mode: "idle", conns: n.idle, window: 1}
	spoken := idle
	spoken.speak = true
	return []comparison{
		{
			id: "echo-16", title: num(n.echo) + " connections, 16 echoes in flight on each", unit: perCPUUnit, bar: 2,
			ours: native(perCPU, busy), peer: gwsRaw(perCPU, busy),
		},
		{
			id: "echo-1", title: num(n.echo) + " connections, one echo in flight on each", unit: perCPUUnit, bar: 0.9,
			ours: native(perCPU, single), peer: gwsRaw(perCPU, single),
		},
		{
			id: "observed", title: "16 echoes in flight, with metrics and the log, beside the same server without", unit: perCPUUnit, bar: 0.9,
			ours: observed(perCPU, busy), peer: native(perCPU, busy),
		},
		{
			id: "broadcast", title: "broadcasts to " + num(n.broadcast) + " connections, 16 in flight", unit: deliveriesUnit, bar: 3,
			ours: native(perSecond, broadcast), peer: gwsRaw(perSecond, broadcast),
		},
		{
			id: "idle", title: num(n.idle) + " connections, quiet for ten seconds", unit: memoryUnit, bar: 3.5, rule: atMost,
			ours: native(kib, idle), peer: gwsRaw(kib, idle),
		},
		{
			id: "idle-spoken", title: num(n.idle) + " connections, each after one echo, quiet for ten seconds", unit: memoryUnit, rule: noBar,
			ours: native(kib, spoken), peer: gwsRaw(kib, spoken),
		},
		{
			id: "call", title: num(n.calls) + " calls in flight on one TCP connection", bar: 4,
			unit: "calls per CPU second of client and server",
			ours: clientCall(n.calls), peer: grpcUnary(n.calls),
		},
	}
}

// socketIO has the cases of the Socket.IO wire.
func socketIO(n size) []comparison {
	busy, single := task{mode: "echo", conns: n.echo, window: 16}, task{mode: "echo", conns: n.echo, window: 1}
	broadcast := task{mode: "broadcast", conns: n.broadcast, window: 16}
	idle := task{mode: "idle", conns: n.idle, window: 1, beats: true}
	polls := task{mode: "echo", conns: n.polls, window: 1}
	handshakes := task{mode: "handshakes", conns: 1, window: 1, rate: n.handshakes}
	all := []comparison{
		{
			id: "sio-echo-16", title: num(n.echo) + " connections, 16 acknowledged events in flight on each", unit: perCPUUnit, bar: 4,
			ours: ours(perCPU, "socketio", busy), peer: socketIONode(perCPU, "socketio", busy),
		},
		{
			id: "sio-echo-16-gws", title: "the same beside bare frames", unit: perCPUUnit, bar: 1.5,
			ours: ours(perCPU, "socketio", busy), peer: gwsRaw(perCPU, busy),
		},
		{
			id: "sio-echo-1", title: num(n.echo) + " connections, one acknowledged event in flight on each", unit: perCPUUnit, bar: 1.5,
			ours: ours(perCPU, "socketio", single), peer: socketIONode(perCPU, "socketio", single),
		},
		{
			id: "sio-broadcast", title: "broadcasts to " + num(n.broadcast) + " connections, 16 in flight", unit: deliveriesUnit, bar: 8,
			ours: ours(perSecond, "socketio", broadcast), peer: socketIONode(perSecond, "socketio", broadcast),
		},
		{
			id: "sio-idle", title: num(n.idle) + " connections, quiet but for heartbeats", unit: memoryUnit, bar: 4.5, rule: atMost,
			ours: ours(kib, "socketio", idle), peer: socketIONode(kib, "socketio", idle),
		},
		{
			id: "sio-handshakes", title: num(n.handshakes) + " handshakes a second, 64 at once at most",
			unit: "ms of the slowest in all rounds", bar: 1000, rule: noneOver, rate: float64(n.handshakes),
			ours: ours(slowest, "socketio", handshakes), peer: socketIONode(slowest, "socketio", handshakes),
		},
		{
			id: "sio-polling", title: num(n.polls) + " long-polling clients, one acknowledged event after another", bar: 1.5,
			unit: "events per server CPU second",
			ours: ours(perCPU, "socketio-polling", polls), peer: socketIONode(perCPU, "socketio-polling", polls),
		},
	}
	for i := range all {
		all[i].section = "Socket.IO"
	}
	return all
}

// drs has the cases of the DRS wire.
func drs(n size) []comparison {
	busy := task{mode: "echo", conns: n.echo, window: 16}
	return []comparison{
		{
			section: "DRS", id: "drs-echo-16", title: num(n.echo) + " WebSockets, 16 commands in flight on each, beside bare frames",
			unit: perCPUUnit, bar: 1.5,
			ours: ours(perCPU, "drs", busy), peer: gwsRaw(perCPU, busy),
		},
		{
			section: "DRS", id: "drs-tcp-echo-16", title: "the same over TCP, beside bare frames on WebSockets", unit: perCPUUnit, bar: 2,
			ours: drsOverTCP(perCPU, busy), peer: gwsRaw(perCPU, busy),
		},
	}
}

// goomerang has the case of that wire. The library itself is in no registry
// that Go asks, so it cannot run here: where gws took 5.2 us a message it took
// 6.9 for a sync send, and half of that is 1.51 times as many as gws.
func goomerang(n size) []comparison {
	const twiceGoomerang = 1.51
	busy := task{mode: "echo", conns: n.echo, window: 16}
	return []comparison{{
		section: "Goomerang", id: "goomerang-echo-16", title: num(n.echo) + " connections, 16 sync sends in flight on each, beside bare frames",
		unit: perCPUUnit, bar: twiceGoomerang,
		ours: ours(perCPU, "goomerang", busy), peer: gwsRaw(perCPU, busy),
	}}
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

// ourServer has every wire.
func ourServer() []string { return []string{"polywire", "bench", "serve", "--listen", "127.0.0.1:0"} }

// native is `polywire bench serve`, on its own wire in the binary form over
// WebSocket: ids, kinds and content types are decoded and encoded, a handler
// runs for each message.
func native(value func(loadResult) float64, t task) side {
	return side{"Polywire", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, ourServer(), "native", t)
	}}
}

// observed is native with metrics collected and messages logged at level info,
// which is below what a message without an error is logged at.
func observed(value func(loadResult) float64, t task) side {
	return side{"Polywire, observed", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, append(ourServer(), "--observed", "--log-level", "info"), "native", t)
	}}
}

// gwsRaw is a server of bare WebSocket messages.
func gwsRaw(value func(loadResult) float64, t task) side {
	return side{"gws, raw frames", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, []string{"gws-raw", "-listen", "127.0.0.1:0"}, "raw", t)
	}}
}

// ours is the same server as native, on another wire.
func ours(value func(loadResult) float64, wire string, t task) side {
	return side{"Polywire", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, ourServer(), wire, t)
	}}
}

// drsOverTCP is the same server on JSON commands that follow each other on TCP.
func drsOverTCP(value func(loadResult) float64, t task) side {
	return side{"Polywire", func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, []string{"polywire", "bench", "serve", "--listen", "drs+tcp://127.0.0.1:0"}, "drs", t)
	}}
}

const nodeServer = "socket.io on Node"

// socketIONode is the official server.
func socketIONode(value func(loadResult) float64, wire string, t task) side {
	return side{nodeServer, func(ctx context.Context, l *lab) (figures, error) {
		return l.underLoad(ctx, value, []string{"node", l.nodeScript(), "127.0.0.1:0"}, wire, t)
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
