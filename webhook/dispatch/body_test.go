package dispatch

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/polywire/polywire/webhook"
)

// TestBody compares bodies with those of package webhook, byte by byte.
func TestBody(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for _, data := range []string{`null`, `{}`, `{"a":"<b> & \u2028","n":[1,2,{"data":null}]}`, `"null}"`, `12`, `""`} {
		for _, f := range []webhook.Format{webhook.FormatStandard, webhook.FormatGost} {
			s := Stored{ID: "e", Type: "a.b", Time: at, Data: json.RawMessage(data)}
			want, err := webhook.Event{ID: s.ID, Type: s.Type, Time: s.Time, Data: s.Data}.Body(f)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.body(f); string(got) != string(want) || err != nil {
				t.Errorf("%v: got %s, %v, want %s", f, got, err, want)
			}
		}
	}
	if _, err := (&Stored{Type: "a..b", Time: at, Data: json.RawMessage(`1`)}).body(webhook.FormatStandard); !errors.Is(err, webhook.ErrType) {
		t.Errorf("a type that is none: %v", err)
	}
}
