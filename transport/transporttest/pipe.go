// Package transporttest helps to test what runs over connections: connections
// and listeners in memory ([ConnPair], [Listener], [Pipe]), which follow the
// virtual time of testing/synctest, and the suite that every implementation of
// [transport.Conn] passes ([Run]).
package transporttest

import (
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
)

// PipeOptions are what [Pipe] may be told. The zero value is good.
type PipeOptions struct {
	// BufferBytes is what each direction holds before Write blocks; zero or
	// less means 64 KiB.
	BufferBytes int
	// MaxMessageBytes is the largest message that either end receives; zero or
	// less means 1 MiB.
	MaxMessageBytes int
}

// Pipe returns both ends of a link in memory: the transport/stream format over
// a [ConnPair], and all that is said there.
func Pipe(o PipeOptions) (a, b transport.Conn) {
	ncA, ncB := ConnPair(o.BufferBytes)
	so := stream.Options{MaxMessageBytes: o.MaxMessageBytes}
	return stream.New(ncA, so), stream.New(ncB, so)
}
