package engineio

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// noopEvery is how often a poll that waits is answered while the client wants
// to go over to a WebSocket, so that it can stop polling. Official servers do
// not do it at once either, and their clients' tests depend on that.
const noopEvery = 100 * time.Millisecond

// socket opens the WebSocket of a request, and answers the request if it cannot.
func (s *Server) socket(w http.ResponseWriter, r *request) (*websocket.Conn, error) {
	o := websocket.AcceptOptions{
		AllowOrigin:      func(*http.Request) bool { return true }, // asked already
		MaxMessageBytes:  s.o.MaxPayloadBytes,
		MaxFragments:     s.o.MaxFragments,
		HandshakeTimeout: s.o.HandshakeTimeout,
		Compression:      s.o.Compression,
	}
	for offered := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		// Some clients insist on an answer, which means nothing here.
		if offered = strings.Trim(offered, " \t"); offered != "" {
			o.Subprotocols = []string{strings.Clone(offered)}
			break
		}
	}
	return websocket.Accept(w, r.Request, o)
}

// turnAway opens a WebSocket and closes it: official servers do so where a
// session has one already.
func (s *Server) turnAway(w http.ResponseWriter, r *request) {
	if ws, err := s.socket(w, r); err == nil {
		_ = s.writeInTime(ws, []byte{frameFin | byte(transport.Close), 0}) // it is over either way
		_ = ws.Close()
	}
}

// writeInTime writes to a WebSocket that nobody watches.
func (s *Server) writeInTime(ws *websocket.Conn, frames []byte) error {
	nc := ws.NetConn()
	if err := nc.SetWriteDeadline(time.Now().Add(s.o.HandshakeTimeout)); err != nil {
		return err
	}
	if err := ws.Write(frames); err != nil {
		return err
	}
	return nc.SetWriteDeadline(time.Time{})
}

// use makes a WebSocket what the session writes to.
func (c *Conn) use(ws *websocket.Conn, r *request) {
	c.base64 = r.param("b64") != ""
	c.reframe = c.base64 || ws.Framer().Format() != "ws"
	c.ws.Store(ws)
}

// openWebSocket makes a session of a WebSocket.
func (s *Server) openWebSocket(w http.ResponseWriter, r *request) {
	if r.param("transport") != transportWebSocket {
		s.turnAway(w, r)
		return
	}
	s.header(w, r, true)
	ws, err := s.socket(w, r)
	if err != nil {
		return // and the client has been told why
	}
	c := &Conn{srv: s, version: r.version}
	c.use(ws, r)
	s.enter(c)
	open := appendControl(nil, c.version, kindOpen, s.openPacketFor(c, []string{}))
	if s.writeInTime(ws, open) != nil || s.o.Accept(c, r.Request) != nil {
		_ = c.Close() // it was hardly open
	}
}

// upgrade tries a WebSocket out for a session that polls, and lets it go over
// when the client says so. A transport of another kind would come in beside
// this and use try and polling.moveTo in the same way.
func (s *Server) upgrade(w http.ResponseWriter, r *request) {
	c := r.session
	p := c.poll.Load()
	if p == nil || s.o.NoUpgrade || r.param("transport") != transportWebSocket || !p.beginProbe() {
		s.turnAway(w, r)
		return
	}
	s.header(w, r, false)
	ws, err := s.socket(w, r)
	if err != nil {
		p.endProbe()
		return // and the client has been told why
	}
	timeout := time.AfterFunc(s.o.UpgradeTimeout, ws.Interrupt)
	ok := p.watchProbe(ws) && p.try(ws)
	if !timeout.Stop() || !ok {
		p.endProbe()
		_ = ws.Close() // the session goes on without
		return
	}
	p.moveTo(ws, r)
}

// beginProbe takes the place of the one WebSocket that may be tried out.
func (p *polling) beginProbe() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != pollOpen || p.probing {
		return false
	}
	p.probing = true
	return true
}

// watchProbe lets the session's end interrupt the probe. False: it has ended.
func (p *polling) watchProbe(ws *websocket.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probe = ws
	return p.state == pollOpen
}

func (p *polling) endProbe() {
	p.mu.Lock()
	p.probing, p.probe = false, nil
	p.stopNoops()
	p.mu.Unlock()
}

// errNoProbe is a packet that has no place in a probe.
var errNoProbe = errors.New("engineio: neither a probe nor an upgrade")

// try answers the client's probes until it asks for the upgrade. It returns
// false when it does something else, or nothing for too long.
func (p *polling) try(ws *websocket.Conn) bool {
	for {
		f, ok, err := ws.Next()
		switch {
		case err != nil:
			return false
		case !ok:
			err = ws.Wait()
		case f.Type == transport.Ping:
			err = p.answerProbe(ws, f.Data)
		case f.Type == transport.Pong:
		case f.Type != transport.Text:
			err = errNoProbe
		case string(f.Data) == string(kindUpgrade):
			return true
		case string(f.Data) == string(kindPing)+probe:
			pong := appendControl(nil, p.c.version, kindPong, probe)
			if err = p.c.srv.writeInTime(ws, pong); err == nil {
				p.startNoops()
			}
		default:
			err = errNoProbe
		}
		if err != nil {
			return false
		}
	}
}

// answerProbe answers a ping of the WebSocket's own.
func (p *polling) answerProbe(ws *websocket.Conn, data []byte) error {
	f := ws.Framer()
	out, err := f.End(append(f.Begin(nil), data...), 0, transport.Pong)
	if err != nil {
		return err
	}
	return p.c.srv.writeInTime(ws, out)
}

// startNoops begins to answer polls that wait.
func (p *polling) startNoops() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != pollOpen || p.noops != nil {
		return
	}
	p.noops = time.AfterFunc(p.c.srv.noops, p.noop)
}

func (p *polling) noop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noops == nil { // stopped a moment ago
		return
	}
	if p.get != nil {
		p.release(appendControl(nil, p.c.version, kindNoop, ""))
	}
	p.noops.Reset(p.c.srv.noops)
}

// moveTo makes the session go on with a WebSocket: what waits for the client
// leaves first.
func (p *polling) moveTo(ws *websocket.Conn, r *request) {
	p.mu.Lock()
	p.probing, p.probe = false, nil
	p.stopNoops()
	if p.state != pollOpen {
		p.mu.Unlock()
		_ = ws.Close() // the session has ended
		return
	}
	p.state = pollSwitching
	p.c.use(ws, r)
	waiting := p.out
	p.out = nil
	if p.closing {
		waiting = append(waiting, frameFin|byte(transport.Close), 0)
	}
	if p.get != nil {
		p.release(appendControl(nil, p.c.version, kindClose, ""))
	}
	p.mu.Unlock()
	nc := ws.NetConn()
	err := nc.SetWriteDeadline(time.Now().Add(p.c.srv.o.HandshakeTimeout))
	if err == nil && len(waiting) > 0 {
		err = p.c.writeSocket(ws, waiting)
	}
	if err == nil {
		err = nc.SetWriteDeadline(time.Time{})
	}
	p.mu.Lock()
	switch {
	case p.state != pollSwitching: // closed meanwhile
	case err != nil:
		p.finish(cut(reasonError, err), kindClose)
	default:
		p.state = pollSwitched
		p.changed.Broadcast()
	}
	p.mu.Unlock()
	if err != nil {
		_ = ws.Close() // what is left of it
	}
}
