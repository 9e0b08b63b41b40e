package polywire

import (
	"fmt"
)

// codeTable is numeric message codes by kind and back. It is immutable.
type codeTable struct {
	codes map[string]uint32
	kinds map[uint32]string
}

// Code registers a numeric code for a kind, unique and not zero: peers that
// have the same pair exchange the number in place of the name. Both sides
// learn of it from hello and welcome. A code that another kind has already is
// [ErrDuplicateCode] when the server starts.
func (s *Server) Code(kind string, code uint32) {
	other, taken := s.codes.kinds[code]
	_, twice := s.codes.codes[kind]
	switch {
	case s.State() != StateNew:
		s.misconfigured("code %d of kind %q after the start", code, kind)
	case kind == "" || code == 0:
		s.misconfigured("kind %q has code %d: neither may be empty", kind, code)
	case taken:
		s.mistake(fmt.Errorf("%w: kinds %q and %q have %d", ErrDuplicateCode, other, kind, code))
	case twice:
		s.misconfigured("kind %q has two codes", kind)
	default:
		s.codes.codes[kind] = code
		s.codes.kinds[code] = kind
	}
}

func (s *Server) misconfigured(format string, args ...any) {
	s.mistake(fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...)))
}

// mistake keeps an error for the start.
func (s *Server) mistake(err error) {
	if s.State() != StateNew {
		s.reportError(nil, err)
		return
	}
	s.mistakes = append(s.mistakes, err)
}

// code returns the code of a kind if the peer knows it. A nil table knows none.
func (t *codeTable) code(kind string) (uint32, bool) {
	if t == nil {
		return 0, false
	}
	c, ok := t.codes[kind]
	return c, ok
}

// common returns what both sides have; the table itself if that is all of it,
// so that links share one.
func (t *codeTable) common(peer map[string]uint32) *codeTable {
	both := make(map[string]uint32)
	for kind, code := range peer {
		if own, ok := t.codes[kind]; ok && own == code {
			both[kind] = code
		}
	}
	switch len(both) {
	case 0:
		return nil
	case len(t.codes):
		return t
	}
	return &codeTable{codes: both, kinds: t.kinds}
}
