package sse

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// verdict is how a request is answered: with the stream (status 200), or with
// the reason why not.
type verdict struct {
	status  int
	code    string
	message string
	room    string // that was refused; empty: it was not about one
	closed  wire.CloseCode
}

// statusOf says the core's error codes in HTTP. Codes of the application's own
// are refusals.
func statusOf(code string) int {
	switch code {
	case "bad_request":
		return http.StatusBadRequest
	case "unauthorized":
		return http.StatusUnauthorized
	case "not_found":
		return http.StatusNotFound
	case "conflict":
		return http.StatusConflict
	case "too_large":
		return http.StatusRequestEntityTooLarge
	case "too_many_requests":
		return http.StatusTooManyRequests
	case "canceled", "unavailable":
		return http.StatusServiceUnavailable
	case "deadline_exceeded":
		return http.StatusGatewayTimeout
	case "unimplemented":
		return http.StatusNotImplemented
	case "internal":
		return http.StatusInternalServerError
	}
	return http.StatusForbidden
}

// refusedRoom is the verdict of an error that answers a subscription.
func refusedRoom(room string, e *wire.ErrorBody) verdict {
	v := verdict{status: http.StatusInternalServerError, code: "internal", room: room}
	if e != nil {
		v.status, v.code, v.message = statusOf(e.Code), e.Code, e.Message
	}
	switch v.status {
	case http.StatusTooManyRequests:
		v.closed = wire.CloseRoomLimit
	case http.StatusUnauthorized:
		v.closed = wire.CloseUnauthorized
	case http.StatusBadRequest:
		v.closed = wire.CloseBadRequest
	case http.StatusServiceUnavailable:
		v.closed = wire.CloseForceReconnect
	default:
		v.closed = wire.CloseForbidden
	}
	return v
}

// refusedLink is the verdict of an end that comes before the stream.
func refusedLink(code uint16, reason string) verdict {
	v := verdict{status: http.StatusForbidden, code: "forbidden", message: reason, closed: wire.CloseCode(code)}
	switch {
	case v.closed == wire.CloseUnauthorized:
		v.status, v.code = http.StatusUnauthorized, "unauthorized"
	case v.closed == wire.CloseBadRequest:
		v.status, v.code = http.StatusBadRequest, "bad_request"
	case v.closed == wire.CloseTooManyRequests, v.closed == wire.CloseConnectionLimit:
		v.status, v.code = http.StatusTooManyRequests, "too_many_requests"
	case v.closed.Reconnect():
		v.status, v.code = http.StatusServiceUnavailable, "unavailable"
	}
	return v
}

// problem is the body of a refusal.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
	Room    string `json:"room,omitempty"`
}

// comeBackAfter is when a client is to try again.
const comeBackAfter = 5 * time.Second

// refuse answers with the reason.
func refuse(w http.ResponseWriter, v verdict) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	switch v.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(int(comeBackAfter.Seconds())))
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, OPTIONS")
	}
	body, err := json.Marshal(problem{v.code, v.message, v.room})
	if err != nil {
		body = []byte("{}") // strings have no way to fail
	}
	w.WriteHeader(v.status)
	_, _ = w.Write(append(body, '\n')) // or the client has gone
}

// closeError tells the core of a refusal. The client has been told.
func (v verdict) closeError() error {
	return &transport.CloseError{Code: uint16(v.closed), Reason: v.message, Local: true}
}

// badRequest is the verdict of what cannot be understood.
func badRequest(status int, message string) verdict {
	return verdict{status: status, code: "bad_request", message: message}
}

// cors tells a browser that a page of another origin may read the stream.
func (p *Protocol) cors(h http.Header, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if p.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers a browser that asks whether it may send a request with
// headers of a script's own.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", http.MethodGet)
	h.Add("Vary", "Access-Control-Request-Headers")
	if asked := r.Header.Values("Access-Control-Request-Headers"); len(asked) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(asked, ","))
	}
	w.WriteHeader(http.StatusNoContent)
}
