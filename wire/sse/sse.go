// Package sse is the wire of server-sent events (WHATWG HTML, section 9.2):
// GET /events?room=a&room=b answers with an endless stream of events, for
// EventSource in browsers, for curl -N, and for package client. Its clients
// receive and say nothing; docs/wire-sse.md has what the events look like.
//
// The rooms of the query are subscriptions like those of other wires: the
// server's authenticator, its policy and its limits decide, and the answer to
// the request waits for them. A stream on HTTP/1.1, with TLS or without, is a
// connection of its own from then on: without TLS a quiet one has neither a
// goroutine nor a buffer. Elsewhere (HTTP/2, or a ResponseWriter that cannot be
// hijacked) the request's goroutine stays.
//
// # Heartbeats
//
// A comment line is written at the server's heartbeat interval, since nobody
// answers: a client that has gone is found by the end of its connection, or by
// a write that fails.
package sse

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/polywire/polywire/wire"
)

// DefaultPath is the HTTP path of the door.
const DefaultPath = "/events"

// ErrOneWay is wrapped by errors about packets that this wire does not carry:
// it has messages from the server, and nothing else.
var ErrOneWay = errors.New("sse: this wire carries messages from the server to the client only")

// Protocol is the wire. It implements [wire.Protocol] and [wire.Dialer];
// methods may be called from many goroutines at once.
type Protocol struct {
	path        string
	retry       time.Duration
	credentials bool
}

var (
	_ wire.Protocol = (*Protocol)(nil)
	_ wire.Checker  = (*Protocol)(nil)
	_ wire.Dialer   = (*Protocol)(nil)
)

// Option changes what [New] makes.
type Option func(*Protocol)

// New returns the wire.
func New(o ...Option) *Protocol {
	p := &Protocol{path: DefaultPath}
	for _, option := range o {
		option(p)
	}
	return p
}

// WithPath sets the HTTP path of the door, and of URLs that are dialled
// without one; [DefaultPath] otherwise. It begins with a slash.
func WithPath(path string) Option { return func(p *Protocol) { p.path = path } }

// WithRetry tells browsers how long to wait before they connect again after
// the connection broke, in milliseconds on the wire. Zero, the default: as
// they like, which is some seconds.
func WithRetry(d time.Duration) Option { return func(p *Protocol) { p.retry = d } }

// WithCredentials lets pages of other origins, if those are allowed, send
// their users' cookies (EventSource's withCredentials). Without it browsers
// keep streams that were opened with cookies from such pages.
func WithCredentials() Option { return func(p *Protocol) { p.credentials = true } }

// Check returns what is wrong with the options, nil if nothing is.
func (p *Protocol) Check() error {
	switch {
	case !strings.HasPrefix(p.path, "/"):
		return fmt.Errorf("sse: path %q does not begin with a slash", p.path)
	case p.retry < 0 || p.retry != p.retry.Truncate(time.Millisecond):
		return fmt.Errorf("sse: a retry of %v is not a number of milliseconds", p.retry)
	}
	return nil
}

// Name returns "sse".
func (*Protocol) Name() string { return "sse" }

// Doors returns the HTTP path.
func (p *Protocol) Doors() []wire.Door {
	return []wire.Door{{Path: p.path, HTTP: p.serveHTTP}}
}

// Schemes returns the URL schemes that Dial takes.
func (*Protocol) Schemes() []string { return []string{"sse+http", "sse+https"} }
