package sse

import (
	"testing"
	"unsafe"
)

// An idle stream is this, beside what the core has.
func TestStreamsAreSmall(t *testing.T) {
	if got := unsafe.Sizeof(conn{}) + unsafe.Sizeof(serverSession{}); got > 448 {
		t.Errorf("a stream has %d bytes", got)
	}
}
