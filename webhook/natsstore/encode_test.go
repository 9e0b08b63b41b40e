package natsstore

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
)

// fill gives every field a value, so that one that is added and forgotten by the encoder
// is noticed.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.FixedZone("", 3600))
	case *json.RawMessage:
		*p = json.RawMessage(`{"a":["x",1]}`)
	case *webhook.Class:
		*p = webhook.ClassThrottled
	case *http.Header:
		*p = http.Header{"A": {"1", "\"2\" <\\>"}, "B": {}, "C\n": {"\x00\xff\u2028ż"}}
	case *map[string]string:
		*p = map[string]string{"a": "\"1\" ż", "b": ""}
	case *[]byte:
		*p = []byte{0, 255, 'x'}
	default:
		switch v.Kind() {
		case reflect.Struct:
			for _, field := range v.Fields() {
				fill(t, field)
			}
		case reflect.String:
			v.SetString("a \"b\" \\ <&> \n\t\x7f ż \xff\u2028")
		case reflect.Int, reflect.Int64:
			v.SetInt(1234567)
		case reflect.Bool:
			v.SetBool(true)
		default:
			t.Fatalf("a field of the type %v", v.Type())
		}
	}
}

// TestEncode compares what is written with encoding/json, by what is read back.
func TestEncode(t *testing.T) {
	var full, empty dispatch.Entry
	fill(t, reflect.ValueOf(&full).Elem())
	empty.Attempt.Class = webhook.ClassOK
	for name, e := range map[string]dispatch.Entry{"full": full, "empty": empty} {
		got, err := appendEntry(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		same[dispatch.Entry](t, name, got, e)
	}
	if _, err := appendEntry(nil, dispatch.Entry{}); err == nil {
		t.Error("an attempt without a class is written")
	}
	var event dispatch.Stored
	same[dispatch.Stored](t, "no event", appendStored(nil, event), event)
	fill(t, reflect.ValueOf(&event).Elem())
	same[dispatch.Stored](t, "event", appendStored(nil, event), event)
	// Bytes of the data stay: what is replayed is what was delivered first.
	event.Data = json.RawMessage(`"<x>"`)
	var back dispatch.Stored
	if err := json.Unmarshal(appendStored(nil, event), &back); err != nil || string(back.Data) != `"<x>"` {
		t.Errorf("got %s, %v", back.Data, err)
	}
}

func same[T any](t *testing.T, name string, got []byte, v T) {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var a, b T
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %s: %v", name, got, err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	var fields, all map[string]json.RawMessage
	if json.Unmarshal(got, &fields) != nil || json.Unmarshal(want, &all) != nil || len(fields) != len(all) {
		t.Errorf("%s: got %s, want %s", name, got, want)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s: got %s, want %s", name, got, want)
	}
}
