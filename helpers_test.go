package polywire_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// plainSession is the simplest wire: each packet is its own Go struct as JSON.
// It lets the core be tested without any real wire's rules.
type plainSession struct{ types []string }

func (plainSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Text {
		return false, &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "want text"}
	}
	if err := json.Unmarshal(f.Data, p); err != nil {
		return false, &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "malformed"}
	}
	return true, nil
}

func (plainSession) Encode(w *transport.Writer, p *wire.Packet) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return w.Frame(transport.Text, text)
}

func (s plainSession) Format() string         { return "plain" + string(rune('0'+len(s.types))) }
func (s plainSession) ContentTypes() []string { return s.types }

// peer is the other end of a connection, driven by hand.
type peer struct {
	t    *testing.T
	link transport.Conn
	sess plainSession
}

// connect attaches a peer to a server that has been started.
func connect(t *testing.T, srv *polywire.Server, types ...string) *peer {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{})
	p := &peer{t: t, link: b, sess: plainSession{types}}
	if err := srv.Host("plain").Attach(wire.Link{Transport: a, Session: plainSession{types}}); err != nil {
		t.Fatalf("attach: %v", err)
	}
	return p
}

// newServer returns a started server that is closed at the end of the test.
func newServer(t *testing.T, setup func(*polywire.Server), opts ...polywire.Option) *polywire.Server {
	t.Helper()
	srv, err := polywire.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	if setup != nil {
		setup(srv)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return srv
}

func (p *peer) send(packets ...wire.Packet) {
	p.t.Helper()
	w := transport.NewWriter(p.link.Framer(), nil)
	for i := range packets {
		if err := p.sess.Encode(&w, &packets[i]); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write(w.Bytes())
}

func (p *peer) frame(t transport.FrameType, payload []byte) {
	p.t.Helper()
	w := transport.NewWriter(p.link.Framer(), nil)
	if err := w.Frame(t, payload); err != nil {
		p.t.Fatal(err)
	}
	p.write(w.Bytes())
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if err := p.link.Write(b); err != nil {
		p.t.Errorf("write: %v", err)
	}
}

// next returns the next frame or the end.
func (p *peer) next() (transport.Frame, error) {
	for {
		f, ok, err := p.link.Next()
		if ok || err != nil {
			return f, err
		}
		if err := p.link.Wait(); err != nil {
			return f, err
		}
	}
}

// receive returns the next packet.
func (p *peer) receive() wire.Packet {
	p.t.Helper()
	for {
		f, err := p.next()
		if err != nil {
			p.t.Fatalf("receive: %v", err)
		}
		if f.Type.Control() {
			continue
		}
		var packet wire.Packet
		if _, err := p.sess.Decode(f, &packet); err != nil {
			p.t.Fatal(err)
		}
		return packet
	}
}

// closed reads until the server has closed, answers, and returns the code.
func (p *peer) closed() polywire.CloseCode {
	p.t.Helper()
	for {
		_, err := p.next()
		if closed, ok := errors.AsType[*transport.CloseError](err); ok {
			w := transport.NewWriter(p.link.Framer(), nil)
			_ = w.Frame(transport.Close, transport.AppendClosePayload(nil, closed.Code, ""))
			_ = p.link.Write(w.Bytes()) // which fails where this side closed first
			return polywire.CloseCode(closed.Code)
		}
		if err != nil {
			p.t.Fatalf("the link ended without a close frame: %v", err)
		}
	}
}

func (p *peer) end() { p.link.Close() }

// text is a JSON string payload.
func text(s string) codec.Payload {
	b, _ := json.Marshal(s)
	return codec.Payload{Type: codec.TypeJSON, Data: b}
}

func call(id uint64, kind, s string) wire.Packet {
	return wire.Packet{Type: wire.Call, ID: id, Kind: kind, Payload: text(s)}
}
