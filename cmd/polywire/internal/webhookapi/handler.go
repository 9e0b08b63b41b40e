package webhookapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// Bounds of requests.
const (
	// MinKeyBytes is the shortest key that [New] takes.
	MinKeyBytes      = 16
	maxBodyBytes     = 64 << 10
	maxEventBytes    = 1 << 20 // the dispatcher has its own bound of the data
	requestTimeout   = 30 * time.Second
	defaultPageLimit = 50
)

// Options configure [New]. Dispatcher and Key are needed.
type Options struct {
	// Dispatcher does the work. It stays the caller's, who closes it after the handler.
	Dispatcher *dispatch.Dispatcher
	// Key is what requests show: Authorization: Bearer KEY. At least 16 bytes.
	Key string
	// Base is the path at which the handler is mounted, for the description. The
	// caller strips it. Empty: the root.
	Base string
	// Version is that of the description. Empty: "1".
	Version string
	// Logger gets the errors that are ours. Nil: none.
	Logger *slog.Logger
}

// Handler is the API. It is safe for concurrent use.
type Handler struct {
	d       *dispatch.Dispatcher
	key     [sha256.Size]byte
	log     *slog.Logger
	mux     *http.ServeMux
	replays *replays
}

var _ http.Handler = (*Handler)(nil)

// New returns the API. Close ends the replays that it has begun.
func New(o Options) (*Handler, error) {
	if o.Dispatcher == nil {
		return nil, errors.New("webhook API: no dispatcher")
	}
	if err := CheckKey(o.Key); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	description, err := Describe(o.Base, o.Version)
	if err != nil {
		return nil, err
	}
	h := &Handler{
		d: o.Dispatcher, key: sha256.Sum256([]byte(o.Key)), log: o.Logger, mux: http.NewServeMux(), replays: newReplays(o.Dispatcher),
	}
	for _, op := range operations() {
		h.mux.Handle(op.method+" "+op.path, h.serve(op))
	}
	h.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeJSON)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(description) // who asked may have gone
	})
	return h, nil
}

// CheckKey says what is wrong with a key.
func CheckKey(key string) error {
	if len(key) < MinKeyBytes || len(key) > 512 {
		return fmt.Errorf("webhook API: the key has %d bytes, want %d to 512 that nobody can guess", len(key), MinKeyBytes)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return errors.New("webhook API: the key has characters that are not visible ASCII, which no header could carry")
		}
	}
	return nil
}

// Close ends the replays that run, and waits for them.
func (h *Handler) Close() { h.replays.close() }

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 { // for bodies of what is refused, which net/http reads
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout)) // a test's recorder cannot
	}
	if r.Method != http.MethodGet || r.URL.Path != "/openapi.json" {
		if !h.allowed(r) { // before anything is said about what is there
			w.Header().Set("WWW-Authenticate", `Bearer realm="webhooks"`)
			h.fail(w, r, errKey)
			return
		}
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.unknown(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// unknown answers what no operation takes, in the form of other errors.
func (h *Handler) unknown(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := h.mux.Handler(other); pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		h.fail(w, r, fmt.Errorf("%w: no such path", dispatch.ErrNotFound))
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	h.fail(w, r, errMethod)
}

// allowed compares keys in constant time, whatever their lengths.
func (h *Handler) allowed(r *http.Request) bool {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	sum := sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(sum[:], h.key[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// request is what an operation gets.
type request struct {
	*http.Request

	h    *Handler
	body []byte
}

func (h *Handler) serve(op operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		req := &request{Request: r.WithContext(ctx), h: h}
		err := op.checkQuery(r)
		if err == nil && op.in != nil {
			req.body, err = op.read(w, r)
		}
		var out any
		if err == nil {
			out, err = op.do(req)
		}
		if err != nil {
			h.fail(w, r, err)
			return
		}
		answer(w, op.status, out)
	})
}

// read returns a request's body.
func (op operation) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := int64(maxBodyBytes)
	if op.maxBody > 0 {
		limit = op.maxBody
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout)) // a test's recorder cannot
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body broke off", errJSON)
	}
	if len(body) == 0 && op.optional {
		return nil, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != typeJSON {
		return nil, errMediaType
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, errEncoding
	}
	return body, nil
}

func (op operation) checkQuery(r *http.Request) error {
	for name, values := range r.URL.Query() {
		known := false
		for _, p := range op.query {
			known = known || p.name == name
		}
		if !known || len(values) != 1 {
			return wrong("query parameter %.50q is not known here, or there twice", name)
		}
	}
	return nil
}

// bind decodes the body of a request; an empty one is the zero value.
func bind[T any](r *request) (v T, err error) {
	if len(r.body) > 0 {
		err = decodeStrict(r.body, &v)
	}
	return v, err
}

// Content types of answers.
const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
)

func answer(w http.ResponseWriter, status int, v any) { answerAs(w, status, typeJSON, v) }

func answerAs(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Cache-Control", "no-store") // secrets may be in it
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if v == nil {
		w.WriteHeader(status)
		return
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // of our own types
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // who asked may have gone
}

// Errors of the API's own.
var (
	errKey       = errors.New("show the key: Authorization: Bearer KEY")
	errMethod    = errors.New("this path does not take that method")
	errTooLarge  = errors.New("the body is too large")
	errMediaType = errors.New("the body's Content-Type must be application/json")
	errEncoding  = errors.New("the body must not be compressed: no Content-Encoding is known here")
	errJSON      = errors.New("the body is not the JSON that is wanted here")
)

// failure is a status with the word for programs.
type failure struct {
	status int
	code   string
}

// failureOf returns how an error is told.
func failureOf(err error) failure {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case is(errKey):
		return failure{http.StatusUnauthorized, "unauthorized"}
	case is(errMethod):
		return failure{http.StatusMethodNotAllowed, "method_not_allowed"}
	case is(errTooLarge, queue.ErrTooLarge):
		return failure{http.StatusRequestEntityTooLarge, "too_large"}
	case is(errMediaType), is(errEncoding):
		return failure{http.StatusUnsupportedMediaType, "media_type"}
	case is(errJSON):
		return failure{http.StatusBadRequest, "bad_json"}
	case is(errTooMany):
		return failure{http.StatusTooManyRequests, "too_many"}
	case is(dispatch.ErrNotFound):
		return failure{http.StatusNotFound, "not_found"}
	case is(dispatch.ErrConflict):
		return failure{http.StatusConflict, "conflict"}
	case is(dispatch.ErrInvalid, webhook.ErrEndpoint, webhook.ErrSecret, webhook.ErrType, queue.ErrInvalid):
		return failure{http.StatusUnprocessableEntity, "invalid"}
	case is(dispatch.ErrFull):
		return failure{http.StatusInsufficientStorage, "full"}
	case is(dispatch.ErrClosed, queue.ErrClosed, queue.ErrUnavailable, queue.ErrRefused, context.DeadlineExceeded):
		return failure{http.StatusServiceUnavailable, "unavailable"}
	}
	return failure{http.StatusInternalServerError, "internal"}
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	text := strings.TrimPrefix(err.Error(), "webhook: ")
	switch f.status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "5")
	case http.StatusInternalServerError:
		text = "something went wrong on this side; its log says what"
	}
	if f.status >= http.StatusInternalServerError && r.Context().Err() == nil {
		h.log.Error("webhook API", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	answerAs(w, f.status, typeProblem, Problem{"about:blank", http.StatusText(f.status), f.status, text, f.code})
}
