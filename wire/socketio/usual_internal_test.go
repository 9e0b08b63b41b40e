package socketio

import (
	"testing"

	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/wire"
)

// named has no kinds registered.
type named struct{ wire.Host }

func (named) Kind(b []byte) string { return string(b) }

// FuzzUsual checks that events that are read in one go are what they are
// element by element.
func FuzzUsual(f *testing.F) {
	for _, text := range []string{
		`["ev",{"a":[1,2]}]`, `["ev","text"]`, `["ev"]`, `["ev",1,2]`, `["ev", 1]`, `["ev",1 ]`, `["ev",1] `, `[ "ev",1]`, `["ev" ,1]`,
		`["e\n",1]`, `["é",1]`, `["",1]`, `["connect",1]`, `["ev",]`, `["ev",1`, `["ev",nul]`, `[1,2]`, `[]`, `[`, ``, `["`, `["ev"`, `["ev",`,
		"[\"ev\",\"\xff\"]", "[\"e\x01\",1]", `["ev",1]]`, `["ev","\ud83d"]`,
	} {
		f.Add([]byte(text), uint64(0))
		f.Add([]byte(text), uint64(7))
	}
	s := jsonSession{session{dialect: &dialect{}, host: named{}}}
	f.Fuzz(func(t *testing.T, text []byte, id uint64) {
		got := wire.Packet{ID: id}
		if !s.usual(text, &got) {
			if got.Type != 0 || got.Kind != "" || got.Payload.Data != nil {
				t.Fatalf("%q: something was left behind: %+v", text, got)
			}
			return
		}
		want := wire.Packet{ID: id}
		sc := jsonscan.Scanner{Data: text}
		err := sc.Open('[')
		if err == nil {
			want.Kind, err = s.kind(&sc)
		}
		var more bool
		if err == nil {
			more, err = sc.More(']', false)
		}
		if err == nil && more {
			want.Payload.Data, err = sc.Value()
		}
		if err == nil {
			more, err = sc.More(']', false)
		}
		if err == nil {
			err = sc.End()
		}
		call := wire.Message
		if id != 0 {
			call = wire.Call
		}
		if err != nil || more || got.Kind != want.Kind || string(got.Payload.Data) != string(want.Payload.Data) || got.Type != call {
			t.Fatalf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	})
}
