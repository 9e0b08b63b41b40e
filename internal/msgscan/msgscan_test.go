package msgscan

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// malformed has what is no single value, and why.
var malformed = []struct {
	name, data string
	err        error
}{
	{"nothing", "", errShort},
	{"an unknown format", "\xc1", ErrFormat},
	{"an unknown format inside", "\x92\x01\xc1", ErrFormat},
	{"a second value", "\x01\x02", errTrailing},
	{"a length cut", "\xda\x00", errShort},
	{"a string cut", "\xa5abc", errShort},
	{"a string of 4 GiB", "\xdb\xff\xff\xff\xffabc", errShort},
	{"bytes of 4 GiB", "\xc6\xff\xff\xff\xffabc", errShort},
	{"an extension of 4 GiB", "\xc9\xff\xff\xff\xff\x01abc", errShort},
	{"an extension without its type", "\xd4", errShort},
	{"an array of 4 Gi elements", "\xdd\xff\xff\xff\xff\x01", errShort},
	{"a map of 4 Gi pairs", "\xdf\xff\xff\xff\xff\x01\x01", errShort},
	{"a map of half a pair", "\x81\x01", errShort},
	{"a number cut", "\xcf\x01\x02", errShort},
	{"a float cut", "\xcb\x01", errShort},
	{"a string that is not UTF-8", "\xa1\xff", errNotUTF8},
	{"too deep", strings.Repeat("\x91", MaxDepth+1) + "\x01", errDeep},
}

