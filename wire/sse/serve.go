package sse

import (
	"bytes"
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
		refuse(w, verdict{status: http.StatusServiceUnavailable, code: "unavailable", message: err.Error()})
		return
	}
	v, there := c.verdict(r.Context())
	switch {
	case !there:
		c.gone()
	case v.status != http.StatusOK:
		refuse(w, v)
		c.fail(v.closeError())
	default:
		p.stream(c, w, r, limits)
	}
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
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
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
