package webhook

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBody(t *testing.T) {
	at := time.Date(2022, 11, 3, 21, 26, 10, 344_522_000, time.FixedZone("", 3600))
	for _, tt := range []struct {
		event  Event
		format Format
		want   string
	}{
		{
			Event{Type: "contact.created", Time: at, Data: map[string]string{"id": "1f81<&>"}}, FormatStandard,
			`{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81<&>"}}`,
		},
		{Event{Type: "a", Time: at, Data: json.RawMessage(`{"b": 1}`)}, FormatGost, `{"event":"a","timestamp":1667507170,"data":{"b":1}}`},
		{Event{Type: "a", Time: at, Data: json.RawMessage(" [ \"x <y> \u2028\" , 1e2 ]\n")}, FormatStandard, `{"type":"a","timestamp":"2022-11-03T20:26:10.344522Z","data":["x <y> ` + "\u2028" + `",1e2]}`},
		{Event{Type: "a", Time: at, Data: json.RawMessage(nil)}, FormatGost, `{"event":"a","timestamp":1667507170,"data":null}`},
		{Event{Type: "a", Time: at}, FormatGost, `{"event":"a","timestamp":1667507170,"data":null}`},
	} {
		got, err := tt.event.Body(tt.format)
		if err != nil || string(got) != tt.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		event  Event
		format Format
	}{
		"no format":  {Event{Type: "a"}, 0},
		"no type":    {Event{}, FormatStandard},
		"no JSON":    {Event{Type: "a", Data: make(chan int)}, FormatStandard},
		"no year":    {Event{Type: "a", Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, FormatStandard},
		"empty JSON": {Event{Type: "a", Data: json.RawMessage("")}, FormatStandard},
		"two values": {Event{Type: "a", Data: json.RawMessage("1 2")}, FormatStandard},
		"wrong JSON": {Event{Type: "a", Data: json.RawMessage(`{`)}, FormatGost},
	} {
		if b, err := tt.event.Body(tt.format); err == nil {
			t.Errorf("%s: got %s", name, b)
		}
	}
	if _, err := (Event{Type: "a b"}).Body(FormatGost); !errors.Is(err, ErrType) {
		t.Errorf("got %v", err)
	}
}

func TestTypes(t *testing.T) {
	for typ, want := range map[string]bool{
		"a": true, "payment.approved": true, "a.b.c": true, "A_1-2.x": true, strings.Repeat("a", 128): true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "a b": false, "a*": false, "*": false, "a.*": false,
		"ż": false, "a\n": false, "a/b": false, "a:b": false, strings.Repeat("a", 129): false,
	} {
		if got := ValidType(typ); got != want {
			t.Errorf("%q: got %v, want %v", typ, got, want)
		}
	}
	for pattern, want := range map[string]bool{
		"*": true, "a": true, "a.*": true, "a.b.*": true,
		"": false, "**": false, "a*": false, "*.a": false, "a.*.b": false, ".*": false, "a..*": false, "a.**": false, "*.*": false, "a.*.*": false,
	} {
		if got := ValidPattern(pattern); got != want {
			t.Errorf("pattern %q: got %v, want %v", pattern, got, want)
		}
	}
	for _, tt := range []struct {
		pattern, typ string
		want         bool
	}{
		{"*", "a", true},
		{"*", "a.b.c", true},
		{"payment.*", "payment.approved", true},
		{"payment.*", "payment.refund.failed", true},
		{"payment.*", "payment", false},
		{"payment.*", "payment.", false},
		{"payment.*", "payments.approved", false},
		{"payment.*", "Payment.approved", false},
		{"payment", "payment", true},
		{"payment", "payment.approved", false},
		{"payment.approved", "payment.approved", true},
		{"pay*", "payment", false},
		{"", "", true},
		{"*", "", false},
	} {
		if got := MatchType(tt.pattern, tt.typ); got != tt.want {
			t.Errorf("%q has %q: got %v, want %v", tt.pattern, tt.typ, got, tt.want)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, f := range []Format{FormatStandard, FormatGost} {
		b, err := f.MarshalText()
		var again Format
		if err != nil || again.UnmarshalText(b) != nil || again != f || f.String() != string(b) {
			t.Errorf("%v became %v by %s, %v", f, again, b, err)
		}
	}
	var f Format
	if _, err := Format(0).MarshalText(); err == nil || f.UnmarshalText([]byte("svix")) == nil || Format(7).String() != "Format(7)" {
		t.Error("formats that there are not")
	}
}

// FuzzMatchType wants "*" to have every type, and every type itself and what
// its parts name.
func FuzzMatchType(f *testing.F) {
	f.Add("payment.approved", "payment.*")
	f.Add("a", "*")
	f.Fuzz(func(t *testing.T, typ, pattern string) {
		if ValidType(typ) && (!MatchType("*", typ) || !MatchType(typ, typ) || !ValidPattern(typ) || !ValidPattern(typ+".*")) {
			t.Fatalf("type %q", typ)
		}
		if !ValidPattern(pattern) || !ValidType(typ) || !MatchType(pattern, typ) {
			return
		}
		prefix := strings.TrimSuffix(pattern, "*")
		if !strings.HasPrefix(typ, prefix) || prefix == pattern && typ != pattern {
			t.Fatalf("%q has %q", pattern, typ)
		}
	})
}
