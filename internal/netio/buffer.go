package netio

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	smallBytes = 4 << 10  // what a connection that cannot be watched waits with
	blockBytes = 16 << 10 // what one read takes at first
	largeBytes = 1 << 20  // the largest buffer that is pooled
)

// buffer is memory that a Reader shares with whoever has detached a frame in
// it. The last one to let go of it returns it to its pool.
type buffer struct {
	b       []byte // at its full length
	refs    atomic.Int32
	release func() // free, bound once so that Detach allocates nothing
}

// pools holds free buffers by size, in powers of two from smallBytes to
// largeBytes. Together with vectors it is the only mutable state of a package
// in this module: a cache that may be emptied at any time unnoticed.
var pools [9]sync.Pool //nolint:gochecknoglobals // connections share free buffers, that is what saves them

// class returns the index of the pool whose buffers have at least n bytes.
func class(n int) int {
	return max(0, bits.Len(uint(n-1))-bits.Len(uint(smallBytes-1)))
}

// takeBuffer returns a buffer of at least n bytes, with one reference.
func takeBuffer(n int) *buffer {
	if n > largeBytes {
		return newBuffer(n)
	}
	c := class(n)
	b, ok := pools[c].Get().(*buffer)
	if !ok {
		return newBuffer(smallBytes << c)
	}
	b.refs.Store(1)
	return b
}

// newBuffer returns a buffer of exactly n bytes, with one reference.
func newBuffer(n int) *buffer {
	b := &buffer{b: make([]byte, n)}
	b.refs.Store(1)
	b.release = b.free
	return b
}

func (b *buffer) shared() bool { return b.refs.Load() > 1 }

// free lets go of one reference.
func (b *buffer) free() {
	if b.refs.Add(-1) != 0 {
		return
	}
	if n := len(b.b); n >= smallBytes && n <= largeBytes && n&(n-1) == 0 {
		pools[class(n)].Put(b)
	}
}
