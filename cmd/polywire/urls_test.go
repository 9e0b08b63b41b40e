package main

import (
	"strings"
	"testing"
)

// The tools take the URLs of every wire that asks and publishes.
func TestToolsTakeEveryURL(t *testing.T) {
	socket := t.TempDir() + "/drs.sock"
	lines := start(t, 3, "serve", "--listen", "ws://127.0.0.1:0", "--listen", "drs+tcp://127.0.0.1:0", "--listen", "drs+unix://"+socket,
		"--allow", "publish,broadcast")
	ws := last(lines[0])
	host := strings.TrimPrefix(ws, "ws://")
	urls := []string{
		ws, "polywire+http://" + host, "socketio+http://" + host, "drs+ws://" + host,
		last(lines[1]), "drs+unix://" + socket,
	}
	for _, url := range urls {
		out, _, err := run(t, "", "call", "echo", `{"a": [1, 2]}`, "--url", url)
		if err != nil || strings.Join(strings.Fields(out), "") != `{"a":[1,2]}` {
			t.Errorf("call echo on %s: %q, %v", url, out, err)
		}
		meetInRoom(t, ws, ws, url)
	}
}
