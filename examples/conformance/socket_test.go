package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// socket is a WebSocket whose frames are packets as the tests write them: text
// as it is, binary ones after binaryMark.
type socket struct {
	*peer
	c    *websocket.Conn
	mu   sync.Mutex // for writing
	in   chan string
	err  error // why in was closed
	beat atomic.Bool
}

// dial opens a WebSocket, or returns why not.
func (p *peer) dial(query string, header ...string) (*socket, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	h := make(http.Header)
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	url := "ws" + strings.TrimPrefix(p.base, "http") + p.path + query
	c, _, err := websocket.Dial(ctx, url, websocket.DialOptions{Header: h, MaxMessageBytes: 4 << 20}) //nolint:bodyclose // it needs none
	if err != nil {
		return nil, err
	}
	s := &socket{peer: p, c: c, in: make(chan string, 1<<10)}
	done := make(chan struct{})
	go func() { defer close(done); s.read() }()
	p.t.Cleanup(func() {
		c.Close()
		for range s.in {
			continue // what nobody asked for
		}
		<-done
	})
	return s, nil
}

// mustDial is dial for what must open.
func (p *peer) mustDial(query string, header ...string) *socket {
	p.t.Helper()
	s, err := p.dial(query, header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// open opens a session by WebSocket, whose heart does not beat by itself.
func (p *peer) open(more ...string) *socket {
	p.t.Helper()
	s := p.mustDial(p.query("websocket", more...))
	packet, ok := <-s.in
	if !ok {
		p.t.Fatalf("no open packet: %v", s.err)
	}
	p.opened(packet)
	return s
}

func (s *socket) read() {
	defer close(s.in)
	for {
		f, ok, err := s.c.Next()
		if err == nil && !ok {
			err = s.c.Wait()
		}
		if err != nil {
			s.err = err
			s.c.Close()
			return
		}
		if !ok {
			continue
		}
		switch {
		case f.Type == transport.Binary:
			data := string(f.Data)
			if s.version == "3" {
				data = strings.TrimPrefix(data, "\x04")
			}
			s.in <- binaryMark + data
		case f.Type != transport.Text:
			s.in <- fmt.Sprintf("a frame of type %v", f.Type)
		case s.beat.Load() && string(f.Data) == "2":
			s.write(transport.Text, "3")
		case s.beat.Load() && string(f.Data) == "3":
		default:
			s.in <- string(f.Data)
		}
	}
}

// beating keeps the session alive until the test is over.
func (s *socket) beating() *socket {
	s.beat.Store(true)
	if s.version == "3" {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(s.interval * 2 / 3)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					s.write(transport.Text, "2")
				}
			}
		}()
		s.t.Cleanup(func() { close(stop); <-done })
	}
	return s
}

// write sends a frame. What cannot be sent any more shows when reading.
func (s *socket) write(t transport.FrameType, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := transport.NewWriter(s.c.Framer(), nil)
	if w.Frame(t, []byte(data)) == nil {
		_ = s.c.Write(w.Bytes())
	}
}

// raw sends bytes that are no frame of a decent client.
func (s *socket) raw(b ...byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.c.NetConn().Write(b)
}

// send sends packets.
func (s *socket) send(packets ...string) {
	for _, packet := range packets {
		if b, ok := isBinary(packet); !ok {
			s.write(transport.Text, packet)
		} else if s.version == "3" {
			s.write(transport.Binary, "\x04"+string(b))
		} else {
			s.write(transport.Binary, string(b))
		}
	}
}

// next returns the next packet, or false when the session is over.
func (s *socket) next() (string, bool) {
	s.t.Helper()
	select {
	case packet, ok := <-s.in:
		return packet, ok
	case <-time.After(patience):
		s.t.Fatal("nothing came")
	}
	return "", false
}

// link is a session on any transport.
type link interface {
	send(packets ...string)
	next() (string, bool)
}

// carrier is a way to have a session.
type carrier struct {
	name string
	open func(p *peer) link
}

func carriers() []carrier {
	return []carrier{
		{"polling", func(p *peer) link { return p.poll("b64=1").beating() }},
		{"websocket", func(p *peer) link { return p.open().beating() }},
		{"upgraded", func(p *peer) link { return p.poll().upgrade().beating() }},
	}
}

// upgrade goes on with a WebSocket.
func (s *polling) upgrade() *socket {
	s.t.Helper()
	ws := s.mustDial(s.query("websocket", "sid="+s.sid))
	ws.send("2probe")
	want(s.t, ws, "3probe")
	ws.send("5")
	return ws
}

// beating keeps a session of version 3 alive; one of version 4 is by next.
func (s *polling) beating() *polling {
	if s.version != "3" {
		return s
	}
	stop, done := make(chan struct{}), make(chan struct{})
	p := newPeer(s.t, s.site, s.path, s.version)
	go func() {
		defer close(done)
		tick := time.NewTicker(s.interval * 2 / 3)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.do(http.MethodPost, s.its(), strings.NewReader(p.payload("2")))
			}
		}
	}()
	s.t.Cleanup(func() { close(stop); <-done })
	return s
}

// want fails the test unless exactly these packets come next.
func want(t *testing.T, l link, packets ...string) {
	t.Helper()
	for _, p := range packets {
		if got := next(t, l); got != p {
			t.Fatalf("got packet %.300q, want %.300q", got, p)
		}
	}
}

// next fails the test unless something comes.
func next(t *testing.T, l link) string {
	t.Helper()
	got, ok := l.next()
	if !ok {
		t.Fatalf("the session is over: %v", reason(l))
	}
	return got
}

// wantPrefix returns the next packet, which must begin so.
func wantPrefix(t *testing.T, l link, prefix string) string {
	t.Helper()
	got := next(t, l)
	if !strings.HasPrefix(got, prefix) {
		t.Fatalf("got packet %.300q, want one that begins with %q", got, prefix)
	}
	return got
}

// wantOver fails the test unless the session ends, without any more packets
// and though its heart beats.
func wantOver(t *testing.T, l link) {
	t.Helper()
	if got, ok := l.next(); ok {
		t.Fatalf("got packet %.300q, want the session to be over", got)
	}
}

func reason(l link) error {
	if s, ok := l.(*socket); ok {
		return s.err
	}
	return errors.New("polling session closed")
}

// wantRefused fails the test unless a WebSocket is refused: before it is open,
// or at once after that, as official servers do it.
func (p *peer) wantRefused(query string) {
	p.t.Helper()
	s, err := p.dial(query)
	if err == nil {
		wantOver(p.t, s)
		return
	}
	var refused *websocket.HandshakeError
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusBadRequest {
		p.t.Fatalf("WebSocket: %v, want status 400", err)
	}
}
