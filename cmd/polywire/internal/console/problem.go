package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Words for programs.
const (
	codeBadRequest   = "bad_request"
	codeUnauthorized = "unauthorized"
	codeNotFound     = "not_found"
	codeMethod       = "method_not_allowed"
	codeTooLarge     = "too_large"
	codeMediaType    = "media_type"
	codeTooMany      = "too_many"
	codeUnsupported  = "unsupported"
	codeUnavailable  = "unavailable"
	codeInternal     = "internal"
)

// problem is an answer that is none of 2xx.
type problem struct {
	status  int
	code    string
	message string
	retry   time.Duration // when to come again; 0: nothing is said
}

// Error returns what is told.
func (p problem) Error() string { return p.message }

func (p problem) write(w http.ResponseWriter) {
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((p.retry+time.Second-1)/time.Second)))
	}
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = p.code, clip(p.message, 512)
	writeJSON(w, p.status, body)
}

// wrong is a problem with what was asked.
func wrong(format string, args ...any) error {
	return problem{http.StatusBadRequest, codeBadRequest, fmt.Sprintf(format, args...), 0}
}

// notFound is a problem with what is not there.
func notFound(what string) error {
	return problem{http.StatusNotFound, codeNotFound, "no such " + what, 0}
}

// missingNodes is a problem with nodes that may have what was asked for.
func missingNodes(ids []string) error {
	return problem{http.StatusServiceUnavailable, codeUnavailable, "these nodes did not answer: " + strings.Join(ids, ", "), time.Second}
}

// problemOf says how an error is told. What is ours is for the log alone.
func problemOf(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "queue: "), "webhook: ")
	switch {
	case is(queue.ErrNotFound, dispatch.ErrNotFound):
		return problem{http.StatusNotFound, codeNotFound, text, 0}
	case is(queue.ErrInvalid, dispatch.ErrInvalid, webhook.ErrEndpoint):
		return problem{http.StatusBadRequest, codeBadRequest, text, 0}
	case is(queue.ErrUnsupported):
		return problem{http.StatusNotImplemented, codeUnsupported, text, 0}
	case is(queue.ErrUnavailable, queue.ErrClosed, queue.ErrRefused, dispatch.ErrClosed, dispatch.ErrFull, cluster.ErrUnavailable, context.DeadlineExceeded):
		return problem{http.StatusServiceUnavailable, codeUnavailable, text, 5 * time.Second}
	}
	return problem{http.StatusInternalServerError, codeInternal, "something went wrong on this side; its log says what", 0}
}

// writeJSON writes an answer. Who asked may have gone.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // of our own types
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
