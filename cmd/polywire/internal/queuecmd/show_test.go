package queuecmd

import (
	"encoding/json"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

func TestShow(t *testing.T) {
	for _, c := range []struct {
		payload codec.Payload
		want    string
	}{
		{codec.Payload{}, ``},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte("{ \"a\":\n1}")}, `{"a":1}`},
		{codec.Payload{Type: codec.TypeJSON, Data: []byte("{")}, `"ew=="`},
		{codec.Payload{Data: []byte("5")}, `5`},
		{codec.Payload{Data: []byte("hi")}, `{"contentType":"","data":"aGk="}`},
		{codec.Payload{Type: codec.TypeMsgpack, Data: []byte{0x93, 1, 2, 3}}, `[1,2,3]`},
		{codec.Payload{Type: "text/plain", Data: []byte("hi")}, `{"contentType":"text/plain","data":"aGk="}`},
	} {
		s, err := show(&queue.Envelope{Message: queue.Message{Queue: "q", ID: "i", Payload: c.payload}})
		if err != nil || string(s.Payload) != c.want || !json.Valid(append([]byte("["), append(s.Payload, ']')...)) {
			t.Errorf("%q: %s, %v, want %s", c.payload, s.Payload, err, c.want)
		}
	}
	for text, want := range map[string]string{"abc ü": "abc ü", "a\x1b[2J\n": `a\u001b[2J\u000a`, "\u009b": `\u009b`, "\U000e0001": `\U000e0001`} {
		if got := visible(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
