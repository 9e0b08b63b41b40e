package engineio

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/internal/httphead"
	"github.com/polywire/polywire/transport/websocket"
)

// DialOptions are a client's wishes for a session. The zero value is good: it
// polls first, and goes over to a WebSocket when the server has one.
type DialOptions struct {
	// Header is added to every request. What belongs to the protocol is left
	// out, but for Host.
	Header http.Header
	// TLS is cloned for each session; nil verifies with the system's roots.
	TLS *tls.Config
	// Proxy chooses an HTTP proxy for a request, as in net/http; nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// NetDial opens the connections in place of net.Dialer.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)

	// Path of the server; empty: "/socket.io/".
	Path string
	// Query is added to the URL of every request.
	Query url.Values
	// NoPolling opens a WebSocket at once.
	NoPolling bool
	// NoUpgrade stays with polling.
	NoUpgrade bool
	// Version of the protocol: 4 or 3. Zero: 4.
	Version int
	// MaxMessageBytes bounds an inbound message; 128 MiB at most. Zero or
	// less: websocket.DefaultMaxMessageBytes. An answer to a poll, which
	// carries all that has waited for it, may be 16 times as long.
	MaxMessageBytes int
	// MaxFragments bounds the fragments of a message that comes through a
	// WebSocket. Zero or less: no limit but that of its bytes.
	MaxFragments int
	// UpgradeTimeout bounds going over to a WebSocket, after which polling
	// goes on. Zero or less: 10 seconds.
	UpgradeTimeout time.Duration
}

const (
	defaultPath = "/socket.io/"

	clientHeadBytes   = 64 << 10 // of an answer
	clientOpenBytes   = 4 << 10  // of the open packet
	clientKeptBody    = 1 << 10  // of a refusal
	clientBodyFactor  = 16       // how many of the longest messages one answer may be
	clientReasonBytes = 200      // of a refusal's message
)

// RefusedError is an answer of the server other than what was asked for: of
// [Dial], or what has ended a polling session.
type RefusedError struct {
	StatusCode int           // of HTTP
	Code       int           // of the protocol, 0 to 5; -1 when there is none
	Message    string        // the server's words, at most 200 bytes of them
	RetryAfter time.Duration // as the server asks to wait; zero when it does not
	Err        error         // of the WebSocket's handshake; nil while polling
}

