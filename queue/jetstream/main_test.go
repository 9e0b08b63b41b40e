package jetstream_test

import (
	"os"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		os.Exit(runChild(what))
	}
	testenv.Together(8)
	testenv.VerifyNoLeaks(m)
}
