package natsembed_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/polywire/polywire/natsembed"
)

// listeners are the addresses that this process listens on, as the kernel
// writes them in /proc/net/tcp: hexadecimal address and port.
func listeners(t *testing.T) []string {
	t.Helper()
	mine := make(map[string]bool)
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil { // the glob's own is gone
			mine[target] = true
		}
	}
	var list []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue // a kernel without IPv6
		}
		for line := range strings.Lines(string(text)) {
			// sl local remote st tx:rx tr:when retrnsmt uid timeout inode
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && mine["socket:["+f[9]+"]"] {
				list = append(list, f[1])
			}
		}
	}
	return list
}

func TestNoPortUnlessAsked(t *testing.T) {
	before := len(listeners(t))
	s := start(t, natsembed.Options{TemporaryDir: true})
	if got := listeners(t); len(got) != before || s.ClientURL() != "" || s.ClusterAddr() != nil {
		t.Errorf("listens on %v, %q, %v", got, s.ClientURL(), s.ClusterAddr())
	}
	asked := start(t, natsembed.Options{TemporaryDir: true, Listen: "127.0.0.1:0"})
	if got := listeners(t); len(got) != before+1 {
		t.Errorf("listens on %v, asked for one", got)
	}
	stop(t, asked)
	if got := listeners(t); len(got) != before {
		t.Errorf("listens on %v after the end", got)
	}
}
