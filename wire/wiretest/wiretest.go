package wiretest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// Wire is what the suite needs to know. New must be given.
type Wire struct {
	// New returns the two ends of a link that has been opened.
	New func(host wire.Host) (client, server wire.Session)
	// FrameType is the only type of frames that the wire uses; zero when it
	// uses text and binary.
	FrameType transport.FrameType
	// Adapt turns a packet into what this wire can say in the direction, and
	// returns false when it cannot say it at all. Nil: it can say everything.
	Adapt func(toServer bool, p *wire.Packet) bool
	// Arrives turns a packet that was sent into what arrives. Nil: the same.
	Arrives func(toServer bool, p *wire.Packet)
	// Positions says that the wire carries positions in the history of rooms.
	Positions bool
	// Unsayable are packets that a server's session must refuse to encode.
	Unsayable []wire.Packet
	// Namespace is the one that packets are in, on links that have such; the
	// packets of their connections are tried too. Empty: there are none.
	Namespace string
}

// last is the last packet type that the wire may know.
func (w Wire) last() wire.Type {
	if w.Namespace != "" {
		return wire.Goodbye
	}
	return wire.Pong
}

// Kind is the kind that the suite's packets have; hosts of the suite know it.
const Kind = "wiretest.kind"

// Run tests the sessions of a wire.
func Run(t *testing.T, w Wire) {
	t.Run("RoundTrip", w.roundTrip)
	t.Run("EqualFormatsEqualBytes", w.equalBytes)
	t.Run("WrongFrameType", w.wrongFrameType)
	t.Run("EmptyFrame", w.emptyFrame)
	t.Run("DamagedFrames", w.damaged)
	t.Run("Unsayable", w.unsayable)
	t.Run("Concurrent", w.concurrent)
	t.Run("Memory", w.memory)
}

// sample is a packet and the way it goes.
type sample struct {
	name     string
	toServer bool
	packet   wire.Packet
}

// ends returns the sending and the receiving end of a new link.
func (w Wire) ends(toServer bool) (from, to wire.Session) {
	client, server := w.New(NewHost(Kind))
	if toServer {
		return client, server
	}
	return server, client
}

// samples are all packet types with all content types that the wire can say.
func (w Wire) samples() []sample {
	var all []sample
	for _, toServer := range []bool{true, false} {
		_, to := w.ends(toServer)
		for t := wire.Message; t <= w.last(); t++ {
			for _, payload := range payloads(to.ContentTypes()) {
				for _, full := range []bool{false, true} {
					p := packet(t, payload, full)
					w.place(&p, full)
					if w.Adapt == nil || w.Adapt(toServer, &p) {
						name := fmt.Sprintf("to server %v/%s/%s/full %v", toServer, t, payload.Type, full)
						all = append(all, sample{name, toServer, p})
					}
				}
			}
		}
	}
	return all
}

// place puts a packet into the wire's namespace, and into a room's history.
func (w Wire) place(p *wire.Packet, full bool) {
	if w.Positions && full {
		switch p.Type {
		case wire.Message, wire.Subscribe:
			p.Position = "e-1.7_b"
		case wire.Reply:
			p.Position, p.Recovered = "e-1.7_b", true
		}
	}
	if p.Namespace = w.Namespace; w.Namespace == "" || !full {
		return
	}
	switch p.Type {
	case wire.Hello:
		p.Resume, p.Position = "secret", "place"
	case wire.Welcome:
		p.Resume = "secret"
	case wire.Message:
		p.Position = "place"
	}
}

func payloads(types []string) []codec.Payload {
	if types == nil {
		types = []string{codec.TypeJSON, codec.TypeProtobuf, codec.TypeMsgpack, codec.TypeBytes, "text/plain"}
	}
	all := []codec.Payload{{}}
	for _, t := range types {
		data := []byte("\x00\x01\xfe\xff\"\\")
		switch t {
		case codec.TypeJSON:
			data = []byte(`{"a":[1,"é\n",null],"b":{}}`)
		case codec.TypeProtobuf:
			data = []byte("\x0a\x01x")
		case codec.TypeMsgpack:
			data = []byte("\x81\xa1a\x01")
		case codec.TypeParts:
			text := `{"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":1}]}`
			data = codec.AppendParts(nil, []byte(text), []byte("\x00\xff"), nil)
		}
		all = append(all, codec.Payload{Type: t, Data: data})
	}
	return all
}

