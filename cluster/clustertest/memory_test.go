package clustertest

import (
	"testing"

	"github.com/polywire/polywire/cluster"
)

// memoryFeatures are those of [cluster.Memory], which survives its outages.
func memoryFeatures() Features {
	return Features{
		Virtual: true, OnDisk: true, TooLargeBytes: cluster.MaxMemoryBytes + 1,
		Outage: true, Kill: true, Cut: true, Loss: true,
	}
}

func memorySetup(hub *cluster.Memory) Setup {
	return Setup{
		Adapter: func(string) cluster.Adapter { return hub },
		Stop:    hub.Fail, Start: hub.Restore, Kill: hub.Kill, Cut: hub.Cut, Heal: hub.Heal, LoseLogs: hub.LoseLogs,
	}
}

func TestMemory(t *testing.T) {
	Run(t, memoryFeatures(), func(*testing.T) Setup { return memorySetup(cluster.NewMemory()) })
}

// TestMemoryRealTime: nothing in it needs virtual time, or one check after the
// other.
func TestMemoryRealTime(t *testing.T) {
	f := memoryFeatures()
	f.Virtual, f.OnDisk, f.Kill, f.Outage, f.Cut = false, false, false, false, false
	f.Parallel = 3
	Run(t, f, func(*testing.T) Setup { return memorySetup(cluster.NewMemory()) })
}
