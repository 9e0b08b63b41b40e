package e2ecluster_test

import (
	"os"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// TestMain runs the tests, or what a test has started this program for.
func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(runChild(text))
	}
	testenv.Together(4)
	testenv.VerifyNoLeaks(m)
}
