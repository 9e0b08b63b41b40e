package webhookcmd

import (
	"strings"
	"testing"
)

// What a sender chose cannot move the cursor of the terminal that shows it.
func TestReceivedIsPrintedAsText(t *testing.T) {
	const hostile = "x\x1b[2J\u009b\x00"
	for name, h := range map[string]Received{
		"text":    {N: 7, Method: hostile, Path: hostile, Verified: "no", Problem: hostile, Header: map[string]string{hostile: hostile}, Text: hostile},
		"JSON":    {N: 7, Verified: "yes", Repeated: true, Type: hostile, ID: hostile, Body: []byte(`"` + hostile + `"`)},
		"nothing": {N: 7, Verified: "unchecked"},
	} {
		var b strings.Builder
		h.write(&b)
		if got := b.String(); strings.ContainsAny(got, "\x1b\u009b\x00") || !strings.Contains(got, "#7 ") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
