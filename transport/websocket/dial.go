package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/httphead"
)

// DialOptions are a client's wishes for a connection. The zero value is good.
type DialOptions struct {
	// Header is added to the request. What belongs to the handshake itself is
	// left out, but for Host.
	Header http.Header
	// Subprotocols to offer, the preferred one first.
	Subprotocols []string
	// TLS is cloned for each connection; nil verifies with the system's roots.
	TLS *tls.Config
	// Proxy chooses an HTTP proxy for the request, as in net/http: the
	// request's URL is http or https. Nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// NetDial opens the connection, to the proxy if there is one, in place of
	// net.Dialer.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
	// HandshakeTimeout bounds all of Dial, beside its context. Zero or less:
	// DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// MaxMessageBytes bounds an inbound message, put together and inflated.
	// Zero or less: DefaultMaxMessageBytes.
	MaxMessageBytes int
	// MaxFragments bounds the fragments of an inbound message. Zero or less:
	// no limit but that of its bytes.
	MaxFragments int
	// Compression offers permessage-deflate. Nil: never.
	Compression *Compression
}

const (
	maxHeadBytes = 64 << 10 // of an answer
	keptBody     = 1 << 10  // of a refusal
)

// HandshakeError is an answer that does not open a WebSocket.
type HandshakeError struct {
	StatusCode int           // of HTTP
	RetryAfter time.Duration // as the server asks to wait; zero when it does not
	Body       []byte        // of a refusal, at most its first KiB
	Proxy      bool          // it was the proxy that answered
	Reason     string        // what is wrong with the answer
}

// Error returns the status and the reason.
func (e *HandshakeError) Error() string {
	who := "server"
	if e.Proxy {
		who = "proxy"
	}
	return fmt.Sprintf("websocket: handshake: %s answered %d: %s", who, e.StatusCode, e.Reason)
}

// Dial opens a WebSocket to a ws or wss URL (RFC 6455 section 4.1). Redirects
// are not followed. ctx bounds the opening only. The response is nil when
// there was none; its body needs no closing and has at most its first KiB. An
// answer that opens nothing is a *[HandshakeError].
func Dial(ctx context.Context, rawURL string, o DialOptions) (*Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, timeoutOr(o.HandshakeTimeout))
	defer cancel()
	req, err := newRequest(ctx, rawURL, o)
	if err != nil {
		return nil, nil, err
	}
	nc, proxyAnswer, err := connect(ctx, req, o)
	if err != nil {
		return nil, proxyAnswer, err
	}
	c, resp, err := bounded(ctx, nc, func() (*Conn, *http.Response, error) { return open(nc, req, o) })
	if err != nil {
		_ = nc.Close() // the first error says why
		return nil, resp, err
	}
	return c, resp, nil
}

// bounded runs f, which reads from and writes to nc, until ctx ends.
func bounded[T any](ctx context.Context, nc net.Conn, f func() (T, *http.Response, error)) (T, *http.Response, error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	v, resp, err := f()
	var answered *HandshakeError
	if !stop() && !errors.As(err, &answered) {
		var zero T
		return zero, resp, fmt.Errorf("websocket: handshake: %w", context.Cause(ctx))
	}
	return v, resp, err
}

// newRequest makes the opening request. Its URL has the scheme that net/http
// knows the same thing by.
func newRequest(ctx context.Context, rawURL string, o DialOptions) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("websocket: %w", err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	default:
		return nil, fmt.Errorf("websocket: the scheme of %s is neither ws nor wss", u.Redacted())
	}
	if u.Host == "" || strings.Contains(rawURL, "#") { // RFC 6455 section 3
		return nil, fmt.Errorf("websocket: %s has no host, or a fragment", u.Redacted())
	}
	if !all(o.Subprotocols, isToken) {
		return nil, fmt.Errorf("websocket: a malformed subprotocol among %q", o.Subprotocols)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("websocket: %w", err)
	}
	if at := httphead.Copy(req.Header, o.Header, reservedHeader()); at != "" {
		req.Host = at
	}
	httphead.Authorize(req.Header, u.User)
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(nonce[:]))
	req.Header.Set("Sec-WebSocket-Version", version)
	if len(o.Subprotocols) > 0 {
		req.Header.Set("Sec-WebSocket-Protocol", strings.Join(o.Subprotocols, ", "))
	}
	if o.Compression != nil {
		req.Header.Set("Sec-WebSocket-Extensions", deflateOffer)
	}
	return req, nil
}

