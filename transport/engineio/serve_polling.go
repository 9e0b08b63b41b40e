package engineio

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/httphead"
	"github.com/polywire/polywire/transport"
)

// slowest is how fast a client has to be once HandshakeTimeout is over, in
// bytes per second: a long body takes its time on a thin line.
const slowest = 16 << 10

// patience is how long n bytes may take.
func (s *Server) patience(n int) time.Duration {
	return s.o.HandshakeTimeout + time.Duration(n)*time.Second/slowest
}

// answer writes an answer whose other headers have been set.
func (s *Server) answer(w http.ResponseWriter, status int, body []byte) {
	// A writer without deadlines is its owner's affair.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.patience(len(body))))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is noticed by its requests' contexts
}

// openPolling makes a session of a GET.
func (s *Server) openPolling(w http.ResponseWriter, r *request) {
	c := &Conn{srv: s, version: r.version, origin: originOf(r.Request)}
	p := newPolling(c)
	p.noBinary = r.param("b64") != ""
	if j, ok := param(r.URL.RawQuery, "j"); ok {
		if p.jsonp, ok = jsonpHead(j); !ok {
			s.refuse(w, r, *refusalOf(codeBadRequest))
			return
		}
		p.noBinary = true
	}
	c.poll.Store(p)
	s.enter(c)
	if err := s.o.Accept(c, r.Request); err != nil {
		_ = c.Close() // it was never open
		s.answer(w, http.StatusServiceUnavailable, nil)
		return
	}
	if s.o.Cookie != nil {
		cookie := *s.o.Cookie //nolint:gosec // its attributes are the application's
		cookie.Value = c.ID()
		http.SetCookie(w, &cookie)
	}
	s.header(w, r, true)
	s.answerPoll(w, r, p, appendControl(nil, c.version, kindOpen, s.openPacketFor(c, s.upgrades)))
}

// header adds what the application wants in a successful answer.
func (s *Server) header(w http.ResponseWriter, r *request, first bool) {
	if s.o.Header != nil {
		s.o.Header(w.Header(), r.Request, first)
	}
}

// continuePolling answers a request of a session that polls.
func (s *Server) continuePolling(w http.ResponseWriter, r *request) {
	p := r.session.poll.Load()
	switch {
	case p == nil: // it has gone over a moment ago
		s.refuse(w, r, *refusalOf(codeBadRequest))
	case r.Method == http.MethodGet && r.ContentLength == 0:
		s.servePoll(w, r, p)
	case r.Method == http.MethodGet: // its end could not be seen behind a body
		s.refuse(w, r, *refusalOf(codeBadRequest))
	case r.Method == http.MethodPost:
		s.servePost(w, r, p)
	default:
		s.fail(w, http.StatusInternalServerError)
	}
}

// fail answers with a status alone.
func (s *Server) fail(w http.ResponseWriter, status int) {
	s.answer(w, status, nil)
}

// servePoll answers a GET, as soon as there is something to say.
func (s *Server) servePoll(w http.ResponseWriter, r *request, p *polling) {
	g := p.poll()
	select {
	case <-g.ready:
	case <-r.Context().Done():
	}
	if r.Context().Err() != nil {
		p.abandon(g)
		return
	}
	switch {
	case g.refused != nil:
		s.refuse(w, r, *g.refused)
	case g.status != 0:
		s.fail(w, g.status)
	default:
		s.header(w, r, false)
		s.answerPoll(w, r, p, g.neutral)
	}
}

