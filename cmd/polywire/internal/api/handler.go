package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/queue"
)

// DefaultBase is where the paths are.
const DefaultBase = "/api/v1"

// Options configure [New]. Server and Keys are needed.
type Options struct {
	// Server is asked; it must not run yet. It stays the caller's.
	Server *polywire.Server
	// Queues is the broker of the queues. Nil: there are none.
	Queues *queue.Broker
	// PublishWait is how long a message for a queue may wait for a broker that is
	// away. Zero: 10 s.
	PublishWait time.Duration
	// Keys open the API.
	Keys []Key
	// Answers remembers requests with an Idempotency-Key. Nil: a [Memory].
	Answers Store
	// Webhooks serves what is below /webhooks to keys with that scope. The
	// request's path is what follows, and it has no Authorization. Nil: nothing.
	Webhooks http.Handler
	// WebhooksDescription is that of Webhooks (OpenAPI 3.1). It becomes a part of
	// the API's own.
	WebhooksDescription []byte
	// Around is put around what serves an operation's requests, once a key was
	// shown; name is the operation's. Nil: nothing.
	Around func(name string, next http.Handler) http.Handler
	// Version is that of the description. Empty: "1".
	Version string
	// Logger gets the errors that are ours. Nil: none.
	Logger *slog.Logger
}

// Handler is the API. It is safe for concurrent use.
type Handler struct {
	s           *service
	keys        atomic.Pointer[keyring] // never nil
	store       Store
	log         *slog.Logger
	mux         *http.ServeMux
	procedures  map[string]http.Handler
	operations  map[string]*operation // by what serves them: patterns of mux, and paths of procedures
	webhooks    http.Handler
	description []byte
	cross       *http.CrossOriginProtection
}

var _ http.Handler = (*Handler)(nil)

// New returns the API of a server, which it tells to keep every user's
// connections together: see [UserRoom].
func New(o Options) (*Handler, error) {
	if o.Server == nil {
		return nil, errors.New("API: no server")
	}
	keys, err := newKeyring(o.Keys)
	if err != nil {
		return nil, err
	}
	s, err := newService(o.Server, o.Queues)
	if err != nil {
		return nil, err
	}
	s.publishWait = cmp.Or(o.PublishWait, 10*time.Second)
	if o.Answers == nil {
		o.Answers = NewMemory(0)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Around == nil {
		o.Around = func(_ string, next http.Handler) http.Handler { return next }
	}
	h := &Handler{
		s: s, store: o.Answers, log: o.Logger, mux: http.NewServeMux(),
		procedures: make(map[string]http.Handler), operations: make(map[string]*operation),
		webhooks: o.Webhooks, cross: http.NewCrossOriginProtection(),
	}
	if h.webhooks != nil {
		h.webhooks = o.Around(webhooksPath, h.webhooks)
	}
	h.keys.Store(&keys)
	for _, op := range operations() {
		for _, p := range op.paths {
			pattern := p.method + " " + DefaultBase + p.pattern
			h.operations[pattern] = op
			h.mux.Handle(pattern, o.Around(pattern, h.serve(op, p)))
		}
		h.operations[op.procedure] = op
		h.procedures[op.procedure] = o.Around(op.procedure, op.rpc(h, op, connect.WithReadMaxBytes(int(op.limit())), connect.WithCodec(strictJSON("json")),
			connect.WithCodec(strictJSON("json; charset=utf-8"))))
	}
	h.description, err = describe(o.Version, o.WebhooksDescription)
	return h, err
}

// SetKeys has these keys open the API from the next request on, and no others.
// The error says what is wrong with them; those before stay then.
func (h *Handler) SetKeys(keys []Key) error {
	r, err := newKeyring(keys)
	if err == nil {
		h.keys.Store(&r)
	}
	return err
}

// Patterns returns what a mux has to send here, in the words of http.ServeMux.
func Patterns() []string {
	patterns := []string{DefaultBase + "/"}
	seen := make(map[string]bool)
	for _, op := range operations() {
		if service := op.procedure[:strings.LastIndexByte(op.procedure, '/')+1]; !seen[service] {
			seen[service] = true
			patterns = append(patterns, service)
		}
	}
	return patterns
}

// webhooksPath is where Options.Webhooks is.
const webhooksPath = DefaultBase + "/webhooks"

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 { // for bodies of what is refused, which net/http reads
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(operationTimeout)) // a test's recorder cannot
	}
	if r.URL.Path == DefaultBase+"/openapi.json" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(h.description) // who asked may have gone
		return
	}
	if h.cross.Check(r) != nil {
		problemf(codeCrossSite, "pages of other sites may not use this").write(w)
		return
	}
	key, ok := h.keys.Load().find(r)
	if !ok { // before anything is said about what is there
		problemf(codeUnauthorized, "show a key: Authorization: Bearer KEY").write(w)
		return
	}
	c := call{key: key, idempotency: r.Header.Values(idempotencyHeader)}
	if h.webhooks != nil && (r.URL.Path == webhooksPath || strings.HasPrefix(r.URL.Path, webhooksPath+"/")) {
		if !key.Opens(ScopeWebhooks) {
			refuse(key, ScopeWebhooks).write(w)
			return
		}
		r = r.Clone(r.Context())
		r.Header.Del("Authorization")
		http.StripPrefix(webhooksPath, h.webhooks).ServeHTTP(w, r)
		return
	}
	var next http.Handler = h.mux
	if c.op = h.operations[r.URL.Path]; c.op != nil {
		next = h.procedures[r.URL.Path]
	} else {
		_, pattern := h.mux.Handler(r)
		if c.op = h.operations[pattern]; c.op == nil {
			h.unknown(w, r)
			return
		}
	}
	if !key.Opens(c.op.scope) {
		refuse(key, c.op.scope).write(w)
		return
	}
	// Later than any answer: with it the request's context ends.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(c.op.within() + operationTimeout)) // a test's recorder cannot
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
}

