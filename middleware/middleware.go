// Package middleware has the wrappers that most applications want around their
// handlers.
package middleware

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/polywire/polywire"
)

// Recover turns a panic of a handler into an error with
// [polywire.CodeInternal], and gives the panic's value and the stack to report.
// The core survives panics without it; use it to decide what becomes of them.
func Recover(report func(ctx context.Context, m *polywire.Message, value any, stack []byte)) polywire.Middleware {
	return func(next polywire.Handler) polywire.Handler {
		return func(ctx context.Context, m *polywire.Message) (result any, err error) {
			defer func() {
				if p := recover(); p != nil {
					if report != nil {
						report(ctx, m, p, debug.Stack())
					}
					result, err = nil, polywire.Errorf(polywire.CodeInternal, "internal error")
				}
			}()
			return next(ctx, m)
		}
	}
}

// Log writes a line for each message: at debug level when all went well, at
// info level when it failed. Payloads are not logged.
func Log(logger *slog.Logger) polywire.Middleware {
	base := time.Now() // the time since then costs a third of a time.Time
	return func(next polywire.Handler) polywire.Handler {
		return func(ctx context.Context, m *polywire.Message) (any, error) {
			start := time.Since(base)
			result, err := next(ctx, m)
			level := slog.LevelDebug
			if err != nil {
				level = slog.LevelInfo
			}
			if logger.Enabled(ctx, level) {
				logMessage(ctx, logger, level, m, time.Since(base)-start, err)
			}
			return result, err
		}
	}
}

// LogHooks is Log as hooks, for polywire.WithHooks: the core has measured then
// how long it took, so that lines which are not written cost next to nothing;
// and what panicked has a line, too.
func LogHooks(logger *slog.Logger) polywire.Hooks {
	ctx, h := context.Background(), logger.Handler()
	return polywire.Hooks{AfterHandle: func(m *polywire.Message, took time.Duration, _ any, err error) {
		level := slog.LevelDebug
		if err != nil {
			level = slog.LevelInfo
		}
		if h.Enabled(ctx, level) {
			logMessage(ctx, logger, level, m, took, err)
		}
	}}
}

// maxKindBytes is what a line has of a kind.
const maxKindBytes = 255

func logMessage(ctx context.Context, logger *slog.Logger, level slog.Level, m *polywire.Message, took time.Duration, err error) {
	kind := m.Kind()
	if len(kind) > maxKindBytes { // a peer has chosen it
		kind = kind[:maxKindBytes] + "..."
	}
	logger.LogAttrs(ctx, level, "message", slog.String("kind", kind), slog.String("conn", m.From()),
		slog.String("wire", m.Wire()), slog.Bool("call", m.IsCall()), slog.Int("bytes", m.Size()),
		slog.Duration("took", took), slog.Any("error", err))
}

// Timeout gives handlers less time than the server does: ctx ends after d. A
// handler that ignores ctx goes on; its caller is answered by the server's own
// timeout.
func Timeout(d time.Duration) polywire.Middleware {
	return func(next polywire.Handler) polywire.Handler {
		return func(ctx context.Context, m *polywire.Message) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return next(ctx, m)
		}
	}
}
