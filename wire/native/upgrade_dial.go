package native

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/httphead"
	"github.com/polywire/polywire/internal/netdial"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/wire"
)

// ErrNoEncoding is wrapped by errors of Dial when the two sides have no payload
// encoding in common: this one has no codec for a type of [WithAccept], or the
// server has none of them.
var ErrNoEncoding = errors.New("native: no payload encoding in common")

// RefusedError is a server's answer to a request for a stream that opens none.
type RefusedError struct {
	StatusCode int    // of HTTP
	Reason     string // as the server says, its first KiB
}

// Error returns the status and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("native: the server answered %d: %s", e.StatusCode, e.Reason)
}

// Is reports that a 406 is [ErrNoEncoding], and a 426 or a 101 [ErrNoProtocol].
func (e *RefusedError) Is(target error) bool {
	switch e.StatusCode {
	case http.StatusNotAcceptable:
		return target == ErrNoEncoding
	case http.StatusUpgradeRequired, http.StatusSwitchingProtocols:
		return target == ErrNoProtocol
	}
	return false
}

// Final implements [wire.Finality]: a stream is not opened by asking again,
// unless the status says that this is a matter of time.
func (e *RefusedError) Final() bool { return httphead.Final(e.StatusCode) }

const keptBody = 1 << 10 // of a refusal

// WithAccept sets the content types of payloads that a client wants to be sent
// over polywire+http and polywire+https, the preferred one first; the
// application's codecs must have them. JSON alone makes the link speak the text
// form. Go values go to the server in what it chose of them. Default: any.
func WithAccept(contentTypes ...string) Option {
	return func(p *Protocol) { p.accept = slices.Clone(contentTypes) }
}

// acceptHeader says the preferred types with falling weights, since the order
// in an Accept header means nothing to others (RFC 9110 section 12.5.1).
func (p *Protocol) acceptHeader(host wire.Host) (string, error) {
	if len(p.accept) == 0 {
		return "*/*", nil
	}
	own := encodings(host)
	var b strings.Builder
	for i, t := range p.accept {
		if !slices.Contains(own, t) {
			return "", fmt.Errorf("%w: there is no codec for %q among %s", ErrNoEncoding, t, strings.Join(own, ", "))
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t)
		if i > 0 {
			b.WriteString(";q=0." + strconv.Itoa(max(1, 10-i)))
		}
	}
	return b.String(), nil
}

// dialUpgrade opens a stream by an HTTP request.
func (p *Protocol) dialUpgrade(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	req, err := p.upgradeRequest(ctx, host, u, o)
	if err != nil {
		return wire.Link{}, err
	}
	nc, header, body, err := exchange(req, host.Limits().HeaderBytes, o)
	if err != nil {
		return wire.Link{}, err
	}
	e, err := p.checkAnswer(header, host)
	var early []byte
	if err == nil {
		early, err = readEarly(ctx, nc, body)
	}
	if err != nil {
		_ = nc.Close() // the first error says why
		return wire.Link{}, err
	}
	conn := stream.New(nc, stream.Options{MaxMessageBytes: host.Limits().MessageBytes, Early: early})
	return wire.Link{Transport: conn, Session: e.session(host), Greets: true, Arguments: true}, nil
}

func (p *Protocol) upgradeRequest(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (*http.Request, error) {
	types, err := p.acceptHeader(host)
	if err != nil {
		return nil, err
	}
	at := netdial.At(u, strings.TrimPrefix(u.Scheme, "polywire+"), p.paths[0])
	at.Fragment = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("native: %w", err)
	}
	if name := httphead.Copy(req.Header, o.Header, reservedHeader()); name != "" {
		req.Host = name
	}
	httphead.Authorize(req.Header, u.User)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", upgradeName)
	req.Header.Set("Accept", types)
	return req, nil
}

// exchange sends the request over a connection of its own, and returns that
// when the server has switched protocols, with the answer's header and what came
// behind that.
func exchange(req *http.Request, maxHeader int, o wire.DialOptions) (net.Conn, http.Header, io.Reader, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	config.NextProtos = []string{"http/1.1"} // the only version that switches protocols
	way := &http.Transport{
		Proxy: o.Proxy, DialContext: o.NetDial, TLSClientConfig: config,
		DisableCompression: true, MaxResponseHeaderBytes: int64(maxHeader),
	}
	defer way.CloseIdleConnections()
	var nc net.Conn
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { nc = i.Conn }}
	resp, err := way.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("native: opening of a stream: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nc, resp.Header, resp.Body, nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, keptBody)) // a part will do
	_ = nc.Close()                                             // it serves nothing else, and nobody reads the rest
	_ = resp.Body.Close()
	return nil, nil, nil, &RefusedError{resp.StatusCode, strings.TrimSpace(string(text))}
}

// checkAnswer returns what the server has chosen.
func (p *Protocol) checkAnswer(h http.Header, host wire.Host) (encoding, error) {
	if !httphead.Has(h, "Connection", "upgrade") || len(h.Values("Upgrade")) != 1 || !strings.EqualFold(h.Get("Upgrade"), upgradeName) {
		return encoding{}, &RefusedError{http.StatusSwitchingProtocols, "it has switched to another protocol"}
	}
	form, ok := formNamed(h.Get(formHeader))
	if !ok {
		return encoding{}, &RefusedError{http.StatusSwitchingProtocols, "header " + formHeader + " names no form"}
	}
	if len(p.accept) == 0 || form == JSON {
		return encoding{form: form}, nil
	}
	at := slices.Index(p.accept, h.Get("Content-Type"))
	if at < 0 {
		return encoding{}, &RefusedError{http.StatusSwitchingProtocols, "header Content-Type is not what was asked for"}
	}
	return preferring(p.accept[at], encodings(host), func(t string) bool { return httphead.Has(h, "Accept", t) }), nil
}

// readEarly returns what has come behind the answer and been read with it: all
// that can be had without waiting.
func readEarly(ctx context.Context, nc net.Conn, body io.Reader) ([]byte, error) {
	if err := nc.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return nil, fmt.Errorf("native: opening of a stream: %w", err)
	}
	var early []byte
	var block [4096]byte
	for {
		n, err := body.Read(block[:])
		early = append(early, block[:n]...)
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("native: opening of a stream: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return early, nc.SetDeadline(time.Time{})
	}
}

// Carries reports that payloads of any type can be said.
func (protoSession) Carries(string) bool { return true }

// Carries reports that payloads of any type can be said: what is not JSON in base64.
func (jsonSession) Carries(string) bool { return true }

var (
	_ wire.Carrier = protoSession{}
	_ wire.Carrier = jsonSession{}

	_ wire.Finality = (*RefusedError)(nil)
)