func refuse(k Key, s Scope) *problem {
	return problemf(codeForbidden, "the key %q does not have the scope %s", k.name, s)
}

// call is who asks for what.
type call struct {
	op          *operation
	key         Key
	idempotency []string
}

type callKey struct{}

// callOf returns the call that ServeHTTP has let in.
func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call) // ServeHTTP put it there
	return c
}

// unknown answers what no operation takes.
func (h *Handler) unknown(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := h.mux.Handler(other); h.operations[pattern] != nil {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		problemf(codeNotFound, "no such path").write(w)
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	problemf(codeMethod, "this path does not take that method").write(w)
}

// serve answers a path of an operation.
func (h *Handler) serve(op *operation, p path) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := op.newIn()
		out, replayed, err := proto.Message(nil), false, op.bind(w, r, p, in)
		if err == nil {
			out, replayed, err = h.run(r.Context(), callOf(r.Context()), in)
		}
		if err != nil {
			h.tell(r.Context(), op, err).write(w)
			return
		}
		head(w)
		markReplayed(w.Header(), replayed)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(appendJSON(nil, out.ProtoReflect()), '\n')) // who asked may have gone
	})
}

// run does an operation, whichever way it was asked for.
func (h *Handler) run(ctx context.Context, c call, in proto.Message) (out proto.Message, replayed bool, err error) {
	if hasUnknown(in.ProtoReflect()) {
		return nil, false, fmt.Errorf("%w: there are fields that are not known here", errJSON)
	}
	for _, name := range c.op.needs {
		if f := in.ProtoReflect().Descriptor().Fields().ByTextName(name); f == nil || !in.ProtoReflect().Has(f) {
			return nil, false, invalid("%s is missing", name)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.op.within())
	defer cancel()
	return h.once(ctx, c, in, func(ctx context.Context) (out proto.Message, err error) {
		defer func() {
			if v := recover(); v != nil {
				h.log.Error("API: panic", "operation", c.op.method(), "value", v, "stack", string(debug.Stack()))
				err = problemf(codeInternal, "something went wrong on this side; its log says what")
			}
		}()
		return c.op.do(ctx, h.s, in)
	})
}

// tell returns what is said of an error, and logs what is ours.
func (h *Handler) tell(ctx context.Context, op *operation, err error) *problem {
	p := problemOf(err)
	if p.code.class().status >= http.StatusInternalServerError && ctx.Err() == nil {
		h.log.Error("API", "operation", op.method(), "error", cause(p, err))
	}
	return p
}

func cause(p *problem, err error) error {
	if p.err != nil {
		return p.err
	}
	return err
}

// read returns a request's body, empty where there is none.
func (op *operation) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, op.limit()))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, problemf(codeTooLarge, "the body has more than %d bytes", op.limit())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it broke off", errJSON)
	}
	if len(body) == 0 {
		return nil, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, problemf(codeMediaType, "the body's Content-Type must be application/json")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, problemf(codeMediaType, "the body must not be compressed: no Content-Encoding is known here")
	}
	return body, nil
}

// strictJSON is protobuf's JSON for Connect, without passing over what is not known.
type strictJSON string

// Name implements connect.Codec.
func (c strictJSON) Name() string { return string(c) }

// Marshal implements connect.Codec.
func (strictJSON) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	return protojson.Marshal(m)
}

// Unmarshal implements connect.Codec.
func (strictJSON) Unmarshal(b []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	if len(b) == 0 || !json.Valid(b) {
		return errors.New("want one object")
	}
	return protojson.Unmarshal(b, m)
}
