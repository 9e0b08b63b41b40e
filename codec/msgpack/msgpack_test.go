package msgpack_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/codec/codectest"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/internal/jsonscan"
)

type sample struct {
	Name  string `json:"name"`
	N     int64  `json:"n"`
	F     float64
	List  []any          `json:"list,omitempty"`
	Map   map[string]int `json:"map"`
	Short int            `msgpack:"s"`
}

var c = msgpack.Codec{}

func TestCodec(t *testing.T) {
	codectest.Run(t, c, codectest.Values{
		Good: []any{
			sample{"é\x00\"", -1 << 40, 1.5, []any{nil, true, "x"}, map[string]int{"a": 1}, 7},
			strings.Repeat("x", 300), uint64(math.MaxUint64), []byte{1, 2, 0xff}, map[string]any{"a": "b"}, []string{},
		},
		Unsupported: []any{make(chan int), func() {}},
		Malformed: [][]byte{
			nil, {0xc1}, {0x81}, {0x81, 0xa1, 'a'}, {0xa5, 'a'}, {0x80, 0x80},
			{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0}, {0xdb, 0x7f, 0xff, 0xff, 0xff},
			{0xc6, 0x00, 0x0f, 0xff, 0xff}, {0x81, 0xa3, 'n'}, {0xc9, 0xff, 0xff, 0xff, 0xff, 0xff},
			bytes.Repeat([]byte{0x91}, 100_000),
		},
	})
}

func TestStructNamesAreThoseOfJSON(t *testing.T) {
	b, err := c.Append(nil, sample{Name: "n", Short: 1})
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.AppendJSON(nil, "", b)
	if want := `{"name":"n","n":0,"F":0,"map":null,"s":1}`; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
	b, err = msgpack.Codec{StructTag: "wire"}.Append(nil, struct {
		A int `wire:"b" json:"c"`
	}{1})
	if err != nil || string(b) != "\x81\xa1b\x01" {
		t.Errorf("%x, %v", b, err)
	}
}

func TestUnmarshalNeverPanics(t *testing.T) {
	var m map[any]any
	if err := c.Unmarshal([]byte{0x81, 0x90, 0xc0}, &m); err == nil {
		t.Errorf("an array became a key: %v", m)
	}
}

// toJSON are translations that cannot be turned back, or not to the same bytes.
func TestToJSON(t *testing.T) {
	for data, want := range map[string]string{
		"c0": `null`, "c2": `false`, "c3": `true`, "7f": `127`, "e0": `-32`, "ff": `-1`,
		"ccff": `255`, "cdffff": `65535`, "ceffffffff": `4294967295`, "cfffffffffffffffff": `18446744073709551615`,
		"d080": `-128`, "d18000": `-32768`, "d280000000": `-2147483648`, "d38000000000000000": `-9223372036854775808`,
		"ca3fc00000": `1.5`, "ca3dcccccd": `0.1`, "cb3ff0000000000000": `1`, "cb7e37e43c8800759c": `1e+300`, "cb3eb0c6f7a0b5ed8d": `0.000001`,
		"a0": `""`, "a161": `"a"`, "d90161": `"a"`, "da000161": `"a"`, "db0000000161": `"a"`, "a20a22": `"\n\""`,
		"c400": `""`, "c403000102": `"AAEC"`, "c5000100": `"AA=="`, "c60000000100": `"AA=="`,
		"90": `[]`, "92c0c0": `[null,null]`, "dc000101": `[1]`, "dd0000000101": `[1]`,
		"80": `{}`, "81a161c0": `{"a":null}`, "de0001a161c0": `{"a":null}`, "df00000001a161c0": `{"a":null}`,
		"820102ff03":                     `{"1":2,"-1":3}`,
		"d6ff00000000":                   `"1970-01-01T00:00:00Z"`,
		"d7ffee6b27fc65920080":           `"2024-01-01T00:00:00.999999999Z"`,
		"c70cff3b9ac9ffffffffffffffffff": `"1969-12-31T23:59:59.999999999Z"`,
	} {
		b, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.AppendJSON(nil, "", b); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", data, got, err, want)
		}
	}
}

func TestNoJSON(t *testing.T) {
	for data, want := range map[string]string{
		"ca7fc00000":                     "msgpack: NaN has no JSON",
		"cbfff0000000000000":             "msgpack: -Inf has no JSON",
		"a1ff":                           "msgpack: a string that is not UTF-8",
		"81c0c0":                         "msgpack: a map key that is neither a string nor an integer, before byte 2",
		"81c40100c0":                     "msgpack: a map key that is neither a string nor an integer, before byte 4",
		"d40500":                         "msgpack: extension type 5 has no JSON",
		"d5ff0000":                       "msgpack: a timestamp of 2 bytes",
		"c70cff3b9aca000000000000000000": "msgpack: a timestamp out of range",
		"c70cff000000007fffffffffffffff": "msgpack: a timestamp out of range",
		"c1":                             "msgpack: byte 0xc1 is no format, at byte 0",
		"c0c0":                           "msgpack: unexpected data after the value at byte 1",
		"9200":                           "msgpack: unexpected end",
		"92":                             "msgpack: unexpected end",
		"da00":                           "msgpack: unexpected end",
		strings.Repeat("91", 129) + "c0": "msgpack: nested deeper than 128",
	} {
		b, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.AppendJSON(nil, "", b); err == nil || err.Error() != want {
			t.Errorf("%.40s: %s, %v, want %s", data, got, err, want)
		}
	}
}

