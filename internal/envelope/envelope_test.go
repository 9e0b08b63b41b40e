package envelope

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"testing"

	"github.com/polywire/polywire/codec"
)

func samples() []Envelope {
	return []Envelope{
		{Op: Send, Target: Target{Namespace: "/", Rooms: []string{"a", ""}}, Kind: "k", Sent: 1_767_225_600_000_000, Args: []codec.Payload{{Type: "application/json", Data: []byte("1")}}},
		{Op: Call, ID: 1 << 60, Flags: 3, Millis: 30_000, Target: Target{Template: 2, Everybody: true, ExceptIDs: []string{"x-1"}, ExceptRooms: []string{"muted"}}},
		{Op: Disconnect, Target: Target{IDs: []string{"a-1", "b-2"}}, Code: 3503, Text: "out"},
		{Op: Answer, ID: 7, Expect: 3, Items: []Item{
			{ID: "a-1", Args: []codec.Payload{{Type: "application/x-protobuf", Name: "pkg.Type", Data: []byte{8, 1}}}, Header: map[string]string{"h": "v"}},
			{ID: "b-2", Fault: &Fault{Code: "not_found", Message: "no", Details: codec.Payload{Type: "application/json", Data: []byte("{}")}}},
		}},
		{Op: Session, Names: []string{"r1", "r2"}, Secrets: []string{"s"}, Text: "user", Header: map[string]string{"trace": "x"}},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, e := range samples() {
		b := Append(nil, &e)
		var got Envelope
		if err := Parse(b, &got); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("%+v\ncame back as\n%+v", e, got)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"another version":       {2, 1},
		"no operation":          {1},
		"operation zero":        {1, 0},
		"unknown operation":     {1, byte(last)},
		"unknown field":         {1, 1, 200},
		"a number's end":        {1, 1, fieldID},
		"a number too long":     {1, 1, fieldID, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1},
		"flags out of range":    {1, 1, fieldFlags, 128, 2},
		"a length beyond":       {1, 1, fieldKind, 5, 'a'},
		"a huge length":         {1, 1, fieldArg, 255, 255, 255, 255, 127},
		"a header without end":  {1, 1, fieldHeader, 1, 'a'},
		"an item of nothing":    {1, 9, fieldItem, 0},
		"an item's wrong field": {1, 9, fieldItem, 3, 0, 0, fieldKind},
		"an item's fault":       {1, 9, fieldItem, 2, 0, 1},
	} {
		var e Envelope
		if err := Parse(b, &e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range samples() {
		f.Add(Append(nil, &e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var e Envelope
		err := Parse(b, &e)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10+uint64(len(b))*200 {
			t.Fatalf("%d bytes made it allocate %d", len(b), used)
		}
		if err != nil {
			return
		}
		again := Append(nil, &e)
		var second Envelope
		if err := Parse(again, &second); err != nil {
			t.Fatal(err)
		}
		if len(e.Header) < 2 && len(e.Items) == 0 && !bytes.Equal(Append(nil, &second), again) {
			t.Errorf("%x became %x", again, Append(nil, &second))
		}
	})
}
