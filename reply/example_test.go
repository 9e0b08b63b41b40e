package reply_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/reply"
	"github.com/polywire/polywire/wire/native"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// An endpoint as in GOSF: the answer has the id of the request.
func Example() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	polywire.HandleFunc(srv, "echo", func(_ context.Context, in *reply.Message) (*reply.Message, error) {
		if in.Text == "" {
			return reply.Failure("no_text"), nil
		}
		return reply.Success(in.Text), nil
	})
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	check(err)
	go srv.Serve(l, scheme) // until the server is closed

	ctx := context.Background()
	c, err := client.Dial(ctx, scheme+"://"+l.Addr().String())
	check(err)
	for _, request := range []*reply.Message{{ID: 7, Text: "Hello world."}, {ID: 8}} {
		var answer json.RawMessage
		check(c.Call(ctx, "echo", request, &answer))
		fmt.Println(string(answer))
	}
	check(c.Close())
	check(srv.Close())
	// Output:
	// {"id":7,"success":true,"text":"Hello world."}
	// {"id":8,"success":false,"text":"no_text"}
}

func ExampleSuccess() {
	text, err := json.Marshal(reply.Success("done", map[string]any{"age": 32}))
	check(err)
	fmt.Println(string(text))
	// Output: {"success":true,"text":"done","body":{"age":32}}
}

func ExampleMessage_WithoutMeta() {
	internal := &reply.Message{Success: true, Text: "found", Meta: map[string]any{"shard": 3}}
	text, err := json.Marshal(internal.WithoutMeta())
	check(err)
	fmt.Println(string(text))
	// Output: {"success":true,"text":"found"}
}

type user struct {
	Name string `json:"name"`
	Age  int    `json:"age,omitempty"`
}

func ExampleFromStruct() {
	body, err := reply.FromStruct(user{Name: "ann", Age: 32})
	check(err)
	fmt.Println(reply.Success("", body).Body["age"])
	// Output: 32
}

func ExampleToStruct() {
	request := &reply.Message{Body: map[string]any{"name": "ann", "age": 32.0}} // as decoded from JSON
	var u user
	check(reply.ToStruct(request.Body, &u))
	fmt.Println(u.Name, u.Age)
	// Output: ann 32
}
