package main

import (
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/webhook/dispatch"
)

func TestDeliveryWatch(t *testing.T) {
	now := time.Unix(1e9, 0)
	good := dispatch.EndpointStats{Enabled: true, LastSuccess: now}
	bad := dispatch.EndpointStats{Enabled: true, FailingSince: now}
	off := dispatch.EndpointStats{FailingSince: now}
	busy := dispatch.EndpointStats{Enabled: true, LastSuccess: now, Running: 2, Waiting: 1}
	with := func(change func(s *dispatch.Stats), e ...dispatch.EndpointStats) dispatch.Stats {
		s := dispatch.Stats{Endpoints: make(map[string]dispatch.EndpointStats)}
		for i, one := range e {
			s.Endpoints[string(rune('a'+i))] = one
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	w := new(deliveryWatch)
	for _, step := range []struct {
		what  string
		after time.Duration
		stats dispatch.Stats
		want  string
	}{
		{"nothing to do", 0, with(nil), ""},
		{"and still", time.Hour, with(nil), ""},
		{"work", time.Hour, with(nil, busy, good), ""},
		{"that takes its time", 9 * time.Minute, with(nil, busy, good), ""},
		{"and does not end", time.Minute, with(nil, busy, good), "3 deliveries are in hand, and none has moved since"},
		{"but then", time.Hour, with(func(s *dispatch.Stats) { s.Attempts = 1 }, busy, good), ""},
		{"and again", 9 * time.Minute, with(func(s *dispatch.Stats) { s.Attempts = 1 }, busy, good), ""},
		{"a store that is away", time.Second, with(func(s *dispatch.Stats) { s.Attempts, s.LogFailed = 2, 1 }, good), "attempts cannot be kept"},
		{"a moment ago", 59 * time.Second, with(func(s *dispatch.Stats) { s.Attempts, s.LogFailed = 2, 1 }, good), "attempts cannot be kept"},
		{"and is back", time.Second, with(func(s *dispatch.Stats) { s.Attempts, s.LogFailed = 2, 1 }, good), ""},
		{"changes unseen", time.Second, with(func(s *dispatch.Stats) { s.LogFailed, s.Watching = 1, "no leader" }, good), "not seen: no leader"},
		{"some fail", time.Second, with(func(s *dispatch.Stats) { s.LogFailed = 1 }, good, bad, bad, bad), ""},
		{"two fail", time.Second, with(func(s *dispatch.Stats) { s.LogFailed = 1 }, bad, bad, off), ""},
		{"all fail", time.Second, with(func(s *dispatch.Stats) { s.LogFailed = 1 }, bad, bad, bad, off), "all 3 endpoints fail"},
	} {
		now = now.Add(step.after)
		err := w.look(step.stats, now)
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("%s: %v, want %q", step.what, err, step.want)
		}
	}
}
