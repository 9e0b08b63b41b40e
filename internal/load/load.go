// Package load drives a message server from outside and measures it:
// throughput, latency, and what the server's process spent on it. One engine
// drives every wire, so that two servers can be compared on the same work.
//
// The engine is meant to cost little, because it usually shares the machine
// with the server: a connection is one goroutine, which takes a buffer only
// when there is something to read, counts all whole frames in place, and sends
// the next requests in one write. Nothing is allocated for a message.
//
// The load is a closed loop: the next request leaves when an answer has come.
// Latencies are therefore those at the reached throughput, and a server that
// stalls is also asked less.
package load

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Mode is what the connections do. Zero is invalid.
type Mode uint8

// The modes.
const (
	// Echo keeps Window requests in flight on every connection.
	Echo Mode = iota + 1
	// Broadcast keeps Window broadcasts of one publisher in flight; each
	// message that any connection receives counts. The publisher is the first
	// connection, and takes a broadcast for done when its own copy has come.
	Broadcast
	// Steady sends a request on each connection every Every, whether the one
	// before was answered or not, and waits ten seconds at the end for what is
	// missing. The requests of all connections are spread over that time. It is
	// the one mode with an open loop: a latency counts from when the request was
	// due, so that a server that stalls for a second has latencies of a second.
	Steady
	// Idle opens the connections and does nothing but answer pings.
	Idle
	// Connect opens the connections and measures the handshakes.
	Connect
	// Handshakes opens DialRate connections a second for Duration, 64 at a
	// time at most, and closes each as soon as it is open. Those that fail are
	// counted. A server that is too slow for the rate gets its share later, but
	// the run ends after twice its Duration.
	Handshakes
)

// modeNames are indexed by Mode.
func modeNames() []string {
	return []string{"", "echo", "broadcast", "steady", "idle", "connect", "handshakes"}
}

// String returns the mode's name in lower case.
func (m Mode) String() string {
	if names := modeNames(); m > 0 && int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// MarshalText returns the mode's name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modeNames(), string(text))
	if i < 1 {
		return fmt.Errorf("load: unknown mode %q", text)
	}
	*m = Mode(i)
	return nil
}

// Bounds and defaults of a Config.
const (
	defaultWire       = wireNative
	defaultConns      = 100
	defaultPayload    = 100
	defaultDialRate   = 2000
	defaultDuration   = 5 * time.Second
	defaultEvery      = time.Second
	maxConns          = 1 << 20
	maxInFlightBytes  = 2 << 20
	handshakeTimeout  = 10 * time.Second
	progressInterval  = time.Second
	concurrentDials   = 64
	spareDescriptors  = 64
	portsPerAddress   = 20000
	handshakeMaxBytes = 16 << 10
)

// Config says what to do to which server.
type Config struct {
	// URL is the server's: ws://host:port/path, tcp://host:port or
	// unix:///path, with drs+ before it or without on that wire. A ws URL without a path gets the wire's own; http means
	// the same as ws. Required.
	URL string
	// Mode is what to do. Required.
	Mode Mode
	// Wire is the message language, one of [Wires]; "": "native".
	Wire string
	// Conns is the number of connections; 0: 100. Handshakes has no use for it.
	Conns int
	// Window is the number of requests in flight on each connection, or of
	// broadcasts by the publisher; 0: 1. Window times PayloadBytes may be
	// 2 MiB at most: beyond the sockets' buffers both sides could block in
	// their writes. Long polling takes a Window of 1 only.
	Window int
	// PayloadBytes is the size of a message's payload; 0: 100.
	PayloadBytes int
	// Warmup is how long to drive load before measuring; 0: not at all. Steady
	// has no use for it.
	Warmup time.Duration
	// Duration is how long to measure, to stay idle, or to make handshakes;
	// 0: 5 s. Connect has no use for it.
	Duration time.Duration
	// DialRate is how many connections to open in a second; 0: 2,000,
	// negative: as many as 64 at a time give.
	DialRate int
	// Every is the time between two requests of a connection in a Steady run;
	// 0: 1 s. From 1 ms on.
	Every time.Duration
	// Recorder, if not nil, has the figures of a Steady run while it goes on.
	// It may be that of several runs.
	Recorder *Recorder
	// PID is the server's process on this machine, whose CPU time and memory
	// are read (Linux); 0: none.
	PID int
	// Speak makes each connection speak first: it says hello, where the wire
	// has that, and has one request answered before it counts as open. Not for
	// Echo, Broadcast and Steady, where all speak, and not for long polling.
	Speak bool
	// AllowRemote allows a server that is not on the loopback interface.
	AllowRemote bool
	// Progress, if not nil, is called about once a second by Run's goroutine.
	Progress func(Progress)

	settle time.Duration // how long Steady waits for the last answers
}

