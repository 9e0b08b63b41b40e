package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/bench/internal/calls"
)

func TestServeAndRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"serve", "-listen", "127.0.0.1:0"}, w, io.Discard) }()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	target := strings.TrimPrefix(strings.TrimSpace(line), "listening on tcp://")
	var out strings.Builder
	err = calls.ErrSilent
	for d := 100 * time.Millisecond; errors.Is(err, calls.ErrSilent) && d < time.Minute; d *= 4 { // longer on a machine that is too busy
		err = run(t.Context(), []string{"run", "-target", target, "-warmup", "0", "-duration", d.String(), "-in-flight", "8"}, &out, io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	var res calls.Result
	if err := json.Unmarshal([]byte(out.String()), &res); err != nil || res.Calls == 0 || res.PerCPUSecond <= 0 {
		t.Errorf("%v: %s", err, out.String())
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{nil, {"dance"}, {"serve", "-listen", "nowhere"}, {"run", "-duration", "0"},
		{"run", "-target", "127.0.0.1:1", "-duration", "1ms"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
