package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// patience is how long a test waits for what should come at once.
const patience = time.Minute

// peer is a client that says exactly what it is told to. path is "/engine.io/"
// or "/socket.io/", version the protocol of Engine.IO that it speaks.
type peer struct {
	site

	t       *testing.T
	path    string
	version string
	client  *http.Client
}

// newPeer returns a client of a server.
func newPeer(t *testing.T, at site, path, version string) *peer {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &peer{t: t, site: at, path: path, version: version, client: &http.Client{Transport: tr}}
}

// within returns the same client for a subtest.
func (p *peer) within(t *testing.T) *peer { return newPeer(t, p.site, p.path, p.version) }

// at returns the same client for a server that has other times, where there is one.
func (p *peer) at(t times) *peer {
	if p.with == nil {
		return p
	}
	return newPeer(p.t, p.with(t), p.path, p.version)
}

// on returns the same client for another path.
func (p *peer) on(path string) *peer { return newPeer(p.t, p.site, path, p.version) }

// query returns the query of a request of this client's version.
func (p *peer) query(transport string, more ...string) string {
	q := "?EIO=" + p.version + "&transport=" + transport
	for _, m := range more {
		q += "&" + m
	}
	return q
}

// answer is what an HTTP request got.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // there was no whole answer
}

func (a answer) String() string {
	if a.err != nil {
		return "no answer: " + a.err.Error()
	}
	return fmt.Sprintf("status %d, body %q", a.status, a.body)
}

// do makes a request; the headers are names and values in turn.
func (p *peer) do(method, query string, body io.Reader, header ...string) answer {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	return p.doContext(ctx, method, query, body, header...)
}

