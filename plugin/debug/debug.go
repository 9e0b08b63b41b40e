// Package debug is what DRS calls its debug plugin, for every wire: it logs
// each message with its sizes and how long it took, and serves counters. It is
// off unless given to polywire.WithPlugins.
package debug

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/polywire/polywire"
)

// Defaults of Options.
const (
	DefaultPath     = "/debug/polywire"
	DefaultMaxKinds = 100
)

// maxKindBytes is the longest kind that is logged whole and counted by name.
const maxKindBytes = 255

// ErrActive is returned when a Plugin that a server has is given to another.
var ErrActive = errors.New("debug: the plugin is active on another server")

// Options are what [New] may be told. The zero value is good.
type Options struct {
	// Logger gets a line for each message; nil: nothing is logged.
	Logger *slog.Logger
	// Level is that of the lines. The zero value is slog.LevelInfo.
	Level slog.Level
	// Path is where the counters are; empty: [DefaultPath].
	Path string
	// MaxKinds is how many kinds are counted by name; zero or less:
	// [DefaultMaxKinds]. All others are counted together.
	MaxKinds int
	// Allow says who may see the counters. Nil: whoever asks from this machine,
	// and not through a proxy.
	Allow func(r *http.Request) bool
}

// Plugin is a [polywire.Plugin]. It serves one server at a time; its counters
// go on when it is activated again. Methods may be called from many goroutines
// at once.
//
// Middleware that was added before the server's start is outside of it: what
// that refuses is not seen here.
type Plugin struct {
	o Options

	mu     sync.Mutex
	srv    *polywire.Server // nil: not active
	counts Counts
}

var _ polywire.Plugin = (*Plugin)(nil)

// New returns a plugin.
func New(o Options) *Plugin {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Path = cmp.Or(o.Path, DefaultPath)
	if o.MaxKinds <= 0 {
		o.MaxKinds = DefaultMaxKinds
	}
	if o.Allow == nil {
		o.Allow = local
	}
	return &Plugin{o: o, counts: Counts{Since: time.Now(), Kinds: make(map[string]KindCounts)}}
}

// Counts are what the plugin has counted. As JSON they are what the route serves.
type Counts struct {
	Since       time.Time `json:"since"`
	Connections int       `json:"connections"` // open now, counted by the server
	Accepted    uint64    `json:"accepted"`    // connections of the server since its start
	KindCounts
	Kinds  map[string]KindCounts `json:"kinds"`
	Others KindCounts            `json:"others"` // kinds without a handler, too long, or too many
}

// KindCounts are about the messages of a kind.
type KindCounts struct {
	Handled    uint64        `json:"handled"`    // all, also those that failed
	Errors     uint64        `json:"errors"`     // answered with an error that a handler chose
	Exceptions uint64        `json:"exceptions"` // no handler, a panic, or an error that stays in the log
	Bytes      uint64        `json:"bytes"`      // of arguments
	Time       time.Duration `json:"time_ns"`    // in handlers, added up
}

// outcome is how a message did.
type outcome string

const (
	fine      outcome = "ok"
	failed    outcome = "error"
	exception outcome = "exception"
)

func (k *KindCounts) add(bytes int, took time.Duration, o outcome) {
	k.Handled++
	k.Bytes += uint64(bytes)
	k.Time += took
	switch o {
	case failed:
		k.Errors++
	case exception:
		k.Exceptions++
	}
}

// Activate puts the plugin before the server's handlers, and its route on the
// server's port.
func (p *Plugin) Activate(s *polywire.Server) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.srv != nil {
		return ErrActive
	}
	p.srv = s
	s.Use(p.watch)
	s.HandleHTTP("GET "+p.o.Path, http.HandlerFunc(p.serve))
	return nil
}

// Deactivate ends the counting and the route.
func (p *Plugin) Deactivate(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.srv = nil
	return nil
}

// Counts returns a copy of the counters.
func (p *Plugin) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts
	c.Kinds = make(map[string]KindCounts, len(p.counts.Kinds))
	maps.Copy(c.Kinds, p.counts.Kinds)
	if p.srv != nil {
		stats := p.srv.Stats()
		c.Connections, c.Accepted = stats.Connections, stats.Accepted
	}
	return c
}

// watch is the middleware.
func (p *Plugin) watch(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (result any, err error) {
		began, size, done := time.Now(), m.Size(), false
		defer func() { // also when the handler panics, which goes on
			took, o := time.Since(began), exception
			if done {
				o = outcomeOf(err)
			}
			p.count(m.Kind(), size, took, o, unhandled(err))
			p.log(ctx, m, size, took, o, result, err)
		}()
		result, err = next(ctx, m)
		done = true
		return result, err
	}
}

// outcomeOf tells a handler's error from a fault, as the core does for the wire.
func outcomeOf(err error) outcome {
	var coded *polywire.Error
	switch {
	case err == nil:
		return fine
	case errors.As(err, &coded) && !coded.Fault():
		return failed
	}
	return exception
}

// unhandled reports whether there was no handler for the kind.
func unhandled(err error) bool {
	var coded *polywire.Error
	return errors.As(err, &coded) && coded.Fault() && !coded.Remote() && coded.Code == polywire.CodeNotFound
}

func (p *Plugin) count(kind string, size int, took time.Duration, o outcome, unhandled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.add(size, took, o)
	k, known := p.counts.Kinds[kind]
	if !known && (unhandled || len(kind) > maxKindBytes || len(p.counts.Kinds) >= p.o.MaxKinds) {
		p.counts.Others.add(size, took, o)
		return
	}
	k.add(size, took, o)
	p.counts.Kinds[kind] = k
}

// log writes the line of a message. The size of an answer that is a Go value is
// known to the wire only.
func (p *Plugin) log(ctx context.Context, m *polywire.Message, size int, took time.Duration, o outcome, result any, err error) {
	if !p.o.Logger.Enabled(ctx, p.o.Level) {
		return
	}
	kind := m.Kind()
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs, slog.String("conn", m.From()), slog.String("wire", m.Wire()),
		slog.String("kind", kind[:min(len(kind), maxKindBytes)]), slog.Bool("call", m.IsCall()),
		slog.Int("bytes", size), slog.Duration("took", took), slog.String("outcome", string(o)))
	switch r := result.(type) {
	case polywire.Payload:
		attrs = append(attrs, slog.Int("answer_bytes", len(r.Data)))
	case []byte:
		attrs = append(attrs, slog.Int("answer_bytes", len(r)))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	p.o.Logger.LogAttrs(ctx, p.o.Level, "polywire: message", attrs...)
}

// serve is the route.
func (p *Plugin) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	active := p.srv != nil
	p.mu.Unlock()
	switch {
	case !active:
		http.NotFound(w, r)
		return
	case !p.o.Allow(r):
		http.Error(w, "the counters are for this machine", http.StatusForbidden)
		return
	}
	counts, err := json.Marshal(p.Counts())
	if err != nil { // a time beyond the year 9999
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(counts, '\n')) // a client that has gone does not need them
}

// local reports whether a request comes from this machine and through no proxy.
func local(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr == "@" || r.RemoteAddr == "" // a unix socket
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