// Error returns the status, the code and the message.
func (e *RefusedError) Error() string {
	s := "engineio: server answered " + strconv.Itoa(e.StatusCode)
	if e.Code >= 0 {
		s += ", code " + strconv.Itoa(e.Code)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap returns the error of the WebSocket's handshake.
func (e *RefusedError) Unwrap() error { return e.Err }

// newRefusal makes the error of an answer. Official servers say what is wrong
// in JSON, and as plain text in answers to WebSockets.
func newRefusal(status int, body []byte, wait time.Duration, err error) *RefusedError {
	e := &RefusedError{StatusCode: status, Code: -1, RetryAfter: wait, Err: err}
	var said struct {
		Code    *int   `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) == nil && said.Code != nil {
		e.Code, e.Message = *said.Code, said.Message
	} else {
		e.Message = strings.TrimSpace(string(body))
	}
	e.Message = strings.ToValidUTF8(e.Message, "\ufffd")
	for len(e.Message) > clientReasonBytes {
		_, size := utf8.DecodeLastRuneInString(e.Message)
		e.Message = e.Message[:max(len(e.Message)-size, 0)]
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	return e
}

// Dial opens a session with the server that a http, https, ws or wss URL
// names; of the URL scheme, user and host are used. ctx bounds the opening
// only. Redirects are not followed. A server that refuses is a *[RefusedError].
// Cookies of the first answer are sent with all further requests, for the sake
// of balancers that need them.
func Dial(ctx context.Context, u *url.URL, o DialOptions) (*ClientConn, error) {
	r, err := newRequester(u, o)
	if err != nil {
		return nil, err
	}
	if o.NoPolling {
		return dialWebSocket(ctx, r)
	}
	return dialPolling(ctx, r)
}

// requester makes the requests of one session.
type requester struct {
	o       DialOptions // with the defaults filled in
	v       version
	url     url.URL // http or https
	header  http.Header
	host    string // in place of the URL's; empty: the URL's
	started int64
	http    *http.Transport
}

func newRequester(u *url.URL, o DialOptions) (*requester, error) {
	r := &requester{o: o, v: v4, started: time.Now().UnixNano()}
	switch o.Version {
	case 0, 4:
	case 3:
		r.v = v3
	default:
		return nil, fmt.Errorf("engineio: version %d is neither 4 nor 3", o.Version)
	}
	r.url = url.URL{User: u.User, Host: u.Host, Path: o.Path}
	switch u.Scheme {
	case "http", "ws":
		r.url.Scheme = "http"
	case "https", "wss":
		r.url.Scheme = "https"
	default:
		return nil, fmt.Errorf("engineio: the scheme of %s is none of http, https, ws, wss", u.Redacted())
	}
	if u.Host == "" {
		return nil, fmt.Errorf("engineio: %s has no host", u.Redacted())
	}
	if o.Path == "" {
		r.url.Path = defaultPath
	}
	if r.o.MaxMessageBytes <= 0 {
		r.o.MaxMessageBytes = websocket.DefaultMaxMessageBytes
	}
	r.o.MaxMessageBytes = min(r.o.MaxMessageBytes, math.MaxInt32/clientBodyFactor)
	if r.o.UpgradeTimeout <= 0 {
		r.o.UpgradeTimeout = defaultUpgradeTimeout
	}
	r.header = http.Header{}
	r.host = httphead.Copy(r.header, o.Header, map[string]bool{
		"Accept-Encoding": true, "Connection": true, "Content-Length": true, "Content-Type": true,
		"Transfer-Encoding": true, "Upgrade": true,
	})
	httphead.Authorize(r.header, u.User)
	return r, nil
}

// open makes ready for polling. Connections that are being opened are given up
// when life ends.
func (r *requester) open(life context.Context) {
	dial := r.o.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	r.http = &http.Transport{
		Proxy: r.o.Proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(life, cancel)()
			return dial(ctx, network, address)
		},
		TLSClientConfig:        r.o.TLS.Clone(),
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    2, // one polls, one posts
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: clientHeadBytes,
		Protocols:              &protocols,
	}
}

// target returns the URL of a request.
func (r *requester) target(scheme, transport, sid string) string {
	q := url.Values{}
	maps.Copy(q, r.o.Query)
	q.Set("EIO", strconv.Itoa(int(r.v)))
	q.Set("transport", transport)
	if q.Del("sid"); sid != "" {
		q.Set("sid", sid)
	}
	if transport == transportPolling { // against caches
		q.Set("t", strconv.FormatInt(time.Now().UnixNano()-r.started, 36))
	}
	target := r.url
	target.Scheme = scheme
	target.RawQuery = q.Encode()
	return target.String()
}

// do sends a request, and returns an answer with status 200.
func (r *requester) do(req *http.Request, contentType string) (*http.Response, error) {
	req.Header = r.header.Clone()
	if r.host != "" {
		req.Host = r.host
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "*/*")
	resp, err := r.http.RoundTrip(req)
	if err != nil || resp.StatusCode == http.StatusOK {
		return resp, err
	}
	defer resp.Body.Close()                                          //nolint:errcheck // a part will do
	body, _ := io.ReadAll(io.LimitReader(resp.Body, clientKeptBody)) // the same
	return nil, newRefusal(resp.StatusCode, body, httphead.RetryAfter(resp.Header), nil)
}

// get polls. The body is of most bytes, or errLongAnswer.
func (r *requester) get(ctx context.Context, sid string, most int) (body []byte, octets bool, cookies []*http.Cookie, err error) {
	// With a body that cannot be read again net/http never repeats the
	// request: what the lost answer carried would be lost in silence.
	nothing := io.NopCloser(strings.NewReader(""))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.target(r.url.Scheme, transportPolling, sid), nothing)
	if err != nil {
		return nil, false, nil, err
	}
	// Else net/http tries for 200 ms whether there is a body, and then says
	// that there is: no server takes that of a poll.
	req.TransferEncoding = []string{"identity"}
	resp, err := r.do(req, "")
	if err != nil {
		return nil, false, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it has been read
	body, err = io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, false, nil, err
	case len(body) > most:
		return nil, false, nil, errLongAnswer
	}
	octets = strings.HasPrefix(resp.Header.Get("Content-Type"), "application/octet-stream")
	return body, octets, resp.Cookies(), nil
}

// keepCookies adds the cookies of an answer to all further requests.
func (r *requester) keepCookies(cookies []*http.Cookie) {
	req := http.Request{Header: r.header}
	for _, c := range cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value, Quoted: c.Quoted}) //nolint:gosec // of a request, which has no attributes
	}
}

var errLongAnswer = errors.New("engineio: the answer to a poll is too long")

// post sends a payload, and waits until the server has handled it.
func (r *requester) post(ctx context.Context, sid string, body []byte, octets bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.target(r.url.Scheme, transportPolling, sid), bytes.NewReader(body))
	if err != nil {
		return err
	}
	contentType := "text/plain;charset=UTF-8"
	if octets {
		contentType = "application/octet-stream"
	}
	resp, err := r.do(req, contentType)
	if err != nil {
		return err
	}
	defer resp.Body.Close()                                                 //nolint:errcheck // what matters has been read
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, clientKeptBody)) // so that the connection is used again
	return err
}

// socket opens a WebSocket: of a new session if sid is empty.
func (r *requester) socket(ctx context.Context, sid string) (*websocket.Conn, error) {
	header := r.header.Clone()
	if r.host != "" {
		header.Set("Host", r.host)
	}
	scheme := "ws"
	if r.url.Scheme == "https" {
		scheme = "wss"
	}
	conn, resp, err := websocket.Dial(ctx, r.target(scheme, transportWebSocket, sid), websocket.DialOptions{
		Header:          header,
		TLS:             r.o.TLS,
		Proxy:           r.o.Proxy,
		NetDial:         r.o.NetDial,
		MaxMessageBytes: r.o.MaxMessageBytes + 1, // the packet's type
		MaxFragments:    r.o.MaxFragments,
	})
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // the error has what of it matters
	}
	var refused *websocket.HandshakeError
	if errors.As(err, &refused) && !refused.Proxy {
		return nil, newRefusal(refused.StatusCode, refused.Body, refused.RetryAfter, err)
	}
	return conn, err
}

// parseOpen decodes and checks the data of an open packet.
func parseOpen(data []byte) (openPacket, error) {
	var p openPacket
	const longest = 1 << 31 // milliseconds: 24 days
	switch err := json.Unmarshal(data, &p); {
	case err != nil:
		return p, malformed("open packet: " + err.Error())
	case p.SID == "" || len(p.SID) > 512:
		return p, malformed("open packet without a session id")
	case p.PingInterval <= 0 || p.PingTimeout <= 0 || p.PingInterval > longest || p.PingTimeout > longest:
		return p, malformed("open packet without times for pings")
	}
	return p, nil
}
