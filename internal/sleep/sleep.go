// Package sleep watches connections that nobody reads from, without a
// goroutine for any of them.
package sleep

import "errors"

// ErrUnsupported is returned by New on systems without a poller.
var ErrUnsupported = errors.New("sleep: not supported on this system")
