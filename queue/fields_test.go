package queue_test

import (
	"maps"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func fields(put func(func(name, value string))) map[string]string {
	m := make(map[string]string)
	put(func(name, value string) { m[name] = value })
	return m
}

func TestFieldsComeBack(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	d := queue.Dead{
		Envelope: queue.Envelope{
			Message: queue.Message{
				Queue: "orders", ID: "1", Key: "k\n", Kind: "żółć",
				Payload: codec.Payload{Type: codec.TypeJSON, Name: "a.B"}, At: now,
			},
			Published: now.Add(-time.Hour), Attempts: 3, LastError: "no\r\nmore",
		},
		Reason: queue.ReasonAttempts, Stack: "main.go:1\n\tf()", Died: now.Add(time.Second),
	}
	m := fields(d.Fields)
	if len(m) != 13 {
		t.Errorf("%d fields: %v", len(m), m)
	}
	var back queue.Dead
	for name, value := range m {
		if !back.SetField(name, queue.UnescapeField(queue.EscapeField(value))) {
			t.Errorf("%s is no field", name)
		}
	}
	if got := fields(back.Fields); !maps.Equal(got, m) {
		t.Errorf("got %v, want %v", got, m)
	}
	if len(fields((&queue.Dead{}).Fields)) != 0 {
		t.Error("an empty letter has fields")
	}
	if back.SetField("traceparent", "x") || back.SetField("polywire-unheard", "x") {
		t.Error("a user's header was taken for a field")
	}
}

func TestFieldsThatCannotBeRead(t *testing.T) {
	for _, c := range [][2]string{
		{queue.FieldAt, "soon"}, {queue.FieldPublished, "2026-13-01T00:00:00Z"}, {queue.FieldDied, ""},
		{queue.FieldAttempts, "-1"}, {queue.FieldAttempts, "many"}, {queue.FieldAttempts, "99999999999999999999"},
	} {
		var d queue.Dead
		if !d.SetField(c[0], c[1]) || len(fields(d.Fields)) != 0 {
			t.Errorf("%v: %v", c, fields(d.Fields))
		}
	}
}

func TestEscapeField(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", " a b ": "%20a b%20", "a\r\nb": "a%0D%0Ab", "100%": "100%25", "é": "%C3%A9", " ": "%20",
	} {
		got := queue.EscapeField(in)
		if got != want || queue.UnescapeField(got) != in {
			t.Errorf("%q: %q, back %q", in, got, queue.UnescapeField(got))
		}
	}
	for in, want := range map[string]string{"%": "%", "%4": "%4", "%zz": "%zz", "%41": "A", "%4a%4A": "%4aJ"} {
		if got := queue.UnescapeField(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add(queue.FieldAttempts, "7")
	f.Add(queue.FieldDied, "2026-01-02T03:04:05.6Z")
	f.Add("x", "%%41\xff")
	f.Fuzz(func(t *testing.T, name, value string) {
		escaped := queue.EscapeField(value)
		if queue.UnescapeField(escaped) != value || len(escaped) > 3*len(value) || !utf8.ValidString(escaped) {
			t.Errorf("%q became %q", value, escaped)
		}
		if len(queue.UnescapeField(value)) > len(value) {
			t.Errorf("%q grew", value)
		}
		var d queue.Dead
		d.SetField(name, value)
		var back queue.Dead
		d.Fields(func(name, value string) { back.SetField(name, value) })
		if !maps.Equal(fields(d.Fields), fields(back.Fields)) {
			t.Errorf("%v became %v", fields(d.Fields), fields(back.Fields))
		}
	})
}
