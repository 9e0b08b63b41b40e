//go:build unix

package top

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// keysWork: reading what is typed can be ended.
const keysWork = true

// readKeys sends what is typed, until ctx ends or nobody can type any more. It
// looks for the end ten times a second, since nothing ends a read of a terminal.
func readKeys(ctx context.Context, in *os.File, typed chan<- byte) {
	const look = 100 // ms
	fd := int(in.Fd())
	b := make([]byte, 32)
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, look)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return
		}
		if n, err = unix.Read(fd, b); errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		for _, key := range b[:n] {
			select {
			case typed <- key:
			case <-ctx.Done():
				return
			}
		}
	}
}

// watchSize tells when the terminal has another size.
func watchSize() (resized <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGWINCH)
	return c, func() { signal.Stop(c) }
}
