package dispatchtest_test

import (
	"testing"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/webhook/dispatch/dispatchtest"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestMemory(t *testing.T) {
	stores := make(map[*testing.T]*dispatch.Memory)
	dispatchtest.Run(t, func(t *testing.T) dispatchtest.Stores {
		if stores[t] == nil {
			stores[t] = dispatch.NewMemory(dispatch.MemoryOptions{})
		}
		m := stores[t]
		return dispatchtest.Stores{Endpoints: m.Endpoints, Events: m.Events, Attempts: m.Attempts}
	})
}
