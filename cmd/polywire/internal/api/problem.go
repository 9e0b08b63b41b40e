package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/queue"
)

// problemCode is the stable word for what went wrong.
type problemCode string

const (
	codeJSON          problemCode = "bad_json"
	codeUnauthorized  problemCode = "unauthorized"
	codeForbidden     problemCode = "forbidden"
	codeCrossSite     problemCode = "cross_site"
	codeNotFound      problemCode = "not_found"
	codeNoConnections problemCode = "no_connections"
	codeMethod        problemCode = "method_not_allowed"
	codeInProgress    problemCode = "in_progress"
	codeNotKept       problemCode = "answer_not_kept"
	codeTooLarge      problemCode = "too_large"
	codeMediaType     problemCode = "media_type"
	codeInvalid       problemCode = "invalid"
	codeKeyReused     problemCode = "key_reused"
	codeTooMany       problemCode = "too_many"
	codeInternal      problemCode = "internal"
	codeUnsupported   problemCode = "unsupported"
	codeUnavailable   problemCode = "unavailable"
	codePartial       problemCode = "partial"
)

// class is how a code is said by HTTP and by gRPC.
type class struct {
	status int
	rpc    connect.Code
}

func (c problemCode) class() class {
	switch c {
	case codeJSON:
		return class{http.StatusBadRequest, connect.CodeInvalidArgument}
	case codeUnauthorized:
		return class{http.StatusUnauthorized, connect.CodeUnauthenticated}
	case codeForbidden, codeCrossSite:
		return class{http.StatusForbidden, connect.CodePermissionDenied}
	case codeNotFound, codeNoConnections:
		return class{http.StatusNotFound, connect.CodeNotFound}
	case codeMethod:
		return class{http.StatusMethodNotAllowed, connect.CodeUnimplemented}
	case codeInProgress, codeNotKept:
		return class{http.StatusConflict, connect.CodeAborted}
	case codeTooLarge:
		return class{http.StatusRequestEntityTooLarge, connect.CodeResourceExhausted}
	case codeMediaType:
		return class{http.StatusUnsupportedMediaType, connect.CodeInvalidArgument}
	case codeInvalid, codeKeyReused:
		return class{http.StatusUnprocessableEntity, connect.CodeInvalidArgument}
	case codeTooMany:
		return class{http.StatusTooManyRequests, connect.CodeResourceExhausted}
	case codeUnsupported:
		return class{http.StatusNotImplemented, connect.CodeUnimplemented}
	case codeUnavailable, codePartial:
		return class{http.StatusServiceUnavailable, connect.CodeUnavailable}
	}
	return class{http.StatusInternalServerError, connect.CodeInternal}
}

// problem is an error as it is told.
type problem struct {
	code   problemCode
	detail string
	nodes  []string // that did not answer
	err    error    // for the log; nil: nothing but the detail
}

// Error returns the code and the detail.
func (p *problem) Error() string { return string(p.code) + ": " + p.detail }

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.err }

func problemf(c problemCode, format string, args ...any) *problem {
	return &problem{code: c, detail: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *problem { return problemf(codeInvalid, format, args...) }

// errJSON is in errors about a body that does not decode.
var errJSON = errors.New("the body is not the JSON that is wanted here")

// problemOf returns how an error is told.
func problemOf(err error) *problem {
	var p *problem
	var partial *polywire.PartialError
	var own *polywire.Error
	tell := func(c problemCode, detail string) *problem { return &problem{code: c, detail: detail, err: err} }
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "queue: "), "polywire: ")
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errJSON):
		return tell(codeJSON, text)
	case errors.As(err, &partial):
		p = tell(codePartial, "some servers did not answer: there it was done or not")
		p.nodes = partial.Nodes
		return p
	case errors.Is(err, polywire.ErrNoConnections):
		return tell(codeNoConnections, "nobody is there")
	case errors.Is(err, queue.ErrUnsupported), errors.Is(err, polywire.ErrNoHistory):
		return tell(codeUnsupported, text)
	case errors.Is(err, queue.ErrNotFound):
		return tell(codeNotFound, text)
	case errors.Is(err, queue.ErrTooLarge), errors.Is(err, cluster.ErrTooLarge):
		return tell(codeTooLarge, "larger than the broker takes")
	case errors.Is(err, queue.ErrInvalid):
		return tell(codeInvalid, text)
	case errors.Is(err, queue.ErrUnavailable), errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrRefused),
		errors.Is(err, cluster.ErrUnavailable), errors.Is(err, cluster.ErrClosed),
		errors.Is(err, polywire.ErrNotRunning), errors.Is(err, polywire.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return tell(codeUnavailable, "not done, or not known to be done: ask again")
	case errors.As(err, &own):
		return tell(ofCore(own.Code), own.Message)
	}
	return tell(codeInternal, "something went wrong on this side; its log says what")
}

// ofCore is the code of an error of the core's.
func ofCore(c polywire.Code) problemCode {
	switch c {
	case polywire.CodeBadRequest, polywire.CodeConflict:
		return codeInvalid
	case polywire.CodeTooLarge:
		return codeTooLarge
	case polywire.CodeTooManyRequests:
		return codeTooMany
	case polywire.CodeNotFound:
		return codeNotFound
	case polywire.CodeUnimplemented:
		return codeUnsupported
	case polywire.CodeUnavailable, polywire.CodeDeadlineExceeded, polywire.CodeCanceled:
		return codeUnavailable
	}
	return codeInternal
}

// problemJSON is a problem as RFC 9457 has it. The type is the one that says
// no more than the status; the code is an extension.
type problemJSON struct {
	Type         string      `json:"type"`
	Title        string      `json:"title"`
	Status       int         `json:"status"`
	Detail       string      `json:"detail"`
	Code         problemCode `json:"code"`
	MissingNodes []string    `json:"missing_nodes,omitempty"`
}

func (p *problem) write(w http.ResponseWriter) {
	status := p.code.class().status
	head(w)
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "5")
	case http.StatusConflict:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="polywire"`)
	}
	b, err := json.Marshal(problemJSON{"about:blank", http.StatusText(status), status, p.detail, p.code, p.nodes})
	if err != nil { // strings can be encoded
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who asked may have gone
}

// rpc is the problem as gRPC and Connect tell it.
func (p *problem) rpc() error {
	e := connect.NewError(p.code.class().rpc, errors.New(p.detail))
	e.Meta().Set(codeHeader, string(p.code))
	return e
}

// codeHeader has the code where the body has no place for it.
const codeHeader = "Polywire-Code"

// head sets what all answers have.
func head(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