// open sends the request over nc and makes a connection of the answer.
func open(nc net.Conn, req *http.Request, o DialOptions) (*Conn, *http.Response, error) {
	r, resp, err := roundTrip(nc, req.Write, req)
	if err != nil {
		return nil, resp, err
	}
	s, err := checkResponse(resp, req, o)
	if err != nil {
		return nil, resp, refusal(resp, err)
	}
	resp.Body = http.NoBody
	resp.Request = nil
	early, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, resp, fmt.Errorf("websocket: handshake: %w", err)
	}
	return newConn(nc, early, s), resp, nc.SetDeadline(time.Time{})
}

// roundTrip writes a request and reads the head of its answer, of which it
// takes no more than maxHeadBytes.
func roundTrip(nc net.Conn, write func(io.Writer) error, req *http.Request) (*bufio.Reader, *http.Response, error) {
	var out bytes.Buffer // for one write
	if err := write(&out); err != nil {
		return nil, nil, fmt.Errorf("websocket: handshake: %w", err)
	}
	if _, err := nc.Write(out.Bytes()); err != nil {
		return nil, nil, fmt.Errorf("websocket: handshake: %w", err)
	}
	limited := &io.LimitedReader{R: nc, N: maxHeadBytes}
	r := bufio.NewReader(limited)
	resp, err := http.ReadResponse(r, req)
	switch {
	case err == nil:
		limited.N += keptBody
		return r, resp, nil
	case limited.N <= 0:
		return nil, nil, fmt.Errorf("websocket: handshake: an answer of more than %d bytes", maxHeadBytes)
	}
	return nil, nil, fmt.Errorf("websocket: handshake: %w", err)
}

// refusal makes the error of an answer, whose first KiB of body it keeps.
func refusal(resp *http.Response, reason error) *HandshakeError {
	e := &HandshakeError{
		StatusCode: resp.StatusCode,
		RetryAfter: httphead.RetryAfter(resp.Header),
		Reason:     reason.Error(),
	}
	if resp.StatusCode >= 200 {
		e.Body, _ = io.ReadAll(io.LimitReader(resp.Body, keptBody)) // a part will do
	}
	resp.Body = io.NopCloser(bytes.NewReader(e.Body))
	return e
}

// checkResponse checks what RFC 6455 section 4.1 asks of an answer.
func checkResponse(resp *http.Response, req *http.Request, o DialOptions) (settings, error) {
	s := settings{maxBytes: o.MaxMessageBytes, maxFragments: o.MaxFragments}
	h := resp.Header
	accept := h.Values("Sec-WebSocket-Accept")
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return s, errors.New(strings.TrimSpace("no WebSocket: " + resp.Status))
	case len(h.Values("Upgrade")) != 1 || !strings.EqualFold(h.Get("Upgrade"), "websocket"):
		return s, errors.New("header Upgrade is not websocket")
	case !httphead.Has(h, "Connection", "upgrade"):
		return s, errors.New("header Connection has no upgrade")
	case len(accept) != 1 || accept[0] != acceptKey(req.Header.Get("Sec-WebSocket-Key")):
		return s, errors.New("wrong Sec-WebSocket-Accept")
	}
	switch chosen := h.Values("Sec-WebSocket-Protocol"); {
	case len(chosen) > 1 || len(chosen) == 1 && !slices.Contains(o.Subprotocols, chosen[0]):
		return s, fmt.Errorf("a subprotocol that was not offered: %q", chosen)
	case len(chosen) == 1:
		s.subprotocol = o.Subprotocols[slices.Index(o.Subprotocols, chosen[0])] // not a part of the answer's memory
	}
	extensions, err := parseExtensions(h)
	if err == nil {
		err = checkAnswer(extensions, o.Compression != nil)
	}
	if err != nil {
		return s, err
	}
	if len(extensions) > 0 {
		s.compression = o.Compression
	}
	return s, nil
}
