package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestRun(t *testing.T) {
	const want = `the paper is ordered
the poster is ordered
nothing is refused: bad_request: 0 copies
the shop was closed
the paper: printed
the poster: the paper jams
the poster: printed
`
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
