package socketio

import (
	"bytes"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/polywire/polywire/wire"
)

// assembly is a packet whose attachments have not all come. It is reused for
// the next one.
type assembly struct {
	mu       sync.Mutex
	open     bool
	late     bool // the time was over before the last one came
	deadline time.Time
	timer    *time.Timer

	head  head // with a copy of the text
	name  string
	parts [][]byte
	bytes int // of text and parts
}

// waiting reports whether attachments are due. A nil assembly waits for none.
func (a *assembly) waiting() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open || a.late
}

// limit is how much a packet and its attachments may be together.
func (s *session) limit() int {
	if s.maxBytes > 0 {
		return s.maxBytes
	}
	return s.host.Limits().MessageBytes
}

// hold keeps a packet until its attachments have come.
func (s *jsonSession) hold(h head) error {
	var p wire.Packet
	if err := s.elements(h, nil, &p); err != nil {
		return s.malformed(err)
	}
	if len(h.rest) > s.limit() {
		return s.malformed(errTooLarge)
	}
	if s.assembly == nil {
		s.assembly = new(assembly)
	}
	a := s.assembly
	a.mu.Lock()
	defer a.mu.Unlock()
	h.rest, h.namespace = bytes.Clone(h.rest), nil
	a.open, a.head, a.name, a.parts, a.bytes = true, h, p.Namespace, nil, len(h.rest)
	a.deadline = time.Now().Add(s.attachmentTimeout)
	if a.timer == nil {
		// The timer may outlive the link, and must not keep what has come.
		waiting := weak.Make(s)
		a.timer = time.AfterFunc(s.attachmentTimeout, func() {
			if s := waiting.Value(); s != nil {
				s.overdue()
			}
		})
	} else {
		a.timer.Reset(s.attachmentTimeout)
	}
	return nil
}

// overdue ends a link whose peer keeps others' memory busy.
func (s *jsonSession) overdue() {
	a := s.assembly
	a.mu.Lock()
	over := a.open && !time.Now().Before(a.deadline)
	if over {
		a.late = true
		a.drop()
	}
	a.mu.Unlock()
	if over && s.link != nil {
		_ = s.link.Close() // it is over either way
	}
}

// drop forgets what has come. a.mu is held.
func (a *assembly) drop() {
	a.open, a.head, a.name, a.parts, a.bytes = false, head{}, "", nil, 0
}

// attachment takes the next attachment. The last one completes the packet, and
// stays in its frame.
func (s *jsonSession) attachment(data []byte, p *wire.Packet) (bool, error) {
	a := s.assembly
	if a == nil {
		return false, s.malformed(errBinary)
	}
	h, parts, err := a.add(data, s.limit())
	if err != nil {
		return false, s.malformed(err)
	}
	if parts == nil {
		return false, nil
	}
	if err := s.elements(h, parts, p); err != nil {
		return false, s.malformed(err)
	}
	return !s.elsewhere(p.Namespace), nil
}

// add takes an attachment and returns the packet when it was the last one.
func (a *assembly) add(data []byte, limit int) (h head, parts [][]byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.late:
		return h, nil, errTooLate
	case !a.open:
		return h, nil, errBinary
	case len(data) > limit-a.bytes:
		return h, nil, errTooLarge
	}
	a.bytes += len(data)
	if len(a.parts)+1 < a.head.attachments {
		a.parts = append(a.parts, append(make([]byte, 0, len(data)), data...))
		return h, nil, nil
	}
	h, parts = a.head, append(a.parts, slices.Clip(data))
	if a.name != mainNamespace {
		h.namespace = []byte(a.name)
	}
	a.timer.Stop()
	a.drop()
	return h, parts, nil
}
