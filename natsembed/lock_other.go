//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package natsembed

import (
	"errors"
	"os"
)

// errLocked says that another open file has the lock.
var errLocked = errors.New("locked")

// tryLock refuses: without a lock two processes would write into each other's streams.
func tryLock(*os.File) error { return errors.ErrUnsupported }

func unlock(*os.File) error { return errors.ErrUnsupported }
