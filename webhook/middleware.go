package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// DefaultMaxBodyBytes is the largest body that a receiver takes by default.
const DefaultMaxBodyBytes = 1 << 20

// ErrTooLarge is what [ReceiverOptions.Refused] gets for a body over the limit.
var ErrTooLarge = errors.New("webhook: the body is too large")

// ErrBusy is what [ReceiverOptions.Refused] gets for a message that is being
// handled by another request.
var ErrBusy = errors.New("webhook: the message is being handled already")

// ReceiverOptions configure [Middleware]. The zero value works.
type ReceiverOptions struct {
	// MaxBodyBytes is the largest body. Default: 1 MiB.
	MaxBodyBytes int64
	// Replays remembers ids. Default: a [NewReplayMemory] of its own. Receivers
	// that share the work of one URL share a store; those of different senders
	// do not, or one sender could use up the ids of another.
	Replays ReplayStore
	// Keep is how long ids are remembered. It is never shorter than twice the
	// verifier's tolerance, its default: after that a message is too old. To
	// know a sender's repeated tries of hours later, keep for longer.
	Keep time.Duration
	// Refused gets every request that does not reach the handler, for logs and
	// counters. The error has no secrets in it. Default: nothing.
	Refused func(r *http.Request, err error)
}

type receivedKey struct{}

// FromContext returns the message that [Middleware] verified.
func FromContext(ctx context.Context) (Received, bool) {
	m, ok := ctx.Value(receivedKey{}).(Received)
	return m, ok
}

// Middleware lets a message through to the handler if it is verified and new.
// The handler reads the raw body, and gets the rest from [FromContext]. A
// status of 2xx says that the message was handled; after any other, and after a
// panic, its id is forgotten and the sender's next try is handled again.
//
// It answers by itself:
//
//	200  the message was handled before
//	400  a header is missing or malformed, or the body broke off
//	401  too old, too new, or no signature matches
//	405  not POST
//	409  the message is being handled by another request; try again
//	413  the body is over the limit
//	503  the store of ids failed or is full; try again
//
// With [VerifierOptions].InsecureIgnoreTimestamp an id is remembered as long as
// otherwise, and can be replayed after that.
func Middleware(v *Verifier, o ReceiverOptions) func(http.Handler) http.Handler {
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if o.Replays == nil {
		o.Replays = NewReplayMemory(0)
	}
	if o.Refused == nil {
		o.Refused = func(*http.Request, error) {}
	}
	o.Keep = max(o.Keep, 2*v.o.Tolerance+time.Second) // seconds are whole in messages only
	return func(next http.Handler) http.Handler {
		return &receiver{v, o, next}
	}
}

type receiver struct {
	v    *Verifier
	o    ReceiverOptions
	next http.Handler
}

// ServeHTTP verifies one request.
func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		rc.reject(w, r, http.StatusMethodNotAllowed, errors.New("webhook: the method is not POST"))
		return
	}
	m, status, err := rc.read(w, r)
	if err != nil {
		rc.reject(w, r, status, err)
		return
	}
	claim, err := rc.o.Replays.Claim(r.Context(), m.ID, rc.o.Keep)
	switch {
	case err != nil:
		rc.reject(w, r, http.StatusServiceUnavailable, err)
	case claim == ClaimHandled:
		w.WriteHeader(http.StatusOK) // so that the sender stops
	case claim == ClaimBusy:
		rc.reject(w, r, http.StatusConflict, ErrBusy)
	default:
		rc.handle(w, r, m)
	}
}

// read verifies the headers, then the body: the first refusal costs the least.
func (rc *receiver) read(w http.ResponseWriter, r *http.Request) (Received, int, error) {
	p, err := rc.v.parse(r.Header)
	if err != nil {
		return Received{}, statusOf(err), err
	}
	if r.ContentLength > rc.o.MaxBodyBytes {
		return Received{}, http.StatusRequestEntityTooLarge, ErrTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rc.o.MaxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return Received{}, http.StatusRequestEntityTooLarge, ErrTooLarge
	}
	if err != nil {
		return Received{}, http.StatusBadRequest, err
	}
	m, err := rc.v.verify(p, body)
	if err != nil {
		return Received{}, statusOf(err), err
	}
	return m, 0, nil
}

func statusOf(err error) int {
	if errors.Is(err, ErrMissingHeader) || errors.Is(err, ErrMalformed) {
		return http.StatusBadRequest
	}
	return http.StatusUnauthorized
}

func (rc *receiver) reject(w http.ResponseWriter, r *http.Request, status int, err error) {
	if status == http.StatusConflict || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(5))
	}
	http.Error(w, http.StatusText(status), status)
	rc.o.Refused(r, err)
}

func (rc *receiver) handle(w http.ResponseWriter, r *http.Request, m Received) {
	ctx := context.WithValue(r.Context(), receivedKey{}, m)
	seen := &statusWriter{ResponseWriter: w}
	handled := false
	defer func() { // a panic goes on from here
		// The sender may have gone; what was handled is remembered all the same.
		keep := context.WithoutCancel(ctx)
		if err := rc.o.Replays.Finish(keep, m.ID, handled, rc.o.Keep); err != nil {
			rc.o.Refused(r, err)
		}
	}()
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(m.Body))
	r.ContentLength = int64(len(m.Body))
	rc.next.ServeHTTP(seen, r)
	handled = seen.status == 0 || seen.status >= 200 && seen.status <= 299 // 0 becomes 200
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the final status.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write has the status 200 unless another was set.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
