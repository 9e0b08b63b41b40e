package sse

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/polywire/polywire/wire"
)

// serveHTTP answers a request with a stream, once the core has let the client
// in and answered all its subscriptions, or with the reason why not.
func (p *Protocol) serveHTTP(host wire.Host, w http.ResponseWriter, r *http.Request) {
	ask, ok := p.admit(host, w, r)
	if !ok {
		return
	}
	limits := host.Limits()
	c := newConn(ask, r, limits)
	s := &serverSession{conn: c, asked: ask, places: ask.places}
	if err := host.Attach(wire.Link{Transport: c, Session: s, Request: r}); err != nil {
		p.refuse(w, ask, verdict{status: http.StatusServiceUnavailable, code: "unavailable", message: err.Error(), closed: wire.CloseShutdown})
		return
	}
	v, there := c.verdict(r.Context())
	switch {
	case !there:
		c.gone()
	case v.status != http.StatusOK:
		p.refuse(w, ask, v)
		c.fail(v.closeError())
	default:
		p.stream(c, w, r, limits)
	}
}

// refuse answers with the reason. An EventSource would not come back after that
// (HTML, section 9.2: any status but 200 fails the connection), so one that
// was there before and is to try again gets a stream that ends at once.
func (p *Protocol) refuse(w http.ResponseWriter, ask *request, v verdict) {
	if v.status != http.StatusServiceUnavailable || ask.offset == "" {
		refuse(w, v)
		return
	}
	streamHead(w.Header())
	body := p.prelude()
	if p.retry == 0 {
		body = fmt.Appendf(nil, "retry: %d\n\n", comeBackAfter.Milliseconds())
	}
	code := v.closed
	if !code.Reconnect() {
		code = wire.CloseForceReconnect
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(append(appendClose(body, uint16(code), v.message), '\n')) // or the client has gone
}

// admit checks a request before anything is made of it, and answers those
// that are refused or only ask.
func (p *Protocol) admit(host wire.Host, w http.ResponseWriter, r *http.Request) (*request, bool) {
	h := w.Header()
	h.Add("Vary", "Origin")
	switch {
	case len(r.Header.Values("Origin")) > 1 || !host.AllowOrigin(r):
		refuse(w, verdict{status: http.StatusForbidden, code: "forbidden", message: "foreign origin"})
		return nil, false
	case r.Method == http.MethodOptions:
		p.cors(h, r)
		preflight(w, r)
		return nil, false
	}
	p.cors(h, r)
	switch {
	case r.Method != http.MethodGet:
		refuse(w, badRequest(http.StatusMethodNotAllowed, "streams are opened with GET"))
		return nil, false
	case r.ContentLength != 0:
		refuse(w, badRequest(http.StatusBadRequest, "a request with a body"))
		return nil, false
	case !accepts(r):
		refuse(w, badRequest(http.StatusNotAcceptable, "this is "+eventStream+", which the header Accept does not have"))
		return nil, false
	}
	ask, err := parseRequest(r)
	if err != nil {
		refuse(w, badRequest(http.StatusBadRequest, err.Error()))
		return nil, false
	}
	return ask, true
}

// stream opens the stream on a connection of its own, or else on the response.
func (p *Protocol) stream(c *conn, w http.ResponseWriter, r *http.Request, limits wire.Limits) {
	h := w.Header()
	streamHead(h)
	control := http.NewResponseController(w)
	if nc, _, err := control.Hijack(); err == nil {
		chunked := r.ProtoAtLeast(1, 1)
		head := responseHead(h, chunked)
		userTimeout(nc, limits.HeartbeatInterval+limits.HeartbeatTimeout)
		c.adopt(nc, chunked, head, p.prelude(), limits.HandshakeTimeout)
		return
	}
	// The times of requests and responses are not for streams. Not every
	// ResponseWriter knows them.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	c.borrow(r.Context(), w, control, p.prelude())
}

// streamHead sets what every stream's head has.
func streamHead(h http.Header) {
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
}

// prelude is what a stream begins with: something, for those on the way who
// hold headers back until there is.
func (p *Protocol) prelude() []byte {
	if p.retry == 0 {
		return []byte(": polywire\n\n")
	}
	return append(strconv.AppendInt([]byte("retry: "), p.retry.Milliseconds(), 10), '\n', '\n')
}

// responseHead is the head of a response on a connection that net/http has let
// go of.
func responseHead(h http.Header, chunked bool) []byte {
	if h.Get("Date") == "" {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	h.Set("Connection", "close") // it is not used again
	h.Del("Content-Length")
	h.Del("Transfer-Encoding")
	version := "HTTP/1.0"
	if chunked {
		version = "HTTP/1.1"
		h.Set("Transfer-Encoding", "chunked")
	}
	var b bytes.Buffer
	b.WriteString(version + " 200 OK\r\n")
	_ = h.Write(&b) // a Buffer does not fail
	b.WriteString("\r\n")
	return b.Bytes()
}
