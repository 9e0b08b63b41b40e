package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// All measures run, small and short.
func TestMeasures(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, []string{"-small", "-rounds", "1", "-duration", "50ms"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "###"); n != len(measures()) {
		t.Errorf("%d tables of %d:\n%s", n, len(measures()), out.String())
	}
	if err := run(ctx, []string{"-cases", "nothing"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "broadcast") {
		t.Errorf("an unknown case: %v", err)
	}
}
