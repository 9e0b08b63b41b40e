package sse

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/httphead"
	"github.com/polywire/polywire/internal/netdial"
	"github.com/polywire/polywire/wire"
)

const (
	answerHeadBytes = 64 << 10 // of a response
	keptBody        = 1 << 10  // of a refusal
	keptReason      = 200      // of its text
)

// RefusedError is an answer to Dial that is not a stream.
type RefusedError struct {
	StatusCode int           // of HTTP
	Code       string        // the server's, such as "forbidden"; empty where it gave none
	Message    string        // the server's words, at most 200 bytes
	Room       string        // that was refused; empty: it was not about one
	RetryAfter time.Duration // as the server asks to wait; zero when it does not
}

var _ wire.Finality = (*RefusedError)(nil)

// Error returns the status and what the server said.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("sse: server answered %d", e.StatusCode)
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Room != "" {
		s += fmt.Sprintf(" (room %q)", e.Room)
	}
	return s
}

// Final implements [wire.Finality]: a stream is not opened by asking again,
// unless the status says that this is a matter of time. 204 is the wire's own
// word for not coming back.
func (e *RefusedError) Final() bool { return httphead.Final(e.StatusCode) }

// Dial opens a stream within ctx and the host's handshake timeout. A URL
// without a path has the path of the door; its query names the rooms, as in
// sse+https://host/events?room=a&room=b. Credentials become headers of the
// request, and the place of the link before its Last-Event-ID. Redirects are
// not followed. A server that refuses is a *[RefusedError].
func (p *Protocol) Dial(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	scheme, ok := strings.CutPrefix(u.Scheme, "sse+")
	if !ok || scheme != "http" && scheme != "https" || u.Host == "" {
		return wire.Link{}, fmt.Errorf("sse: %s is not sse+http://host or sse+https://host", u.Redacted())
	}
	at := netdial.At(u, scheme, p.path)
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	// Whichever is first ends the opening; afterwards the link's Close does.
	timer := time.AfterFunc(host.Limits().HandshakeTimeout, cancel)
	stop := context.AfterFunc(ctx, cancel)
	t := newTransport(o)
	resp, err := open(life, t, at, o)
	inTime, wanted := timer.Stop(), stop()
	if !inTime || !wanted {
		if err == nil {
			_ = resp.Body.Close() // too late
		}
		if err = context.Cause(ctx); err == nil {
			err = context.DeadlineExceeded
		}
	}
	if err != nil {
		cancel()
		t.CloseIdleConnections()
		return wire.Link{}, fmt.Errorf("sse: dial: %w", err)
	}
	c := newClientConn(resp, cancel, t, host.Limits().MessageBytes)
	return wire.Link{Transport: c, Session: newClientSession(host, roomsOf(at.Query()), o.Position)}, nil
}

// newTransport makes what one stream goes through.
func newTransport(o wire.DialOptions) *http.Transport {
	dial := o.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &http.Transport{
		Proxy:                  o.Proxy,
		DialContext:            dial,
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: answerHeadBytes,
		DisableCompression:     true,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}
}

// open sends the request, and returns a response that is a stream.
func open(ctx context.Context, t *http.Transport, u *url.URL, o wire.DialOptions) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if at := httphead.Copy(req.Header, o.Header, nil); at != "" {
		req.Host = at
	}
	for name, value := range o.Credentials {
		req.Header.Set(name, value) // net/http refuses what is no header
	}
	httphead.Authorize(req.Header, u.User)
	req.Header.Set("Accept", eventStream)
	req.Header.Set("Cache-Control", "no-store")
	if o.Position != "" {
		req.Header.Set(lastEventID, o.Position)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	contentType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if resp.StatusCode == http.StatusOK && strings.EqualFold(strings.TrimSpace(contentType), eventStream) {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // a part will do
	return nil, newRefusal(resp)
}

// newRefusal makes the error of another answer.
func newRefusal(resp *http.Response) *RefusedError {
	e := &RefusedError{StatusCode: resp.StatusCode, RetryAfter: httphead.RetryAfter(resp.Header)}
	if resp.StatusCode == http.StatusOK {
		e.Message = fmt.Sprintf("the answer is %.60q, not %s", resp.Header.Get("Content-Type"), eventStream)
		return e
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, keptBody)) // a part will do
	var said problem
	if json.Unmarshal(body, &said) == nil {
		e.Code, e.Message, e.Room = said.Code, said.Message, said.Room
	} else {
		e.Message = strings.TrimSpace(string(body))
	}
	if len(e.Message) > keptReason {
		e.Message = e.Message[:keptReason]
	}
	e.Message = strings.ToValidUTF8(e.Message, "")
	return e
}
