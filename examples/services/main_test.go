package main

import (
	"bytes"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestRun(t *testing.T) {
	const want = `o-1: 3 pears, 7 left, urgent: true
o-2: 4 pears, 3 left, urgent: false
o-3: sold_out: only 3 pears
the stock is back: 3 pears
stock: true
`
	var out bytes.Buffer
	if err := run(t.Context(), &out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
