package polywire

import (
	"errors"

	"github.com/polywire/polywire/wire"
)

// fanout sends one message to many, encoding it once for each format.
type fanout struct {
	srv       *Server
	out       *Outgoing
	own       Outgoing // what out points to where nobody else has it
	packet    wire.Packet
	encoded   []encoding
	failed    []failure // told to the hooks when no lock is held any more
	receivers int
	flags     sendFlags
	ofSession bool // the packet's place is one in the messages of sessions
	err       error
}

type failure struct {
	conn   *Conn
	reason DropReason
}

// encoding is the message as the links of one format get it.
type encoding struct {
	format uint32
	label  string // the namespace
	coded  bool   // with the numeric code in place of the kind
	bytes  []byte
	err    error
	got    int // receivers
}

func (s *Server) newFanout(o *Outgoing, room string) *fanout {
	f := s.fanouts.Get().(*fanout) //nolint:forcetypeassert // the pool has nothing else
	f.start(s, o, room)
	return f
}

// newFanoutOf is newFanout for a message that only the fanout holds.
func (s *Server) newFanoutOf(kind string, header map[string]string, value any, room string) *fanout {
	f := s.fanouts.Get().(*fanout) //nolint:forcetypeassert // the pool has nothing else
	f.own = Outgoing{Kind: kind, Header: header, Value: value}
	f.start(s, &f.own, room)
	return f
}

func (f *fanout) start(s *Server, o *Outgoing, room string) {
	f.srv, f.out = s, o
	f.packet = wire.Packet{Type: wire.Message, Kind: o.Kind, Header: o.Header, Room: room}
}

// done gives the encoded bytes up; those queued by reference stay with their links.
func (f *fanout) done() {
	srv := f.srv
	if h := srv.hooks.Sent; h != nil {
		for i := range f.encoded {
			if e := &f.encoded[i]; e.got > 0 {
				h(f.out.Kind, e.got, len(e.bytes))
			}
		}
	}
	clear(f.encoded)
	clear(f.failed)
	*f = fanout{encoded: f.encoded[:0], failed: f.failed[:0]}
	srv.fanouts.Put(f)
}

func (f *fanout) send(c *Conn) {
	l := c.link
	if c.phase.Load() != phaseOpen {
		return
	}
	var err error
	switch {
	case f.flags.volatile && !l.writable():
		f.failed = append(f.failed, failure{c, DropVolatile})
		return
	case l.format == 0 || f.packet.Position != "" && l.personal(&f.packet):
		err = f.sendAlone(c)
	default:
		e := f.encoding(c)
		if err = e.err; err == nil {
			if err = l.sendBytes(e.bytes); err == nil {
				e.got++
			}
		}
	}
	if err == nil {
		f.receivers++
		return
	}
	reason := DropUntranslated
	switch {
	case err == ErrSlowConsumer: //nolint:errorlint // as sendBytes returns it
		reason = DropSlow
	case c.Err() != nil || errors.Is(err, ErrConnClosed): // it may be so before it is known why
		reason = DropClosed
	default:
		f.err = err
	}
	f.failed = append(f.failed, failure{c, reason})
}

// personal reports whether the link's session says a packet in its own way.
func (l *link) personal(p *wire.Packet) bool {
	s, ok := l.sess.(wire.Personal)
	return ok && s.Personal(p)
}

// sendAlone encodes for a link whose bytes cannot be shared.
func (f *fanout) sendAlone(c *Conn) error {
	p := f.packet
	if f.ofSession && !c.resumable() {
		p.Position = ""
	}
	if err := c.link.fill(&p, f.out.Value); err != nil {
		return err
	}
	return c.sendPacket(p, f.flags)
}

// encoding returns the bytes for links like l, made once.
func (f *fanout) encoding(c *Conn) *encoding {
	l, label := c.link, c.label()
	code, coded := l.codes.Load().code(f.out.Kind)
	for i := range f.encoded {
		if e := &f.encoded[i]; e.format == l.format && e.coded == coded && e.label == label {
			return e
		}
	}
	e := encoding{format: l.format, coded: coded, label: label}
	p := f.packet
	p.Namespace = label
	if f.ofSession && !c.resumable() { // which is the same for all of a format
		p.Position = ""
	}
	if coded {
		p.Code, p.Kind = code, ""
	}
	if e.err = l.fillAs(&p, f.out.Kind, f.out.Value); e.err == nil {
		sc := f.srv.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool has nothing else
		sc.p = p
		sc.w.Reset(l.framer(f.flags), make([]byte, 0, roomFor(&p)))
		e.err = l.sess.Encode(&sc.w, &sc.p)
		e.bytes = sc.w.Bytes()
		*sc = scratch{}
		f.srv.scratch.Put(sc)
	}
	f.encoded = append(f.encoded, e)
	return &f.encoded[len(f.encoded)-1]
}

// roomFor is about what a packet takes when it is encoded.
func roomFor(p *wire.Packet) int {
	n := 48 + len(p.Namespace) + len(p.Kind) + len(p.Room) + len(p.Position) + len(p.Payload.Data)
	for i := range p.Args {
		n += 16 + len(p.Args[i].Data)
	}
	for k, v := range p.Header {
		n += 16 + len(k) + len(v)
	}
	return n
}
