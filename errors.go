package polywire

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire"
)

// Code classifies a failed request. Applications may use codes of their own.
type Code string

// The codes of the core.
const (
	CodeBadRequest       Code = "bad_request"       // malformed, or the payload does not decode
	CodeUnauthorized     Code = "unauthorized"      // no identity, or not accepted
	CodeForbidden        Code = "forbidden"         // a policy refused
	CodeNotFound         Code = "not_found"         // no handler for the kind, no such thing
	CodeConflict         Code = "conflict"          // not in this state
	CodeTooLarge         Code = "too_large"         // over a size limit
	CodeTooManyRequests  Code = "too_many_requests" // over a rate or a count
	CodeCanceled         Code = "canceled"          // the caller gave up
	CodeDeadlineExceeded Code = "deadline_exceeded" // it took too long
	CodeUnavailable      Code = "unavailable"       // the peer is gone or going; worth another try
	CodeUnimplemented    Code = "unimplemented"     // the wire cannot do that
	CodeInternal         Code = "internal"          // a fault whose text stays in the log
)

// Error is a request that failed, as handlers return it and callers get it.
// The connection is not affected; see [CloseCode] for that.
type Error struct {
	Code    Code
	Message string
	// Details is more about it, for machines. A handler may set any value that
	// a codec can encode; on a received error it is a [Payload].
	Details any

	remote bool
	fault  bool // no handler chose it
	codecs *codec.Set
}

// Errorf returns an error with a code and a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Message
}

// Is reports whether target is an *Error of the same code and either no
// message or the same one, so that errors.Is(err, &Error{Code: c}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == "" || t.Message == e.Message)
}

// Remote reports whether the error came over the wire, from the peer's handler.
func (e *Error) Remote() bool { return e.remote }

// Fault reports whether no handler chose the error: there was none for the
// kind, or it panicked. Of a received error it says what the peer's wire does,
// and is false on wires that do not.
func (e *Error) Fault() bool { return e.fault }

// BindDetails decodes the details of a received error into v.
func (e *Error) BindDetails(v any) error {
	p, ok := e.Details.(Payload)
	if !ok || e.codecs == nil {
		return errors.New("polywire: the error carries no received details")
	}
	return e.codecs.Unmarshal(p, v)
}

// CodeOf returns the code of err: its own if it wraps an *[Error],
// deadline_exceeded or canceled for a context's end, else internal. It is
// empty for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	case engineAway(err):
		return CodeUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		return CodeCanceled
	}
	return CodeInternal
}

// engineAway reports whether what is behind the server did not confirm in
// time: its cluster, its queues.
func engineAway(err error) bool {
	return errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, queue.ErrUnavailable)
}

// Sentinel errors. Methods return them wrapped or not: use errors.Is.
var (
	// ErrNotRunning says that the server has not been started, or joins its
	// cluster still.
	ErrNotRunning = errors.New("polywire: not running")
	// ErrRunning says that a client that is to be connected is so already, or is
	// at work to be; see package client.
	ErrRunning = errors.New("polywire: already running")
	// ErrClosed says that the server, or the client, has been closed.
	ErrClosed = errors.New("polywire: closed")
	// ErrConnClosed says that the connection has ended; [CloseError] says why.
	// Whether the peer has handled a call that was in flight is not known. Its
	// code is [CodeUnavailable].
	ErrConnClosed = fmt.Errorf("polywire: connection closed: %w", &Error{Code: CodeUnavailable, Message: "connection closed"})
	// ErrNoConnections says that nobody was there who could have been asked, or
	// who had to be reached ([MustReach]). Its code is [CodeUnavailable].
	ErrNoConnections = fmt.Errorf("polywire: no connections: %w", &Error{Code: CodeUnavailable, Message: "no connections"})
	// ErrSlowConsumer says that the outbox was full, and that the connection is
	// closed for that.
	ErrSlowConsumer = errors.New("polywire: slow consumer")
	// ErrConfig is wrapped by all errors about options and registrations.
	ErrConfig = errors.New("polywire: invalid configuration")
	// ErrDuplicateCode says that a numeric code is another kind's already; see
	// [Server.Code].
	ErrDuplicateCode = fmt.Errorf("%w: duplicate message code", ErrConfig)
	// ErrAwaitHello is returned by an [Authenticator] that wants to see the
	// client's first message before it decides.
	ErrAwaitHello = errors.New("polywire: waiting for the client's hello")
)

// CloseCode says why a connection ends and whether the peer should come back;
// see [wire.CloseCode] for the ranges.
type CloseCode = wire.CloseCode

