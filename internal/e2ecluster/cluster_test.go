package e2ecluster_test

import (
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

// The streams of the room with history, and of sessions that may be resumed.
const (
	keptStream     = "pw~history-kept"
	sessionsStream = "pw~sessions"
)

// scene is what happens to a cluster.
type scene struct {
	name string
	play func(t *testing.T, c *cluster)
}

// scenes plays some on one cluster, one after the other.
func scenes(t *testing.T, c *cluster, all ...scene) {
	t.Helper()
	for _, s := range all {
		if !t.Run(s.name, func(t *testing.T) { s.play(t, c) }) {
			return // nodes may be missing
		}
	}
}

// TestThreeProcesses has two clusters: what is waited for most is that a node
// which was killed is missed. The storm has the machine for itself.
func TestThreeProcesses(t *testing.T) {
	before := scale(3*time.Second, time.Second)
	c := form(t, "a", "b", "c")
	whole := t.Run("kills", func(t *testing.T) {
		t.Run("one", func(t *testing.T) {
			t.Parallel()
			scenes(t, c, scene{"a mixed crowd", crowd}, scene{"the leader of NATS is killed", func(t *testing.T, c *cluster) {
				killOne(t, c, leading(t, c, ""), before)
			}})
		})
		t.Run("another", func(t *testing.T) {
			if !testenv.Full() {
				return // not in the shortened form
			}
			t.Parallel()
			scenes(t, form(t, "d", "e", "f"), scene{"the leader of the history is killed", func(t *testing.T, c *cluster) {
				killOne(t, c, leading(t, c, keptStream), before)
			}}, scene{"another is killed", func(t *testing.T, c *cluster) {
				killOne(t, c, following(t, c), before)
			}})
		})
	})
	if whole {
		scenes(t, c, scene{"a storm", func(t *testing.T, c *cluster) {
			storm(t, c, following(t, c), scale(5000, 300))
		}})
	}
}
