// Package keep makes strings that stay of bytes that do not.
package keep

import "strings"

// roomBytes is how much is allocated at once, and longest how long a string may
// be to be among others.
const (
	roomBytes = 288
	longest   = 40
)

// Strings makes strings of the keys that every call of a peer has one of. Short
// ones share an allocation: one that is held keeps its neighbours in memory,
// less than 300 bytes. The zero value is good; it is for one goroutine at a
// time.
type Strings struct{ room strings.Builder }

// Of returns b as a string.
func (s *Strings) Of(b []byte) string {
	if len(b) > longest {
		return string(b)
	}
	if s.room.Cap()-s.room.Len() < len(b) {
		s.room = strings.Builder{}
		s.room.Grow(roomBytes)
	}
	start := s.room.Len()
	s.room.Write(b)
	return s.room.String()[start:]
}
