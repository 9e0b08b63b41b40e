package polywire

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Mux picks a handler by the message's kind: an exact name, else the longest
// prefix pattern ("chat.*" has every kind that begins with "chat."), else "*".
// Handlers may be registered while it is in use.
type Mux struct {
	table atomic.Pointer[muxTable]
	mu    sync.Mutex // for writers
	errs  []error
}

// muxTable is immutable.
type muxTable struct {
	exact    map[string]Handler
	prefixes []prefixRoute // longest first
	fallback Handler
}

type prefixRoute struct {
	prefix  string
	handler Handler
}

// NewMux returns an empty Mux.
func NewMux() *Mux {
	m := new(Mux)
	m.table.Store(new(muxTable))
	return m
}

// Handle registers a handler for a pattern. Mistakes (a duplicate, an empty
// pattern, a "*" in the middle, a nil handler) are kept for [Mux.Err], which a
// server asks when it starts.
func (m *Mux) Handle(pattern string, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := *m.table.Load()
	if err := t.add(pattern, h); err != nil {
		m.errs = append(m.errs, fmt.Errorf("%w: %w", ErrConfig, err))
		return
	}
	m.table.Store(&t)
}

// add changes a copy of the table that is in use.
func (t *muxTable) add(pattern string, h Handler) error {
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	duplicate := fmt.Errorf("pattern %q registered twice", pattern)
	switch {
	case pattern == "" || h == nil:
		return fmt.Errorf("pattern %q needs a name and a handler", pattern)
	case strings.Contains(prefix, "*"):
		return fmt.Errorf(`pattern %q: "*" may only stand at the end`, pattern)
	case pattern == "*":
		if t.fallback != nil {
			return duplicate
		}
		t.fallback = h
	case isPrefix:
		if slices.ContainsFunc(t.prefixes, func(r prefixRoute) bool { return r.prefix == prefix }) {
			return duplicate
		}
		t.prefixes = append(slices.Clone(t.prefixes), prefixRoute{prefix, h})
		slices.SortFunc(t.prefixes, func(a, b prefixRoute) int { return len(b.prefix) - len(a.prefix) })
	default:
		if _, dup := t.exact[pattern]; dup {
			return duplicate
		}
		exact := make(map[string]Handler, len(t.exact)+1)
		maps.Copy(exact, t.exact)
		exact[pattern] = h
		t.exact = exact
	}
	return nil
}

// Err returns what was wrong with the registrations, joined, or nil.
func (m *Mux) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.errs...)
}

// Lookup returns the handler for a kind, or nil.
func (m *Mux) Lookup(kind string) Handler {
	t := m.table.Load()
	if h, ok := t.exact[kind]; ok {
		return h
	}
	for _, r := range t.prefixes {
		if strings.HasPrefix(kind, r.prefix) {
			return r.handler
		}
	}
	return t.fallback
}

// Handler returns the mux as a [Handler]: that of the message's kind, or an
// error with [CodeNotFound].
func (m *Mux) Handler() Handler {
	return func(ctx context.Context, msg *Message) (any, error) {
		h := m.Lookup(msg.kind)
		if h == nil {
			e := Errorf(CodeNotFound, "no handler for kind %q", shown(msg.kind))
			e.fault = true
			return nil, e
		}
		return h(ctx, msg)
	}
}
