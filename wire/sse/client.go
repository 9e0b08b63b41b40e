package sse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/polywire/polywire/transport"
)

const (
	clientReadBytes = 4 << 10
	keptBytes       = 64 << 10
	// closeBytes is more than the lines of a closing event have.
	closeBytes = 1 << 10
)

// clientConn is a stream as its client sees it. It delivers events, and drops
// what is written.
type clientConn struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	t      *http.Transport
	limit  int // bytes of an event's lines
	closed atomic.Bool
	split  splitter
	begun  bool
	err    error // final
}

var _ transport.Conn = (*clientConn)(nil)

func newClientConn(resp *http.Response, cancel context.CancelFunc, t *http.Transport, limit int) *clientConn {
	return &clientConn{body: resp.Body, cancel: cancel, t: t, limit: limit}
}

// Next implements [transport.Reader]: each event's lines are a frame. The
// server's event about its end is one in the sense of that interface, too.
func (c *clientConn) Next() (transport.Frame, bool, error) {
	if c.err != nil {
		return transport.Frame{}, false, c.err
	}
	lines, ok := c.split.next()
	switch {
	case ok && len(lines) > c.limit, !ok && len(c.split.rest()) > c.limit:
		c.err = tooBig()
	case ok && len(lines) <= closeBytes:
		c.err = parseClose(lines)
	}
	if !ok || c.err != nil {
		return transport.Frame{}, false, c.err
	}
	return transport.Frame{Type: transport.Text, Data: lines}, true, nil
}

func tooBig() error {
	return &transport.CloseError{Code: transport.CloseTooBig, Reason: "event too big", Local: true}
}

// parseClose returns the end of which an event's lines tell, nil of others.
func parseClose(lines []byte) error {
	if !bytes.HasPrefix(lines, []byte("event: "+closeKind+"\n")) {
		return nil
	}
	var said struct {
		Code   uint16 `json:"code"`
		Reason string `json:"reason"`
	}
	if e := parseEvent(lines); json.Unmarshal(e.data, &said) != nil || said.Code < 1000 || said.Code > 4999 {
		said.Code, said.Reason = transport.CloseNoStatus, ""
	}
	return &transport.CloseError{Code: said.Code, Reason: said.Reason}
}

// Wait implements [transport.Reader].
func (c *clientConn) Wait() error {
	if c.err != nil {
		return c.end(c.err)
	}
	n, err := c.body.Read(c.split.room())
	c.split.more(n)
	if n > 0 {
		if !c.begun {
			c.begun = c.split.begin()
		}
		return nil // an error will come again
	}
	return c.end(err)
}

// end is the error of a read, in the words of the interface.
func (c *clientConn) end(err error) error {
	switch {
	case c.closed.Load():
		return net.ErrClosed
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil:
		return io.EOF
	}
	return err
}

// Detach implements [transport.Reader].
func (c *clientConn) Detach() (release func()) {
	c.split.leave()
	return func() {}
}

// Write implements [transport.Conn]: the framer lets nothing be said but the
// end, which the server would not answer.
func (c *clientConn) Write(bufs ...[]byte) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	for _, b := range bufs {
		if len(b) > 0 {
			return c.Close()
		}
	}
	return nil
}

// Framer implements [transport.Conn].
func (c *clientConn) Framer() transport.Framer { return silence{} }

// Close implements [transport.Conn].
func (c *clientConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.cancel()
		c.t.CloseIdleConnections()
	}
	return nil
}

// splitter takes a stream apart into the lines of its events.
type splitter struct {
	buf      []byte // buf[at:] is what has not been returned
	at       int
	line     int  // where the line in progress begins
	searched int  // there is no end of that line before here
	skip     bool // a LF at line belongs to the CR before it
}

// room returns where to read to.
func (s *splitter) room() []byte {
	if s.at > 0 {
		n := copy(s.buf, s.buf[s.at:])
		s.buf = s.buf[:n]
		s.line, s.searched, s.at = s.line-s.at, s.searched-s.at, 0
	}
	if len(s.buf) == 0 && cap(s.buf) > keptBytes {
		s.buf = nil // it was for a large event
	}
	if cap(s.buf)-len(s.buf) < clientReadBytes/2 {
		s.buf = append(make([]byte, 0, 2*len(s.buf)+clientReadBytes), s.buf...)
	}
	return s.buf[len(s.buf):cap(s.buf)]
}

// more says that n bytes were put there.
func (s *splitter) more(n int) { s.buf = s.buf[:len(s.buf)+n] }

// begin skips a byte order mark, and reports whether the stream has begun.
func (s *splitter) begin() bool {
	const mark = "\ufeff"
	if len(s.buf) < len(mark) && bytes.HasPrefix([]byte(mark), s.buf) {
		return false
	}
	if bytes.HasPrefix(s.buf, []byte(mark)) {
		s.at, s.line, s.searched = len(mark), len(mark), len(mark)
	}
	return true
}

// rest returns what is no whole event.
func (s *splitter) rest() []byte { return s.buf[s.at:] }

// leave gives up the buffer for a new one.
func (s *splitter) leave() { s.buf = append([]byte(nil), s.buf...) }

// next returns the lines of the next event, in place, each with its end. It
// passes over empty lines and events of comments only.
func (s *splitter) next() ([]byte, bool) {
	for {
		if s.skip && s.line < len(s.buf) {
			s.skip = false
			if s.buf[s.line] == '\n' {
				s.advance(s.line + 1)
			}
		}
		i := lineEnd(s.buf[s.searched:])
		if i < 0 {
			s.searched = len(s.buf)
			return nil, false
		}
		end := s.searched + i
		s.skip = s.buf[end] == '\r'
		if end > s.line {
			s.line, s.searched = end+1, end+1
			continue
		}
		lines := s.buf[s.at:s.line]
		s.line, s.searched, s.at = end+1, end+1, end+1
		if !comments(lines) {
			return lines, true
		}
	}
}

// advance begins the line at another place; the event, too, if nothing of it
// has come.
func (s *splitter) advance(to int) {
	if s.at == s.line {
		s.at = to
	}
	s.line, s.searched = to, to
}

// comments reports whether an event has comments only, or nothing.
func comments(lines []byte) bool {
	for len(lines) > 0 {
		var line []byte
		if line, lines = cutLine(lines); len(line) > 0 && line[0] != ':' {
			return false
		}
	}
	return true
}
