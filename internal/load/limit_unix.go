//go:build unix

package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// raiseDescriptorLimit makes room for so many open files, up to what the
// system allows this process.
func raiseDescriptorLimit(need int) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("load: limit of open files: %w", err)
	}
	// The fields' type is not the same on every system.
	if uint64(lim.Cur) >= uint64(need) { //nolint:unconvert // as said
		return nil
	}
	if uint64(lim.Max) < uint64(need) { //nolint:unconvert // as said
		return fmt.Errorf("load: %d open files are needed, the hard limit is %d (see ulimit -Hn)", need, lim.Max)
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("load: raising the limit of open files to %d: %w", lim.Max, err)
	}
	return nil
}
