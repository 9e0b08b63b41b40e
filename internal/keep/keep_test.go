package keep

import (
	"bytes"
	"strings"
	"testing"
)

// Strings stay as they were made, whatever comes after them and becomes of the
// bytes that they were made of.
func TestStringsStay(t *testing.T) {
	var s Strings
	var got, want []string
	for i := range 500 {
		b := bytes.Repeat([]byte{'a' + byte(i%26)}, i%(longest+3))
		want = append(want, string(b))
		got = append(got, s.Of(b))
		clear(b)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %q, want %q", i, got[i], want[i])
		}
	}
}

func TestStringsShareMemory(t *testing.T) {
	for text, most := range map[string]float64{
		"": 0, "0000000000000012": 0.1, "706f6c79-7769-4265-8000-000000000001": 0.2, strings.Repeat("x", longest+1): 1,
	} {
		var s Strings
		b := []byte(text)
		held := make([]string, 0, 2000)
		// Each run makes a thousand, since AllocsPerRun has whole numbers only.
		if n := testing.AllocsPerRun(1, func() {
			for range 1000 {
				held = append(held, s.Of(b))
			}
		}); n > 1000*most {
			t.Errorf("%d bytes: %v allocations of a thousand strings", len(text), n)
		}
	}
}
