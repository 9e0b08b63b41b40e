package testenv

import (
	"testing"
	"time"
)

// One that ends late is none, and one that does not end is one.
func TestLeaks(t *testing.T) {
	end := make(chan struct{})
	go func() { <-end }()
	if err := leaks(time.Now()); err == nil {
		t.Error("a goroutine that waits is not found")
	}
	time.AfterFunc(time.Second, func() { close(end) })
	if err := leaks(time.Now().Add(time.Minute)); err != nil {
		t.Errorf("it has ended: %v", err)
	}
}
