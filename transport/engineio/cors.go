package engineio

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// CORS is what browsers are told about requests from other origins (Fetch
// standard, section 3.2). Which origins are served is decided by
// Options.AllowOrigin in any case.
type CORS struct {
	// AnyOrigin tells that all origins are allowed, rather than the one that
	// asks.
	AnyOrigin bool
	// Credentials lets browsers send cookies.
	Credentials bool
	// Methods that are allowed; nil: GET, HEAD, PUT, PATCH, POST and DELETE.
	Methods []string
	// Headers that a client may send; nil: those that it asks for.
	Headers []string
	// Expose lists headers of answers that scripts may read.
	Expose []string
	// MaxAge is how long browsers may remember; zero: as they like.
	MaxAge time.Duration
}

// cors tells a browser whether it may make a request from where its page came.
// It answers requests that only ask, and reports that it has.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	rules := s.o.CORS
	origins := r.Header.Values("Origin")
	if rules == nil {
		if len(origins) == 0 {
			return false
		}
		rules = new(CORS)
	}
	h := w.Header()
	allowed := len(origins) == 1 && legalHeader(origins[0]) && s.o.AllowOrigin(r)
	switch {
	case rules.AnyOrigin:
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		h.Add("Vary", "Origin")
		if allowed {
			h.Set("Access-Control-Allow-Origin", origins[0])
		}
	}
	if rules.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(rules.Expose) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(rules.Expose, ","))
	}
	if r.Method != http.MethodOptions {
		return false
	}
	asked := r.Header.Values("Access-Control-Request-Headers")
	if s.o.CORS == nil && (!allowed || r.Header.Get("Access-Control-Request-Method") == "") {
		return false // an error like any other
	}
	rules.answerPreflight(h, asked)
	s.answer(w, http.StatusNoContent, nil)
	return true
}

// answerPreflight adds what the answer to a preflight request has besides.
func (rules *CORS) answerPreflight(h http.Header, asked []string) {
	methods := "GET,HEAD,PUT,PATCH,POST,DELETE"
	if rules.Methods != nil {
		methods = strings.Join(rules.Methods, ",")
	}
	h.Set("Access-Control-Allow-Methods", methods)
	headers := strings.Join(rules.Headers, ",")
	if rules.Headers == nil {
		h.Add("Vary", "Access-Control-Request-Headers")
		headers = strings.Join(asked, ",")
	}
	if headers != "" {
		h.Set("Access-Control-Allow-Headers", headers)
	}
	if rules.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.FormatInt(int64(rules.MaxAge/time.Second), 10))
	}
}
