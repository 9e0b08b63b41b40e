package jsonscan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValid(t *testing.T) {
	for _, text := range []string{
		`null`, ` true `, `false`, `0`, `-0`, `-12.50e+3`, `1E9`, `""`, `"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`,
		`[]`, `[ ]`, `[1,2 , 3]`, `{}`, `{ }`, `{"a":{"b":[{},[],[[]]]},"c" : null}`, `"élan vital, déjà vu"`,
		strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth),
		strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth),
	} {
		if err := Valid([]byte(text)); err != nil {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

func TestInvalid(t *testing.T) {
	for text, want := range map[string]string{
		``:                              "unexpected end at byte 0",
		`  `:                            "unexpected end at byte 2",
		`nul`:                           "expected a value at byte 0",
		`x`:                             "expected a value at byte 0",
		`01`:                            "unexpected text after the value at byte 1",
		`-`:                             "unexpected end at byte 1",
		`-x`:                            "expected a digit at byte 1",
		`1.`:                            "unexpected end at byte 2",
		`1.x`:                           "expected a digit at byte 2",
		`1e+`:                           "unexpected end at byte 3",
		`1ex`:                           "expected a digit at byte 2",
		`+1`:                            "expected a value at byte 0",
		`"`:                             "unexpected end at byte 1",
		`"a`:                            "unexpected end at byte 2",
		"\"a\nb\"":                      "control character in a string at byte 2",
		`"\x"`:                          "bad escape at byte 1",
		`"\u12g4"`:                      "bad escape at byte 1",
		`"\u12`:                         "bad escape at byte 1",
		"\"\xff\"":                      "string is not UTF-8 at byte 1",
		"\"12345678\xc3\"":              "string is not UTF-8 at byte 1",
		`[1 2]`:                         "expected a comma or the end at byte 3",
		`[1,]`:                          "expected an element after the comma at byte 3",
		`[,1]`:                          "expected a value at byte 1",
		`[1`:                            "unexpected end at byte 2",
		`[}`:                            "expected a value at byte 1",
		`{1:2}`:                         "expected a key in quotes at byte 1",
		`{"a" 1}`:                       "expected a colon at byte 5",
		`{"a":1,}`:                      "expected an element after the comma at byte 7",
		`{"a":1]`:                       "expected a comma or the end at byte 6",
		`{} {}`:                         "unexpected text after the value at byte 3",
		strings.Repeat("[", MaxDepth+1): "nested too deep at byte 128",
	} {
		err := Valid([]byte(text))
		if _, ok := errors.AsType[*SyntaxError](err); !ok {
			t.Errorf("%q: %v, not a SyntaxError", text, err)
		} else if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %q, want %q", text, err, want)
		}
	}
}

func TestUint(t *testing.T) {
	const limit = 1<<53 - 1
	for text, want := range map[string]uint64{`0`: 0, ` 7`: 7, `9007199254740991`: limit} {
		s := Scanner{Data: []byte(text)}
		if got, err := s.Uint(limit); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{`-1`, `1.0`, `1e3`, `"1"`, ``, `9007199254740992`, `99999999999999999999999999`} {
		s := Scanner{Data: []byte(text)}
		if got, err := s.Uint(limit); err == nil {
			t.Errorf("%s: %d, want an error", text, got)
		}
	}
	for limit := range uint64(12) {
		s := Scanner{Data: fmt.Append(nil, limit+1)}
		if got, err := s.Uint(limit); err == nil {
			t.Errorf("%d, which is over %d", got, limit)
		}
	}
	s := Scanner{Data: []byte(`18446744073709551615`)}
	if got, err := s.Uint(1<<64 - 1); err != nil || got != 1<<64-1 {
		t.Errorf("%d, %v", got, err)
	}
}

func TestStringMatchesEncodingJSON(t *testing.T) {
	for _, text := range []string{
		`""`, `"plain"`, `"a\"\\\/\b\f\n\r\t"`, `"\u00e9\u20ac"`, `"\ud83d\ude00!"`, `"\ud83d"`, `"\ud83dx"`,
		`"\ude00\ud83d"`, `"\ud83d\u0041"`, `"\uD83D\uDE00"`, `"é\né"`,
	} {
		compareString(t, text)
	}
}

func compareString(t *testing.T, text string) {
	t.Helper()
	s := Scanner{Data: []byte(text)}
	got, err := s.String()
	var want string
	if wantErr := json.Unmarshal([]byte(text), &want); wantErr != nil || err != nil {
		t.Fatalf("%s: %v, encoding/json: %v", text, err, wantErr)
	}
	if string(got) != want {
		t.Errorf("%s: %q, want %q", text, got, want)
	}
}

func TestPlainTextAllocatesNothing(t *testing.T) {
	data := []byte(sample)
	if n := testing.AllocsPerRun(100, func() { _ = Valid(data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzValid(f *testing.F) {
	for _, text := range []string{sample, `[1,{"a":[]}]`, `"\ud83d\ude00"`, "\"\xff\"", `{"a":1,}`, `-1.5e3`, `[[[`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, want := Valid(data) == nil, json.Valid(data) && utf8.Valid(data)
		if got && !want {
			t.Fatalf("%q is valid here only", data)
		}
		if want && !got && strings.Count(string(data), "[")+strings.Count(string(data), "{") <= MaxDepth {
			t.Fatalf("%q is valid for encoding/json only", data)
		}
		if got && len(data) > 0 && data[0] == '"' {
			compareString(t, string(data))
		}
		if len(data) > 0 && data[0] == '"' {
			comparePlain(t, data)
		}
		compareQuick(t, data)
	})
}

// comparePlain checks Plain by String, of data that begin with a quote.
func comparePlain(t *testing.T, data []byte) {
	t.Helper()
	s := Scanner{Data: data}
	text, err := s.String()
	ascii := err == nil && s.Pos == len(text)+2 && utf8.RuneCount(text) == len(text)
	switch end := Plain(data, 1); {
	case ascii != (end >= 0):
		t.Fatalf("%q: the end of plain text is %d", data, end)
	case ascii && end != s.Pos-1:
		t.Fatalf("%q: the end of plain text is %d, not %d", data, end, s.Pos-1)
	}
}

// compareQuick checks quick by anyValue: what it finds is right, at any depth.
func compareQuick(t *testing.T, data []byte) {
	t.Helper()
	for _, inside := range []int{0, MaxDepth - 2, MaxDepth} {
		s := Scanner{Data: data, Inside: inside}
		start := blank(data, 0)
		if s.Peek(); s.Pos != start {
			t.Fatalf("%q: white space ends at %d, not %d", data, start, s.Pos)
		}
		_, err := s.anyValue()
		if end := quick(data, start, MaxDepth-inside); (err == nil) != (end >= 0) || err == nil && end != s.Pos {
			t.Fatalf("%q inside of %d: %d; want %d, %v", data, inside, end, s.Pos, err)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("a\"\\\x00\x1f\n\r\té\U0001F600")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var back string
		if err := json.Unmarshal(AppendString(nil, text), &back); err != nil || back != text {
			t.Fatalf("%q: %q, %v", text, back, err)
		}
	})
}

const sample = `{"type":"call","id":7,"kind":"chat.say","payload":{"room":"general","text":"Good morning, everybody out there","n":[1,2,3.5,-4e2],"ok":true}}`

func BenchmarkValid(b *testing.B) {
	data := []byte(sample)
	b.Run("jsonscan", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_ = Valid(data)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_ = json.Valid(data)
		}
	})
}

// Every byte ends a run of plain ones at every place, or does not, as it
// should. encoding/json says what that is.
func TestEveryByteAtEveryPlace(t *testing.T) {
	for c := range 256 {
		for n := range 40 {
			text := []byte(`"` + strings.Repeat("x", 40) + `"`)
			text[1+n] = byte(c)
			want := json.Valid(text) && utf8.Valid(text)
			if got := Valid(text) == nil; got != want {
				t.Errorf("byte %#x at %d: %v, want %v", c, n, got, want)
			}
		}
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]int{
		`"`: 0, `a"`: 1, `12345678"`: 8, `1234567"9`: 7, `123456789012345678" and on"`: 18,
		``: -1, `abc`: -1, `12345678`: -1, `a\n"`: -1, `12345678\"`: -1, "é\"": -1, "1234567é\"": -1, "12345678901é\"": -1,
		"a\x1f\"": -1, "12345678\x00\"": -1, "a\x7f\"": 2, "1234567\x7f90\"": 10,
	} {
		for _, before := range []string{"", `"`, `{"a":"`} {
			wanted := want
			if want >= 0 {
				wanted += len(before)
			}
			if got := Plain([]byte(before+text), len(before)); got != wanted {
				t.Errorf("%q after %q: %d, want %d", text, before, got, wanted)
			}
		}
	}
}

// What is around a value counts for how deep it nests.
func TestInside(t *testing.T) {
	for inside := range 3 {
		for depth, fits := range map[int]bool{MaxDepth - inside: true, MaxDepth - inside + 1: false} {
			s := Scanner{Data: []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth)), Inside: inside}
			if _, err := s.Value(); (err == nil) != fits {
				t.Errorf("%d inside of %d: %v", depth, inside, err)
			}
		}
	}
}