// Progress is how far a run has come.
type Progress struct {
	Phase    string        // "open", "warm up", "measure", "idle" or "handshakes"
	Elapsed  time.Duration // since Run was called
	Open     int           // connections open now
	Messages uint64        // answers, deliveries or (Handshakes) handshakes so far
}

// withDefaults returns the configuration with defaults in place of zeros, or
// what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Wire, defaultWire)
	setDefault(&c.Conns, defaultConns)
	setDefault(&c.Window, 1)
	setDefault(&c.PayloadBytes, defaultPayload)
	setDefault(&c.DialRate, defaultDialRate)
	setDefault(&c.Duration, defaultDuration)
	setDefault(&c.Every, defaultEvery)
	setDefault(&c.settle, settleTime)
	switch {
	case c.Mode < Echo || c.Mode > Handshakes:
		return c, errors.New("load: Mode is not set")
	case c.Conns < 0 || c.Conns > maxConns:
		return c, fmt.Errorf("load: Conns is %d, must be 1 to %d", c.Conns, maxConns)
	case c.Every < steadyTick:
		return c, fmt.Errorf("load: Every is %v, must be %v or more", c.Every, steadyTick)
	case c.Window < 0, c.PayloadBytes < 0, c.PID < 0, c.Warmup < 0, c.Duration < 0:
		return c, errors.New("load: Window, PayloadBytes, PID, Warmup and Duration must not be negative")
	case c.Window > maxInFlightBytes/c.PayloadBytes:
		return c, fmt.Errorf("load: Window times PayloadBytes is over %d bytes", maxInFlightBytes)
	case !slices.Contains(Wires(), c.Wire):
		return c, fmt.Errorf("load: unknown wire %q, known are %q", c.Wire, Wires())
	}
	return c, c.fits()
}

// fits reports whether what is asked for goes together.
func (c Config) fits() error {
	load, polls := c.Mode < Idle, c.Wire == wirePolling
	switch {
	case c.Speak && (load || polls):
		return fmt.Errorf("load: Speak has no meaning for mode %s on wire %q", c.Mode, c.Wire)
	case polls && (c.Mode == Broadcast || c.Mode == Steady || c.Mode == Idle):
		return fmt.Errorf("load: wire %q has no mode %s", c.Wire, c.Mode)
	case polls && c.Window > 1:
		return fmt.Errorf("load: wire %q has one request in flight", c.Wire)
	}
	return nil
}

// descriptors is how many files a run needs at a time, at most.
func (c Config) descriptors() int {
	switch {
	case c.Mode == Handshakes:
		return 2*concurrentDials + spareDescriptors
	case c.Wire == wirePolling:
		return 2*c.Conns + spareDescriptors
	}
	return c.Conns + spareDescriptors
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run opens the connections, drives the load and returns what it measured. It
// ends by itself: after Warmup and Duration, when ctx does, or when no
// connection (or not the publisher) is left. Connections that fail while
// others go on are counted in the result. Run leaves nothing behind.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Result{}, err
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	t, err := resolve(ctx, u, cfg.AllowRemote)
	if err != nil {
		return Result{}, err
	}
	if err := raiseDescriptorLimit(cfg.descriptors()); err != nil {
		return Result{}, err
	}
	r, err := newRunner(cfg, t)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	return r.run(ctx)
}
