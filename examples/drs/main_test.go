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
	const want = `a call that makes a call: ONE WAY TO COMMUNICATE
an error: bad_request: no words
an exception: not_found: No handlers for this action
sent, and nobody waited: that
a stranger reads: drs.response of i-am-unique: {"nested":{"map":1}}
`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
