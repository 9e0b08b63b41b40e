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
	const want = `Middleware1: received message of kind: "google.protobuf.StringValue"
Middleware2: received message of kind: "google.protobuf.StringValue"
"my message !" is answered with status OK and google.protobuf.BoolValue
Middleware1: received message of kind: "google.protobuf.StringValue"
Middleware2: received message of kind: "google.protobuf.StringValue"
"" is answered with status KO and google.protobuf.Int32Value
Middleware1: received message of kind: "google.protobuf.StringValue"
Middleware2: received message of kind: "google.protobuf.StringValue"
panic detected: as it was asked to
"panic" fails: internal: internal error
a client's broadcast, receiver 1 of 2: to all, me too
a client's broadcast, receiver 2 of 2: to all, me too
the server's broadcast, receiver 1 of 2: a message for everyone !
the server's broadcast, receiver 2 of 2: a message for everyone !
a client's publication, receiver 1 of 1: to subscribers
the server's publication, receiver 1 of 1: to them again
/health: ok
`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it printed\n%s\nwant\n%s", out.String(), want)
	}
}
