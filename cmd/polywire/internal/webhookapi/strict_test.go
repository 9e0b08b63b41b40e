package webhookapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// What is accepted is one JSON object, and says the same when it is encoded
// and decoded again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"type":"a","data":null}`, `{"type":"a","data":{"x":[1,2,{}]},"time":"2026-01-02T03:04:05Z"}`, `{"type":1}`, `{"Type":"a"}`,
		`{"type":"a","type":"b"}`, `{"data":`, `{"data":[[[[`, "{\"type\":\"\xff\"}", `{"a":1}`, `{}{}`, `null`, `[]`, ``, `{"data":1e999}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if err := decodeStrict(b, &e); err != nil {
			if !errors.Is(err, errJSON) {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		if !json.Valid(b) || len(e.Data) > len(b) {
			t.Fatalf("%q was taken as %+v", b, e)
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var same Event
		if err := decodeStrict(again, &same); err != nil {
			t.Fatalf("%q became %q: %v", b, again, err)
		}
		if third, err := json.Marshal(same); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%q, then %q, %v", again, third, err)
		}
	})
}
