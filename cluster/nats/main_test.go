package natscluster_test

import (
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Together(4)
	testenv.VerifyNoLeaks(m)
}
