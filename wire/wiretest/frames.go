package wiretest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// framer makes frames of a type and four bytes of length.
type framer struct{}

const headerBytes = 5

func (framer) Format() string { return "wiretest" }

func (framer) Begin(dst []byte) []byte { return append(dst, make([]byte, headerBytes)...) }

func (framer) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	n := len(dst) - start - headerBytes
	dst[start] = byte(t)
	for i := range 4 {
		dst[start+1+i] = byte(n >> (24 - 8*i))
	}
	return dst, nil
}

// split takes frames apart again.
func split(b []byte) []transport.Frame {
	var frames []transport.Frame
	for len(b) > 0 {
		n := int(b[1])<<24 | int(b[2])<<16 | int(b[3])<<8 | int(b[4])
		end := headerBytes + n
		frames = append(frames, transport.Frame{Type: transport.FrameType(b[0]), Data: b[headerBytes:end:end]})
		b = b[end:]
	}
	return frames
}

// Encode returns the frames that a session makes of a packet.
func Encode(s wire.Session, p *wire.Packet) ([]transport.Frame, error) {
	w := transport.NewWriter(framer{}, nil)
	if err := s.Encode(&w, p); err != nil {
		if len(w.Bytes()) != 0 {
			return nil, fmt.Errorf("an error left %d bytes in the writer: %w", len(w.Bytes()), err)
		}
		return nil, err
	}
	return split(slices.Clone(w.Bytes())), nil
}

// Decode gives frames to a session and returns the one packet that comes of them.
func Decode(s wire.Session, frames []transport.Frame) (wire.Packet, error) {
	for i, f := range frames {
		var p wire.Packet
		ok, err := s.Decode(f, &p)
		switch {
		case err != nil:
			return wire.Packet{}, err
		case ok && i < len(frames)-1:
			return wire.Packet{}, fmt.Errorf("a packet after %d of %d frames", i+1, len(frames))
		case ok:
			return p, nil
		}
	}
	return wire.Packet{}, fmt.Errorf("no packet after %d frames", len(frames))
}

// Diff returns how two packets differ, empty if they do not. Nil and empty
// maps, slices and data are alike.
func Diff(got, want wire.Packet) string {
	for _, f := range []struct {
		name      string
		got, want any
	}{
		{"Type", got.Type, want.Type},
		{"ID", got.ID, want.ID},
		{"Key", got.Key, want.Key},
		{"Kind", got.Kind, want.Kind},
		{"Code", got.Code, want.Code},
		{"Room", got.Room, want.Room},
		{"Header", fmt.Sprint(got.Header), fmt.Sprint(want.Header)},
		{"Payload", text(got.Payload), text(want.Payload)},
		{"Args", texts(got.Args), texts(want.Args)},
		{"Err", errText(got.Err), errText(want.Err)},
		{"Codes", fmt.Sprint(got.Codes), fmt.Sprint(want.Codes)},
		{"Namespace", got.Namespace, want.Namespace},
		{"Resume", got.Resume, want.Resume},
		{"Position", got.Position, want.Position},
		{"Recovered", got.Recovered, want.Recovered},
	} {
		if f.got != f.want {
			return fmt.Sprintf("%s is %v, want %v", f.name, f.got, f.want)
		}
	}
	return ""
}

func text(p codec.Payload) string { return fmt.Sprintf("%s %q", p.Type, p.Data) }

func texts(args []codec.Payload) string {
	var s strings.Builder
	for _, a := range args {
		s.WriteString(text(a) + "; ")
	}
	return s.String()
}

func errText(e *wire.ErrorBody) string {
	if e == nil {
		return "none"
	}
	return fmt.Sprintf("%q %q %s", e.Code, e.Message, text(e.Details))
}
