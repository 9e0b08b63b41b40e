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
	const want = `the payment of order 7 is approved: nothing of what follows can be lost
the customer's system has a verified webhook: order 7, 4200 cents
ann's phone (native): order 7 is paid
ann's browser (Socket.IO): order 7 is paid
ann's till (DRS): order 7 is paid
ann's phone (native): invoice-7.pdf is ready
ann's browser (Socket.IO): invoice-7.pdf is ready
ann's till (DRS): invoice-7.pdf is ready
`
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
