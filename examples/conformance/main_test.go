package main

import (
	"os"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// The tests can be run against any server of the same set-up: the variables
// hold its base URL, such as http://localhost:3000, the second one that of a
// server which allows Engine.IO 3.
const (
	urlVar     = "CONFORMANCE_URL"
	urlEIO3Var = "CONFORMANCE_EIO3_URL"
)

// ours reports whether this program is tested. Official servers forgive some
// packets that are malformed.
func ours() bool { return os.Getenv(urlVar) == "" }

// The official times are so short that a machine which has something else to do
// for a moment hears a ping instead of an answer, or finds a session gone. This
// program gets them only where they are what is tested, and of those only one
// that must not be missed is short.
func calm() times  { return times{time.Minute, time.Minute, time.Minute} }                        // nothing happens by itself
func beats() times { return times{300 * time.Millisecond, time.Minute, 3 * time.Second} }         // pings come, and nobody has to hurry
func dies() times  { return times{300 * time.Millisecond, 1500 * time.Millisecond, time.Minute} } // who does not answer is gone soon

// site is a server to test.
type site struct {
	times

	base string
	with func(t times) site // the same with other times; nil: there is none
}

// target returns the server to test: the one that is named in the environment,
// or this program, started for the test as often as there are times to have it with.
func target(t *testing.T) site { return targetOf(t, urlVar) }

// targetEIO3 is target with Engine.IO 3 allowed.
func targetEIO3(t *testing.T) site { return targetOf(t, urlEIO3Var, "--eio3") }

func targetOf(t *testing.T, variable string, args ...string) site {
	if base := os.Getenv(variable); base != "" {
		return site{times: official(), base: base}
	}
	started := make(map[times]site)
	var with func(want times) site
	with = func(want times) site {
		s, found := started[want]
		if !found {
			s = start(t, want, args...)
			s.with = with
			started[want] = s
		}
		return s
	}
	return with(calm())
}

// trial is one test against a server. Its title is that of the official suite,
// where it is from there.
type trial struct {
	title string
	run   func(p *peer)
}

// perform runs trials and checks that they are as many as they should be.
func perform(t *testing.T, at site, path, version string, count int, trials []trial) {
	t.Helper()
	if len(trials) != count {
		t.Errorf("%d tests, want %d", len(trials), count)
	}
	for _, tr := range trials {
		t.Run(tr.title, func(t *testing.T) { tr.run(newPeer(t, at, path, version)) })
	}
}
