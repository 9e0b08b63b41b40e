package main

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tests can be run against any server of the same set-up: the variables
// hold its base URL, such as http://localhost:3000, the second one that of a
// server which allows Engine.IO 3.
const (
	urlVar     = "CONFORMANCE_URL"
	urlEIO3Var = "CONFORMANCE_EIO3_URL"
)

// target returns the base URL of the server to test: the one that is named in
// the environment, or this program, started for the test.
func target(t *testing.T) string {
	if base := os.Getenv(urlVar); base != "" {
		return base
	}
	return start(t)
}

// ours reports whether this program is tested. Official servers forgive some
// packets that are malformed.
func ours() bool { return os.Getenv(urlVar) == "" }

// pingTimeout is how long a server waits for the answer to a ping. In a process
// that is client and server at once, beside others, the 200 ms of the official
// suites may be over before anybody had a turn.
func pingTimeout() time.Duration {
	if os.Getenv(urlVar) != "" || os.Getenv(urlEIO3Var) != "" {
		return 200 * time.Millisecond
	}
	return 600 * time.Millisecond // less than the time to join a namespace
}

// targetEIO3 is target with Engine.IO 3 allowed.
func targetEIO3(t *testing.T) string {
	if base := os.Getenv(urlEIO3Var); base != "" {
		return base
	}
	return start(t, "--eio3")
}

// trial is one test against a server. Its title is that of the official suite,
// where it is from there.
type trial struct {
	title string
	run   func(p *peer)
}

// perform runs trials and checks that they are as many as they should be.
func perform(t *testing.T, base, path, version string, count int, trials []trial) {
	t.Helper()
	if len(trials) != count {
		t.Errorf("%d tests, want %d", len(trials), count)
	}
	for _, tr := range trials {
		t.Run(tr.title, func(t *testing.T) { tr.run(newPeer(t, base, path, version)) })
	}
}
