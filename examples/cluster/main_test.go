package main

import (
	"bytes"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestRun(t *testing.T) {
	const want = `Ann: "Bob" has come
Ann: good morning
Bob: good morning
in the garden: "Ann", at north
in the garden: "Bob", at south
Ann: "Bob" has left
Ann: where is Bob?
Bob: where is Bob?, all of it: true
the weather: sunny in the south
`
	var out bytes.Buffer
	if err := run(t.Context(), &out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