func TestFromJSON(t *testing.T) {
	for text, want := range map[string]string{
		` null `: "c0", `true`: "c3", `false`: "c2", `0`: "00", `-0`: "00", `127`: "7f", `128`: "cc80", `256`: "cd0100",
		`65536`: "ce00010000", `4294967296`: "cf0000000100000000", `18446744073709551615`: "cfffffffffffffffff",
		`18446744073709551616`: "cb43f0000000000000", `-1`: "ff", `-32`: "e0", `-33`: "d0df", `-129`: "d1ff7f",
		`-32769`: "d2ffff7fff", `-2147483649`: "d3ffffffff7fffffff", `-9223372036854775809`: "cbc3e0000000000000",
		`1.0`: "cb3ff0000000000000", `1e2`: "cb4059000000000000", `"a\u00e9"`: "a361c3a9",
		`[]`: "90", `[1,[2]]`: "92019102", `{}`: "80", `{"a":{"b":[]},"c":1}`: "82a16181a16290a16301",
		`"` + strings.Repeat("x", 40) + `"`:               "d928" + strings.Repeat("78", 40),
		"[" + strings.Repeat("1,", 15) + "1]":             "dc0010" + strings.Repeat("01", 16),
		"[[" + strings.Repeat("1,", 15) + "1],2]":         "92dc0010" + strings.Repeat("01", 16) + "02",
		"{" + strings.Repeat(`"a":1,`, 15) + `"a":1}`:     "de0010" + strings.Repeat("a16101", 16),
		"[" + strings.Repeat("1,", math.MaxUint16) + "1]": "dd00010000" + strings.Repeat("01", math.MaxUint16+1),
	} {
		got, err := c.AppendFromJSON(nil, "", []byte(text))
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%.60s: %.60x, %v, want %.60s", text, got, err, want)
		}
	}
	for _, n := range []int{255, 256, 65535, 65536} {
		text := `"` + strings.Repeat("x", n) + `"`
		b, err := c.AppendFromJSON(nil, "", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := c.AppendJSON(nil, "", b); err != nil || string(back) != text {
			t.Errorf("a string of %d bytes: %v", n, err)
		}
	}
	for _, text := range []string{`1e999`, `[1,`, `{"a"}`, strings.Repeat("[", 129) + strings.Repeat("]", 129), "\"\xff\""} {
		if got, err := c.AppendFromJSON([]byte("x"), "", []byte(text)); err == nil || string(got) != "x" {
			t.Errorf("%.20s: %x, %v", text, got, err)
		}
	}
}

func TestTimeSurvivesJSON(t *testing.T) {
	want := time.Date(2024, 2, 29, 12, 30, 0, 5000, time.UTC)
	b, err := c.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.AppendJSON(nil, "", b)
	if err != nil {
		t.Fatal(err)
	}
	back, err := c.AppendFromJSON(nil, "", text)
	if err != nil {
		t.Fatal(err)
	}
	var got time.Time
	if err := c.Unmarshal(back, &got); err != nil || !got.Equal(want) {
		t.Errorf("%v by way of %s, %v", got, text, err)
	}
}

func FuzzMsgpack(f *testing.F) {
	for _, s := range []string{"c0", "93010203", "82a161c3a16290", "dfffffffff", "c70cff000000010000000000000001", "81c403000102c0", "91919191"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		text, err := c.AppendJSON(nil, "", data)
		runtime.ReadMemStats(&after)
		// Six bytes for one is a control character; a slice that grows costs as much again, and twice.
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10+32*uint64(len(data)) {
			t.Fatalf("%d bytes took %d", len(data), used)
		}
		var v any
		_ = c.Unmarshal(data, &v) // the library has limits of its own, such as string keys
		if err != nil {
			return
		}
		if err := jsonscan.Valid(text); err != nil {
			t.Fatalf("%x became %q: %v", data, text, err)
		}
		back, err := c.AppendFromJSON(nil, "", text)
		if err != nil {
			t.Fatalf("%s does not come back: %v", text, err)
		}
		again, err := c.AppendJSON(nil, "", back)
		if err != nil || string(again) != string(text) && !sameJSON(again, text) {
			t.Fatalf("%s became %s, %v", text, again, err)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{`null`, `{"a":[1,-2,3.5e7,"x"]}`, `[[[[]]]]`, `"\ud83d\ude00"`, `18446744073709551616`, `1e999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := c.AppendFromJSON(nil, "", text)
		if err != nil {
			return
		}
		if err := jsonscan.Valid(text); err != nil {
			t.Fatalf("%q was taken: %v", text, err)
		}
		back, err := c.AppendJSON(nil, "", b)
		if err != nil || !sameJSON(back, text) {
			t.Fatalf("%q came back as %q, %v", text, back, err)
		}
	})
}

// sameJSON compares as float64, which is all that JSON promises.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func BenchmarkTranslate(b *testing.B) {
	text := []byte(`{"room":"general","text":"Good morning, everybody out there","n":[1,2,3.5,-400],"ok":true}`)
	data, err := c.AppendFromJSON(nil, "", text)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.Run("to JSON", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.AppendJSON(buf, "", data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("from JSON", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.AppendFromJSON(buf, "", text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
