package natsembed

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// errLocked says that another open file has the lock.
var errLocked = errors.New("locked")

// tryLock locks a byte far behind the file's text, which others may thus read,
// until the file is closed.
func tryLock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
		&windows.Overlapped{OffsetHigh: 1})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}

// unlock does nothing: the end of the handle is the end of the lock.
func unlock(*os.File) error { return nil }
