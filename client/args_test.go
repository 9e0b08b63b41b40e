package client_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// Several arguments are several at the other side, on each wire that has them.
func TestSeveralArguments(t *testing.T) {
	text := client.WithWires(native.New(native.WithForm(native.JSON)))
	for name, tt := range map[string]struct {
		listen, dial string
		opts         []client.Option
	}{
		"binary":         {"ws", "ws", nil},
		"text":           {"ws", "ws", []client.Option{text}},
		"stream":         {"tcp", "tcp", nil},
		"text stream":    {"tcp", "tcp", []client.Option{text}},
		"upgraded":       {"ws", "polywire+http", nil},
		"Socket.IO":      {"ws", "socketio+ws", nil},
		"Socket.IO poll": {"ws", "socketio+http", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve(tt.listen, func(s *polywire.Server) {
					s.Handle("swap", func(_ context.Context, m *polywire.Message) (any, error) {
						var number int
						var word string
						if err := m.Bind(&number, &word); err != nil {
							return nil, err
						}
						return polywire.Args{word, number, []byte{1}, len(m.Args())}, nil
					})
					s.Handle("none", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
				}, polywire.WithWires(socketio.New()))
				c := n.client(tt.dial, tt.opts...)
				heard := make(chan string, 10)
				c.Handle("news", func(_ context.Context, m *polywire.Message) (any, error) {
					var word string
					var number, further int
					err := m.Bind(&word, &number, &further)
					heard <- fmt.Sprint(word, number, further, len(m.Args()), err)
					return nil, nil
				})
				connect(t, c)
				var word string
				var number, args int
				var b []byte
				in := polywire.Args{7, "x"}
				if err := c.Call(t.Context(), "swap", in, polywire.Into(&word, &number, &b, &args)); err != nil || word != "x" || number != 7 || string(b) != "\x01" || args != 2 {
					t.Errorf("%q %d %v, %d arguments, %v", word, number, b, args, err)
				}
				word = ""
				if err := c.Call(t.Context(), "swap", in, &word); err != nil || word != "x" {
					t.Errorf("the first: %q, %v", word, err)
				}
				all := make([]polywire.Payload, 9)
				if err := c.Call(t.Context(), "swap", in, &all); err != nil || len(all) != 4 || string(all[1].Data) != "7" {
					t.Errorf("as they came: %v, %v", all, err)
				}
				if err := c.Call(t.Context(), "none", nil, &all); err != nil || len(all) != 0 {
					t.Errorf("none: %v, %v", all, err)
				}
				if err := srv.All().Send(t.Context(), "news", polywire.Args{"w", 2, nil, []byte{3}}); err != nil {
					t.Error(err)
				}
				if got := receive(t, heard); got != "w2 0 4 <nil>" {
					t.Errorf("sent to all: %s", got)
				}
			})
		})
	}
}
