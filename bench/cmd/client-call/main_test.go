package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/wire/native"
)

func TestRun(t *testing.T) {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	ln, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln, scheme) }()

	var out strings.Builder
	err = calls.ErrSilent
	for d := 100 * time.Millisecond; errors.Is(err, calls.ErrSilent) && d < time.Minute; d *= 4 { // longer on a machine that is too busy
		err = run(t.Context(), []string{"-url", "tcp://" + ln.Addr().String(), "-warmup", "0", "-duration", d.String(), "-in-flight", "8"}, &out, io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	var res calls.Result
	if err := json.Unmarshal([]byte(out.String()), &res); err != nil || res.Calls == 0 || res.PerCPUSecond <= 0 {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{"-url", "smoke://signal"}, {"-url", "tcp://127.0.0.1:1"}, {"-in-flight", "many"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
