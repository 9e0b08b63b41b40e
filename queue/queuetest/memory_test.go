package queuetest_test

import (
	"testing"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/queuetest"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func memory(virtual bool) queuetest.Harness {
	brokers := make(map[*testing.T]*queue.Memory)
	return queuetest.Harness{
		Virtual: virtual,
		Dedup:   true,
		Lease:   1e9,
		Open: func(t *testing.T) queue.Driver {
			if brokers[t] == nil {
				brokers[t] = queue.NewMemory(queue.MemoryOptions{})
			}
			return brokers[t].Connect()
		},
		Kill: func(_ *testing.T, d queue.Driver) { d.(*queue.Memory).Kill() },
		Cut:  func(_ *testing.T, d queue.Driver) { d.(*queue.Memory).Cut() },
	}
}

func TestMemory(t *testing.T) { queuetest.Run(t, memory(true)) }
