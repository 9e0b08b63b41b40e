package engineio

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire/internal/httphead"
)

// Server answers the requests of Engine.IO clients and keeps the table of
// their sessions. It has no goroutines and no timers of its own: heartbeats,
// idle sessions and the end of all are the business of whoever is given the
// connections. Its methods may be called from many goroutines at once.
type Server struct {
	o        Options
	upgrades []string
	noops    time.Duration // noopEvery
	zippers  sync.Pool     // *gzip.Writer
	scratch  sync.Pool     // *[]byte, for frames that are made anew

	mu       sync.Mutex
	sessions map[sessionID]*Conn
}

// NewServer returns a server. Options that contradict each other, or that have
// no meaning, are an error.
func NewServer(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Server{o: o, upgrades: []string{}, noops: noopEvery, sessions: make(map[sessionID]*Conn)}
	if !o.NoWebSocket && !o.NoUpgrade {
		s.upgrades = []string{transportWebSocket}
	}
	s.zippers.New = func() any {
		z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails for wrong levels only
		return z
	}
	s.scratch.New = func() any { return new([]byte) }
	return s, nil
}

// The names of transports in requests.
const (
	transportPolling   = "polling"
	transportWebSocket = "websocket"
)

// sessionID is a session's secret, of which 20 characters are said.
type sessionID [15]byte

func (id sessionID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// parseID is the inverse of String.
func parseID(s string) (id sessionID, ok bool) {
	if len(s) != base64.RawURLEncoding.EncodedLen(len(id)) {
		return id, false
	}
	_, err := base64.RawURLEncoding.Decode(id[:], []byte(s))
	return id, err == nil
}

// enter gives a new session its id, and a place in the table.
func (s *Server) enter(c *Conn) {
	rand.Read(c.id[:]) // it never fails
	s.mu.Lock()
	s.sessions[c.id] = c
	s.mu.Unlock()
}

func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	if s.sessions[c.id] == c {
		delete(s.sessions, c.id)
	}
	s.mu.Unlock()
}

func (s *Server) find(sid string) *Conn {
	id, ok := parseID(sid)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// Continues reports whether a request is about a session that exists already,
// rather than asking for a new one.
func (s *Server) Continues(r *http.Request) bool {
	sid, _ := param(r.URL.RawQuery, "sid")
	return sid != ""
}

// param returns a parameter of a query, the last one of several as official
// servers do, and whether it is there. It reads what url.ParseQuery would,
// without the cost of a map: a poll has little other work.
func param(query, name string) (value string, ok bool) {
	for pair := range strings.SplitSeq(query, "&") {
		key, v, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(pair, "%+;") {
			var err, valueErr error
			key, err = url.QueryUnescape(key)
			v, valueErr = url.QueryUnescape(v)
			if err != nil || valueErr != nil || strings.Contains(pair, ";") {
				continue
			}
		}
		if key == name && pair != "" {
			value, ok = v, true
		}
	}
	return value, ok
}

// request is a request and what it says.
type request struct {
	*http.Request
	upgrade bool // it wants a WebSocket
	session *Conn
	version version
}

func (r *request) param(name string) string {
	v, _ := param(r.URL.RawQuery, name)
	return v
}

// wantsUpgrade reports whether a request is one for another protocol on the
// connection, whichever.
func wantsUpgrade(h http.Header) bool {
	return h.Get("Upgrade") != "" && httphead.Has(h, "Connection", "upgrade")
}

// ServeHTTP implements http.Handler. It returns when the request has been
// answered, a probe of a WebSocket when that is over. It sets the deadlines of
// the connection, so that those of an http.Server do not end long polls.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr, upgrade: wantsUpgrade(hr.Header)}
	s.bound(w, hr)
	if s.cors(w, hr) {
		return
	}
	if refused := s.verify(r); refused != nil {
		s.refuse(w, r, *refused)
		return
	}
	switch {
	case r.session == nil && r.upgrade:
		s.openWebSocket(w, r)
	case r.session == nil:
		s.openPolling(w, r)
	case r.upgrade:
		s.upgrade(w, r)
	default:
		s.continuePolling(w, r)
	}
}

