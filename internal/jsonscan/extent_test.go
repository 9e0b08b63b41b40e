package jsonscan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// extent scans data that comes in steps of so many bytes.
func extent(data []byte, step int) (n int, err error) {
	var e Extent
	for end := 0; end < len(data) && n == 0 && err == nil; {
		end = min(end+step, len(data))
		n, err = e.Scan(data[:end])
	}
	return n, err
}

func TestExtent(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, row := range []struct {
		text string
		n    int
		err  error
	}{
		{`{}`, 2, nil},
		{`[]`, 2, nil},
		{`{}{}`, 2, nil},
		{`{"a":1} `, 7, nil},
		{`{"a":[{"b":"}]"}]}x`, 18, nil},
		{`{"a":"\""}]`, 10, nil},
		{`{"a":"\\"}]`, 10, nil},
		{`{"a":"\\\""}]`, 12, nil},
		{`["` + strings.Repeat("x", 100) + `"]`, 104, nil},
		{`["` + strings.Repeat(`\"`, 100) + `"]`, 204, nil},
		{"[\"\x01\n\"]", 6, nil}, // wrong, but that is another's to say
		{`[}`, 2, nil},           // the same
		{`{"a":`, 0, nil},
		{`{"a":"}`, 0, nil},
		{`["\`, 0, nil},
		{``, 0, nil},
		{`1`, 0, errNoBracket},
		{`"x"`, 0, errNoBracket},
		{`]`, 0, errNoBracket},
		{` {}`, 0, errNoBracket},
		{deep(MaxDepth), 2 * MaxDepth, nil},
		{deep(MaxDepth + 1), 0, errTooDeep},
		{strings.Repeat("[", 1000), 0, errTooDeep},
	} {
		for step := 1; step <= len(row.text)+1; step++ {
			n, err := extent([]byte(row.text), step)
			if n != row.n || err != row.err { //nolint:errorlint // the very one
				t.Errorf("%.40q in steps of %d: %d, %v", row.text, step, n, err)
			}
		}
	}
}

func TestExtentReset(t *testing.T) {
	var e Extent
	for _, text := range []string{`{"a":1}`, `[]`, `["x"]`} {
		if n, err := e.Scan([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%s: %d, %v", text, n, err)
		}
		e.Reset()
	}
}

// A value that comes byte by byte is not looked at from its beginning each
// time: that would take minutes here.
func TestExtentIsLinear(t *testing.T) {
	text := []byte(`["` + strings.Repeat("x", 1<<20) + `"]`)
	start := time.Now()
	if n, err := extent(text, 1); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("%d bytes took %v", len(text), took)
	}
}

// FuzzExtent compares with encoding/json where that finds a value, and checks
// that it does not matter how the bytes come.
func FuzzExtent(f *testing.F) {
	for _, text := range []string{`{"a":[1,"}\"]"]} 2`, `[[]]`, `["\\"]`, `{"a"`, `[}`, `1`, "[\"\u00e9\"]"} {
		f.Add([]byte(text), 1)
	}
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		n, err := extent(data, len(data)+1)
		got, gotErr := extent(data, max(1, step&0xff))
		if got != n || fmt.Sprint(gotErr) != fmt.Sprint(err) {
			t.Fatalf("in steps: %d, %v; at once: %d, %v", got, gotErr, n, err)
		}
		var raw json.RawMessage
		d := json.NewDecoder(bytes.NewReader(data))
		if d.Decode(&raw) != nil || err == errTooDeep { //nolint:errorlint // the very one
			return
		}
		rest, _ := io.ReadAll(d.Buffered())
		if want := len(data) - len(rest); data[0] == '{' || data[0] == '[' {
			if err != nil || n != want && d.InputOffset() != int64(n) {
				t.Fatalf("%d, %v; want %d", n, err, d.InputOffset())
			}
		}
	})
}
