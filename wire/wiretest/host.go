// Package wiretest is the suite that the sessions of every wire pass, and a
// host to test their doors with.
package wiretest

import (
	"context"
	"net/http"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// Host is a [wire.Host] that hands attached links to the test. Its methods may
// be called from many goroutines at once.
type Host struct {
	limits wire.Limits
	kinds  map[string]string
	links  chan wire.Link
	origin func(*http.Request) bool
	types  []string
}

var _ wire.Host = (*Host)(nil)

// NewHost returns a host that knows the kinds, with limits of 1 MiB a message
// and 5 seconds a handshake. It allows any origin and has JSON and bytes.
func NewHost(kinds ...string) *Host {
	h := &Host{
		limits: wire.Limits{MessageBytes: 1 << 20, HandshakeTimeout: 5 * time.Second, HeaderBytes: 64 << 10},
		kinds:  make(map[string]string, len(kinds)),
		links:  make(chan wire.Link, 64),
		origin: func(*http.Request) bool { return true },
		types:  []string{codec.TypeJSON, codec.TypeBytes},
	}
	for _, k := range kinds {
		h.kinds[k] = k
	}
	return h
}

// SetLimits changes what Limits returns, before the host is used.
func (h *Host) SetLimits(l wire.Limits) { h.limits = l }

// SetAllowOrigin changes what AllowOrigin does, before the host is used.
func (h *Host) SetAllowOrigin(f func(*http.Request) bool) { h.origin = f }

// SetContentTypes changes what ContentTypes returns, before the host is used.
func (h *Host) SetContentTypes(types ...string) { h.types = types }

// Attach keeps the link for Link.
func (h *Host) Attach(l wire.Link) error {
	h.links <- l
	return nil
}

// Link returns the next link that was attached.
func (h *Host) Link(ctx context.Context) (wire.Link, error) {
	select {
	case l := <-h.links:
		return l, nil
	case <-ctx.Done():
		return wire.Link{}, context.Cause(ctx)
	}
}

// Kind returns b as a string, without allocating for the known kinds.
func (h *Host) Kind(b []byte) string {
	if k, ok := h.kinds[string(b)]; ok {
		return k
	}
	return string(b)
}

// Limits returns what NewHost or SetLimits set.
func (h *Host) Limits() wire.Limits { return h.limits }

// AllowOrigin does what NewHost or SetAllowOrigin set.
func (h *Host) AllowOrigin(r *http.Request) bool { return h.origin(r) }

// ContentTypes returns what NewHost or SetContentTypes set.
func (h *Host) ContentTypes() []string { return h.types }