// bound sets how long the reading of a request may take: a body its time, a
// poll none. Answers set the time of their writing themselves. Not all writers
// have deadlines, which is all the same to the protocol.
func (s *Server) bound(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.patience(0)))
		return
	}
	if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && srv.ReadTimeout <= 0 {
		return // there is no deadline to take away
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// verify checks a request, in the order of official servers.
func (s *Server) verify(r *request) *refusal {
	name := r.param("transport")
	switch {
	case name == transportPolling && !s.o.NoPolling, name == transportWebSocket && !s.o.NoWebSocket:
	default:
		return refusalOf(codeTransport)
	}
	for _, origin := range r.Header.Values("Origin") {
		if !legalHeader(origin) {
			return refusalOf(codeBadRequest)
		}
	}
	if !s.o.AllowOrigin(r.Request) {
		return refusalOf(codeForbidden)
	}
	if sid := r.param("sid"); sid != "" {
		if r.session = s.find(sid); r.session == nil {
			return refusalOf(codeSession)
		}
		if !r.upgrade && name != r.session.Transport() {
			return refusalOf(codeBadRequest)
		}
		return nil
	}
	return s.verifyNew(r, name)
}

// verifyNew checks a request for a new session.
func (s *Server) verifyNew(r *request, name string) *refusal {
	if r.Method != http.MethodGet {
		return refusalOf(codeMethod)
	}
	if name == transportWebSocket && !r.upgrade {
		return refusalOf(codeBadRequest)
	}
	if s.o.AllowRequest != nil {
		if err := s.o.AllowRequest(r.Request); err != nil {
			refused := refusalOf(codeForbidden)
			if text := err.Error(); text != "" {
				refused.message = text
			}
			return refused
		}
	}
	r.version = v3
	if r.param("EIO") == "4" {
		r.version = v4
	} else if s.o.NoV3 {
		return refusalOf(codeVersion)
	}
	if _, jsonp := param(r.URL.RawQuery, "j"); jsonp && !r.upgrade && !s.o.JSONP {
		return refusalOf(codeBadRequest)
	}
	return nil
}

// legalHeader reports whether a header may have this value.
func legalHeader(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Codes of refusals.
const (
	codeTransport = iota
	codeSession
	codeMethod
	codeBadRequest
	codeForbidden
	codeVersion
)

// refusal is a request that is answered with an error. Its JSON is that of
// official servers, in their order.
type refusal struct {
	code    int
	message string
}

func refusalOf(code int) *refusal {
	messages := [...]string{
		codeTransport:  "Transport unknown",
		codeSession:    "Session ID unknown",
		codeMethod:     "Bad handshake method",
		codeBadRequest: "Bad request",
		codeForbidden:  "Forbidden",
		codeVersion:    "Unsupported protocol version",
	}
	return &refusal{code, messages[code]}
}

// refuse answers a request with an error.
func (s *Server) refuse(w http.ResponseWriter, r *request, why refusal) {
	if s.o.Refused != nil {
		s.o.Refused(r.Request, why.code, why.message)
	}
	h := w.Header()
	if r.upgrade {
		h.Set("Connection", "close")
		h.Set("Content-Type", "text/html")
		s.answer(w, http.StatusBadRequest, []byte(why.message))
		return
	}
	status := http.StatusBadRequest
	if why.code == codeForbidden {
		status = http.StatusForbidden
	}
	h.Set("Content-Type", "application/json")
	s.answer(w, status, toJSON(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{why.code, why.message}))
}

// toJSON encodes as JSON.stringify does: <, > and & as they are.
func toJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // what is given here can be encoded
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}

// openPacketFor is what the server says first in a session.
func (s *Server) openPacketFor(c *Conn, upgrades []string) string {
	return string(toJSON(openPacket{
		SID:          c.ID(),
		Upgrades:     upgrades,
		PingInterval: s.o.PingInterval.Milliseconds(),
		PingTimeout:  s.o.PingTimeout.Milliseconds(),
		MaxPayload:   int64(s.o.MaxPayloadBytes),
	}))
}
