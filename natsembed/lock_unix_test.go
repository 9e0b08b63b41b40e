//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package natsembed

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestLockOutlivesNothing closes a directory while something else has its descriptors,
// as a child has that is being started: the next server need not wait for that.
func TestLockOutlivesNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), lockFile)
	f, err := lock(name)
	if err != nil {
		t.Fatal(err)
	}
	childs, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(childs) }()
	if _, err := lock(name); err == nil {
		t.Fatal("locked twice")
	}
	if err := (&store{dir: filepath.Dir(name), lock: f}).close(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
