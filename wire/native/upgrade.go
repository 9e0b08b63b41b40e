package native

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/accept"
	"github.com/polywire/polywire/internal/httphead"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/wire"
)

// upgradeName is the protocol in HTTP's Upgrade header (RFC 9110 section 7.8).
const upgradeName = "polywire"

// formHeader is the header of the answer that names the form.
const formHeader = "Polywire-Form"

// encoding is what the two sides of an upgraded connection have agreed on.
type encoding struct {
	form  Form
	types []string // of payloads, the preferred one first; nil: any
}

// wantsStream reports whether a request asks for an upgrade that a WebSocket
// would not do.
func wantsStream(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" && !httphead.Has(r.Header, "Upgrade", "websocket")
}

// refusal is the status and the text that a request is refused with.
type refusal struct {
	status int
	reason string
}

func (e *refusal) write(w http.ResponseWriter) {
	switch e.status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	case http.StatusUpgradeRequired:
		w.Header().Set("Upgrade", upgradeName+", websocket") // RFC 9110 section 15.5.22
		w.Header().Set("Connection", "Upgrade")
	}
	http.Error(w, e.reason, e.status)
}

// serveUpgrade makes a link of a request for a stream.
func serveUpgrade(host wire.Host, w http.ResponseWriter, r *http.Request) {
	own := encodings(host)
	refused := checkUpgrade(host, r)
	var e encoding
	if refused == nil {
		e, refused = negotiate(r.Header.Values("Accept"), own)
	}
	if refused != nil {
		if refused.status == http.StatusNotAcceptable {
			w.Header().Set("Accept", strings.Join(own, ", "))
		}
		refused.write(w)
		return
	}
	limits := host.Limits()
	nc, early, err := takeOver(w, e.answer(own), limits.HandshakeTimeout)
	if err != nil {
		return // the client has been told why, or is gone
	}
	conn := stream.New(nc, stream.Options{MaxMessageBytes: limits.MessageBytes, Early: early})
	// Attach closes what it refuses.
	_ = host.Attach(wire.Link{Transport: conn, Session: e.session(host), Request: r, Arguments: true})
}

// checkUpgrade checks what a request for a stream must be.
func checkUpgrade(host wire.Host, r *http.Request) *refusal {
	switch {
	case r.Method != http.MethodGet:
		return &refusal{http.StatusMethodNotAllowed, "a stream is opened with GET"}
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return &refusal{http.StatusBadRequest, "a stream is opened over HTTP/1.1"}
	case !httphead.Has(r.Header, "Upgrade", upgradeName):
		return &refusal{http.StatusUpgradeRequired, "this server upgrades to " + upgradeName + " or websocket"}
	case !httphead.Has(r.Header, "Connection", "upgrade"): // it was meant for somebody on the way
		return &refusal{http.StatusUpgradeRequired, "header Connection has no upgrade"}
	case r.ContentLength != 0 || len(r.TransferEncoding) != 0:
		return &refusal{http.StatusBadRequest, "a request for a stream has no body"}
	case !host.AllowOrigin(r):
		return &refusal{http.StatusForbidden, "foreign origin"}
	}
	return nil
}

// encodings lists the host's content types that Go values can be encoded in.
func encodings(host wire.Host) []string {
	return slices.DeleteFunc(slices.Clone(host.ContentTypes()), func(t string) bool {
		return t == codec.TypeBytes || t == codec.TypeParts
	})
}

// negotiate chooses the encoding by the client's Accept header.
func negotiate(lines, own []string) (encoding, *refusal) {
	ranges, err := accept.Parse(lines)
	if err != nil {
		return encoding{}, &refusal{http.StatusBadRequest, "malformed Accept"}
	}
	if ranges.Any() {
		return encoding{form: Proto}, nil
	}
	fit := ranges.Prefer(own)
	switch {
	case len(fit) == 0:
		return encoding{}, &refusal{http.StatusNotAcceptable, "no encoding in common: this server has " + strings.Join(own, ", ")}
	case len(fit) == 1 && fit[0] == codec.TypeJSON:
		return encoding{form: JSON, types: jsonTypes}, nil
	}
	return preferring(fit[0], own, func(t string) bool { return slices.Contains(fit, t) }), nil
}

// preferring is the binary form with a preferred type and those of own that
// the peer has too, in own's order, so that many links share few formats.
func preferring(first string, own []string, has func(contentType string) bool) encoding {
	types := []string{first}
	for _, t := range own {
		if t != first && has(t) {
			types = append(types, t)
		}
	}
	return encoding{form: Proto, types: append(types, codec.TypeBytes)}
}

// answer writes the head of the answer, without the empty line at its end.
func (e encoding) answer(own []string) string {
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgradeName + "\r\n" +
		formHeader + ": " + e.form.String() + "\r\nAccept: " + strings.Join(own, ", ") + "\r\n"
	if e.types != nil {
		head += "Content-Type: " + e.types[0] + "\r\n"
	}
	return head
}

// takeOver answers a request and returns its connection with what the client
// has already sent. The deadlines that the HTTP server has set are gone then.
func takeOver(w http.ResponseWriter, head string, timeout time.Duration) (net.Conn, []byte, error) {
	extra := w.Header().Clone()
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		(&refusal{http.StatusInternalServerError, "this server cannot hand over the connection"}).write(w)
		return nil, nil, err
	}
	early, err := beginStream(nc, rw.Reader, head, extra, timeout)
	if err != nil {
		_ = nc.Close() // the first error says why
		return nil, nil, fmt.Errorf("native: answering an upgrade: %w", err)
	}
	return nc, early, nil
}

func beginStream(nc net.Conn, r *bufio.Reader, head string, extra http.Header, timeout time.Duration) ([]byte, error) {
	var b strings.Builder
	b.WriteString(head)
	reserved := reservedHeader()
	reserved["Accept"], reserved["Content-Type"] = true, true
	if err := extra.WriteSubset(&b, reserved); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(nc, b.String()); err != nil {
		return nil, err
	}
	early, err := r.Peek(r.Buffered())
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return early, nc.SetDeadline(time.Time{})
}

// reservedHeader are the headers that an opening itself writes.
func reservedHeader() map[string]bool {
	return map[string]bool{
		"Connection": true, "Upgrade": true, formHeader: true, "Content-Length": true, "Transfer-Encoding": true, "Host": true,
	}
}

// session returns what speaks the encoding.
func (e encoding) session(host wire.Host) wire.Session {
	if e.form == JSON || e.types == nil {
		return NewSession(host, e.form)
	}
	return preferringSession{protoSession{host}, e.types, "native/proto " + strings.Join(e.types, " ")}
}

// preferringSession is the binary form with a peer that has said which
// payloads it understands.
type preferringSession struct {
	protoSession
	types  []string
	format string
}

// Format names the types, too: they decide about the bytes.
func (s preferringSession) Format() string { return s.format }

// ContentTypes returns what the peer accepts, and bytes.
func (s preferringSession) ContentTypes() []string { return s.types }
