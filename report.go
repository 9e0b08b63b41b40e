package polywire

import (
	"errors"
	"strings"
	"sync"
)

// What errors that peers may cause write to the log: so many lines at once, and
// so many a second in the long run. Hooks are told of all.
const (
	reportBurst      = 1000
	reportsPerSecond = 100
	reportBytes      = 16 << 10 // of the text; a panic has a stack in it
)

// shown is what an error says of a name that a peer has chosen.
func shown(name string) string {
	const most = 255
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}

// reports bounds the lines about errors.
type reports struct {
	mu sync.Mutex
	bucket
	left int // that had no line
}

// allows reports whether an error has a line, and how many before it had none.
func (r *reports) allows(s *Server) (left int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.bucket.allows(reportsPerSecond, reportBurst, s.watch.now()) {
		r.left++
		return 0, false
	}
	left, r.left = r.left, 0
	return left, true
}

// reportError hands an error that nobody waits for to the hooks and the log.
func (s *Server) reportError(c *Conn, err error) {
	if h := s.hooks.Error; h != nil {
		h(c, err)
	}
	left, ok := s.reports.allows(s)
	if !ok {
		return
	}
	if left > 0 {
		s.cfg.logger.Error("polywire: errors came too fast to be logged", "count", left)
	}
	if text := err.Error(); len(text) > reportBytes {
		const half = reportBytes / 2 // why it failed is at the end, where a name came first
		err = errors.New(strings.ToValidUTF8(text[:half]+" ... "+text[len(text)-half:], ""))
	}
	if c == nil {
		s.cfg.logger.Error("polywire", "error", err)
		return
	}
	s.cfg.logger.Error("polywire", "conn", c.ID(), "wire", c.Wire(), "error", err)
}
