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

func TestThreeProcesses(t *testing.T) {
	c := form(t, "a", "b", "c")
	t.Run("a mixed crowd", func(t *testing.T) { crowd(t, c) })
	t.Run("the leader of NATS is killed", func(t *testing.T) {
		killOne(t, c, leading(t, c, ""), scale(5*time.Second, time.Second))
	})
	if testenv.Full() {
		t.Run("the leader of the history is killed", func(t *testing.T) {
			killOne(t, c, leading(t, c, keptStream), 5*time.Second)
		})
		t.Run("another is killed", func(t *testing.T) {
			killOne(t, c, following(t, c), 5*time.Second)
		})
		t.Run("two are killed", func(t *testing.T) { minority(t, c) })
	}
	t.Run("a storm", func(t *testing.T) {
		storm(t, c, following(t, c), scale(5000, 300))
	})
}
