package main

import (
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/natsembed"
)

// A server that waits for others says for what, and can be ended.
func TestServeSaysWhatItWaitsFor(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		logs string
	}{
		"a cluster of nobody": {
			[]string{"--data-dir", t.TempDir(), "--no-sync", "--cluster-listen", "127.0.0.1:0"},
			"no --cluster-peers are given",
		},
		"a NATS that is not there": {
			[]string{"--nats", "nats://user:hidden@127.0.0.1:1"},
			"connecting to the NATS server.* at=nats://127.0.0.1:1\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProgram(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0"}, c.args...)...)
			p.logs(c.logs)
			p.signal(syscall.SIGTERM)
			if err := p.ends(); err != nil {
				t.Errorf("it was told to end: %v", err)
			}
		})
	}
}

func TestNotFoundYet(t *testing.T) {
	for _, found := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			waiting := notFoundYet(slog.New(slog.NewTextHandler(&log, nil)), natsembed.Options{
				Cluster: &natsembed.Cluster{Listen: "127.0.0.1:6222", Peers: []string{"127.0.0.1:1"}},
			})
			if found {
				waiting.Stop()
			}
			time.Sleep(2 * foundWithin)
			synctest.Wait()
			if got := log.String(); strings.Contains(got, "less than a majority of the servers have been found") == found || strings.Contains(got, "no --cluster-peers") {
				t.Errorf("found %v: %s", found, got)
			}
		})
	}
}
