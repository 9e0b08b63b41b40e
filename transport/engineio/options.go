package engineio

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/polywire/polywire/internal/httphead"
	"github.com/polywire/polywire/transport/websocket"
)

// Options are what a [Server] is told. Only Accept is needed; durations and
// sizes of zero mean their defaults.
type Options struct {
	// PingInterval and PingTimeout are the heartbeat that clients are told:
	// at least a millisecond; 25 and 20 seconds by default.
	PingInterval, PingTimeout time.Duration
	// UpgradeTimeout is how long a client may try a WebSocket out before it
	// goes over to it; 10 seconds by default. The session goes on without.
	UpgradeTimeout time.Duration
	// HandshakeTimeout bounds the writing of each answer and the reading of
	// each body, beside a second for each 16 KiB; 5 seconds by default. Waiting
	// polls are not bounded.
	HandshakeTimeout time.Duration
	// MaxPayloadBytes bounds the body of a POST and a message of a WebSocket, in
	// bytes. Clients are told. 1 MiB by default.
	MaxPayloadBytes int
	// MaxFragments bounds the fragments of a message of a WebSocket. Zero: no
	// limit but that of its bytes.
	MaxFragments int
	// PollBytes is how much waits for a client to poll before Write blocks;
	// 64 KiB by default.
	PollBytes int
	// CompressMinBytes is the shortest answer to a poll that is compressed with
	// gzip for clients that can, in bytes; 1024 by default, negative: none is.
	CompressMinBytes int
	// Compression allows permessage-deflate on WebSockets. Nil: never.
	Compression *websocket.Compression

	// NoPolling and NoWebSocket refuse a transport (not both), NoUpgrade
	// refuses WebSockets to sessions that poll, NoV3 clients of version 3.
	NoPolling, NoWebSocket, NoUpgrade, NoV3 bool
	// JSONP serves old browsers that poll with script elements. These send no
	// Origin header, so that AllowOrigin does not keep other sites from
	// opening sessions in the name of their visitors: not for applications
	// that know their users by cookies. Off by default.
	JSONP bool

	// Cookie is set by the answer that opens a polling session, for load
	// balancers that keep clients with their server: a copy with the session's
	// id as value. See [SessionCookie]. Nil: none.
	Cookie *http.Cookie
	// CORS says what browsers are told about requests from other origins. Nil:
	// the plain minimum for origins that AllowOrigin accepts.
	CORS *CORS
	// AllowOrigin decides about the Origin header of each request. Nil: the
	// same origin only, or no such header.
	AllowOrigin func(*http.Request) bool
	// AllowRequest decides about requests for new sessions, before their
	// version is looked at. The error's text is told to the client. Nil: all.
	AllowRequest func(*http.Request) error
	// Header may add to the header of each successful answer; first says that
	// it is the first of its session. Nil: nothing is added.
	Header func(h http.Header, r *http.Request, first bool)
	// Accept takes a new session and all responsibility for it: that it is
	// read, and closed. An error refuses it (503, or the end of the
	// WebSocket). It should not block: the client waits for its answer.
	Accept func(c *Conn, r *http.Request) error
	// Refused is told of each request that is answered with one of the
	// protocol's errors, by its code and message. It may be nil.
	Refused func(r *http.Request, code int, message string)
}

// SessionCookie returns the usual template for Options.Cookie: a session
// cookie named io, for all paths, hidden from scripts, SameSite=Lax.
func SessionCookie() *http.Cookie {
	//nolint:gosec // whether it is for HTTPS only is the application's to say
	return &http.Cookie{Name: "io", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

const (
	defaultPingInterval     = 25 * time.Second
	defaultPingTimeout      = 20 * time.Second
	defaultUpgradeTimeout   = 10 * time.Second
	defaultMaxPayload       = 1 << 20
	defaultPollBytes        = 64 << 10
	defaultCompressMinBytes = 1024
)

// complete checks the options and puts the defaults in.
func (o *Options) complete() error {
	setDefault(&o.PingInterval, defaultPingInterval)
	setDefault(&o.PingTimeout, defaultPingTimeout)
	setDefault(&o.UpgradeTimeout, defaultUpgradeTimeout)
	setDefault(&o.HandshakeTimeout, websocket.DefaultHandshakeTimeout)
	setDefault(&o.MaxPayloadBytes, defaultMaxPayload)
	setDefault(&o.PollBytes, defaultPollBytes)
	setDefault(&o.CompressMinBytes, defaultCompressMinBytes)
	if o.AllowOrigin == nil {
		o.AllowOrigin = httphead.SameOrigin
	}
	var wrong []error
	require := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, errors.New("engineio: "+what))
		}
	}
	require(o.Accept != nil, "nobody accepts sessions")
	require(o.PingInterval >= time.Millisecond && o.PingTimeout >= time.Millisecond, "a heartbeat of less than a millisecond")
	require(o.UpgradeTimeout > 0 && o.HandshakeTimeout > 0, "a negative timeout")
	require(o.MaxPayloadBytes > 0 && o.PollBytes > 0 && o.MaxFragments >= 0, "a negative limit")
	require(!o.NoPolling || !o.NoWebSocket, "neither polling nor WebSocket")
	if o.Cookie != nil {
		check := *o.Cookie //nolint:gosec // it is sent to nobody
		check.Value = "0"
		if err := check.Valid(); err != nil {
			wrong = append(wrong, fmt.Errorf("engineio: cookie: %w", err))
		}
	}
	require(o.CORS == nil || !o.CORS.AnyOrigin || !o.CORS.Credentials, "CORS with credentials from any origin, which browsers refuse")
	return errors.Join(wrong...)
}

func setDefault[T ~int | ~int64](at *T, value T) {
	if *at == 0 {
		*at = value
	}
}