func TestMalformed(t *testing.T) {
	for _, row := range malformed {
		if _, err := Valid([]byte(row.data)); err != row.err { //nolint:errorlint // the very one
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if _, err := Valid([]byte(strings.Repeat("\x91", MaxDepth) + "\x01")); err != nil {
		t.Errorf("as deep as may be: %v", err)
	}
}

// samples are values of every format, as another encoder writes them.
func samples(t testing.TB) [][]byte {
	t.Helper()
	long := strings.Repeat("x", 70000)
	var all [][]byte
	for _, v := range []any{
		nil, true, false, 0, 127, 128, -1, -32, -33, 255, 256, 65535, 65536, math.MaxInt64, uint64(math.MaxUint64), math.MinInt64,
		float32(1.5), 2.25, "", "short", long[:32], long[:300], long, []byte{}, []byte("b"), []byte(long[:300]), []byte(long),
		[]any{}, []any{1, "a", nil}, make([]any, 16), make([]any, 70000), map[string]any{}, map[string]any{"a": []any{map[string]any{"b": 1}}},
	} {
		data, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	for _, ext := range []string{"\xd4\x01a", "\xd5\x01ab", "\xd6\xff\x00\x00\x00\x00", "\xd7\x01" + long[:8], "\xd8\x01" + long[:16], "\xc7\x03\x01abc", "\xc8\x00\x01\x01a", "\xc9\x00\x00\x00\x00\x01"} {
		all = append(all, []byte(ext))
	}
	return all
}

func TestValid(t *testing.T) {
	for data, want := range map[string]bool{"\x92\x01\x02": false, "\x92\x01\xd4\x01a": true, "\x81\xd4\x01a\x01": true, "\xc4\x01\xd4": false} {
		if ext, err := Valid([]byte(data)); ext != want || err != nil {
			t.Errorf("%x: extensions: %v, %v", data, ext, err)
		}
	}
	for _, data := range samples(t) {
		if _, err := Valid(data); err != nil {
			t.Errorf("%.20x: %v", data, err)
		}
		for _, end := range []int{1, len(data) / 2, len(data) - 1} {
			if end < len(data) && end > 0 {
				if _, err := Valid(data[:end]); err == nil {
					t.Errorf("%.20x cut to %d is valid", data, end)
				}
			}
		}
	}
}

func TestExtentFindsValues(t *testing.T) {
	for _, data := range samples(t) {
		followed := append(bytes.Clone(data), 0xc0, 0x01)
		if n, err := new(Extent).Scan(followed); n != len(data) || err != nil {
			t.Errorf("%.20x: %d of %d, %v", data, n, len(data), err)
		}
		if len(data) > 1000 {
			continue
		}
		var e Extent
		for end := range data {
			if n, err := e.Scan(data[:end]); n != 0 || err != nil {
				t.Fatalf("%.20x: after %d bytes: %d, %v", data, end, n, err)
			}
		}
		if n, err := e.Scan(followed); n != len(data) || err != nil {
			t.Errorf("%.20x byte by byte: %d of %d, %v", data, n, len(data), err)
		}
		e.Reset()
		if n, err := e.Scan([]byte{0x07}); n != 1 || err != nil {
			t.Errorf("after Reset: %d, %v", n, err)
		}
	}
	if _, err := new(Extent).Scan([]byte("\x92\x01\xc1")); err == nil {
		t.Error("an unknown format was taken")
	}
}

func TestRead(t *testing.T) {
	for value, want := range map[string]string{"\x05": "5", "\xff": "-1", "\xcc\xff": "255", "\xd0\x80": "-128", "\xd1\x7f\xff": "32767",
		"\xcf\xff\xff\xff\xff\xff\xff\xff\xff": "18446744073709551615", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00": "-9223372036854775808",
		"\xca\x3f\xc0\x00\x00": "1.5", "\xcb\x40\x02\x00\x00\x00\x00\x00\x00": "2.25", "\xa1a": "none", "\xc0": "none"} {
		got, ok := Number([]byte(value))
		if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("%x: %s, want %s", value, got, want)
		}
	}
	for value, want := range map[string]int64{"\x05": 5, "\xff": -1, "\xcc\xff": 255, "\xd0\x80": -1, "\xd1\x7f\xff": 32767, "\xca\x00\x00\x00\x00": -1, "": -1} {
		if got, ok := Uint([]byte(value)); ok != (want >= 0) || ok && got != uint64(want) {
			t.Errorf("%x: %d, %v", value, got, ok)
		}
	}
	if text, ok := Text([]byte("\xa2hi")); !ok || string(text) != "hi" {
		t.Errorf("%q, %v", text, ok)
	}
	if _, ok := Text([]byte("\xc4\x01x")); ok {
		t.Error("bytes are text")
	}
	if !Is([]byte("\x80"), Map) || Is([]byte("\x80"), Array) || Is(nil, Nil) {
		t.Error("kinds are not told apart")
	}
}

// What is appended is what another decoder reads, in as few bytes as another
// encoder takes.
func TestAppend(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536} {
		text := strings.Repeat("x", n)
		compact := func(v any) string {
			var b bytes.Buffer
			e := msgpack.NewEncoder(&b)
			e.UseCompactInts(true)
			if err := e.Encode(v); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		if got := string(AppendStr(nil, text)); got != compact(text) {
			t.Errorf("a string of %d: %.10x", n, got)
		}
		if got := string(AppendBin(nil, []byte(text))); got != compact([]byte(text)) {
			t.Errorf("%d bytes: %.10x", n, got)
		}
		if got := string(AppendUint(nil, uint64(n))); got != compact(uint64(n)) {
			t.Errorf("%d: %x", n, got)
		}
		if n < 65536 {
			var b bytes.Buffer
			if err := msgpack.NewEncoder(&b).EncodeMapLen(n); err != nil || b.String() != string(AppendMapHeader(nil, n)) {
				t.Errorf("a map of %d: %x", n, AppendMapHeader(nil, n))
			}
			b.Reset()
			if err := msgpack.NewEncoder(&b).EncodeArrayLen(n); err != nil || b.String() != string(AppendArrayHeader(nil, n)) {
				t.Errorf("an array of %d: %x", n, AppendArrayHeader(nil, n))
			}
		}
	}
	if got := AppendUint(nil, math.MaxUint64); string(got) != "\xcf\xff\xff\xff\xff\xff\xff\xff\xff" {
		t.Errorf("%x", got)
	}
}

// FuzzValid checks that reading ends and takes no memory, and that what is
// valid is so for another decoder too, and is as long as Extent says, however
// its bytes come.
func FuzzValid(f *testing.F) {
	for _, row := range malformed {
		f.Add([]byte(row.data), 1)
	}
	for _, data := range samples(f) {
		if len(data) < 1000 {
			f.Add(data, 3)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		var err error
		if n := testing.AllocsPerRun(1, func() { _, err = Valid(data) }); n > 0 {
			t.Fatalf("%v allocations", n)
		}
		var at, stepped Extent
		n, scanErr := at.Scan(data)
		got, gotErr := 0, error(nil)
		for end := 0; end < len(data) && got == 0 && gotErr == nil; {
			end = min(end+max(1, step&0xff), len(data))
			got, gotErr = stepped.Scan(data[:end])
		}
		if got != n || fmt.Sprint(gotErr) != fmt.Sprint(scanErr) {
			t.Fatalf("in steps: %d, %v; at once: %d, %v", got, gotErr, n, scanErr)
		}
		if err != nil {
			return
		}
		if n != len(data) || scanErr != nil {
			t.Fatalf("valid, but its extent is %d, %v", n, scanErr)
		}
		d := msgpack.NewDecoder(bytes.NewReader(data))
		if err := d.Skip(); err != nil && !bytes.ContainsAny(data, "\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8") {
			t.Fatalf("another decoder: %v", err)
		}
	})
}
