package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/polywire/polywire/internal/safehttp"
)

// Errors of [Client.Prepare], for errors.Is.
var (
	// ErrURL: the URL cannot be used, whatever it resolves to.
	ErrURL = fmt.Errorf("%w", safehttp.ErrURL)
	// ErrForbidden: the address may not be connected to.
	ErrForbidden = fmt.Errorf("%w", safehttp.ErrForbidden)
)

// policyError is an error of package safehttp by the names that it has here.
type policyError struct{ error }

// Is reports whether it is one of [ErrURL] and [ErrForbidden].
func (e policyError) Is(target error) bool {
	return target == ErrURL && errors.Is(e.error, safehttp.ErrURL) ||
		target == ErrForbidden && errors.Is(e.error, safehttp.ErrForbidden)
}

// Unwrap returns the error of package safehttp.
func (e policyError) Unwrap() error { return e.error }

// ClientOptions say where a [Client] may connect to. The zero value is public
// addresses by https, on the ports 80, 443 and from 1024.
//
// The address of each connection is checked when it is dialled, after the name
// was resolved. Redirects are never followed, and proxies of the environment are
// not used.
type ClientOptions struct {
	// AllowNetworks are inside networks that may be connected to, as
	// 10.1.0.0/16. An IPv4 network is written as one, not in a mapped form.
	AllowNetworks []netip.Prefix
	// AllowHosts are names, in ASCII, that may resolve to any address.
	AllowHosts []string
	// AllowHTTP also permits URLs with http. What is sent can then be read on
	// its way, and the answers changed.
	AllowHTTP bool
	// Ports are the only ones allowed. Default: 80, 443, and all from 1024.
	Ports []uint16
	// Proxy makes all requests, which then resolves names and has to refuse
	// inside addresses; only literal ones are refused before it is asked. Its
	// scheme is http, https or socks5. Default: none.
	Proxy *url.URL
	// TLS is for certificates of your own. Default: verified with the system's
	// roots, TLS 1.2 or later.
	TLS *tls.Config
	// Resolver resolves names. Default: net.DefaultResolver.
	Resolver *net.Resolver
	// UserAgent of the requests. Default: "Polywire-Webhooks".
	UserAgent string
}

// Client delivers messages to endpoints. It is safe for concurrent use, and
// keeps connections for 60 s after their last use.
type Client struct {
	http  *safehttp.Client
	agent string
}

// NewClient returns a client, or an error about the options.
func NewClient(o ClientOptions) (*Client, error) {
	if !validValue(o.UserAgent) || len(o.UserAgent) > 256 {
		return nil, errors.New("webhook: the user agent is no header value of at most 256 bytes")
	}
	if o.UserAgent == "" {
		o.UserAgent = "Polywire-Webhooks"
	}
	c, err := safehttp.New(safehttp.Options{
		AllowNetworks: o.AllowNetworks, AllowHosts: o.AllowHosts, AllowHTTP: o.AllowHTTP, Ports: o.Ports,
		Proxy: o.Proxy, TLS: o.TLS, Resolver: o.Resolver,
	})
	if err != nil {
		return nil, err
	}
	return &Client{c, o.UserAgent}, nil
}

// Close closes idle connections. Deliveries in flight go on. The error is always
// nil; it is there for io.Closer.
func (c *Client) Close() error {
	c.http.Close()
	return nil
}

// Destination is an endpoint made ready for deliveries. It is immutable and
// safe for concurrent use.
type Destination struct {
	client  *Client
	url     *url.URL
	request *http.Request // what all requests have in common
	header  http.Header
	timeout time.Duration
	format  Format
	signer  *Signer
	secret  Secret // of the Gost format
}

// String returns the host.
func (d *Destination) String() string { return fmt.Sprintf("webhook destination %q", d.url.Host) }

// Format writes [Destination.String], whatever the verb: headers may be secret.
func (d *Destination) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) }

// Prepare validates an endpoint, checks that this client may connect to its URL
// as far as that is known without resolving its name, and returns it ready for
// deliveries. Errors wrap [ErrEndpoint], and [ErrURL] or [ErrForbidden] where
// the URL is at fault. A disabled endpoint can be prepared too.
func (c *Client) Prepare(e Endpoint) (*Destination, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	e = e.WithDefaults()
	u, err := c.http.CheckURL(e.URL)
	if err != nil {
		return nil, badEndpoint("%w", policyError{err})
	}
	d := &Destination{
		client: c, url: u, timeout: e.Timeout, format: e.Format, secret: e.Secrets[0],
		header: make(http.Header, len(e.Headers)+8),
		request: &http.Request{
			Method: http.MethodPost, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
		},
	}
	if e.Format == FormatStandard {
		if d.signer, err = NewSigner(e.Secrets...); err != nil {
			return nil, badEndpoint("%w", err)
		}
	}
	d.header.Set("User-Agent", c.agent)
	d.header.Set("Content-Type", "application/json")
	for name, value := range e.Headers {
		d.header.Set(name, value)
	}
	return d, nil
}

