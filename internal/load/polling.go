package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/polywire/polywire/transport"
)

// poller is a session of Engine.IO by long polling: answers come on one
// connection (conn.nc), where a GET is always pending while something is
// awaited, and requests leave on another.
type poller struct {
	gets, posts *httpLink
	path        string // with the session's id
	pending     bool   // a GET has not been answered
	id          uint64 // of the last request
}

// openPoller opens a session on two connections and joins the main namespace.
func openPoller(gets, posts *httpLink, w wire, path string) (*poller, error) {
	p := &poller{gets: gets, posts: posts, path: path}
	opened, err := p.poll()
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut(string(opened), `"sid":"`)
	sid, _, ok := strings.Cut(after, `"`)
	if !ok || opened[0] != engineOpen {
		return nil, fmt.Errorf("in place of an open packet: %s", readable(opened))
	}
	p.path += "&sid=" + sid
	if err := p.post([]byte(connectPacket)); err != nil {
		return nil, err
	}
	for {
		body, err := p.poll()
		if err != nil {
			return nil, err
		}
		for packet := range bytes.SplitSeq(body, separator()) {
			if err := p.beat(w, packet); err != nil {
				return nil, err
			}
			if bytes.HasPrefix(packet, []byte{engineMessage}) {
				return p, checkConnected(packet)
			}
		}
	}
}

// separator stands between the packets of a body.
func separator() []byte { return []byte{0x1e} }

// beat answers a packet that is a heartbeat.
func (p *poller) beat(w wire, packet []byte) error {
	if class, _ := w.classify(transport.Frame{Type: transport.Text, Data: packet}); class != heartbeat {
		return nil
	}
	return p.post(w.appendPong(nil, packet))
}

// ask sends a GET unless one is pending.
func (p *poller) ask() error {
	if p.pending {
		return nil
	}
	p.pending = true
	return p.gets.send(http.MethodGet, p.path, nil)
}

// poll returns what the next GET is answered with.
func (p *poller) poll() ([]byte, error) {
	if err := p.ask(); err != nil {
		return nil, err
	}
	body, err := p.gets.receive()
	p.pending = false
	if err == nil && len(body) == 0 {
		err = errors.New("a poll was answered with nothing")
	}
	return body, err
}

func (p *poller) post(body []byte) error {
	if err := p.posts.send(http.MethodPost, p.path, body); err != nil {
		return err
	}
	answer, err := p.posts.receive()
	if err == nil && string(answer) != "ok" {
		err = fmt.Errorf("a POST was answered with %s", readable(answer))
	}
	return err
}

// servePolls is serve for a session of long polling: it begins when all are
// open, and sends a request when the last one has been answered.
func (c *conn) servePolls() error {
	<-c.r.started
	if !c.resume() {
		return nil
	}
	var err error
	for err == nil && phase(c.r.phase.Load()) != stopping {
		err = c.exchange()
	}
	return c.ended(err)
}

// exchange has one request answered.
func (c *conn) exchange() error {
	p, began := c.poll, c.r.now()
	p.id++
	if err := p.ask(); err != nil {
		return err
	}
	if err := p.post(c.r.wire.appendRequest(nil, p.id)); err != nil {
		return err
	}
	for answered := false; !answered; {
		body, err := p.poll()
		if err != nil {
			return err
		}
		for packet := range bytes.SplitSeq(body, separator()) {
			f := transport.Frame{Type: transport.Text, Data: packet}
			switch class, id := c.r.wire.classify(f); {
			case class == failure:
				return failed(f)
			case class == heartbeat:
				if err := p.beat(c.r.wire, packet); err != nil {
					return err
				}
				c.pings++
			case class == answer && (answered || id != p.id):
				return errUnasked
			case class == answer:
				if err := c.r.check(f); err != nil {
					return err
				}
				answered = true
			}
		}
	}
	if phase(c.r.phase.Load()) == measuring {
		c.latency.record(c.r.now() - began)
	}
	c.count.Add(1)
	return nil
}

// httpLink is a connection that carries requests of HTTP/1.1 one after another.
type httpLink struct {
	nc       socket
	host     string
	br       *bufio.Reader
	maxBytes int64 // of an answer's body
}

func newHTTPLink(nc socket, host string, maxBytes int) *httpLink {
	return &httpLink{nc: nc, host: host, br: bufio.NewReaderSize(nc, 2<<10), maxBytes: int64(maxBytes)}
}

func (l *httpLink) send(method, path string, body []byte) error {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n", method, path, l.host)
	if body != nil {
		b = fmt.Appendf(b, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n", len(body))
	}
	_, err := l.nc.Write(append(append(b, "\r\n"...), body...))
	return err
}

// receive returns the body of the next answer, which must say that all is well.
func (l *httpLink) receive() ([]byte, error) {
	res, err := http.ReadResponse(l.br, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, l.maxBytes+1))
	if closeErr := res.Body.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server answered %s: %s", res.Status, readable(body))
	case int64(len(body)) > l.maxBytes:
		return nil, tooLarge(uint64(len(body)), int(l.maxBytes))
	case res.Close:
		return nil, errors.New("the server does not keep the connection for another request")
	}
	return body, nil
}

// dialPolls opens session i by long polling.
func (t target) dialPolls(ctx context.Context, i int, w wire, maxBytes int) (_ *poller, err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	gets, err := t.connect(ctx, i)
	if err != nil {
		return nil, err
	}
	posts, err := t.connect(ctx, i)
	if err != nil {
		return nil, errors.Join(err, gets.Close())
	}
	var p *poller
	err = within(ctx, func() (err error) {
		p, err = openPoller(newHTTPLink(gets, t.host, maxBytes), newHTTPLink(posts, t.host, maxBytes), w, t.path)
		return err
	}, gets, posts)
	return p, err
}
