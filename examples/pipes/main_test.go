package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestRun(t *testing.T) {
	const want = `Client Send: &main.Message{Word:"Hello"}
Server Pipe[0] Trace.Handle: &main.Message{Word:"Hello"}
Server Pipe[1] Upper.Handle: &main.Message{Word:"Hello"}
Server Pipe[2] Trace.Handle: &main.Message{Word:"HELLO"}
Server Handle: &main.Message{Word:"HELLO"}
Server Send: &main.Message{Word:"HELLO World"}
Server Pipe[2] Trace.Send: &main.Message{Word:"HELLO World"}
Server Pipe[1] Upper.Send: &main.Message{Word:"HELLO World"}
Server Pipe[0] Trace.Send: &main.Message{Word:"HELLO World"}
Client Handle: &main.Message{Word:"HELLO World"}
`
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(out.String()) {
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n") // without the padding
	}
	if got.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", got.String(), want)
	}
}
