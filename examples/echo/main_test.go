package main

import (
	"bytes"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestRun(t *testing.T) {
	const want = `echo: hello over ws
join: one application every wire (26 bytes)
error: bad_request: no words to join
echo: hello over tcp
join: one application every wire (26 bytes)
error: bad_request: no words to join
server: closed
`
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
