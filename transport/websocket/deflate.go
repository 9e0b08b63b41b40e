package websocket

import (
	"compress/flate"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/polywire/polywire/transport"
)

// Compression turns on permessage-deflate (RFC 7692) where the peer has it
// too, each message by itself: context takeover in neither direction, so that
// a quiet connection has no window in memory. The zero value is good.
//
// It keeps compressors for reuse; share one among connections, and do not copy
// it after the first use.
type Compression struct {
	// MinBytes is the shortest payload to compress. Zero: 512; negative: all.
	MinBytes int
	// Level is that of compress/flate, 1 (fast) to 9 (small). Zero or any
	// other: 1.
	Level int

	deflaters sync.Pool
	inflaters sync.Pool
}

const (
	defaultMinBytes = 512
	minGrowBytes    = 512
	keptBytes       = 64 << 10 // a larger output buffer is not kept for reuse
	windowBytes     = 32 << 10
	maxStreams      = 16 // in a message; each costs a copy of the window
)

// syncTail ends a message: the four bytes that RFC 7692 section 7.2.1 has the
// sender leave out, and an empty last block, for the reader to find an end.
const syncTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// compressedLimit is how long a message of n bytes may be when compressed:
// one that cannot be compressed grows by five bytes in some thousands.
func compressedLimit(n int) int { return n + n>>9 + 64 }

func (p *Compression) minBytes() int {
	if p.MinBytes == 0 {
		return defaultMinBytes
	}
	return p.MinBytes
}

// deflater compresses into out.
type deflater struct {
	w   *flate.Writer
	out []byte
}

func (d *deflater) Write(b []byte) (int, error) {
	d.out = append(d.out, b...)
	return len(b), nil
}

// deflate replaces dst[at:] by its compressed form, if that is smaller.
func (p *Compression) deflate(dst []byte, at int) ([]byte, bool) {
	d, ok := p.deflaters.Get().(*deflater)
	if !ok {
		d = new(deflater)
		level := p.Level
		if level < flate.BestSpeed || level > flate.BestCompression {
			level = flate.BestSpeed
		}
		d.w, _ = flate.NewWriter(d, level) // fails for wrong levels only
	} else {
		d.w.Reset(d)
	}
	d.out = d.out[:0]
	_, err := d.w.Write(dst[at:])
	if err == nil {
		err = d.w.Flush()
	}
	n := len(d.out) - 4 // Flush has ended it with the four bytes to leave out
	smaller := err == nil && n > 0 && n < len(dst)-at
	if smaller {
		dst = append(dst[:at], d.out[:n]...)
	}
	if cap(d.out) > keptBytes {
		d.out = nil
	}
	p.deflaters.Put(d)
	return dst, smaller
}

// inflater holds an inflated message until that has been used.
type inflater struct {
	src     source
	r       io.Reader
	reset   flate.Resetter // r again
	out     []byte
	release func()
}

// source reads a payload and then syncTail. It is an io.ByteReader, so that
// flate takes no more than it needs.
type source struct {
	payload []byte
	tail    string
}

func (s *source) ReadByte() (byte, error) {
	var b byte
	switch {
	case len(s.payload) > 0:
		b, s.payload = s.payload[0], s.payload[1:]
	case len(s.tail) > 0:
		b, s.tail = s.tail[0], s.tail[1:]
	default:
		return 0, io.EOF
	}
	return b, nil
}

func (s *source) Read(p []byte) (int, error) {
	n := copy(p, s.payload)
	s.payload = s.payload[n:]
	m := copy(p[n:], s.tail)
	s.tail = s.tail[m:]
	if n+m == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n + m, nil
}

func (p *Compression) takeInflater() *inflater {
	d, ok := p.inflaters.Get().(*inflater)
	if !ok {
		d = new(inflater)
		d.r = flate.NewReader(&d.src)
		d.reset, _ = d.r.(flate.Resetter) // as compress/flate promises
		d.release = func() {
			d.src = source{}
			if cap(d.out) > keptBytes {
				d.out = nil
			}
			p.inflaters.Put(d)
		}
	}
	d.out = d.out[:0]
	return d
}

// inflate returns the message whose compressed form is payload. What it
// returns is valid until recycle.
func (c *Conn) inflate(payload []byte) ([]byte, error) {
	if len(payload) == 0 {
		return nil, nil // nothing at all, not even an empty block: some peers do that
	}
	d := c.compression.takeInflater()
	d.src = source{payload: payload, tail: syncTail}
	for range maxStreams {
		// Each turn is a stream: RFC 7692 section 7.2.3.5 lets a sender end
		// one (BFINAL) within a message.
		before := d.out[max(0, len(d.out)-windowBytes):]
		if err := d.reset.Reset(&d.src, before); err != nil {
			return c.notInflated(d, err)
		}
		if err := d.readAll(c.maxBytes); err != nil {
			return c.notInflated(d, err)
		}
		if len(d.src.payload) == 0 {
			c.inflated = d
			return d.out, nil
		}
	}
	return c.notInflated(d, flate.CorruptInputError(0))
}

func (c *Conn) notInflated(d *inflater, err error) ([]byte, error) {
	d.release()
	if errors.Is(err, errTooBig) {
		return nil, violation(transport.CloseTooBig, "message too big")
	}
	return nil, violation(transport.CloseInvalidPayload, "message cannot be inflated")
}

var errTooBig = errors.New("websocket: message too big")

// readAll appends the stream to out, which grows with what has come and to no
// more than limit bytes.
func (d *inflater) readAll(limit int) error {
	for {
		if len(d.out) == cap(d.out) {
			d.out = slices.Grow(d.out, max(minGrowBytes, len(d.out)))
		}
		n, err := d.r.Read(d.out[len(d.out):cap(d.out)])
		d.out = d.out[:len(d.out)+n]
		switch {
		case len(d.out) > limit:
			return errTooBig
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
