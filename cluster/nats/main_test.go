package natscluster_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Together(4)
	goleak.VerifyTestMain(m)
}
