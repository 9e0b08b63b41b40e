package polywire

import (
	"slices"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// Encoding sets the content type in which messages of a kind, and answers to
// calls of it, are encoded for every peer, whatever it prefers: for messages
// between parts of programs that agree among themselves. Peers whose wire
// cannot say it get a translation. One of the application's codecs must have
// the type.
func (s *Server) Encoding(kind, contentType string) {
	_, twice := s.encodings[kind]
	raw := contentType == codec.TypeBytes || contentType == codec.TypeParts
	switch {
	case s.State() != StateNew:
		s.misconfigured("encoding %s of kind %q after the start", contentType, kind)
	case kind == "" || twice:
		s.misconfigured("encoding %s needs a kind that has none yet, not %q", contentType, kind)
	case raw || s.cfg.codecs.Lookup(contentType) == nil:
		s.misconfigured("kind %q: no codec encodes in %q", kind, contentType)
	default:
		if s.encodings == nil {
			s.encodings = make(map[string][]string)
		}
		s.encodings[kind] = []string{contentType}
	}
}

// typesFor lists the content types to say a message of a kind in, the preferred
// one first; none: any.
func (l *link) typesFor(kind string) []string {
	types := l.sess.ContentTypes()
	if len(l.srv.encodings) == 0 {
		return types
	}
	wanted, ok := l.srv.encodings[kind]
	if !ok || len(types) > 0 && !slices.Contains(types, wanted[0]) && !l.carries(wanted[0]) {
		return types
	}
	return wanted
}

func (l *link) carries(contentType string) bool {
	c, ok := l.sess.(wire.Carrier)
	return ok && c.Carries(contentType)
}

// checkSize refuses a packet with more than may be sent.
func (s *Server) checkSize(p *wire.Packet, kind string) error {
	if s.cfg.MaxSendBytes == 0 {
		return nil
	}
	n := len(p.Payload.Data)
	for _, a := range p.Args {
		n += len(a.Data)
	}
	if n > s.cfg.MaxSendBytes {
		return Errorf(CodeTooLarge, "%q has %d bytes, and %d may be sent", kind, n, s.cfg.MaxSendBytes)
	}
	return nil
}
