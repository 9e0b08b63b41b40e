package rabbittest

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

// TestLife takes one node through all that tests do to it.
func TestLife(t *testing.T) {
	b := Start(t)
	other := b.Eval(t, "atom_to_list(node())")
	if want := `"` + nodeName + `"`; other != want {
		t.Errorf("the node is called %s, want %s", other, want)
	}
	if got := b.Eval(t, "[1, 2] ++ [3]"); got != "[1,2,3]" {
		t.Errorf("Eval printed %q", got)
	}

	testOthers(t, b)

	b.MemoryAlarm(t, true)
	b.MemoryAlarm(t, false)
	b.DiskAlarm(t, true)
	b.DiskAlarm(t, false)

	b.Pause(t)
	if b.answers() {
		t.Error("a paused node answers")
	}
	b.Resume(t)
	testenv.Eventually(t, time.Minute, "the node answers again", b.answers)

	b.Eval(t, `rabbit_vhost:add(<<"kept">>, <<"test">>)`)
	b.Stop(t)
	if c, err := net.DialTimeout("tcp", b.Addr(), time.Second); err == nil {
		_ = c.Close()
		t.Error("a stopped node takes connections")
	}
	b.Start(t)
	b.Kill(t)
	b.Start(t)
	if hosts := b.Eval(t, "rabbit_vhost:list_names()"); !strings.Contains(hosts, "kept") {
		t.Errorf("what was made before it was stopped and killed is gone: %s", hosts)
	}

	dir := b.dir
	b.Close()
	b.Close()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its directory is left behind: %v", err)
	}
}