// Deliver makes one try, counted from 1, to deliver a message: its id, its
// event's type, and its body, which is sent as it is ([Event.Body]). It returns
// within the endpoint's timeout, or soon after ctx ends. The signature is made
// anew with the time of the try.
func (d *Destination) Deliver(ctx context.Context, id, eventType string, body []byte, try int) Attempt {
	a := Attempt{ID: id, Try: try, Start: time.Now()}
	within, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	resp, err := d.do(within, id, eventType, body, a.Start) //nolint:bodyclose // readBody closes it
	if err != nil {
		a.Class = d.classify(ctx, err)
		a.Error = describe(a.Class, err)
	} else {
		a.Status = resp.StatusCode
		a.Class = classOf(resp.StatusCode)
		a.Header = keepHeader(resp.Header)
		if a.Class == ClassThrottled {
			a.RetryAfter = parseRetryAfter(resp.Header, time.Now())
		}
		a.Body, a.Truncated, a.Error = readBody(resp.Body)
	}
	a.Duration = time.Since(a.Start)
	return a
}

// requestError is a request that could not be made.
type requestError struct{ error }

func (d *Destination) do(ctx context.Context, id, eventType string, body []byte, at time.Time) (*http.Response, error) {
	header := make(http.Header, len(d.header)+4)
	maps.Copy(header, d.header)
	if d.format == FormatGost {
		if !ValidType(eventType) {
			return nil, requestError{ErrType}
		}
		signature, err := SignGost(d.secret, body)
		if err != nil {
			return nil, requestError{err}
		}
		header[HeaderGostSignature] = []string{signature}
		header[HeaderGostEvent] = []string{eventType}
	} else if err := d.signer.SetHeaders(header, id, at, body); err != nil {
		return nil, requestError{err}
	}
	u := *d.url
	r := d.request.WithContext(ctx)
	r.URL, r.Header = &u, header
	if len(body) > 0 {
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
	}
	return d.client.http.Do(r)
}

// readBody keeps the beginning of an answer. All of a short one is read, so
// that the connection can be used again; a longer one costs the connection.
func readBody(body io.ReadCloser) (b []byte, truncated bool, trouble string) {
	b, err := io.ReadAll(io.LimitReader(body, MaxAttemptBodyBytes+1))
	_ = body.Close() // there is nothing more to learn from it
	if len(b) > MaxAttemptBodyBytes {
		return b[:MaxAttemptBodyBytes:MaxAttemptBodyBytes], true, ""
	}
	switch {
	case err == nil:
		return b, false, ""
	case errors.Is(err, context.DeadlineExceeded):
		return b, true, "the answer's body did not end within the time"
	}
	return b, true, "the answer's body broke off"
}

// keepHeader returns a bounded part of an answer's header, in the order of the
// names so that it does not depend on chance.
func keepHeader(h http.Header) http.Header {
	names := make([]string, 0, len(h))
	for name := range h {
		if name != "Set-Cookie" { // it may let somebody in
			names = append(names, name)
		}
	}
	slices.Sort(names)
	kept := make(http.Header, min(len(names), MaxAttemptHeaders))
	count, size := 0, 0
	for _, name := range names {
		for _, value := range h[name] {
			if count++; count > MaxAttemptHeaders || size+len(name)+len(value) > MaxAttemptHeaderBytes {
				return kept
			}
			size += len(name) + len(value)
			kept[name] = append(kept[name], value)
		}
	}
	return kept
}

// classify says what kind of error ended a request. ctx is the caller's, without
// the endpoint's timeout.
func (d *Destination) classify(ctx context.Context, err error) Class {
	_, isDNS := errors.AsType[*net.DNSError](err)
	_, isRequest := errors.AsType[requestError](err)
	netErr, isNet := errors.AsType[net.Error](err)
	_, isOp := errors.AsType[*net.OpError](err)
	_, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case isRequest:
		return ClassRequest
	case ctx.Err() != nil:
		return ClassCanceled
	case errors.Is(err, safehttp.ErrForbidden):
		return ClassForbidden
	case errors.Is(err, context.DeadlineExceeded) || isNet && netErr.Timeout():
		return ClassTimeout
	case isDNS:
		return ClassDNS
	case isTLS(err):
		return ClassTLS
	case isOp, isErrno, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.HasPrefix(err.Error(), "http: server closed"):
		return ClassConnect
	}
	return ClassProtocol
}

func isTLS(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	return verification || record || alert || unknown || name || strings.Contains(err.Error(), "tls: ")
}

// describe puts an error into words: in the clear where it is about us or the
// network; what a receiver sent is quoted, and all of it is bounded.
func describe(c Class, err error) string {
	text := err.Error()
	if c == ClassTimeout {
		text = "no answer within the time"
	}
	text = strings.ToValidUTF8(text, "?")
	text = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "")
	}
	return text
}
