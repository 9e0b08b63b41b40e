// Package accept reads HTTP's Accept header (RFC 9110 section 12.5.1) and
// finds what of an offer fits it best.
package accept

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// MaxRanges bounds the media ranges of one request's Accept headers.
const MaxRanges = 32

const (
	wildcard = "*"
	fullQ    = 1000 // weights have at most three digits
)

var (
	errMalformed = errors.New("accept: malformed header")
	errTooMany   = errors.New("accept: too many media ranges")
)

// Ranges are the media ranges of a request in their order. None: anything will do.
type Ranges []mediaRange

type mediaRange struct {
	kind, sub string // in lower case; "*" for any
	q         int    // thousandths
}

// Parse reads the header's lines. Parameters other than q are skipped: media
// types that are told apart by one are the same here. What it allocates is
// bounded by [MaxRanges] and the length of the lines.
func Parse(lines []string) (Ranges, error) {
	var all Ranges
	for _, line := range lines {
		s := scanner{rest: line}
		for s.element() {
			if len(all) == MaxRanges {
				return nil, errTooMany
			}
			r, ok := s.mediaRange()
			if !ok {
				return nil, errMalformed
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// Any reports whether the client takes anything and prefers nothing: it sent no
// range, or a single */*.
func (r Ranges) Any() bool {
	return len(r) == 0 || len(r) == 1 && r[0].kind == wildcard && r[0].q > 0
}

// Prefer returns those of the offered media types (in lower case, without
// parameters) that the client takes, what it likes best first. Of those with
// the same weight the one is first that the client has named first, then the
// one that is offered first.
func (r Ranges) Prefer(offered []string) []string {
	if len(r) == 0 {
		return slices.Clone(offered)
	}
	type choice struct {
		name  string
		q, at int
	}
	var fit []choice
	for _, name := range offered {
		if q, at := r.weigh(name); q > 0 {
			fit = append(fit, choice{name, q, at})
		}
	}
	slices.SortStableFunc(fit, func(a, b choice) int { return cmp.Or(cmp.Compare(b.q, a.q), cmp.Compare(a.at, b.at)) })
	names := make([]string, len(fit))
	for i, c := range fit {
		names[i] = c.name
	}
	return names
}

// weigh returns the weight of a media type, that of the most specific range
// that has it, and where that range stands.
func (r Ranges) weigh(name string) (q, at int) {
	kind, sub, _ := strings.Cut(name, "/")
	specific := 0
	for i, m := range r {
		s := 0
		switch {
		case m.kind == kind && m.sub == sub:
			s = 3
		case m.kind == kind && m.sub == wildcard:
			s = 2
		case m.kind == wildcard:
			s = 1
		}
		if s > specific {
			specific, q, at = s, m.q, i
		}
	}
	return q, at
}

// scanner takes a header's line apart from its beginning.
type scanner struct{ rest string }

// element goes to the next element of a list, past empty ones; false at the end.
func (s *scanner) element() bool {
	s.rest = strings.TrimLeft(s.rest, " \t,")
	return s.rest != ""
}

func (s *scanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *scanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

// mediaRange reads one with its parameters, up to a comma or the end.
func (s *scanner) mediaRange() (r mediaRange, ok bool) {
	r.q = fullQ
	r.kind = strings.ToLower(s.token())
	if r.kind == "" || !s.take('/') {
		return r, false
	}
	r.sub = strings.ToLower(s.token())
	if r.sub == "" || r.kind == wildcard && r.sub != wildcard {
		return r, false
	}
	for s.space(); s.take(';'); s.space() {
		s.space()
		name := s.token()
		if name == "" {
			continue // an empty parameter: RFC 9110 section 5.6.6
		}
		if !s.take('=') {
			return r, false
		}
		value, ok := s.value()
		if ok && strings.EqualFold(name, "q") {
			r.q, ok = weight(value)
		}
		if !ok {
			return r, false
		}
	}
	return r, s.rest == "" || s.rest[0] == ','
}

// token reads a token of RFC 9110 section 5.6.2, empty if there is none.
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && isTokenByte(s.rest[n]) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

func isTokenByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) < 0
}

// value reads a parameter's value: a token, or a quoted string (RFC 9110
// section 5.6.4), whose text nobody needs.
func (s *scanner) value() (string, bool) {
	if !s.take('"') {
		t := s.token()
		return t, t != ""
	}
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '\\':
			i++
		case c == '"':
			s.rest = s.rest[i+1:]
			return "", true
		case c < ' ' && c != '\t', c == 0x7f:
			return "", false
		}
	}
	return "", false
}

// weight reads a qvalue of RFC 9110 section 12.4.2 in thousandths.
func weight(v string) (q int, ok bool) {
	whole, digits, dotted := strings.Cut(v, ".")
	if whole != "0" && whole != "1" || len(digits) > 3 || dotted && strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	unit := fullQ
	q = int(whole[0]-'0') * unit
	for _, d := range []byte(digits) {
		unit /= 10
		q += int(d-'0') * unit
	}
	return q, q <= fullQ
}
