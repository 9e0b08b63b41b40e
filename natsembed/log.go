package natsembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// levelTrace is below Debug, as slog's levels are apart by four.
const levelTrace = slog.LevelDebug - 4

// logger is the server's logger over slog.
type logger struct {
	slog  *slog.Logger
	fatal chan error // the first one, for Start: the server goes on after it
}

func newLogger(l *slog.Logger) *logger {
	return &logger{slog: l, fatal: make(chan error, 1)}
}

func (l *logger) enabled(level slog.Level) bool {
	return l.slog.Enabled(context.Background(), level)
}

func (l *logger) log(level slog.Level, format string, v []any) {
	if !l.enabled(level) {
		return
	}
	if m := strings.Trim(fmt.Sprintf(format, v...), "- "); m != "" { // its rulers are for terminals
		l.slog.Log(context.Background(), level, m)
	}
}

// Noticef logs what the server calls a notice.
func (l *logger) Noticef(format string, v ...any) { l.log(slog.LevelInfo, format, v) }

// Warnf logs a warning.
func (l *logger) Warnf(format string, v ...any) { l.log(slog.LevelWarn, format, v) }

// Errorf logs an error.
func (l *logger) Errorf(format string, v ...any) { l.log(slog.LevelError, format, v) }

// Debugf logs what is for those who look for faults.
func (l *logger) Debugf(format string, v ...any) { l.log(slog.LevelDebug, format, v) }

// Tracef logs the protocol's lines.
func (l *logger) Tracef(format string, v ...any) { l.log(levelTrace, format, v) }

// Fatalf is where a program would end. Here Start fails.
func (l *logger) Fatalf(format string, v ...any) {
	l.log(slog.LevelError, format, v)
	err := errors.New("natsembed: " + fmt.Sprintf(format, v...))
	if strings.Contains(err.Error(), "address already in use") {
		err = fmt.Errorf("%w: %w", errPortTaken, err)
	}
	select {
	case l.fatal <- err:
	default:
	}
}
