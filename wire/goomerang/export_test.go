package goomerang

import "time"

// Fixed makes p write the same bytes each time.
func Fixed(p *Protocol, now time.Time, random uint64) *Protocol {
	p.now, p.accepted = func() time.Time { return now }, random
	p.random = func() uint64 { return ^random }
	return p
}
