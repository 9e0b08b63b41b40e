package middleware_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/middleware"
	"github.com/polywire/polywire/polywiretest"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// call sends one call of kind "k" through mw to h, in a bubble's own server.
func call(t *testing.T, h polywire.Handler, mw ...polywire.Middleware) error {
	t.Helper()
	srv := polywiretest.New(t)
	srv.Use(mw...)
	srv.Handle("k", h)
	return srv.Client().Call(t.Context(), "k", "payload", nil)
}

func TestRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported any
		var stack []byte
		err := call(t, func(context.Context, *polywire.Message) (any, error) { panic("boom") },
			middleware.Recover(func(_ context.Context, m *polywire.Message, value any, s []byte) {
				reported, stack = m.Kind()+": "+value.(string), s
			}))
		if polywire.CodeOf(err) != polywire.CodeInternal || strings.Contains(err.Error(), "boom") {
			t.Errorf("the caller got %v", err)
		}
		if reported != "k: boom" || !bytes.Contains(stack, []byte("TestRecover")) {
			t.Errorf("reported %v with the stack\n%s", reported, stack)
		}
	})
}

func TestLog(t *testing.T) {
	for _, c := range []struct {
		name  string
		level slog.Level
		err   error
		want  []string
	}{
		{"failure", slog.LevelInfo, polywire.Errorf("sold_out", "no more"), []string{"level=INFO", "kind=k", "wire=native", "call=true", "bytes=9", "sold_out"}},
		{"success at debug", slog.LevelDebug, nil, []string{"level=DEBUG", "kind=k"}},
		{"success is quiet", slog.LevelInfo, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: c.level}))
				err := call(t, func(context.Context, *polywire.Message) (any, error) { return nil, c.err }, middleware.Log(logger))
				if polywire.CodeOf(err) != polywire.CodeOf(c.err) {
					t.Errorf("the caller got %v", err)
				}
				for _, want := range c.want {
					if !strings.Contains(out.String(), want) {
						t.Errorf("no %q in %s", want, out.String())
					}
				}
				if len(c.want) == 0 && out.Len() > 0 || strings.Contains(out.String(), "payload") {
					t.Errorf("logged %s", out.String())
				}
			})
		})
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := call(t, func(ctx context.Context, _ *polywire.Message) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, middleware.Timeout(2*time.Second))
		if polywire.CodeOf(err) != polywire.CodeDeadlineExceeded || time.Since(start) < 2*time.Second || time.Since(start) > 4*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
