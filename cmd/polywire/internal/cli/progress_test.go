package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The bar says how far it is where somebody looks, and nothing elsewhere.
func TestCounter(t *testing.T) {
	for _, total := range []int64{100, -1} {
		var out bytes.Buffer
		bar := StartCounter(&out, true, total, "replaying")
		bar.At(40)
		bar.At(50)
		if got := out.String(); !strings.Contains(got, "replaying") || !strings.Contains(got, "50") && !strings.Contains(got, "40") {
			t.Errorf("of %d: %q", total, got)
		}
		bar.Clear()
	}
	var out bytes.Buffer
	for _, bar := range []*Counter{StartCounter(&out, Terminal(&out), 100, "x"), StartCounter(&out, true, 0, "x")} {
		bar.At(40)
		bar.Clear()
	}
	if out.Len() > 0 {
		t.Errorf("for nobody: %q", out.String())
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if Terminal(null) {
		t.Error("a file is taken for a terminal")
	}
}
