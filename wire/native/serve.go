package native

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

const subprotocolHeader = "Sec-WebSocket-Protocol"

// serveHTTP makes a link of a WebSocket request. The client's order of
// subprotocols decides; a client that names none speaks JSON.
func (p *Protocol) serveHTTP(host wire.Host, w http.ResponseWriter, r *http.Request) {
	if wantsStream(r) {
		serveUpgrade(host, w, r)
		return
	}
	limits := host.Limits()
	o := websocket.AcceptOptions{
		AllowOrigin:      host.AllowOrigin,
		MaxMessageBytes:  limits.MessageBytes,
		MaxFragments:     limits.Fragments,
		HandshakeTimeout: limits.HandshakeTimeout,
		Compression:      p.compression,
	}
	if offered := r.Header.Values(subprotocolHeader); len(offered) > 0 {
		o.RequireSubprotocol = true
		if o.Subprotocols = known(offered); o.Subprotocols == nil {
			o.Subprotocols = p.offers() // for the refusal to name
		}
	}
	conn, err := websocket.Accept(w, r, o)
	if err != nil {
		return // and the client has been told why
	}
	form, ok := formNamed(conn.Subprotocol())
	if !ok {
		form = JSON
	}
	// Attach closes what it refuses.
	_ = host.Attach(wire.Link{Transport: conn, Session: NewSession(host, form), Request: r, Arguments: true})
}

// lastWord is how long a close frame may take to a client that is refused.
const lastWord = time.Second

// serveStream goes through the opening of a stream: the client names the forms
// that it speaks, the server the one that it takes.
func serveStream(host wire.Host, nc net.Conn) error {
	limits := host.Limits()
	conn := stream.New(nc, stream.Options{MaxMessageBytes: limits.MessageBytes})
	form, err := acceptForm(nc, conn, limits.HandshakeTimeout)
	if err != nil {
		refuse(nc, conn, err)
		return fmt.Errorf("native: opening of a stream: %w", err)
	}
	return host.Attach(wire.Link{Transport: conn, Session: NewSession(host, form), Arguments: true})
}

func acceptForm(nc net.Conn, conn transport.Conn, timeout time.Duration) (Form, error) {
	if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	offer, err := readText(conn)
	if err != nil {
		return 0, err
	}
	form, err := choose(offer)
	if err != nil {
		return 0, err
	}
	if err := writeFrame(conn, transport.Text, []byte(form.String())); err != nil {
		return 0, err
	}
	return form, nc.SetDeadline(time.Time{})
}

// choose returns the first form of the offer that this wire has.
func choose(offer []byte) (Form, error) {
	for name := range bytes.FieldsSeq(offer) {
		if len(name) > len(Proto.String()) {
			continue // not ours, and not worth a string
		}
		if f, ok := formNamed(string(name)); ok {
			return f, nil
		}
	}
	return 0, &wire.ProtocolError{
		Code:   wire.CloseProtocol,
		Reason: "no protocol in common: this server speaks " + Proto.String() + " " + JSON.String(),
	}
}

// readText waits for a frame, which must be text. A deadline ends it: links use
// deadlines to be interrupted, and nobody else interrupts one that is opening.
func readText(conn transport.Conn) ([]byte, error) {
	for {
		f, ok, err := conn.Next()
		switch {
		case err != nil:
			return nil, err
		case ok && f.Type != transport.Text:
			return nil, &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "the opening is not a text frame"}
		case ok:
			return f.Data, nil
		}
		err = conn.Wait()
		if errors.Is(err, transport.ErrInterrupted) {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			return nil, err
		}
	}
}

func writeFrame(conn transport.Conn, t transport.FrameType, payload []byte) error {
	w := transport.NewWriter(conn.Framer(), nil)
	if err := w.Frame(t, payload); err != nil {
		return err
	}
	return conn.Write(w.Bytes())
}

// refuse ends a link with the reason, where the other side can still be told.
func refuse(nc net.Conn, conn transport.Conn, err error) {
	if code, reason, ok := farewell(err); ok && nc.SetWriteDeadline(time.Now().Add(lastWord)) == nil {
		// The link is over, whether the word arrives or not.
		_ = writeFrame(conn, transport.Close, transport.AppendClosePayload(nil, uint16(code), reason))
	}
	_ = conn.Close()
}

// farewell is what to say to a peer that did something wrong.
func farewell(err error) (wire.CloseCode, string, bool) {
	var violation *wire.ProtocolError
	var closed *transport.CloseError
	switch {
	case errors.As(err, &violation):
		return violation.Code, violation.Reason, true
	case errors.As(err, &closed) && closed.Local:
		return wire.CloseCode(closed.Code), closed.Reason, true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return wire.CloseStale, "no opening in time", true
	}
	return 0, "", false
}
