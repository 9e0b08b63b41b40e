package e2e_test

import (
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// atOnce is how many clients go through the scenarios at a time: they wait
// for heartbeats and deadlines more than they work.
const atOnce = 5

func TestMain(m *testing.M) {
	testenv.Together(atOnce)
	testenv.VerifyNoLeaks(chromium.Main(m))
}
