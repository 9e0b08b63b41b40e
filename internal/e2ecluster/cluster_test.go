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
	for _, scene := range []struct {
		name string
		full bool // not in the shortened form
		play func(t *testing.T)
	}{
		{"a mixed crowd", false, func(t *testing.T) { crowd(t, c) }},
		{"the leader of NATS is killed", false, func(t *testing.T) {
			killOne(t, c, leading(t, c, ""), scale(5*time.Second, time.Second))
		}},
		{"the leader of the history is killed", true, func(t *testing.T) { killOne(t, c, leading(t, c, keptStream), 5*time.Second) }},
		{"another is killed", true, func(t *testing.T) { killOne(t, c, following(t, c), 5*time.Second) }},
		{"a storm", false, func(t *testing.T) { storm(t, c, following(t, c), scale(5000, 300)) }},
	} {
		if scene.full && !testenv.Full() {
			continue
		}
		if !t.Run(scene.name, scene.play) {
			return // nodes may be missing
		}
	}
}