// answerPoll says neutral bytes in the form that the client reads.
func (s *Server) answerPoll(w http.ResponseWriter, r *request, p *polling, neutral []byte) {
	body, octets, err := encodePayload(nil, p.c.version, p.noBinary, neutral)
	if err != nil { // somebody wrote what no framer makes
		p.end(cut(reasonError, err), kindClose)
		s.fail(w, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	if octets {
		h.Set("Content-Type", octetStream)
	}
	if p.jsonp != "" {
		body = jsonpBody(p.jsonp, body)
	}
	noStore(w, r)
	if from := s.o.CompressMinBytes; from >= 0 && len(body) >= from && acceptsGzip(r.Header) && compressible(neutral) {
		body = s.compress(h, body)
	}
	s.answer(w, http.StatusOK, body)
}

const octetStream = "application/octet-stream"

// noStore adds what every answer of a session has.
func noStore(w http.ResponseWriter, r *request) {
	w.Header().Set("Cache-Control", "no-store")
	// The filter of Internet Explorer takes payloads for attacks.
	if agent := r.UserAgent(); strings.Contains(agent, ";MSIE") || strings.Contains(agent, "Trident/") {
		w.Header().Set("X-XSS-Protection", "0")
	}
}

// compress returns a body in gzip, if that is shorter.
func (s *Server) compress(h http.Header, body []byte) []byte {
	z := s.zippers.Get().(*gzip.Writer) //nolint:forcetypeassert // the pool has nothing else
	defer s.zippers.Put(z)
	var out bytes.Buffer
	z.Reset(&out)
	_, err := z.Write(body)
	if closeErr := z.Close(); err != nil || closeErr != nil || out.Len() >= len(body) {
		return body
	}
	h.Set("Content-Encoding", "gzip")
	return out.Bytes()
}

// acceptsGzip reports whether a client reads gzip (RFC 9110 section 12.5.3).
func acceptsGzip(h http.Header) bool {
	star := false
	for element := range httphead.Elements(h, "Accept-Encoding") {
		coding, weight, _ := strings.Cut(element, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "gzip" && coding != "x-gzip" && coding != "*" {
			continue
		}
		_, q, hasQ := strings.Cut(weight, "=")
		value, err := strconv.ParseFloat(strings.TrimSpace(q), 32)
		wanted := !hasQ || err == nil && value > 0
		if coding != "*" {
			return wanted
		}
		star = wanted
	}
	return star
}

// servePost takes the packets of a POST, and answers when they are handled.
func (s *Server) servePost(w http.ResponseWriter, r *request, p *polling) {
	refused, status := p.begin(&post{rc: http.NewResponseController(w)})
	switch {
	case refused != nil:
		s.refuse(w, r, *refused)
		return
	case status != 0:
		s.fail(w, status)
		return
	}
	status = s.takePost(r, p)
	p.done()
	if status == 0 {
		return // nobody is there
	}
	if status != http.StatusOK {
		if status == http.StatusRequestTimeout {
			w.Header().Set("Connection", "close")
		}
		s.fail(w, status)
		return
	}
	s.header(w, r, false)
	// Not text/plain: some browsers offer that for download.
	w.Header().Set("Content-Type", "text/html")
	noStore(w, r)
	s.answer(w, http.StatusOK, []byte("ok"))
}

// takePost reads and handles a POST. It returns the status to answer with, 0
// for none.
func (s *Server) takePost(r *request, p *polling) (status int) {
	octets := r.Header.Get("Content-Type") == octetStream
	if octets && p.c.version != v3 {
		p.end(cut(reasonError, malformed("a binary POST")), kindClose)
		return http.StatusBadRequest
	}
	start := time.Now()
	body, err := readBody(r.Body, r.ContentLength, s.o.MaxPayloadBytes, func(n int) {
		p.readBy(start.Add(s.patience(n)))
	})
	if tooBig := errors.Is(err, errTooBig); !p.bodyRead() {
		return http.StatusBadRequest // somebody has ended it meanwhile
	} else if tooBig {
		return http.StatusRequestEntityTooLarge // the session goes on
	}
	if err != nil {
		p.end(cut(reasonError, err), kindClose)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return http.StatusRequestTimeout
		}
		return http.StatusBadRequest
	}
	// While the body is handled, the client may take its time.
	_ = p.post.rc.SetReadDeadline(time.Time{})
	if p.jsonp != "" {
		var ok bool
		if body, ok = jsonpData(body); !ok {
			return http.StatusOK // as official servers do
		}
	}
	switch err := p.handle(r.Context(), octets, body); {
	case err == nil:
		return http.StatusOK
	case r.Context().Err() != nil:
		return 0
	case errors.Is(err, errPeerClosed):
		p.end(packetEnd(err), kindNoop)
		return http.StatusOK
	case errors.Is(err, errGone) && p.closedInOrder():
		return http.StatusOK
	case errors.Is(err, errGone):
	default:
		p.end(packetEnd(err), kindClose)
	}
	return http.StatusBadRequest
}

// handle gives the packets of a body to the reader, in order, until one is
// wrong. It returns when they have been handled.
func (p *polling) handle(ctx context.Context, octets bool, body []byte) error {
	var frames []transport.Frame
	wrong := decodePayload(p.c.version, octets, body, func(k packet) error {
		f, ok, err := frameOf(p.c.version, k)
		if err != nil || !ok {
			return err
		}
		if frames = append(frames, f); len(frames) < batchFrames {
			return nil
		}
		err = p.deliver(ctx, frames)
		frames = frames[:0] // the reader has done with them
		return err
	})
	if errors.Is(wrong, errGone) {
		return wrong
	}
	if err := p.deliver(ctx, frames); err != nil {
		return err
	}
	return wrong
}

var errTooBig = errors.New("engineio: body too big")

// firstRead is how much memory a body gets before it has come.
const firstRead = 16 << 10

// readBody reads a body of at most limit bytes. length is what was announced,
// negative for nothing. more is told how much has come, while there is more.
func readBody(r io.Reader, length int64, limit int, more func(n int)) ([]byte, error) {
	if length > int64(limit) {
		return nil, errTooBig
	}
	size := limit
	if length >= 0 {
		size = int(length)
	}
	body := make([]byte, 0, min(size, firstRead)+1) // one more, to see the end
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > limit:
			return nil, errTooBig
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		}
		if len(body) == cap(body) {
			bigger := make([]byte, len(body), min(2*cap(body), limit+1))
			copy(bigger, body)
			body = bigger
		}
		more(len(body))
	}
}