// packet is a packet of a type, with what it must have or with all it may have.
func packet(t wire.Type, payload codec.Payload, full bool) wire.Packet {
	p := wire.Packet{Type: t}
	switch t {
	case wire.Ping, wire.Pong:
		return p
	case wire.Message, wire.Broadcast:
		p.Kind, p.Payload = Kind, payload
	case wire.Publish:
		p.Kind, p.Room, p.Payload = Kind, "a room", payload
	case wire.Call:
		p.Kind, p.ID, p.Payload = Kind, 1, payload
	case wire.Reply:
		p.ID, p.Payload = 1<<53-1, payload
	case wire.Error:
		p.ID, p.Err = 300, &wire.ErrorBody{Code: "not_found", Details: payload}
	case wire.Subscribe, wire.Unsubscribe:
		p.Room = "a room"
	case wire.Welcome:
		p.Key = "connection"
	case wire.Refused:
		p.Err = &wire.ErrorBody{Code: "forbidden", Message: "not you", Details: payload}
	}
	if full {
		fill(&p, payload)
	}
	return p
}

func fill(p *wire.Packet, payload codec.Payload) {
	p.Header = map[string]string{"trace": "é \"quoted\"\n", "": "empty", "empty": ""}
	switch p.Type {
	case wire.Message:
		p.Room, p.Args = "from here", []codec.Payload{payload, {}, payload}
	case wire.Call:
		p.Args = []codec.Payload{payload}
	case wire.Error:
		p.Err.Message = "there is no such thing"
	case wire.Subscribe, wire.Unsubscribe, wire.Publish, wire.Broadcast:
		p.ID = 7
	case wire.Hello, wire.Welcome:
		p.Payload, p.Codes = payload, map[string]uint32{Kind: 1, "é": 1<<32 - 1, "zero": 0}
	}
}

