package polywire_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// files is a server on which what somebody uploads is told to all others.
func files(t *testing.T) (dial func(url string, w wire.Protocol) *client.Client) {
	t.Helper()
	srv := newServer(t, func(s *polywire.Server) {
		s.Handle("join", func(_ context.Context, m *polywire.Message) (any, error) {
			return nil, m.Conn().Join("files")
		})
		s.Handle("upload", func(ctx context.Context, m *polywire.Message) (any, error) {
			var u struct {
				Name string `json:"name"`
				Data []byte `json:"data"`
			}
			if err := m.Bind(&u); err != nil {
				return nil, err
			}
			// As it came, and as a value of this side's.
			return map[string]any{"of": u.Name, "copy": u.Data}, m.Conn().Others("files").Send(ctx, "uploaded", m.Payload())
		})
	}, polywire.WithWires(native.New(), socketio.New()))
	l := serve(t, srv, "ws")
	return func(url string, w wire.Protocol) *client.Client {
		t.Helper()
		c, err := client.New(url, client.WithNetDial(l.NetDial), client.WithWires(w))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// Bytes inside of an argument are attachments between Socket.IO peers, and
// base64 in JSON for all others.
func TestBytesInsideReachEveryWire(t *testing.T) {
	dial := files(t)
	type received struct {
		contentType string
		value       any
	}
	members := []struct {
		name string
		c    *client.Client
		want received
		got  chan received
	}{
		{"socketio", dial("socketio+ws://memory:1", socketio.New()),
			received{"application/vnd.polywire.parts", map[string]any{"name": "a", "data": []byte{0, 0xff}}}, nil},
		{"native", dial("ws://memory:1/polywire", native.New()),
			received{"application/json", map[string]any{"name": "a", "data": "AP8="}}, nil},
		{"native JSON", dial("ws://memory:1/polywire", native.New(native.WithForm(native.JSON))),
			received{"application/json", map[string]any{"name": "a", "data": "AP8="}}, nil},
	}
	for i := range members {
		m := &members[i]
		m.got = make(chan received, 1)
		m.c.Handle("uploaded", func(_ context.Context, msg *polywire.Message) (any, error) {
			var v any
			err := msg.Bind(&v)
			m.got <- received{msg.Payload().Type, v}
			return nil, err
		})
		if err := m.c.Connect(t.Context()); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if err := m.c.Call(t.Context(), "join", nil, nil); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
	sender := dial("socketio+ws://memory:1", socketio.New())
	if err := sender.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := sender.Call(t.Context(), "upload", map[string]any{"name": "a", "data": []byte{0, 0xff}}, &answer); err != nil {
		t.Fatal(err)
	}
	if want := (map[string]any{"of": "a", "copy": []byte{0, 0xff}}); !reflect.DeepEqual(answer, want) {
		t.Errorf("the answer is %#v", answer)
	}
	for _, m := range members {
		if got := <-m.got; !reflect.DeepEqual(got, m.want) {
			t.Errorf("%s got %#v", m.name, got)
		}
	}
}