// The close codes of the core. After those up to 3499 a client comes back, after
// 1000 and the others it stays away.
const (
	CloseNormal            CloseCode = 1000                        // an orderly end
	CloseGoingAway         CloseCode = 1001                        // the peer goes: a page that is left
	CloseConnectionClosed            = wire.CloseConnectionClosed  // 3000: the connection broke without a word
	CloseShutdown                    = wire.CloseShutdown          // 3001: the server is going down
	CloseServerError                 = wire.CloseServerError       // 3004: an internal fault
	CloseExpired                     = wire.CloseExpired           // 3005: the identity's time is over
	CloseSlow                        = wire.CloseSlow              // 3008: slow consumer: the outbox was full
	CloseWriteError                  = wire.CloseWriteError        // 3009: a write failed or took too long
	CloseInsufficientState           = wire.CloseInsufficientState // 3010: a hole in a room's history
	CloseForceReconnect              = wire.CloseForceReconnect    // 3011: please come back, perhaps elsewhere
	CloseNoPong                      = wire.CloseNoPong            // 3012: no answer to a heartbeat
	CloseTooManyRequests             = wire.CloseTooManyRequests   // 3013: over a rate or the limit of open calls
	CloseUnauthorized                = wire.CloseUnauthorized      // 3500: credentials missing or not accepted
	CloseBadRequest                  = wire.CloseBadRequest        // 3501: malformed or against the protocol
	CloseStale                       = wire.CloseStale             // 3502: no opening within the handshake timeout; clients come back
	CloseForceDisconnect             = wire.CloseForceDisconnect   // 3503: the application ended it
	CloseConnectionLimit             = wire.CloseConnectionLimit   // 3504: too many connections
	CloseRoomLimit                   = wire.CloseRoomLimit         // 3505: too many rooms
	CloseProtocol                    = wire.CloseProtocol          // 3506: no protocol in common
	CloseForbidden                   = wire.CloseForbidden         // 3507: not allowed
)

// CloseError is the end of a connection: what [Conn.Err] and calls in flight report.
type CloseError struct {
	Code   CloseCode
	Reason string
	// Remote is true when the peer sent the code, false when this side ended
	// the connection or found it broken.
	Remote bool
	cause  error
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	s := fmt.Sprintf("polywire: connection closed (%d)", e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns [ErrConnClosed] and what caused the end, if anything.
func (e *CloseError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrConnClosed}
	}
	return []error{ErrConnClosed, e.cause}
}

// body returns the error as it goes over the wire. What is not an *Error stays
// in the log.
func (s *Server) errorBody(err error) *wire.ErrorBody {
	var e *Error
	fault := true
	switch {
	case errors.As(err, &e):
		fault = e.fault
	case engineAway(err):
		e = Errorf(CodeUnavailable, "not confirmed: what keeps or spreads messages is not available")
	case errors.Is(err, context.DeadlineExceeded):
		e = Errorf(CodeDeadlineExceeded, "the handler ran out of time")
	case errors.Is(err, context.Canceled):
		e = Errorf(CodeCanceled, "canceled")
	default:
		e = Errorf(CodeInternal, "internal error")
	}
	b := &wire.ErrorBody{Code: string(e.Code), Message: e.Message, Fault: fault}
	if e.Details != nil {
		p, err := s.cfg.codecs.Marshal(e.Details, codec.TypeJSON)
		if err != nil {
			s.reportError(nil, fmt.Errorf("polywire: details of error %s: %w", e.Code, err))
			return b
		}
		b.Details = p
	}
	return b
}

// errorBody returns the error in a form that the peer's wire can say.
func (l *link) errorBody(err error) *wire.ErrorBody {
	b := l.srv.errorBody(err)
	types := l.sess.ContentTypes()
	if b.Details.Empty() || len(types) == 0 || slices.Contains(types, b.Details.Type) {
		return b
	}
	p, err := l.srv.cfg.codecs.Translate("", b.Details, types[0])
	if err != nil {
		l.srv.reportError(nil, fmt.Errorf("polywire: details of error %s: %w", b.Code, err))
		p = Payload{}
	}
	b.Details = p
	return b
}

// refusalBody is errorBody for a peer that is not let in.
func (l *link) refusalBody(err error) *wire.ErrorBody {
	if e := (*Error)(nil); !errors.As(err, &e) {
		err = Errorf(CodeUnauthorized, "unauthorized")
	}
	return l.errorBody(err)
}

// remoteError is the error that a peer answered with; body's data is copied.
func (s *Server) remoteError(b *wire.ErrorBody) *Error {
	e := &Error{Code: CodeInternal, remote: true, codecs: s.cfg.codecs}
	if b == nil {
		return e
	}
	e.Code, e.Message, e.fault = Code(b.Code), b.Message, b.Fault
	if !b.Details.Empty() {
		e.Details = b.Details.Clone()
	}
	return e
}