func (p *peer) doContext(ctx context.Context, method, query string, body io.Reader, header ...string) answer {
	req, err := http.NewRequestWithContext(ctx, method, p.base+p.path+query, body)
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

// wantStatus fails the test unless an answer has the status.
func (p *peer) wantStatus(what string, a answer, status int) {
	p.t.Helper()
	if a.err != nil || a.status != status {
		p.t.Fatalf("%s: %v, want status %d", what, a, status)
	}
}

// wantError fails the test unless an answer is the error of that code.
func (p *peer) wantError(what string, a answer, code int) {
	p.t.Helper()
	status, message := http.StatusBadRequest, [...]string{
		"Transport unknown", "Session ID unknown", "Bad handshake method",
		"Bad request", "Forbidden", "Unsupported protocol version",
	}[code]
	if code == 4 {
		status = http.StatusForbidden
	}
	want := fmt.Sprintf(`{"code":%d,"message":"%s"}`, code, message)
	if a.err != nil || a.status != status || a.body != want {
		p.t.Fatalf("%s: %v, want status %d, body %q", what, a, status, want)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		p.t.Errorf("%s: Content-Type %q, want application/json", what, got)
	}
}

// payload returns the body that carries packets.
func (p *peer) payload(packets ...string) string {
	if p.version != "3" {
		return strings.Join(packets, "\x1e")
	}
	var b strings.Builder
	for _, packet := range packets {
		fmt.Fprintf(&b, "%d:%s", len(utf16.Encode([]rune(packet))), packet)
	}
	return b.String()
}

// packets splits a body of text.
func (p *peer) packets(body string) []string {
	p.t.Helper()
	if p.version != "3" {
		return strings.Split(body, "\x1e")
	}
	var all []string
	for body != "" {
		length, rest, ok := strings.Cut(body, ":")
		n, err := strconv.Atoi(length)
		units := utf16.Encode([]rune(rest))
		if !ok || err != nil || n > len(units) {
			p.t.Fatalf("malformed payload %q", body)
		}
		packet := string(utf16.Decode(units[:n]))
		all, body = append(all, packet), rest[len(packet):]
	}
	return all
}

// opened checks an open packet and returns the session's id.
func (p *peer) opened(packet string, upgrades ...string) string {
	p.t.Helper()
	var open struct {
		Sid          string
		Upgrades     []string
		PingInterval int
		PingTimeout  int
		MaxPayload   int
	}
	var all map[string]any
	if !strings.HasPrefix(packet, "0") {
		p.t.Fatalf("open packet %q", packet)
	}
	if err := errors.Join(json.Unmarshal([]byte(packet[1:]), &open), json.Unmarshal([]byte(packet[1:]), &all)); err != nil {
		p.t.Fatalf("open packet %q: %v", packet, err)
	}
	if len(all) != 5 || open.Sid == "" || open.Upgrades == nil || !slices.Equal(open.Upgrades, upgrades) ||
		open.PingInterval != int(p.interval.Milliseconds()) || open.PingTimeout != int(p.timeout.Milliseconds()) || open.MaxPayload != 1_000_000 {
		p.t.Fatalf("open packet %q, want upgrades %q, %v, %v, 1000000 and nothing else", packet, upgrades, p.interval, p.timeout)
	}
	return open.Sid
}

// polling is a session by HTTP requests.
type polling struct {
	*peer
	sid     string
	pending []string // arrived, not asked for yet
	over    bool
}

// poll opens a session by HTTP requests.
func (p *peer) poll(more ...string) *polling {
	p.t.Helper()
	a := p.do(http.MethodGet, p.query("polling", more...), nil)
	p.wantStatus("handshake", a, http.StatusOK)
	return &polling{peer: p, sid: p.opened(p.packets(a.body)[0], "websocket")}
}

// at is the query of the session's requests.
func (s *polling) its() string { return s.query("polling", "sid="+s.sid) }

// get asks for what the server has to say.
func (s *polling) get() answer { return s.do(http.MethodGet, s.its(), nil) }

// post sends a body.
func (s *polling) post(body string, header ...string) answer {
	return s.do(http.MethodPost, s.its(), strings.NewReader(body), header...)
}

// wantGet fails the test unless the next poll is answered by exactly that.
func (s *polling) wantGet(body string) {
	s.t.Helper()
	if a := s.get(); a.err != nil || a.status != http.StatusOK || a.body != body {
		s.t.Fatalf("poll: %v, want %q", a, body)
	}
}

// wantPost fails the test unless packets are taken.
func (s *polling) wantPost(packets ...string) {
	s.t.Helper()
	body := s.payload(packets...)
	if a := s.post(body); a.err != nil || a.status != http.StatusOK || a.body != "ok" {
		s.t.Fatalf("post of %.100q: %v, want ok", body, a)
	}
}

// wantGone fails the test unless nothing is known of the session any more.
func (s *polling) wantGone() {
	s.t.Helper()
	s.wantError("poll of a session that is over", s.get(), 1)
}

// send posts packets in one body. A session that ends answers with an error,
// or not at all, and may not be there any more.
func (s *polling) send(packets ...string) {
	s.t.Helper()
	switch a := s.post(s.payload(texts(packets, s.version)...)); {
	case a.err != nil, a.status == http.StatusBadRequest:
		s.over = true
	case a.status != http.StatusOK || a.body != "ok":
		s.t.Fatalf("post of %q: %v, want ok", packets, a)
	}
}

// next returns the next packet that is not about the session itself.
func (s *polling) next() (string, bool) {
	s.t.Helper()
	for begin := time.Now(); ; {
		if time.Since(begin) > patience {
			s.t.Fatal("nothing came")
		}
		for len(s.pending) > 0 {
			packet := s.pending[0]
			s.pending = s.pending[1:]
			switch packet {
			case "1":
				s.over = true
			case "2":
				s.send("3")
			case "3", "6":
			default:
				return fromText(packet, s.version), true
			}
		}
		a := s.get()
		switch {
		case a.err != nil || a.status == http.StatusBadRequest:
			return "", false
		case a.status != http.StatusOK:
			s.t.Fatalf("poll: %v", a)
		}
		s.pending = s.packets(a.body)
	}
}

// texts returns packets as they stand in a payload: a binary one in base64.
func texts(packets []string, version string) []string {
	all := slices.Clone(packets)
	for i, packet := range all {
		if b, ok := isBinary(packet); ok {
			all[i] = "b" + base64.StdEncoding.EncodeToString(b)
			if version == "3" {
				all[i] = "b4" + base64.StdEncoding.EncodeToString(b)
			}
		}
	}
	return all
}

// fromText is the reverse for one packet.
func fromText(packet, version string) string {
	encoded, ok := strings.CutPrefix(packet, "b")
	if ok && version == "3" {
		encoded, ok = strings.CutPrefix(encoded, "4")
	}
	if b, err := base64.StdEncoding.DecodeString(encoded); ok && err == nil {
		return binaryMark + string(b)
	}
	return packet
}

// binaryMark begins the binary packets of the tests' tables, a byte that no text has.
const binaryMark = "\x00"

func isBinary(packet string) ([]byte, bool) {
	b, ok := strings.CutPrefix(packet, binaryMark)
	return []byte(b), ok
}
