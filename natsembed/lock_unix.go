//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package natsembed

import (
	"errors"
	"os"
	"syscall"
)

// errLocked says that another open file has the lock.
var errLocked = errors.New("locked")

// tryLock locks a file until it is closed, flock(2). Another open file of the
// same process is another holder.
func tryLock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		default:
			return err
		}
	}
}

// unlock frees a file that is about to be closed. That alone would not do: a child
// that another goroutine is just starting has the lock, too, until it is its program.
func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
