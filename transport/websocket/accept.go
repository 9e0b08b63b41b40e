package websocket

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/httphead"
)

// AcceptOptions are a server's wishes for a connection. The zero value is good.
type AcceptOptions struct {
	// Subprotocols that the server speaks, the preferred one first.
	Subprotocols []string
	// RequireSubprotocol refuses clients that speak none of Subprotocols.
	// Otherwise the connection has none then.
	RequireSubprotocol bool
	// AllowOrigin decides about the Origin header, which browsers always
	// send. Nil: the same origin only, or no such header.
	AllowOrigin func(*http.Request) bool
	// MaxMessageBytes bounds an inbound message, put together and inflated.
	// Zero or less: DefaultMaxMessageBytes.
	MaxMessageBytes int
	// MaxFragments bounds the fragments of an inbound message. Zero or less:
	// no limit but that of its bytes.
	MaxFragments int
	// HandshakeTimeout bounds the writing of the answer; the server bounds
	// the reading of the request. Zero or less: DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// Compression allows permessage-deflate. Nil: never.
	Compression *Compression
	// Header is added to the answer, as are the headers that have been set on
	// the ResponseWriter. What belongs to the handshake itself is left out.
	Header http.Header
}

// Accept answers a request for a WebSocket (RFC 6455 section 4.2) and takes
// the connection over. When it refuses it has answered the request with the
// reason, and returns that as a *[RefusedError]. It keeps neither w nor r.
func Accept(w http.ResponseWriter, r *http.Request, o AcceptOptions) (*Conn, error) {
	answer, s, refused := negotiate(r, o)
	if refused != nil {
		refused.write(w)
		return nil, refused
	}
	extra := http.Header{}
	maps.Copy(extra, w.Header())
	maps.Copy(extra, o.Header)
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refused := &RefusedError{StatusCode: http.StatusInternalServerError, Reason: "this server cannot hand over the connection"}
		refused.write(w)
		return nil, fmt.Errorf("%w: %w", refused, err)
	}
	early, err := begin(nc, rw.Reader, answer, extra, timeoutOr(o.HandshakeTimeout))
	if err != nil {
		_ = nc.Close() // the first error says why
		return nil, fmt.Errorf("websocket: answering a handshake: %w", err)
	}
	return newConn(nc, early, s), nil
}

// begin writes the answer and returns what the client has already sent. The
// deadlines that the HTTP server has set are gone then.
func begin(nc net.Conn, r *bufio.Reader, answer *bytes.Buffer, extra http.Header, timeout time.Duration) ([]byte, error) {
	if err := extra.WriteSubset(answer, reservedHeader()); err != nil {
		return nil, err
	}
	answer.WriteString("\r\n")
	if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := nc.Write(answer.Bytes()); err != nil {
		return nil, err
	}
	early, err := r.Peek(r.Buffered())
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return early, nc.SetDeadline(time.Time{})
}

// RefusedError is a request that was refused.
type RefusedError struct {
	StatusCode int    // of HTTP, such as 403
	Reason     string // as the client was told
}

// Error returns the status and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("websocket: refused (%d): %s", e.StatusCode, e.Reason)
}

// write answers a request.
func (e *RefusedError) write(w http.ResponseWriter) {
	switch e.StatusCode {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	case http.StatusUpgradeRequired:
		w.Header().Set("Upgrade", "websocket") // RFC 9110 section 15.5.22
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", version)
	}
	http.Error(w, e.Reason, e.StatusCode)
}

// negotiate checks a request and writes the answer's own headers.
func negotiate(r *http.Request, o AcceptOptions) (*bytes.Buffer, settings, *RefusedError) {
	s := settings{server: true, maxBytes: o.MaxMessageBytes, maxFragments: o.MaxFragments}
	key, refused := checkRequest(r, o.AllowOrigin)
	if refused != nil {
		return nil, s, refused
	}
	answer := new(bytes.Buffer)
	fmt.Fprintf(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n", acceptKey(key))
	offered := slices.Collect(httphead.Elements(r.Header, "Sec-WebSocket-Protocol"))
	if !all(offered, isToken) {
		return nil, s, badRequest("malformed Sec-WebSocket-Protocol")
	}
	for _, own := range o.Subprotocols { // the string kept is the server's: a client's would keep its whole header
		if slices.Contains(offered, own) {
			s.subprotocol = own
			fmt.Fprintf(answer, "Sec-WebSocket-Protocol: %s\r\n", own)
			break
		}
	}
	if s.subprotocol == "" && o.RequireSubprotocol {
		return nil, s, badRequest("no subprotocol in common: this server speaks " + strings.Join(o.Subprotocols, ", "))
	}
	extensions, err := parseExtensions(r.Header)
	if err != nil {
		return nil, s, badRequest("malformed Sec-WebSocket-Extensions")
	}
	if o.Compression != nil {
		if chosen := acceptDeflate(extensions); chosen != "" {
			s.compression = o.Compression
			fmt.Fprintf(answer, "Sec-WebSocket-Extensions: %s\r\n", chosen)
		}
	}
	return answer, s, nil
}

// checkRequest checks what RFC 6455 section 4.2.1 asks of a request, and
// returns its key.
func checkRequest(r *http.Request, allowOrigin func(*http.Request) bool) (key string, refused *RefusedError) {
	h := r.Header
	switch {
	case r.Method != http.MethodGet:
		return "", &RefusedError{http.StatusMethodNotAllowed, "a WebSocket is opened with GET"}
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return "", badRequest("a WebSocket is opened over HTTP/1.1")
	case !httphead.Has(h, "Connection", "upgrade"), !httphead.Has(h, "Upgrade", "websocket"):
		return "", &RefusedError{http.StatusUpgradeRequired, "this is a WebSocket endpoint"}
	case len(h.Values("Sec-WebSocket-Version")) != 1 || h.Get("Sec-WebSocket-Version") != version:
		return "", &RefusedError{http.StatusUpgradeRequired, "Sec-WebSocket-Version is not " + version}
	case len(h.Values("Sec-WebSocket-Key")) != 1:
		return "", badRequest("not one Sec-WebSocket-Key")
	case r.ContentLength != 0 || len(r.TransferEncoding) != 0:
		return "", badRequest("a WebSocket request has no body")
	}
	key = h.Get("Sec-WebSocket-Key")
	if nonce, err := base64.StdEncoding.DecodeString(key); err != nil || len(nonce) != 16 {
		return "", badRequest("Sec-WebSocket-Key is not 16 bytes in base64")
	}
	if allowOrigin == nil {
		allowOrigin = httphead.SameOrigin
	}
	if !allowOrigin(r) {
		return "", &RefusedError{http.StatusForbidden, "foreign origin"}
	}
	return key, nil
}

func badRequest(reason string) *RefusedError { return &RefusedError{http.StatusBadRequest, reason} }

func all(s []string, f func(string) bool) bool {
	return !slices.ContainsFunc(s, func(e string) bool { return !f(e) })
}
