package polywiretest_test

import (
	"context"
	"fmt"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/polywiretest"
)

// In a program's test t is the test's own.
func Example() {
	t, end := exampleT()
	defer end()

	srv := polywiretest.New(t)
	srv.Handle("say", func(ctx context.Context, m *polywire.Message) (any, error) {
		if m.Conn().User() == "" {
			return nil, polywire.Errorf(polywire.CodeUnauthorized, "who are you?")
		}
		return "said", srv.Room("chat").Send(ctx, "said", m.Conn().User()+": hello")
	})

	ana := srv.Client(polywiretest.As("ana"))
	eve := srv.Client(polywiretest.Over("socketio+ws"))
	ana.MustSubscribe("chat")

	var answer string
	ana.MustCall("say", nil, &answer)
	fmt.Println(answer)
	fmt.Println(polywiretest.Expect[string](ana, "said"))

	fmt.Println(eve.CallError("say", nil, polywire.CodeUnauthorized))
	eve.ExpectNone("said")
	// Output:
	// said
	// ana: hello
	// unauthorized: who are you?
}