func (w Wire) roundTrip(t *testing.T) {
	for _, s := range w.samples() {
		t.Run(s.name, func(t *testing.T) {
			if err := w.passes(w.ends(s.toServer))(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// passes returns a check that samples go from one session to the other.
func (w Wire) passes(from, to wire.Session) func(sample) error {
	return func(s sample) error {
		frames, err := Encode(from, &s.packet)
		if err != nil {
			return err
		}
		got, err := Decode(to, frames)
		if err != nil {
			return err
		}
		want := s.packet
		if w.Arrives != nil {
			w.Arrives(s.toServer, &want)
		}
		if diff := Diff(got, want); diff != "" {
			return fmt.Errorf("%s: %s", s.name, diff)
		}
		return nil
	}
}

func (w Wire) equalBytes(t *testing.T) {
	for _, s := range w.samples() {
		a, _ := w.ends(s.toServer)
		b, _ := w.ends(s.toServer)
		if a.Format() == "" || a.Format() != b.Format() {
			continue
		}
		for range 4 { // the order of maps is random
			one, err1 := Encode(a, &s.packet)
			two, err2 := Encode(b, &s.packet)
			if err1 != nil || err2 != nil {
				t.Fatalf("%s: %v, %v", s.name, err1, err2)
			}
			if len(one) != len(two) {
				t.Fatalf("%s: %d frames and %d", s.name, len(one), len(two))
			}
			for i := range one {
				if one[i].Type != two[i].Type || !bytes.Equal(one[i].Data, two[i].Data) {
					t.Fatalf("%s: format %q, but %q and %q", s.name, a.Format(), one[i].Data, two[i].Data)
				}
			}
		}
	}
}

func (w Wire) wrongFrameType(t *testing.T) {
	if w.FrameType == 0 {
		t.Skip("this wire uses both types of frames")
	}
	wrong := transport.Text
	if w.FrameType == transport.Text {
		wrong = transport.Binary
	}
	for _, s := range w.samples() {
		from, to := w.ends(s.toServer)
		frames, err := Encode(from, &s.packet)
		if err != nil {
			t.Fatal(err)
		}
		frames[0].Type = wrong
		_, err = Decode(to, frames[:1])
		if _, ok := errors.AsType[*wire.ProtocolError](err); !ok {
			t.Fatalf("%s in a %s frame: %v, want a *wire.ProtocolError", s.name, wrong, err)
		}
	}
}

// sane checks what must be true of any result of Decode.
func (w Wire) sane(to wire.Session, f transport.Frame) error {
	var p wire.Packet
	ok, err := to.Decode(f, &p)
	var violation *wire.ProtocolError
	switch {
	case ok && err != nil:
		return fmt.Errorf("a packet and an error: %w", err)
	case ok && (p.Type < wire.Message || p.Type > w.last()):
		return fmt.Errorf("a packet of type %d", p.Type)
	case ok && p.Type == wire.Error && p.Err == nil:
		return errors.New("an error packet without Err")
	case errors.As(err, &violation) && (violation.Code < 1000 || violation.Code > 4999 || len(violation.Reason) > 123):
		return fmt.Errorf("code %d and a reason of %d bytes", violation.Code, len(violation.Reason))
	}
	return nil
}

func (w Wire) emptyFrame(t *testing.T) {
	for _, toServer := range []bool{true, false} {
		for _, ft := range []transport.FrameType{transport.Text, transport.Binary} {
			_, to := w.ends(toServer)
			if err := w.sane(to, transport.Frame{Type: ft}); err != nil {
				t.Error(err)
			}
		}
	}
}

// damaged cuts every frame everywhere and changes every byte: no panic, and
// nothing that the core could trip over.
func (w Wire) damaged(t *testing.T) {
	for _, s := range w.samples() {
		from, _ := w.ends(s.toServer)
		frames, err := Encode(from, &s.packet)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			for i := range f.Data {
				_, to := w.ends(s.toServer)
				if err := w.sane(to, transport.Frame{Type: f.Type, Data: f.Data[:i:i]}); err != nil {
					t.Fatalf("%s, cut to %d bytes: %v", s.name, i, err)
				}
				changed := bytes.Clone(f.Data)
				changed[i] ^= 0x11
				if err := w.sane(to, transport.Frame{Type: f.Type, Data: changed}); err != nil {
					t.Fatalf("%s, changed at %d: %v", s.name, i, err)
				}
			}
		}
	}
}

func (w Wire) unsayable(t *testing.T) {
	for _, p := range append(w.Unsayable, wire.Packet{}, wire.Packet{Type: w.last() + 1}) {
		_, server := w.ends(true)
		out := transport.NewWriter(framer{}, nil)
		if err := out.Frame(transport.Text, []byte("before")); err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(out.Bytes())
		if err := server.Encode(&out, &p); err == nil {
			t.Errorf("%+v was encoded", p)
		}
		if !bytes.Equal(out.Bytes(), before) {
			t.Errorf("%+v: the error left %q", p, out.Bytes())
		}
	}
}

// concurrent encodes with both ends, many times over, beside their decoding.
func (w Wire) concurrent(t *testing.T) {
	client, server := w.New(NewHost(Kind))
	var wg sync.WaitGroup
	for _, toServer := range []bool{true, false} {
		from, to := server, client
		if toServer {
			from, to = client, server
		}
		check := w.passes(from, to)
		wg.Go(func() {
			for _, s := range w.samples() {
				if s.toServer != toServer {
					continue
				}
				if err := check(s); err != nil {
					t.Errorf("%s: %v", s.name, err)
				}
			}
		})
		for range 2 {
			wg.Go(func() {
				for _, s := range w.samples() {
					if s.toServer != toServer {
						continue
					}
					if _, err := Encode(from, &s.packet); err != nil {
						t.Errorf("%s: %v", s.name, err)
					}
				}
			})
		}
	}
	wg.Wait()
}

// memory checks that decoding takes no more than a small multiple of a frame.
func (w Wire) memory(t *testing.T) {
	for _, s := range w.samples() {
		from, _ := w.ends(s.toServer)
		frames, err := Encode(from, &s.packet)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			least := ^uint64(0)
			for range 3 { // others may allocate at the same time
				_, to := w.ends(s.toServer)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				var p wire.Packet
				_, _ = to.Decode(f, &p) // whether it is whole does not matter here
				runtime.ReadMemStats(&after)
				least = min(least, after.TotalAlloc-before.TotalAlloc)
			}
			if bound := uint64(16<<10 + 16*len(f.Data)); least > bound {
				t.Errorf("%s: %d bytes took %d", s.name, len(f.Data), least)
			}
		}
	}
}
